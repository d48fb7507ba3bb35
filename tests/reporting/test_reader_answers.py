"""A reader's answers: the page saves them to a file, the command keeps them, and the page shows them from then on."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from siamese_med.errors import InputError, MissingFileError
from siamese_med.pipeline.answer_storage import store_reader_answers
from siamese_med.reporting.data.reader_findings import make_part_id
from siamese_med.study.tables import Study
from tests.commands import siamese_med
from tests.reporting import browser, devtools
from tests.reporting.conftest import HOSTILE, Inputs, pseudonym
from tests.reporting.devtools import Chromium

SUBJECT = pseudonym("changed")
PART = "ses-5_FLAIR..ses-6_FLAIR@11,-24,30"
SCAN = f"{SUBJECT}_ses-6_FLAIR"


@pytest.fixture
def own(study: Inputs) -> Inputs:
    """A study of one patient who changed, with pages."""
    inputs = study.only("changed")
    inputs.write()
    return inputs


def place(inputs: Inputs) -> Study:
    return Study(inputs.data, inputs.reports)


def report(inputs: Inputs) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((inputs.reports / SUBJECT / "report.json").read_text(encoding="utf-8"))
    return found


def content(**changes: Any) -> dict[str, Any]:
    """What a page saves."""
    return {
        "format": 1,
        "kind": "siamese-med answers",
        "subject": SUBJECT,
        "findings": [{"id": PART, "answer": "rejected", "remark": "vessel"}],
        "scans": [{"id": SCAN, "quality": "poor", "remark": ""}],
    } | changes


def saved(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_every_part_beyond_a_rescan_of_a_changed_pair_can_be_answered_and_every_scan(own: Inputs) -> None:
    told = report(own)
    found = told["reader"]["findings"]
    parts = [
        (pair["number"], number)
        for pair in told["pairs"]
        if pair["role"] != "other" and pair["status"] == "changed"
        for number, part in enumerate(pair["components"], start=1)
        if part["kind"] != "may_be_chance"
    ]
    assert [(one["pair"], one["part"]) for one in found] == parts
    assert len({one["id"] for one in found}) == len(found) > 2
    assert PART in [one["id"] for one in found]
    scans = [scan["id"] for visit in told["visits"] for scan in visit["scans"]]
    assert [one["id"] for one in told["reader"]["scans"]] == scans
    assert {one["answer"] for one in found} == {None}


def test_answers_are_kept_shown_and_said_once(own: Inputs, tmp_path: Path) -> None:
    file = saved(tmp_path, content())
    facts = store_reader_answers(file, place(own))
    assert facts == {"subject": SUBJECT, "new": True, "confirmed": 0, "rejected": 1, "remarks": 1, "rated_scans": 1}
    stored = own.data / "answers" / f"{SUBJECT}.json"
    before = stored.read_bytes(), stored.stat().st_mtime_ns
    assert store_reader_answers(file, place(own)) == {**facts, "new": False}
    assert (stored.read_bytes(), stored.stat().st_mtime_ns) == before
    own.write()
    (shown,) = [one for one in report(own)["reader"]["findings"] if one["answer"]]
    assert (shown["id"], shown["answer"], shown["remark"]) == (PART, "rejected", "vessel")
    page = (own.reports / SUBJECT / "report.html").read_text(encoding="utf-8")
    assert 'new <span class="tag">rejected by the reader</span>' in page
    assert "<option selected>rejected</option>" in page
    assert 'value="vessel"' in page
    assert report(own)["headline"]["status"] == "changed"  # answers change no verdict


def test_a_later_file_replaces_its_own_answers_alone_and_can_take_them_back(own: Inputs, tmp_path: Path) -> None:
    store_reader_answers(saved(tmp_path, content()), place(own))
    other = next(one["id"] for one in report(own)["reader"]["findings"] if one["id"] != PART)
    more = content(findings=[{"id": other, "answer": "confirmed", "remark": ""}], scans=[])
    assert store_reader_answers(saved(tmp_path, more), place(own))["rejected"] == 1
    nothing = content(
        findings=[{"id": PART, "answer": None, "remark": ""}], scans=[{"id": SCAN, "quality": None, "remark": ""}]
    )
    facts = store_reader_answers(saved(tmp_path, nothing), place(own))
    assert (facts["confirmed"], facts["rejected"], facts["rated_scans"]) == (1, 0, 0)


def test_a_part_that_another_model_puts_a_little_elsewhere_keeps_its_answer(own: Inputs, tmp_path: Path) -> None:
    store_reader_answers(saved(tmp_path, content()), place(own))

    def moved(parts: list[dict[str, Any]], mm: float) -> list[dict[str, Any]]:
        return [{**part, "earlier_mm": [part["earlier_mm"][0] + mm, *part["earlier_mm"][1:]]} for part in parts]

    scores = own.scores.copy()
    own.scores = scores.assign(components=[moved(parts, 2.0) for parts in scores["components"]])
    own.write()
    assert [one["id"] for one in report(own)["reader"]["findings"] if one["answer"]] == [PART.replace("@11", "@13")]
    own.scores = scores.assign(components=[moved(parts, 9.0) for parts in scores["components"]])
    own.write()
    assert not [one for one in report(own)["reader"]["findings"] if one["answer"]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, r"\(at format\)"),
        ({"kind": "another"}, r"\(at kind\)"),
        ({"subject": "../../etc"}, r"\(at subject\)"),
        ({"subject": "sub-NOBODY"}, "has no page below --reports"),
        ({"name": "a key of nobody"}, r"\(as a whole\)"),
        ({"findings": [{"id": PART, "answer": "perhaps", "remark": ""}]}, r"\(at findings\.0\.answer\)"),
        ({"findings": [{"id": PART, "answer": None, "remark": "x" * 201}]}, r"\(at findings\.0\.remark\)"),
        ({"findings": [{"id": PART, "answer": None, "remark": "a\u202eb"}]}, r"\(at findings\.0\.remark\)"),
        ({"findings": [{"id": PART, "answer": None, "remark": 7}]}, r"\(at findings\.0\.remark\)"),
        ({"findings": [{"id": PART, "answer": None, "remark": ""}] * 2}, r"\(as a whole\)"),
        ({"findings": [{"id": f"{n}", "answer": None, "remark": ""} for n in range(2001)]}, r"\(at findings\)"),
        (
            {"findings": [{"id": "ses-1..ses-9@1,2,3", "answer": "rejected", "remark": ""}]},
            "1 of 2 answers are to nothing",
        ),
        ({"scans": [{"id": "sub-X_ses-1_T1w", "quality": "good", "remark": ""}]}, "1 of 2 answers are to nothing"),
        ({"scans": [{"id": SCAN, "quality": float("nan"), "remark": ""}]}, "no JSON"),
    ],
)
def test_a_file_that_no_page_saved_is_refused_and_nothing_is_kept(
    own: Inputs, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as refused:
        store_reader_answers(saved(tmp_path, content(**changes)), place(own))
    assert "\n" not in str(refused.value)
    assert not list((own.data / "answers").glob("*.json"))


def test_other_files_are_refused(own: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "answers.json"
    with pytest.raises(MissingFileError, match="give the file that a patient's page saved"):
        store_reader_answers(path, place(own))
    for what in (b"", b"\xff\xfe", b"[" * 100_000, b"[]", b" " * 1_000_001):
        path.write_bytes(what)
        with pytest.raises(InputError, match="save it once more"):
            store_reader_answers(path, place(own))


def test_what_was_changed_from_outside_is_named(own: Inputs, tmp_path: Path) -> None:
    store_reader_answers(saved(tmp_path, content()), place(own))
    (own.data / "answers" / f"{SUBJECT}.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="what readers answered"):
        own.write()
    (own.reports / SUBJECT / "report.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="run `siamese-med report` again"):
        store_reader_answers(saved(tmp_path, content()), place(own))


def test_a_hostile_remark_is_text(own: Inputs, tmp_path: Path) -> None:
    remark = f'"><b>{HOSTILE}'
    store_reader_answers(saved(tmp_path, content(scans=[{"id": SCAN, "quality": None, "remark": remark}])), place(own))
    own.write()
    page = (own.reports / SUBJECT / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert report(own)["reader"]["scans"][-1]["remark"] == remark


def test_a_pair_of_other_scans_or_places_has_another_id() -> None:
    ids = {
        make_part_id("sub-1_ses-1_FLAIR", "sub-1_ses-2_FLAIR", (1, 2, 3)),
        make_part_id("sub-1_ses-1_FLAIR", "sub-1_ses-3_FLAIR", (1, 2, 3)),
        make_part_id("sub-1_ses-1_T1w", "sub-1_ses-2_T1w", (1, 2, 3)),
        make_part_id("sub-1_ses-1_FLAIR", "sub-1_ses-2_FLAIR", (1, 2, -3)),
    }
    assert len(ids) == 4


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_the_page_saves_a_file_that_the_command_takes(own: Inputs, chromium: Chromium, tmp_path: Path) -> None:
    page = own.reports / SUBJECT / "report.html"
    folder = tmp_path / "downloads"
    folder.mkdir()
    chromium.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    script = f"""{{
      const row = document.querySelector('tr[data-finding="{PART}"]');
      row.querySelector('select').value = 'confirmed';
      row.querySelector('input').value = 'as seen in "T2" <b>ünd</b>';
      document.querySelector('tr[data-scan="{SCAN}"] select').value = 'good';
      document.querySelector('#answers .save').click();
      document.querySelector('.saved').textContent;
    }}"""
    with devtools.opened(chromium, page.as_uri()) as tab:
        told = tab.evaluate(script, pressed=True)
        file = folder / f"answers_{SUBJECT}.json"
        end = time.monotonic() + 300
        while not file.is_file() and time.monotonic() < end:
            time.sleep(0.05)
        assert tab.complaints == []
        assert [address for address in tab.requests if not address.startswith(("file:", "blob:"))] == []
    assert told == f"Saved to {file.name}."
    facts = store_reader_answers(file, place(own))
    assert facts == {"subject": SUBJECT, "new": True, "confirmed": 1, "rejected": 0, "remarks": 1, "rated_scans": 1}
    again = replace(own)
    again.write()
    (shown,) = [one for one in report(again)["reader"]["findings"] if one["answer"]]
    assert shown["remark"] == 'as seen in "T2" <b>ünd</b>'


def test_the_command_says_what_it_kept_and_how_to_show_it(own: Inputs, tmp_path: Path) -> None:
    options = ("--data", str(own.data), "--reports", str(own.reports))
    file = saved(tmp_path, content())
    said = siamese_med("answers", file, *options, cwd=tmp_path)
    assert said.returncode == 0
    assert f"siamese-med report --data {own.data} --reports {own.reports}" in said.stdout
    again = json.loads(siamese_med("answers", file, *options, "--json", cwd=tmp_path).stdout)
    assert (again["new"], again["rejected"]) == (False, 1)
    refused = siamese_med("answers", saved(tmp_path, content(format=2)), *options, cwd=tmp_path)
    assert refused.returncode == 3
    assert refused.stderr.count("\n") == 1
    assert siamese_med("answers", tmp_path / "none.json", *options, cwd=tmp_path).returncode == 2
