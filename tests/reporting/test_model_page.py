"""The model page: every figure with its interval, the audit, and a headline that is withheld where it must be."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from siamese_med.reporting.model import metrics_file
from siamese_med.study.model_info import NEEDED_KEYS
from tests.reporting.conftest import Inputs, PageReader, pseudonym, write_model
from tests.reporting.test_pages import Reader


class Unfolded(HTMLParser):
    """What is read without opening anything: the text outside of details, pictures' words included."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self._inside = {"details": 0, "style": 0, "script": 0}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._inside:
            self._inside[tag] += 1
        if not any(self._inside.values()):
            self.words += [value for name, value in attrs if name == "aria-label" and value]

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            self._inside[tag] -= 1

    def handle_data(self, data: str) -> None:
        if not any(self._inside.values()):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def rows(page: str, label: str) -> list[list[str]]:
    """Cells of the table in the region of that name, without its head."""
    table = page.partition(f'aria-label="{label}"')[2].partition("</table>")[0]
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", table, flags=re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, flags=re.S) for line in lines]
    return [[re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", cell)).strip() for cell in line] for line in cells[1:]]


def test_the_page_says_which_detector_gives_the_verdicts_and_how_well_each_sees_planted_changes(
    page: PageReader,
) -> None:
    read = page("model")
    assert rows(read, "Change detectors") == [
        [
            "residual gives the verdicts",
            "the difference of the two scans, divided by what noise and misalignment explain",
            "0.840",
        ],
        ["network", "a network that was trained on changes planted in scans of the study", "0.810"],
    ]
    section = re.sub(r"\s+", " ", read.partition("How well is change seen?")[2].partition("</section>")[0])
    assert "Change is measured by the difference of the two scans, divided by what noise and misalignment" in section
    assert "Telling 24 pairs with a planted change from pairs without" in section


def test_the_baselines_stand_beside_the_network_with_all_figures_and_intervals(page: PageReader) -> None:
    table = rows(page("model"), "Methods on the test patients")
    assert [row[0].removesuffix(" best") for row in table] == list(metrics_file.METHOD_NAMES.values())
    assert [row[0] for row in table if row[0].endswith(" best")] == ["High-pass correlation best"]
    assert table[0][1:] == [
        "0.957 0.945 to 0.969",
        "0.043 0.031 to 0.055",
        "0.807 0.795 to 0.819",
        "0.557 0.545 to 0.569",
        "0.907 0.895 to 0.919",
    ]
    text = Reader(page("model")).text
    assert "12 test patients with 36 scans; 36 pairs of one person, 594 of two." in text
    assert "a bootstrap over patients, never pairs, seed 11." in text


def test_the_charts_are_there_with_a_line_for_every_method(page: PageReader) -> None:
    source = page("model")
    for title in ("ROC curves of 5 methods", "DET curves of 5 methods"):
        chart = source.partition(f'aria-label="{title}')[2].partition("</svg>")[0]
        assert [chart.count(f'<polyline class="series s{number}"') for number in range(5)] == [1] * 5
    for title in ("Calibration of the similarity in 10 bins", "AUC of 5 shortcuts", "Similarity by contrast"):
        assert f'aria-label="{title}"' in source


def test_calibration_and_false_matches_are_said_with_intervals_beside_the_nominal_rate(page: PageReader) -> None:
    text = Reader(page("model")).text
    assert "Expected calibration error on test pairs: 0.024 (0.012 to 0.036)." in text
    assert "two persons 1.3 % (0.1 % to 2.5 %) are at or over the threshold of 0.583" in text
    assert "nominal, from validation patients: 1 %." in text


def test_strata_and_audit_are_tables(page: PageReader) -> None:
    table = rows(page("model"), "Similarity of groups of test pairs")
    assert [row[0] for row in table if row[0]] == list(metrics_file.STRATUM_NAMES.values())
    assert table[-2][1:] == ["FLAIR and T1w", "one person", "18", "0.710 0.410 to 0.990", "94 %"]
    audit = rows(page("model"), "Confound audit")
    assert audit[3] == ["the intensity histogram", "0.531 0.451 to 0.611", "within the limit", "0.734 0.654 to 0.814"]


def test_a_shortcut_withholds_the_headline_on_every_page(study: Inputs) -> None:
    write_model(study.model, "network", failed=("histogram", "outline"))
    index = study.write()
    for path in (index, index.parent / "model.html", index.parent / pseudonym("changed") / "report.html"):
        text = Reader(path.read_text(encoding="utf-8")).text
        assert "The test of identity is not valid. Identity can be told from the outline of the body alone" in text
        assert "told persons apart" not in Unfolded(path.read_text(encoding="utf-8")).text
        assert "Read it as a rank, not as a probability" in text
        assert "The probability that both scans show the same person" not in text
    assert "Same person not tested this model's test of identity is not valid" in " ".join(text.split())
    for path in (index.parent / "cohort.json", index.parent / pseudonym("changed") / "report.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["claim"]["withheld"] is True


def test_withheld_figures_stay_folded_under_a_label(study: Inputs) -> None:
    write_model(study.model, "network", failed=("histogram",))
    source = (study.write().parent / "model.html").read_text(encoding="utf-8")
    read = Unfolded(source).text
    for hidden in ("0.982", "Siamese network", "ROC curves", "DET curves", "Calibration of the similarity"):
        assert hidden in source
        assert hidden not in read
    assert "<summary>Figures of identity: a record, not a result</summary>" in source
    assert "Over the limit of 0.60: the intensity histogram." in read
    assert "AUC of 5 shortcuts" in read


def test_figures_of_a_headline_that_stands_are_not_folded(page: PageReader) -> None:
    assert "DET curves" in Unfolded(page("model")).text
    assert "a record, not a result" not in page("model")


def test_intended_use_and_limits_are_said(page: PageReader) -> None:
    text = Reader(page("model")).text
    assert text.index("Intended use") < text.index("quality control of longitudinal studies") < text.index("Limits")
    assert "Not for diagnosis, treatment or triage" in text


@pytest.mark.parametrize("metrics", ["{}", '{"test": {"network": {"auc": 0.9}}, "patients": {"test": 3}}'])
def test_a_folder_from_elsewhere_gives_a_page_that_says_what_was_not_recorded(study: Inputs, metrics: str) -> None:
    (study.model / "metrics.json").write_text(metrics, encoding="utf-8")
    about = json.loads((study.model / "model.json").read_text(encoding="utf-8"))
    needed = {name: about[name] for name in (*NEEDED_KEYS, "format")}
    (study.model / "model.json").write_text(json.dumps(needed), encoding="utf-8")
    text = Reader((study.write().parent / "model.html").read_text(encoding="utf-8")).text
    assert "The confound audit was not recorded with this model." in text
    assert "The expected calibration error was not recorded." in text
    assert "The false-match rate on test patients was not recorded." in text
    assert "Similarity by interval, scanner and contrast was not recorded with this model." in text


def test_pairs_of_a_method_that_were_not_kept_leave_its_curve_out(study: Inputs, tmp_path: Path) -> None:
    import pandas as pd

    table = pd.read_parquet(study.model / "reference.parquet").drop(columns=["ssim"])
    table.to_parquet(tmp_path / "reference.parquet")
    (tmp_path / "reference.parquet").replace(study.model / "reference.parquet")
    source = (study.write().parent / "model.html").read_text(encoding="utf-8")
    assert "ROC curves of 4 methods" in source
