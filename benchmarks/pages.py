"""What pages weigh and how long they take: a patient's of six visits, and an index over many patients in Chromium.

    python -m benchmarks.pages [--patients 10000]

Nothing is scanned: tables and pictures are those of tests/reporting. Times are CPU-seconds after imports; in the
browser wall-clock seconds from the press until the next picture is drawn, the best of three.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from siamese_med.reporting.data import cohort_index, patient, side_by_side
from siamese_med.reporting.data.report_content import PatientReport
from siamese_med.reporting.model import metrics_file, reference_figures, statements
from siamese_med.reporting.render import pages
from siamese_med.reporting.write import json_tsv, patient_folder
from siamese_med.reporting.write.patient_folder import PatientFolderJob
from siamese_med.runtime import files
from siamese_med.study.config import ReportConfig
from siamese_med.study.score_columns import read_row
from siamese_med.study.tables import NO_REPORT_EXTRAS, IngestAccount
from tests.reporting import browser, devtools
from tests.reporting.conftest import Builder, pseudonym, write_model

Result = TypeVar("Result")

VISITS, ROUNDS = 6, 3
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
DRAWN = """(async () => {
  const start = performance.now();
  %s;
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
})()"""
DRIVEN = {
    "one sort by z": "document.querySelectorAll('#patients thead button')[6].click()",
    "one sort by patient": "document.querySelector('#patients thead button').click()",
    "one key in the search": "const box = document.getElementById('search'); box.value = 'p1'; "
    "box.dispatchEvent(new Event('input'))",
    "the key taken back": "const box = document.getElementById('search'); box.value = ''; "
    "box.dispatchEvent(new Event('input'))",
    "one chip": "document.querySelector('.chip.changed').click()",
}
LIMITS_KB, LIMITS_S = {"patient": 500, "index": 3000}, {"patient": 0.5, "browser": 1.0}


def timed(make: Callable[[], Result]) -> tuple[Result, float]:
    """What is made, and the CPU-seconds that it takes."""
    start = time.process_time()
    made = make()
    return made, time.process_time() - start


class Bench:
    """Simulated tables, a model folder, and what pages are made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.builder = Builder(folder / "data")
        write_model(folder / "model")
        read = reference_figures.read_model_folder(folder / "model")
        measured = metrics_file.read_model_figures(read.info, read.metrics)
        self.described = (
            reference_figures.build_reference(read.info),
            statements.compose_model_headline(measured),
            reference_figures.build_provenance(read, ReportConfig()),
        )

    def report(self, subject: str) -> PatientReport:
        """A patient's report without pictures."""
        scans = [row for row in self.builder.scans if row["subject"] == subject]
        scores = [read_row(row) for row in self.builder.scores if row["subject_a"] == subject]
        aligned = {row["scan"]: row for row in self.builder.alignments}
        return patient.build_patient_report(subject, scans, scores, (), aligned, (), "A study", *self.described)

    def write_patient(self, subject: str, per_pair: int) -> list[int]:
        """Sizes of the pages that the report stage writes of a patient."""
        scans = [row for row in self.builder.scans if row["subject"] == subject]
        config = ReportConfig(pictures_per_pair=per_pair)
        job = PatientFolderJob(
            self.folder / subject, self.report(subject), scans, self.builder.data, config, NO_REPORT_EXTRAS
        )
        patient_folder.write_patient_folder(job)
        return sorted(path.stat().st_size for path in (self.folder / subject).glob("*.html"))

    def write_index(self, reports: list[PatientReport]) -> Path:
        """The index as the report stage writes it."""
        shown = cohort_index.build_cohort_index("A study", reports, IngestAccount(0, 0, 0, 0, 0, {}), *self.described)
        files.write_json_file(self.folder / "cohort.json", json_tsv.serialise_cohort_index(shown))
        files.write_text_file(
            self.folder / "index.html",
            pages.render_index_page(shown, side_by_side.build_wrong_patient_comparisons((), (), (), self.folder)),
        )
        return self.folder / "index.html"


def line(what: str, value: float, unit: str, limit: float) -> None:
    print(f"{what:<44}{value:>9.3g} {unit:<4}  limit {limit:g}{'' if value <= limit else '  MISSED'}")


def six_visits(bench: Bench) -> None:
    """A patient with every step and the newest against the first, all with pictures."""
    subject = pseudonym("six")
    bench.builder.visits(subject, VISITS)
    random = np.random.default_rng(0)
    for first in range(1, VISITS):
        bench.builder.pair(subject, first, first + 1, float(random.normal(1.5, 2)))
    bench.builder.pair(subject, 1, VISITS, 6.0)
    for per_pair, which in (
        (8, "first patient, 8 slices a pair"),
        (8, "next patient"),
        (12, "12 slices a pair, as many as fit"),
    ):
        sizes, seconds = timed(lambda per_pair=per_pair: bench.write_patient(subject, per_pair))
        line(f"six visits, {which}, largest page", sizes[-1] / 1000, "KB", LIMITS_KB["patient"])
        line(f"six visits, {which}, {len(sizes)} pages", seconds, "s", LIMITS_S["patient"])


def many_patients(bench: Bench, patients: int) -> Path:
    """An index of patients of three visits each."""
    reports = []
    for number in range(patients):
        builder = bench.builder = Builder(bench.builder.data)
        subject = pseudonym(f"p{number}")
        builder.visits(subject, 3)
        for first in (1, 2):
            builder.pair(subject, first, first + 1, float(np.random.default_rng(number).normal(0, 2)), pictures=False)
        reports.append(bench.report(subject))
    page, seconds = timed(lambda: bench.write_index(reports))
    line(f"index of {patients} patients", page.stat().st_size / 1000, "KB", LIMITS_KB["index"])
    line(f"index of {patients} patients, written", seconds, "s", 5)
    return page


def in_the_browser(page: Path, folder: Path) -> None:
    """From navigation to the load event, then a press or a key at a time."""
    chromium = devtools.Chromium(folder)
    taken: dict[str, list[float]] = {}
    try:
        for _ in range(ROUNDS):
            with devtools.opened(chromium, page.as_uri()) as tab:
                taken.setdefault("to the load event", []).append(tab.evaluate(LOADED) / 1000)
                for what, press in DRIVEN.items():
                    taken.setdefault(what, []).append(tab.evaluate(DRAWN % press) / 1000)
    finally:
        chromium.close()
    for what, seconds in taken.items():
        line(f"index in the browser, {what}", min(seconds), "s", LIMITS_S["browser"])


def main() -> None:
    """Print sizes and times, each beside its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10_000, help="patients of the index")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        six_visits(bench)
        index = many_patients(bench, asked.patients)
        if browser.CHROMIUM:
            in_the_browser(index, Path(name) / "profile")
        else:
            print(browser.ABSENT)


if __name__ == "__main__":
    main()
