"""The numbers in the text of a page that nothing in the JSON beside it accounts for.

Each part of a page is held against that part of the JSON which it shows: a table's row against its pair, a section
against its own. There a number stands as its key is written (FORMS), within a string of the JSON, or in words of the
template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder

from siamese_med.reporting import formatting
from siamese_med.reporting.render import pages
from siamese_med.study import contrasts

NUMBER = re.compile(r"−?\d+(?:\u202f\d{3})*(?:\.\d+)?(?:\u00a0%)?")
UNREAD = {"script", "style"}
GRADE = "grade"
"""Class of the values of an axis, which are nobody's figures."""
VOID = {"meta", "link", "img", "input", "br"}

SIDES = ("earlier", "later")
ANSWERED = {"findings": "answer", "scans": "quality"}

Form = Callable[[Any], str]


def _forms(names: str, *forms: Form) -> dict[str, tuple[Form, ...]]:
    return dict.fromkeys(names.split(), forms)


FORMS: dict[str, tuple[Form, ...]] = {
    **_forms("number finding n visits patients files files_seen slices_available interval_days day", formatting.count),
    **_forms("counts reasons parameters model_format pair train measured", formatting.count),
    **_forms("change_z evidence owner_evidence", partial(formatting.fixed, digits=1)),
    **_forms(
        "volume_ml beyond_rescan_ml change_ml growth_ml smallest_detectable_ml significance spacing_mm",
        partial(formatting.fixed, digits=2),
    ),
    **_forms("brighter_ml darker_ml", partial(formatting.fixed, digits=2)),
    **_forms("distance ncc_highpass mutual_information pair_quality", partial(formatting.fixed, digits=3)),
    **_forms("alignment_quality threshold", partial(formatting.fixed, digits=3)),
    **_forms("similarity lowest_similarity change_p change_p_adjusted growth_p p", formatting.probability),
    **_forms("power false_match_rate", formatting.percent),
    **_forms("shape earlier_mm largest_tested_ml false_candidates", partial(formatting.fixed, digits=0)),
    **_forms("position_mm change_error_percent", partial(formatting.fixed, digits=1)),
    **_forms("change_percent", *(partial(formatting.fixed, digits=digits) for digits in (0, 1))),
    **_forms("ml error_ml", *(partial(formatting.fixed, digits=digits) for digits in (0, 1, 2))),
    **_forms("band_z normal_z", partial(formatting.fixed, digits=2), partial(formatting.fixed, digits=1)),
}
"""How a page writes the number under a key."""

UNWRITTEN = {"values_z", "changes_z", "similarities", "transform", "share", "map", "pictures"}
"""Keys that a page draws or leaves out."""


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and string with its key; items of a list under the key of the list."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in UNWRITTEN:
                yield from leaves(item, name if name in FORMS or not isinstance(item, int) else key)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, key)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield key, value


@cache
def fixed_words() -> list[str]:
    """Pieces of the templates' own text that have a number in them, the longest first."""
    pieces: set[str] = set()
    for path in pages.PAGE_TEMPLATE_FOLDER.glob("*.j2"):
        text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.S)
        text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "\0", text, flags=re.S)  # first: code in an attribute may hold a >
        for piece in re.split(r"<[^>]*>|\0", text):
            pieces.add(_plain(piece))
    return sorted((piece for piece in pieces if NUMBER.search(piece)), key=len, reverse=True)


def _plain(text: str) -> str:
    return " ".join(text.split(" ")).replace("\n", " ").strip()


def unknown(text: str, sources: Iterable[Any]) -> list[str]:
    """Numbers of the text, with what stands about them, that are neither in the sources nor in the templates' words."""
    known, strings = set(), set()
    for key, value in (leaf for source in sources for leaf in leaves(source)):
        if isinstance(value, str):
            strings |= {value, formatting.short(value), formatting.spaced(value), formatting.sentence(value)}
            strings |= {contrasts.describe_contrast(value), contrasts.describe_stratum(value)}
            strings.add(value.split("_", 1)[-1])  # a scan's name within its patient
        else:
            known |= {number for form in FORMS.get(key, ()) for number in NUMBER.findall(form(value))}
    text = _plain(text)
    numbered = {" ".join(string.split()) for string in strings if NUMBER.search(string)}
    for words in [*fixed_words(), *sorted(numbered, key=len, reverse=True)]:
        text = re.sub(rf"(?<![\w.−]){re.escape(words)}(?![\w])", " ", text)
    return [
        f"{found[0]} in: {' '.join(text[max(0, found.start() - 60) : found.end() + 30].split())}"
        for found in NUMBER.finditer(text)
        if found[0] not in known
    ]


class _Tree(HTMLParser):
    """HTML as elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._builder = TreeBuilder()
        self.feed(text[text.index("<html") :])
        self.root = self._builder.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self._builder.end(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._builder.start(tag, {name: value or "" for name, value in attrs})
        self._builder.end(tag)

    def handle_endtag(self, tag: str) -> None:
        self._builder.end(tag)

    def handle_data(self, data: str) -> None:
        self._builder.data(data)


class Page:
    """A page from which one part after another is taken and accounted for."""

    def __init__(self, text: str) -> None:
        self.root = _Tree(text).root
        self._taken: set[Element] = set()
        self.unknown: list[str] = []

    def find(self, path: str, style: str = "", within: Element | None = None) -> list[Element]:
        """The parts that are still there, by XPath and class."""
        found = (self.root if within is None else within).findall(path)
        return [part for part in found if part not in self._taken and style in ["", *part.get("class", "").split()]]

    def take(self, part: Element, *sources: Any) -> None:
        """Account for the numbers of one part, and leave it out of all that follows."""
        self.unknown += unknown("".join(self._words(part)), sources)
        self._taken.add(part)

    def rows(self, table: Element, sources: list[tuple[Any, ...]]) -> None:
        """Account for a table, one row after another."""
        for row, source in zip(table.findall("tbody/tr"), sources, strict=True):
            self.take(row, *source)

    def rest(self, *sources: Any) -> list[str]:
        """Account for all that is left; the numbers for which nothing accounts."""
        self.take(self.root, *sources)
        return self.unknown

    def _words(self, part: Element) -> Iterator[str]:
        if part not in self._taken and part.tag not in UNREAD and GRADE not in part.get("class", "").split():
            yield f" {part.text or ''}"
            for child in part:
                yield from self._words(child)
        yield f" {part.tail or ''}"


def _count_rejected(report: dict[str, Any]) -> dict[str, list[int]]:
    """What the page says of kinds of findings that readers rejected."""
    kinds = report["reader"]["rejected_kinds"]
    return {"n": [kind[key] for kind in kinds for key in ("set_aside", "rejected", "patients")]}


def _take_pairs(page: Page, report: dict[str, Any]) -> list[Any]:
    """Account for the sections of single pairs; what every part of a patient's pages may draw on."""
    general = [report[key] for key in ("subject", "title", "reference")]
    for pair in report["pairs"]:
        for section in page.find(f".//section[@id='pair-{pair['number']}']"):
            for table in page.find(".//table", within=section):
                numbers = [int("".join(row.findall("th")[0].itertext())) for row in table.findall("tbody/tr")]
                page.rows(table, [(pair["components"][number - 1],) for number in numbers])
            for row, one in zip(page.find(".//div", "row", section), pair["slices"], strict=True):
                page.take(row, one, [pair[f"{side}_{what}"] for side in SIDES for what in ("session", "contrast")])
            known = {key: value for key, value in pair.items() if key not in ("components", "slices")}
            page.take(section, known, {"n": len(pair["slices"])}, _count_rejected(report), *general)
    return general


def of_step(text: str, report: dict[str, Any]) -> list[str]:
    """Numbers of the page of one step of a patient's time line that the patient's report.json does not have."""
    page = Page(text)
    general = _take_pairs(page, report)
    return page.rest([visit["session"] for visit in report["visits"]], report["claim"], *general)


def _beyond(row: dict[str, Any], content: dict[str, Any]) -> dict[str, float]:
    """The limit that a row names, `> 8`, where no change up to it would have been seen."""
    reference: dict[str, float] = content["reference"]
    return {} if row["smallest_detectable_ml"] else {"largest_tested_ml": reference["largest_tested_ml"]}


def _is_unlike(pair: dict[str, Any]) -> bool:
    return not {"other_contrast", "other_modality"}.isdisjoint(reason["word"] for reason in pair["reasons"])


def of_patient(text: str, report: dict[str, Any]) -> list[str]:
    """Numbers of a patient's page that the patient's report.json does not have."""
    page, pairs = Page(text), report["pairs"]
    general = _take_pairs(page, report)
    unlike = {number for number, pair in enumerate(pairs) if _is_unlike(pair)}
    for table in page.find(".//table", "sortable"):
        page.rows(table, [(pair, _beyond(pair, report)) for number, pair in enumerate(pairs) if number not in unlike])
    scans = [({**visit, "scans": []}, scan) for visit in report["visits"] for scan in visit["scans"]]
    page.rows(page.find(".//table")[-1], scans)
    sessions = [visit["session"] for visit in report["visits"]]
    newest = [pair for pair in pairs if pair["number"] in [line["lead"] for line in report["lines"]]]
    page.take(page.find(".//section", "verdict")[0], report["headline"], report["lines"], newest, *general)
    for section in page.find(".//section", "findings"):
        page.take(section, report["findings"], sessions)
    for section in page.find(".//section", "structures"):
        measured = [
            (one, formatting.sentence_case(line["contrast"])) for line in report["structures"] for one in line["scans"]
        ]
        page.rows(page.find(".//table", within=section)[0], measured)
        page.take(section)
    for section in [*page.find(".//section", "whose"), *page.find(".//section", "notes")]:
        page.take(section, report["alarms"], report["claimed"], report["warnings"])
    sessions = [visit["session"] for visit in report["visits"]]
    reader = report["reader"]
    numbers = [one[key] for one in reader["findings"] for key in ("part", "lesion") if one[key] is not None]
    counts = [sum(bool(one[key] or one["remark"]) for one in reader[kind]) for kind, key in ANSWERED.items()]
    for details in page.find(".//details", "answers"):
        asked = {"n": [*numbers, *counts, *map(len, reader.values())]}
        page.take(details, asked, _count_rejected(report), reader, sessions, report["lines"])
    for details in page.find(".//details", "paste"):
        page.take(details, report["text"])
    between = [b - a for a, b in pairwise(visit["day"] for visit in report["visits"]) if None not in (a, b)]
    drawn = [{key: pair[key] for key in ("change_z", "earlier_session", "later_session")} for pair in pairs]
    counted = {"n": len(unlike)}
    page.take(
        page.find(".//section", "timeline")[0], {"day": between}, sessions, drawn, report["lines"], counted, *general
    )
    return page.rest(report["claim"], report["provenance"], *general)


def of_index(text: str, cohort: dict[str, Any]) -> list[str]:
    """Numbers of the index that cohort.json does not have."""
    page = Page(text)
    general = [cohort[key] for key in ("title", "reference", "claim")]
    rows = {row["subject"]: row for row in cohort["rows"]}
    for row in page.find(".//table[@id='patients']/tbody/tr"):
        listed = rows[row.findall(".//a")[0].get("title", "")]
        page.take(row, listed, _beyond(listed, cohort))
    for table in page.find(".//table[@id='alarms']"):
        page.rows(table, [(alarm,) for alarm in cohort["alarms"]])
    for part in page.find(".//div", "lineups"):
        page.take(part, [name.get("title") for name in part.findall(".//span")])  # names of scans, no figures
    for section in page.find(".//section"):
        if page.find(".//svg", "account", section):
            page.take(section, cohort["intake"])
    page.take(page.find(".//section", "heading")[0], {key: cohort[key] for key in ("patients", "counts")}, *general)
    return page.rest(cohort["provenance"], {"n": len(cohort["alarms"])}, *general)
