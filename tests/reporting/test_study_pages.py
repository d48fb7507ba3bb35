"""Folders that come and go, and input that is odd."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med.errors import InputError, ModelError
from siamese_med.reporting.data import cohort_index
from siamese_med.reporting.data.cohort_index import CohortRow
from siamese_med.reporting.model import metrics_file, reference_figures, statements
from siamese_med.reporting.render import index_rows, pages
from siamese_med.reporting.write import markdown_summary, study_pages
from siamese_med.runtime import files
from siamese_med.study.tables import OWNER_COLUMNS, SCORE_COLUMNS, IngestAccount
from tests.reporting.conftest import HOSTILE, Inputs, pseudonym


def test_pages_of_a_patient_who_left_the_catalogue_go(study: Inputs) -> None:
    study.write()
    keep = study.reports / pseudonym("mixed") / "notes.txt"
    keep.write_text("mine")
    gone = (pseudonym("mixed"), pseudonym("single"))
    study.scans = study.scans[~study.scans["subject"].isin(gone)]
    study.write()
    assert not (study.reports / pseudonym("single")).exists()
    assert list(keep.parent.iterdir()) == [keep]
    assert (study.reports / pseudonym("changed") / "report.html").is_file()
    assert pseudonym("mixed") not in (study.reports / "index.html").read_text(encoding="utf-8")


def test_lists_that_went_through_parquet_give_the_same_pages(study: Inputs) -> None:
    index = study.write()
    pages_before = {path: path.read_bytes() for path in index.parent.rglob("report.*")}
    for name in ("scans", "scores"):
        frame: pd.DataFrame = getattr(study, name).drop(columns=["affine"], errors="ignore")
        files.write_parquet_file(study.data / f"{name}.parquet", frame)
        setattr(study, name, pd.read_parquet(study.data / f"{name}.parquet"))
    study.write()
    assert [path for path, content in pages_before.items() if path.read_bytes() != content] == []


def test_pictures_that_are_gone_leave_a_page_that_says_so(study: Inputs) -> None:
    for path in study.data.rglob("pictures/*.npz"):
        path.unlink()
    study.write()
    text = (study.reports / pseudonym("changed") / "report.html").read_text(encoding="utf-8")
    assert "the picture file is missing, run the score stage again" in text


def test_a_study_without_pairs_gets_its_pages(study: Inputs) -> None:
    study.scores = pd.DataFrame(columns=list(SCORE_COLUMNS))
    study.owners = pd.DataFrame(columns=list(OWNER_COLUMNS))
    text = study.write().read_text(encoding="utf-8")
    assert text.count('<tr data-status="one_visit">') == 1
    assert text.count('<tr data-status="not_comparable">') == 5
    page = (study.reports / pseudonym("stable") / "report.html").read_text(encoding="utf-8")
    assert "ses-3 cannot be compared with a visit before it: FLAIR (not scored yet)." in page


def test_a_subject_that_is_no_pseudonym_is_refused(study: Inputs) -> None:
    study.scans.loc[0, "subject"] = "../../etc"
    with pytest.raises(InputError, match="no pseudonym"):
        study.write()
    assert not (study.reports / "index.html").exists()


def test_a_folder_that_is_no_model_is_refused(study: Inputs) -> None:
    (study.model / "model.json").write_text("{")
    with pytest.raises(ModelError, match="readable model"):
        study.write()


def test_an_account_that_does_not_add_up_is_said(study: Inputs) -> None:
    study.account = replace(study.account, skipped=8)
    assert "does not add up" in study.write().read_text(encoding="utf-8")


def test_the_index_of_10000_patients_stays_small(written: Inputs) -> None:
    folder = reference_figures.read_model_folder(written.model)
    empty = cohort_index.build_cohort_index(
        "Large study",
        [],
        IngestAccount(0, 0, 0, 0, 0, {}),
        reference_figures.build_reference(folder.info),
        statements.compose_model_headline(metrics_file.read_model_figures(folder.info, folder.metrics)),
        reference_figures.build_provenance(folder, written.config),
    )
    random = np.random.default_rng(0)
    rows = tuple(
        CohortRow(
            pseudonym(f"p{n}"),
            "changed",
            3,
            3,
            "ses-3",
            0,
            0,
            ("FLAIR",),
            (),
            (),
            (),
            "FLAIR",
            190,
            z,
            0.01,
            0.02,
            0.3 * z,
            0.2 * z,
            0.2 * z,
            0.6,
            0.97,
            0.95,
            (),
        )
        for n, z in enumerate(random.normal(0, 1, 10_000))
    )
    page = pages.render_index_page(replace(empty, rows=rows, patients=10_000))
    assert page.count("<tr data-status") == index_rows.LISTED_ROWS
    assert all(row.subject in page for row in rows)
    assert len(page.encode()) < 3_000_000


def test_the_summary_lists_the_alarms_of_the_index(written: Inputs) -> None:
    text = markdown_summary.render_run_summary(written.scores, written.account, written.reports / "index.html")
    assert "1834 files seen = 1801 ingested + 9 skipped + 17 duplicate + 7 quarantined." in text
    assert "5 of 6 patients need a look:" in text
    assert [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| sub-")] == [
        "Check the patient",
        "No change beyond a rescan in FLAIR, A scan filed elsewhere?",
        "Changed in FLAIR",
        "Not comparable",
        "Not comparable",
    ]
    assert "14 pairs of one patient: 5 changed, 2 not comparable, 7 no change beyond a rescan." in text
    assert "1 scan looks like another patient's. Nothing was moved; check the records." in text
    assert HOSTILE not in text
    assert str(written.reports) not in text


def test_the_table_of_pages_names_what_there_is() -> None:
    reporting = Path(study_pages.__file__).parents[1]
    row = re.compile(r"^\S+ +(\S+)\.py (\w+) +(\S+\.html\.j2) +(\S+\.py)$", re.MULTILINE)
    rows = row.findall(study_pages.__doc__ or "")
    for module, function, _, writer in rows:
        built_by = importlib.import_module(f"siamese_med.reporting.{module.replace('/', '.')}")
        assert callable(getattr(built_by, function))
        assert "pages.render_" in (reporting / writer).read_text(encoding="utf-8")
    rendering = (reporting / "render" / "pages.py").read_text(encoding="utf-8")
    rendered = set(re.findall(r'get_template\("(.+?)"\)', rendering))
    assert {template for _, _, template, _ in rows} == rendered
