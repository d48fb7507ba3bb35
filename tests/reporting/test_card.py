"""The model card says what the model page says."""

from __future__ import annotations

import re
from pathlib import Path

from siamese_med.reporting.model import card, metrics_file, statements
from tests import trained


def written(folder: Path, failed: tuple[str, ...] = ()) -> str:
    card.write_model_card(folder, trained.model_info(), trained.model_metrics("ncc_highpass", failed))
    return (folder / "README.md").read_text(encoding="utf-8")


def table(text: str, heading: str) -> list[list[str]]:
    """Cells of the first table under a heading, its own head first."""
    lines = text.partition(f"## {heading}")[2].splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return rows


def test_every_method_has_every_figure_with_its_interval(tmp_path: Path) -> None:
    head, _, *rows = table(written(tmp_path), "Figures on test patients")
    assert head[1:] == list(metrics_file.FIGURE_NAMES.values())
    assert [row[0].removesuffix(" **(best)**") for row in rows] == list(metrics_file.METHOD_NAMES.values())
    assert rows[4][:2] == ["High-pass correlation **(best)**", "0.982 (0.970 to 0.994)"]
    assert all(re.fullmatch(r"\d\.\d{3} \(\d\.\d{3} to \d\.\d{3}\)", cell) for row in rows for cell in row[1:])


def test_calibration_audit_and_strata_are_tables(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert len(table(text, "Calibration")) == 2 + 10
    assert table(text, "Confound audit")[2] == [
        "the header",
        "0.531 (0.451 to 0.611)",
        "within the limit",
        "0.734 (0.654 to 0.814)",
    ]
    assert table(text, "Similarity by contrast")[-1][:3] == ["FLAIR and T1w", "two persons", "297"]
    assert [row[0] for row in table(text, "To make it again")[2:]] == ["configuration", "weights", "template"]
    assert "Seeds: pair 5,\ntrain 3, bootstrap 11." in text


def test_a_shortcut_over_the_limit_withholds_the_headline_and_keeps_the_figures_as_a_record(tmp_path: Path) -> None:
    text = written(tmp_path, ("histogram",))
    lead = text.partition("## ")[0]
    assert "The headline is withheld." in lead
    assert "Identity can be told from the intensity histogram alone, AUC 0.712" in lead
    assert "0.957" not in lead
    assert "0.982" not in lead
    folded = text.partition("<details><summary>Figures of the withheld headline: a record, not a result")[2]
    assert len(table(folded.partition("</details>")[0], "Figures on test patients")) == 2 + len(
        metrics_file.METHOD_NAMES
    )
    assert "0.957" not in text.replace(folded.partition("</details>")[0], "")


def test_the_card_leads_with_the_words_of_the_page(tmp_path: Path) -> None:
    measured = metrics_file.read_model_figures(trained.model_info(), trained.model_metrics("ncc_highpass"))
    text = written(tmp_path)
    for words in (
        statements.compose_model_headline(measured).text,
        statements.calibration_note(measured.calibration),
        statements.match_note(measured),
        statements.region_note(measured.region),
        statements.audit_note(measured.audit),
        statements.size_note(measured),
        *statements.LIMITS,
    ):
        assert words in text
