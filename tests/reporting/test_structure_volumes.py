"""Brain tissue and lateral ventricles over time: on the page, in the JSON, and never across contrasts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siamese_med.reporting import formatting
from siamese_med.reporting.data.structure_lines import MeasuredVolume, measure_change
from siamese_med.study.thresholds import STRUCTURE_VOLUME_ERROR, THICK_SLICE_FACTOR
from tests.reporting.conftest import Inputs, build, pseudonym
from tests.reporting.test_pages import Reader


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Patients whose scans have the volumes of `Builder.scans_of`: the ventricles grow by 2.6 ml a visit."""
    inputs = build(tmp_path_factory.mktemp("structures")).only("stable", "changed", "mixed")
    inputs.write()
    return inputs


def read(inputs: Inputs, name: str) -> dict[str, list[dict[str, object]]]:
    report = json.loads((inputs.reports / pseudonym(name) / "report.json").read_text("utf-8"))
    return {line["contrast"]: line["scans"] for line in report["structures"]}


def section(inputs: Inputs, name: str) -> str:
    page = (inputs.reports / pseudonym(name) / "report.html").read_text(encoding="utf-8")
    return " ".join(Reader(page.partition('id="brain-volumes">')[2].partition("</section>")[0]).text.split())


def test_each_date_has_its_volumes_with_errors_and_the_change_since_the_first(written: Inputs) -> None:
    first, second, third = read(written, "stable")["FLAIR"]
    same, _ = STRUCTURE_VOLUME_ERROR["ventricles"]
    assert first["ventricles"] == {
        "ml": pytest.approx(22.9), "error_ml": pytest.approx(22.9 * same, abs=0.01),
        "change_percent": None, "change_error_percent": None, "beyond_error": None,
    }  # fmt: skip
    assert third["ventricles"]["change_percent"] == pytest.approx(100 * 5.2 / 22.9, abs=0.01)  # type: ignore[index]
    assert third["ventricles"]["beyond_error"], "22.7 % is more than the error of two scans of one scanner"  # type: ignore[index]
    brain = formatting.fixed(1227 * STRUCTURE_VOLUME_ERROR["brain"][0], 0)
    assert not second["brain"]["beyond_error"], ".3 % is less"  # type: ignore[index]
    text = section(written, "stable")
    assert f"FLAIR ses-1 0 1227 ± {brain} – 22.9 ± {formatting.fixed(22.9 * same, 1)}" in text
    assert "beyond the error" in text
    assert "within the error" in text


def test_another_scanner_and_thick_slices_have_a_larger_error() -> None:
    first = MeasuredVolume(20.0, "a", thick=False)
    for structure, (same, other) in STRUCTURE_VOLUME_ERROR.items():
        assert same < other, structure
        errors = [measure_change(first, MeasuredVolume(20.0, one, False), structure)[1] for one in ("a", "b", None)]
        assert errors == pytest.approx([100 * 2**0.5 * share for share in (same, other, other)]), "unknown is another"
        unnamed = MeasuredVolume(20.0, "unknown", thick=False)
        assert measure_change(unnamed, unnamed, structure)[1] == pytest.approx(100 * 2**0.5 * other)
        thick = measure_change(first, MeasuredVolume(20.0, "a", True), structure)[1]
        assert thick == pytest.approx(100 * same * (1 + THICK_SLICE_FACTOR**2) ** 0.5)


def test_a_structure_that_is_cut_off_is_a_dash_and_not_zero(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    inputs.alignments.loc[inputs.alignments.scan.str.contains("ses-2"), "ventricles_ml"] = None
    inputs.write()
    assert [one["ventricles"] is None for one in read(inputs, "stable")["FLAIR"]] == [False, True, False]


def test_change_counts_from_the_first_date_on_which_a_structure_was_measured(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    inputs.alignments.loc[inputs.alignments.scan.str.contains("ses-1"), "ventricles_ml"] = None
    inputs.write()
    first, second, third = (one["ventricles"] for one in read(inputs, "stable")["FLAIR"])
    assert first is None
    assert second["change_percent"] is None  # type: ignore[index]
    assert third["change_percent"] == pytest.approx(100 * 2.6 / 25.5, abs=0.01)  # type: ignore[index]


def test_a_patient_without_a_brain_has_no_such_section(tmp_path: Path) -> None:
    inputs = build(tmp_path).only("stable")
    inputs.alignments[["brain_ml", "ventricles_ml"]] = None
    inputs.write()
    assert read(inputs, "stable") == {}
    assert section(inputs, "stable") == ""


def test_under_a_wrong_patient_alarm_nothing_is_said_of_the_brain(written: Inputs) -> None:
    assert read(written, "mixed")
    assert section(written, "mixed") == "", "the volumes may be those of two persons"
