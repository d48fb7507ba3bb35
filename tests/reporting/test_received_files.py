"""The ingest page: what needs a repair first, small with thousands of series, and no cell of its table computes."""

from __future__ import annotations

import csv
import io
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from siamese_med.reporting.data import received_files
from siamese_med.reporting.write import ingest_page, ingest_tsv
from tests.reporting import browser
from tests.reporting.conftest import HOSTILE, pseudonym
from tests.reporting.inventories import MIXED, inventory, picture, refused, scanned


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ingest_page.write_ingest_page(tmp_path_factory.mktemp("reports") / "ingest.html", "A study", MIXED)


def test_what_needs_a_repair_comes_first_under_its_cause() -> None:
    shown = received_files.build_ingest_page("A study", MIXED, has_index=False)
    assert [(one.reason.word, one.series) for one in shown.repairs] == [
        ("missing_slice", 2), ("patient_conflict", 1), ("truncated_pixels", 1),
    ]  # fmt: skip
    assert [one.reason.word for one in shown.left_out] == ["localizer"]
    assert (shown.series_to_repair, shown.patients_to_repair) == (4, 5)
    assert shown.repairs[2].troubles[0].files == (("truncated_pixels", 1), ("missing_slice", 159))


def test_side_cars_of_nobody_come_last_and_broken_files_first(tmp_path: Path) -> None:
    for word, first in (("not_an_image", True), ("side_car", False)):
        found = inventory(scanned("anna"), loose={word: 3})
        text = ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", found).read_text()
        assert (text.index("Files of no patient") < text.index("<h2>Scans")) is first


def test_copies_of_an_accepted_scan_are_no_trouble() -> None:
    shown = received_files.build_ingest_page("A study", inventory(scanned("berta", duplicate=2)), has_index=False)
    assert shown.repairs == shown.left_out == ()


def test_the_page_says_words_hints_and_flags(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "4 series of 5 patients to repair" in text
    assert "The series lacks at least one slice; export the whole series again." in text
    assert "text may be burned into the pixels" in text
    assert "siamese-med reveal missing_slice --input INPUT" in text
    assert re.search(r"\b2 files\s+that were not accepted have been replaced or removed", text)
    assert text.index("To repair") < text.index("<h2>Scans") < text.index("Left out on purpose")


def test_the_same_catalogue_gives_the_same_bytes(page: Path, tmp_path: Path) -> None:
    again = ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", MIXED)
    assert again.read_bytes() == page.read_bytes()
    assert again.with_name("ingest.tsv").read_bytes() == page.with_name("ingest.tsv").read_bytes()


def test_the_cohort_is_linked_once_it_is_there(tmp_path: Path) -> None:
    assert "index.html" not in ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", MIXED).read_text()
    (tmp_path / "index.html").write_text("")
    assert 'href="index.html"' in ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", MIXED).read_text()


def test_the_table_has_a_line_a_series_and_reason() -> None:
    rows = list(csv.DictReader(io.StringIO(ingest_tsv.format_ingest_tsv(MIXED)), dialect="excel-tab"))
    assert sum(int(row["files"]) for row in rows) == MIXED.account.files_seen
    assert [(row["reason"], row["files"]) for row in rows if row["series"] == "series-badanna"] == [
        ("missing_slice", "159"), ("truncated_pixels", "1"),
    ]  # fmt: skip
    taken = next(row for row in rows if row["outcome"] == "ingested")
    assert (taken["scans"], taken["flags"], taken["reason"]) == (f"{pseudonym('anna')}_ses-01_T1w", "burned_in", "n/a")
    assert rows[-1]["reason"] == "not_an_image"
    assert rows[-1]["subject"] == "n/a"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (("T1wCE", "image", 0.962), "T1wCE, from the image (96.2\u00a0% sure)"),
        (("FLAIR", "header", None), "FLAIR, from the header"),
        (("T1w", "said", None), "T1w, said by the manifest"),
        (("T2w", "name", None), "T2w, from the name"),
        (("unknown", "none", None), "contrast not known"),
    ],
)
def test_page_and_table_say_how_the_contrast_is_known(
    tmp_path: Path, told: tuple[str, str, float | None], words: str
) -> None:
    word, source, sure = told
    series = scanned("anna")
    scan = replace(series.scans[0], contrast=word, contrast_source=source, contrast_confidence=sure)
    files = inventory(replace(series, contrast=word, scans=(scan,)))
    text = ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", files).read_text(encoding="utf-8")
    assert f"<small>{words}</small>" in text
    (row,) = csv.DictReader(io.StringIO(ingest_tsv.format_ingest_tsv(files)), dialect="excel-tab")
    assert (row["contrast"], row["contrast_source"]) == (word, source)
    assert row["contrast_confidence"] == ("n/a" if sure is None else str(sure))


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_no_cell_of_the_table_computes(start: str) -> None:
    rows = ingest_tsv.format_ingest_tsv(
        inventory(replace(refused("anna", missing_slice=1), modality=start))
    ).splitlines()
    cells = [cell for row in rows for cell in row.split("\t")]
    assert f"'{start}" in cells
    assert not [cell for cell in cells if cell[:1] in "=+-@"]


def test_hostile_text_is_text(tmp_path: Path) -> None:
    hostile = replace(refused("anna", missing_slice=1), modality=HOSTILE, label=HOSTILE)
    text = ingest_page.write_ingest_page(tmp_path / "ingest.html", HOSTILE, inventory(hostile)).read_text(
        encoding="utf-8"
    )
    assert text.count("<script>") == text.count("</script>") == 1
    assert HOSTILE not in text


def test_two_thousand_series_stay_small_and_quick(tmp_path: Path) -> None:
    pictures = [picture(seed) for seed in range(8)]
    scans = [scanned(f"{number:012d}", (), pictures[number % 8]) for number in range(1500)]
    bad = [refused(f"{number:09d}", missing_slice=9, truncated_pixels=1) for number in range(500)]
    many = inventory(*scans, *bad)
    started = time.process_time()
    page = ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", many)
    assert time.process_time() - started < 5
    assert page.stat().st_size < 5_000_000
    shown = received_files.build_ingest_page("A study", many, has_index=False)
    assert 500 < shown.pictures < 1500
    assert page.read_text(encoding="utf-8").count("<figure") == 1500


@pytest.mark.long
def test_scans_with_a_flag_keep_their_picture_when_room_is_short() -> None:
    many = [scanned(f"{number:012d}", (), picture()) for number in range(1500)]
    late = scanned("zzz", ("burned_in",), picture())
    shown = received_files.build_ingest_page("A study", inventory(*many, late), has_index=False)
    kept = [one for patient in shown.patients for one in patient.scans if one.scan.flags]
    assert kept[0].picture


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_a_reason_and_a_search_narrow_the_page(page: Path) -> None:
    script = """
    const visible = () => Array.from(document.querySelectorAll('[data-words]')).filter((item) => !item.hidden).length;
    const chip = document.querySelector('[data-word=missing_slice]');
    const seen = [visible()];
    chip.click(); seen.push(visible());
    document.getElementById('find').value = 'series-badcarla';
    document.getElementById('find').dispatchEvent(new Event('input')); seen.push(visible());
    chip.click(); document.getElementById('find').value = '';
    document.getElementById('find').dispatchEvent(new Event('input')); seen.push(visible());
    document.body.dataset.seen = seen.join(' ');
    """
    visit = browser.visit(page, script)
    assert visit.console == ()
    assert 'data-seen="7 3 1 7"' in visit.document


def test_scans_that_are_not_paired_are_in_the_heading(tmp_path: Path) -> None:
    study = inventory(scanned("anna", ("identity_conflict",)), scanned("berta", ("split_volume",)), scanned("carla"))
    text = ingest_page.write_ingest_page(tmp_path / "ingest.html", "A study", study).read_text()
    assert "<h1>3 scans, 2 of them not paired</h1>" in text
    assert (
        "<h1>1 scan, no series to repair</h1>"
        in ingest_page.write_ingest_page(tmp_path / "sound.html", "A study", inventory(scanned("anna"))).read_text()
    )
