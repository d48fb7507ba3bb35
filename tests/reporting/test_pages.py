"""What stands on the pages, what may not, and that the machine outputs say the same."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from siamese_med.reporting.render import pages
from tests.reporting.conftest import HOSTILE, Inputs, PageReader, build, pseudonym, write_model

PATIENTS = ("changed", "stable", "mixed", "unlike", "single", "bare")
PAGES = (*PATIENTS, "index", "model")


class Reader(HTMLParser):
    """Visible text outside of charts, attributes by tag, and headings in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._silent: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("svg", "style", "script", "title", "code", "kbd"):
            self._silent.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._silent and self._silent[-1] == tag:
            self._silent.pop()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", " ".join(self.words)).replace("−", "-").replace("\u00a0", " ")


@pytest.mark.parametrize("name", PAGES)
def test_hostile_text_is_text(page: PageReader, name: str) -> None:
    source = page(name)
    assert source.count("<script>") == source.count("</script>") == 1
    assert HOSTILE not in source


def test_hostile_text_is_shown(page: PageReader) -> None:
    assert HOSTILE in Reader(page("bare")).text


@pytest.mark.parametrize("name", PAGES)
def test_nothing_outside_of_the_page_is_named(page: PageReader, name: str) -> None:
    source = page(name)
    text = re.sub(r"data:image/png;base64,[\w+/=]+|sha256-[\w+/=]+", "", source)  # either may hold // by chance
    assert not re.search(r"https?:|//\w|@import|url\(|\sstyle=|\son\w+=", text)
    links = [
        value for _, attrs in Reader(source).tags for key, value in attrs.items() if key in ("href", "src") and value
    ]
    assert links
    own = re.compile(
        r"#[\w-]+|data:(image/png;base64,[\w+/=]+|,)|(\.\./)?([\w-]+/)?(index|model|report|cohort|pairs|ingest|pair-\d+)\.(html|json|tsv|txt)"
    )
    assert [link[:60] for link in links if not own.fullmatch(link)] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_policy_names_this_style_and_this_script(page: PageReader, name: str) -> None:
    source = page(name)
    style, script = (re.search(f"<{tag}>(.*?)</{tag}>", source, flags=re.S) for tag in ("style", "script"))
    policy = next(attrs["content"] for tag, attrs in Reader(source).tags if tag == "meta" and "http-equiv" in attrs)
    assert style
    assert script
    assert policy == pages.make_content_security_policy(style.group(1), script.group(1))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", PAGES)
def test_headings_are_in_order_and_pictures_have_words(page: PageReader, name: str) -> None:
    tags = Reader(page(name)).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    assert all(attrs.get("alt") for tag, attrs in tags if tag == "img")
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") for tag, attrs in tags if tag == "svg")
    ids = Counter(attrs["id"] for _, attrs in tags if "id" in attrs)
    assert max(ids.values()) == 1


@pytest.mark.parametrize("name", PAGES)
def test_every_page_says_research_use_only(page: PageReader, name: str) -> None:
    text = Reader(page(name)).text
    assert text.count("Research use only.") == 2
    assert "does not measure change" in text
    assert "nan" not in text.lower().split()
    assert "None" not in text.split()


def numbers_of(value: Any) -> list[float]:
    """All numbers of a JSON value: its numbers, those inside its texts, and the lengths of its lists."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int | float):
        return [float(value)]
    if isinstance(value, str):
        return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", value.replace("\u202f", ""))]
    if isinstance(value, dict):
        return [number for key, item in value.items() for number in numbers_of(key) + numbers_of(item)]
    return [float(len(value)), *(number for item in value for number in numbers_of(item))]


def strangers(text: str, known: list[float]) -> list[str]:
    """Numbers of a page that no known number rounds to, nor a share that is written as per cent."""
    found = []
    for sign, digits, unit in re.findall(r"((?<![\w.])-)?(?<![A-Za-z])(\d[\d\u202f]*(?:\.\d+)?)( ?%)?", text):
        written = float((sign + digits).replace("\u202f", ""))
        slack = 0.5001 * 10.0 ** -len(digits.partition(".")[2])
        scale = 100 if unit else 1
        if not any(abs(number * scale - written) <= slack for number in known):
            found.append(sign + digits + unit)
    return found


@pytest.mark.parametrize("name", PATIENTS)
def test_every_number_of_a_patient_is_in_the_json(written: Inputs, page: PageReader, name: str) -> None:
    report = json.loads((written.reports / pseudonym(name) / "report.json").read_text(encoding="utf-8"))
    text = re.sub(r"[<>] 0\.\d+", "", Reader(page(name)).text)
    assert len(re.findall(r"\d+\.\d+", text)) > 5
    assert strangers(text, numbers_of(report)) == []
    assert strangers(text + " 7.13579 ml", numbers_of(report)) == ["7.13579"]


def test_every_number_of_the_index_is_in_the_json(written: Inputs, page: PageReader) -> None:
    cohort = json.loads((written.reports / "cohort.json").read_text(encoding="utf-8"))
    assert strangers(re.sub(r"[<>] 0\.\d+", "", Reader(page("index")).text), numbers_of(cohort)) == []


@pytest.mark.parametrize(
    ("name", "verdict", "words"),
    [
        ("changed", "Changed", "the scans differ in FLAIR by more than a repeated scan would"),
        ("stable", "No change beyond a rescan", "or more would have been seen with a chance of 80 %"),
        ("mixed", "Check the patient", "does not look like this patient's"),
        ("unlike", "Not comparable", "T1 (scanned at ses-3 only); FLAIR (not scanned at ses-3)"),
        ("single", "One visit only", "no pair of scans to compare yet"),
        ("bare", "Not comparable", "A visit has no usable date"),
    ],
)
def test_each_patient_gets_its_verdict_in_words(page: PageReader, name: str, verdict: str, words: str) -> None:
    text = Reader(page(name)).text
    assert text.index(verdict) < text.index("Time line")
    assert words in text


def test_the_index_counts_the_verdicts_and_puts_alarms_first(written: Inputs, page: PageReader) -> None:
    found = re.findall(r'<tr data-status="(\w+)( claimed)?">', page("index"))
    statuses = [status for status, _ in found]
    assert statuses == ["wrong_patient", "no_change", "changed", "not_comparable", "not_comparable", "one_visit"]
    assert [bool(claimed) for _, claimed in found] == [False, True, False, False, False, False]
    with (written.reports / "cohort.tsv").open(encoding="utf-8", newline="") as file:
        assert [row["status"] for row in csv.DictReader(file, dialect="excel-tab")] == statuses


def test_the_account_of_the_files_is_on_the_index(page: PageReader) -> None:
    text = Reader(page("index")).text.replace("\u202f", "")
    assert "All files so far" in text  # of all inputs, not of the last one alone
    assert "1834 seen = 1801 ingested + 9 skipped + 17 duplicate + 7 quarantined" in text
    assert "too few slices 4" in text
    assert "does not add up" not in text


def test_a_patient_of_the_training_is_named_as_one(page: PageReader) -> None:
    sentence = "The model saw this patient"
    assert [name for name in PATIENTS if sentence in page(name)] == ["stable"]


@pytest.mark.parametrize(
    ("best", "words"), [("ncc_highpass", "has no claim to be better"), ("network", "better than every baseline")]
)
def test_the_pages_say_which_method_is_best(study: Inputs, best: str, words: str) -> None:
    write_model(study.model, best)
    index = study.write()
    for path in (index, index.parent / "model.html", index.parent / pseudonym("changed") / "report.html"):
        assert words in Reader(path.read_text(encoding="utf-8")).text


def test_what_changed_is_listed_by_part_with_its_place_and_what_the_pair_was_held_against(page: PageReader) -> None:
    text = Reader(page("changed")).text
    assert "new 1.20 brighter < 0.001 – (11, -24, 30)" in " ".join(text.split())
    assert "shrinking 0.30 darker 0.020 – (40, 5, -6)" in " ".join(text.split())
    assert "64 of FLAIR, other scanner (synthesised rescans" in text
    assert "0.001 corrected for all pairs that end with this visit" in text
    assert "Local growth 0.40 ml p 0.200" in " ".join(text.split())


def test_a_pair_without_change_lists_no_parts_and_says_what_would_have_been_seen(page: PageReader) -> None:
    text = Reader(page("stable")).text
    assert "What changed" not in text
    seen = r"no change beyond that of a repeated scan was found in FLAIR; a change of 0\.\d\d ml would have been seen"
    assert re.search(seen, text)


def test_a_pair_too_noisy_to_name_a_detectable_volume_claims_none(study: Inputs) -> None:
    study.scores["smallest_detectable_ml"] = float("nan")
    study.write()
    text = Reader((study.reports / pseudonym("stable") / "report.html").read_text(encoding="utf-8")).text
    assert "too noisy to promise that even a change of several ml would have been seen" in text
    assert "or more would have been seen with" not in text


def test_six_visits_stay_under_500_kilobytes(written: Inputs, page: PageReader) -> None:
    assert page("changed").count("<figure>") == 4 * 2 * written.config.pictures_per_pair  # newest, and since the first
    sizes = [path.stat().st_size for path in (written.reports / pseudonym("changed")).glob("*.html")]
    assert len(sizes) == 5
    assert max(sizes) < 500_000


def test_the_same_input_gives_the_same_bytes(written: Inputs, tmp_path: Path) -> None:
    again = build(tmp_path)
    again.write()
    files = sorted(path.relative_to(again.reports) for path in again.reports.rglob("*") if path.is_file())
    files.remove(Path("run.json"))  # the one place that says when
    assert len(files) == 12 + 4 * len(PATIENTS) + 4
    assert [
        str(file) for file in files if (again.reports / file).read_bytes() != (written.reports / file).read_bytes()
    ] == []
