"use strict";
(function () {
  const MOST = 200; // rows of a table shown at once: laying out thousands takes longer than a press may
  const order = new Intl.Collator("en", { numeric: true });
  const cuts = new Map();
  const all = (selector, root) => Array.from((root || document).querySelectorAll(selector));

  function parse(raw) {
    const number = Number(raw.replace("\u2212", "-").replace(/\u202f/g, ""));
    return raw === "" || raw === "\u2013" ? null : Number.isNaN(number) ? raw : number;
  }

  // On a phone a row is a card, so every cell carries the words of its column.
  all(".scroll > table").filter((table) => table.tHead && !table.closest(".chapter, .answers")).forEach((table) => {
    const names = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent.trim());
    all("tbody tr, tfoot tr", table).forEach((row) => {
      let column = 0;
      Array.from(row.cells).forEach((cell) => {
        if (cell.colSpan === 1) cell.dataset.label = names[column] || "";
        column += cell.colSpan;
      });
    });
    table.classList.add("cards");
  });

  // A row of a table: an element of the page, or what the index holds as data until it is shown.
  const ownRows = (table) => all("tbody tr", table).map((row) => ({ row }));
  const hidden = (entry) => (entry.row ? entry.row.hidden : entry.out);

  function valueOf(entry, column) {
    if (!entry.row) {
      const [, short, , rank, , cells] = entry.data;
      if (column < 2) return column ? rank : parse(short);
      const cell = cells[column - 2];
      return Array.isArray(cell) ? cell[1] : parse(cell);
    }
    const cell = entry.row.cells[column];
    return parse(cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim());
  }

  function makeNote(parts) {
    const note = document.createElement("small");
    parts.forEach(([text, missing]) => {
      const part = missing ? document.createElement("span") : document.createTextNode(text);
      if (missing) Object.assign(part, { className: "missing", textContent: text });
      note.append(part);
    });
    return note;
  }

  function makeRow(model, [subject, short, words, rank, notes, cells]) {
    const badges = document.getElementById("badges").content;
    const row = model.cloneNode(true);
    row.hidden = false;
    row.dataset.status = words.join(" ");
    Object.assign(row.querySelector("a"), { href: subject + "/report.html", title: subject, textContent: short });
    row.cells[1].dataset.value = rank;
    row.cells[1].replaceChildren();
    words.forEach((word) => row.cells[1].append(badges.querySelector(".badge." + word).cloneNode(true), " "));
    notes.forEach((parts) => row.cells[1].append(makeNote(parts), " "));
    cells.forEach((cell, place) => {
      const [text, value] = Array.isArray(cell) ? cell : [cell];
      const made = row.cells[place + 2];
      made.textContent = text;
      if (value === undefined) delete made.dataset.value;
      else made.dataset.value = value;
    });
    return row;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return order.compare(String(a), String(b));
  }

  function sort(table, column, header) {
    const down = header.getAttribute("aria-sort") === "ascending";
    const cutOff = cuts.get(table);
    const sorted = (cutOff ? cutOff.entries : ownRows(table)).map((entry, place) => ({ entry, place, value: valueOf(entry, column) }));
    sorted.sort((a, b) => {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null) || a.place - b.place;
      return (down ? -1 : 1) * compare(a.value, b.value) || a.place - b.place;
    });
    all("th[aria-sort]", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const entries = sorted.map(({ entry }) => entry);
    if (!cutOff) return table.tBodies[0].append(...entries.map((entry) => entry.row));
    cutOff.entries = entries;
    cut(table, true);
  }

  function cut(table, reordered) {
    if (!cuts.has(table)) return;
    const { button, whole, entries, model } = cuts.get(table);
    const fitting = entries.filter((entry) => !hidden(entry));
    const shown = whole ? fitting.length : MOST;
    const missing = fitting.slice(0, shown).filter((entry) => !entry.row);
    missing.forEach((entry) => { entry.row = makeRow(model, entry.data); });
    fitting.forEach(({ row }, place) => row && row.classList.toggle("later", place >= shown));
    if (missing.length || reordered) table.tBodies[0].append(...entries.filter((entry) => entry.row).map((entry) => entry.row));
    button.hidden = fitting.length <= shown;
    button.textContent = "Show all " + fitting.length;
  }

  function showAll(table) {
    cuts.get(table).whole = true;
    cut(table);
  }

  all("table.sortable").forEach((table) => {
    const further = table.id === "patients" && document.getElementById("further");
    const entries = ownRows(table).concat(further ? JSON.parse(further.textContent).map((data) => ({ data, out: false })) : []);
    if (entries.length <= MOST) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "more";
    button.addEventListener("click", () => showAll(table));
    cuts.set(table, { button, whole: false, entries, model: entries[0].row });
    (table.closest(".scroll") || table).after(button);
    cut(table);
  });
  window.addEventListener("beforeprint", () => cuts.forEach((_, table) => showAll(table)));

  all("table.sortable").forEach((table) => {
    all("th", table.tHead).forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, column, header));
      header.append(button);
    });
  });

  const search = document.getElementById("search");
  if (search) {
    const table = document.getElementById("patients");
    const entries = cuts.has(table) ? cuts.get(table).entries.slice() : ownRows(table);
    const textOf = (entry) => {
      if (entry.text) return entry.text;
      if (entry.row) entry.text = entry.row.querySelector("a").title + " " + entry.row.textContent;
      else {
        const [subject, short, words, , notes, cells] = entry.data;
        const label = (word) => document.getElementById("badges").content.querySelector(".badge." + word).textContent;
        const parts = [subject, short, ...words.map(label), ...notes.map((note) => note.map(([text]) => text).join(""))];
        entry.text = parts.concat(cells.map((cell) => (Array.isArray(cell) ? cell[0] : cell))).join(" ");
      }
      entry.text = entry.text.toLowerCase();
      return entry.text;
    };
    const statusesOf = (entry) => (entry.row ? entry.row.dataset.status.split(" ") : entry.data[2]);
    const chips = all("button.chip");
    const filter = () => {
      const wanted = new Set(chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.status));
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      entries.forEach((entry) => {
        const fits = (!wanted.size || statusesOf(entry).some((word) => wanted.has(word))) && words.every((word) => textOf(entry).includes(word));
        if (entry.row) entry.row.hidden = !fits;
        else entry.out = !fits;
        shown += fits;
      });
      document.getElementById("found").textContent = shown === entries.length ? "" : shown + " of " + entries.length;
      cuts.forEach((_, table) => cut(table));
    };
    chips.forEach((chip) =>
      chip.addEventListener("click", () => {
        chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "true" ? "false" : "true");
        filter();
      })
    );
    search.addEventListener("input", filter);
  }

  const find = document.getElementById("find");
  if (find) {
    const items = all("[data-words]").map((item) => {
      const owner = item.closest("[data-find]");
      const text = ((owner ? owner.dataset.find : "") + " " + item.textContent).toLowerCase();
      return { item, text, words: item.dataset.words.split(" ") };
    });
    const chips = all("button.chip");
    const folds = all("details").map((fold) => ({ fold, open: fold.open }));
    const show = () => {
      const wanted = chips.filter((chip) => chip.getAttribute("aria-pressed") === "true").map((chip) => chip.dataset.word);
      const asked = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      const narrowed = wanted.length + asked.length > 0;
      let shown = 0;
      items.forEach(({ item, text, words }) => {
        const fits = (!wanted.length || wanted.some((word) => words.includes(word))) && asked.every((word) => text.includes(word));
        item.hidden = !fits;
        shown += fits;
      });
      folds.forEach(({ fold, open }) => {
        fold.hidden = !fold.querySelector("[data-words]:not([hidden])");
        fold.open = narrowed ? !fold.hidden : open;
      });
      all("[data-group]").forEach((group) => { group.hidden = !group.querySelector("[data-words]:not([hidden])"); });
      document.getElementById("found").textContent = narrowed ? shown + " of " + items.length : "";
      cuts.forEach((_, table) => cut(table));
    };
    chips.forEach((chip) =>
      chip.addEventListener("click", () => {
        chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "true" ? "false" : "true");
        show();
      })
    );
    find.addEventListener("input", show);
  }

  function copy(part) {
    const range = document.createRange();
    range.selectNodeContents(part);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    return document.execCommand("copy");
  }

  all("button.copy").forEach((button) =>
    button.addEventListener("click", () => {
      const copied = copy(document.getElementById(button.dataset.copy));
      const told = copied ? "Copied." : "The text is marked: copy it with Ctrl+C.";
      button.closest("details").querySelector(".copied").textContent = told;
    })
  );

  const answers = document.getElementById("answers");
  if (answers) {
    const fields = all("select, input", answers);
    const state = () => fields.map((field) => field.value).join("\n");
    const entries = (name) => all("tr[data-" + name + "]", answers).map((row) => ({
      id: row.dataset[name],
      [name === "finding" ? "answer" : "quality"]: row.querySelector("select").value || null,
      remark: row.querySelector("input").value.trim(),
    }));
    let saved = state();
    answers.querySelector(".save").addEventListener("click", () => {
      const file = { format: 1, kind: "siamese-med answers", subject: answers.dataset.subject, findings: entries("finding"), scans: entries("scan") };
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(file, null, 2) + "\n"], { type: "application/json" }));
      link.download = "answers_" + answers.dataset.subject + ".json";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      saved = state();
      answers.querySelector(".saved").textContent = "Saved to " + link.download + ".";
    });
    window.addEventListener("beforeunload", (event) => {
      if (state() !== saved) event.preventDefault();
    });
  }

  function unfold() {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (target.closest("details.further")) target.scrollIntoView();
  }

  window.addEventListener("hashchange", unfold);
  unfold();
  all(".chart").forEach((chart) => { chart.scrollLeft = chart.scrollWidth; }); // the newest visit is on the right

  function blink(pair) {
    const button = pair && pair.querySelector("button.blink");
    if (button) button.setAttribute("aria-pressed", String(pair.classList.toggle("blinking")));
  }

  function nearest() {
    const middle = window.innerHeight / 2;
    const away = (pair) => {
      const box = pair.getBoundingClientRect();
      return box.top > middle ? box.top - middle : Math.max(0, middle - box.bottom);
    };
    return all("section.pair").filter((pair) => pair.querySelector(".blink")).sort((a, b) => away(a) - away(b))[0];
  }

  const figures = all(".panels figure");
  if (figures.length && window.HTMLDialogElement) {
    const dialog = document.createElement("dialog");
    dialog.className = "large";
    const close = document.createElement("button");
    Object.assign(close, { type: "button", textContent: "Close" });
    close.addEventListener("click", () => dialog.close());
    document.body.append(dialog);
    let shown = 0;
    const show = (place) => {
      shown = (place + figures.length) % figures.length;
      const picture = figures[shown].querySelector("svg").cloneNode(true);
      all("[id]", picture).forEach((part) => part.removeAttribute("id"));
      const line = document.createElement("p");
      const label = picture.getAttribute("aria-label");
      line.textContent = label[0].toUpperCase() + label.slice(1) + ". Arrow keys: the next picture.";
      dialog.setAttribute("aria-label", label);
      dialog.replaceChildren(close, picture, line);
    };
    figures.forEach((figure, place) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "enlarge", textContent: "+" });
      button.setAttribute("aria-label", "Enlarge " + figure.querySelector("svg").getAttribute("aria-label"));
      const open = () => { show(place); dialog.showModal(); };
      button.addEventListener("click", open);
      figure.querySelector("svg").addEventListener("click", open);
      figure.append(button);
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(shown + 1);
      if (event.key === "ArrowLeft") show(shown - 1);
      close.focus();
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  function outline(pair) {
    const button = pair && pair.querySelector("button.outlines");
    if (button) button.setAttribute("aria-pressed", String(!pair.classList.toggle("plain")));
  }

  const keys = { b: blink, o: outline };
  all("button.outlines").forEach((button) => button.addEventListener("click", () => outline(button.closest(".pair"))));
  all("button.blink").forEach((button) => button.addEventListener("click", () => blink(button.closest(".pair"))));
  document.addEventListener("keydown", (event) => {
    const act = keys[event.key.toLowerCase()];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    act(event.target.closest("section.pair") || nearest());
  });
})();
