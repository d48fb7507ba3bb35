"""The example study and the README's picture, from a finished demo: `python -m benchmarks.example demo`.

Two simulated patients, the one with the strongest change at the newest visit and one without a change, go through the
whole line by the demo's model, so every page is there and every link leads somewhere. The picture needs Debian's
chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from siamese_med.pipeline import stages
from siamese_med.study.config import Config, ReportConfig
from siamese_med.study.tables import Study

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "reports" / "example"
TITLE = "Two simulated patients"
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")


def main() -> None:
    """Report on two patients of the demo into the repository and photograph the changed one's page."""
    demo = Path(sys.argv[1])
    scans, table = demo / "data" / "scans", demo / "reports" / "cohort.tsv"
    with TemporaryDirectory() as folder:
        patients = Path(folder) / "input"
        for subject in {_strongest(table, status) for status in ("changed", "no_change")}:
            shutil.copytree(scans / subject, patients / subject)
        shutil.copyfile(scans / "dataset_description.json", patients / "dataset_description.json")
        shutil.rmtree(EXAMPLE, ignore_errors=True)
        study = Study(Path(folder) / "data", EXAMPLE, Config(report=ReportConfig(title=TITLE)))
        model = stages.current_model(Study(demo / "data"))
        stages.ingest(patients, study)
        stages.build_pairs(study)
        stages.score(study, model)
        for change_map in study.data.glob("scores/*/*_change.nii.gz"):
            change_map.unlink()  # the repository holds no volumes, so the example is no BIDS derivative either
        stages.report(study, model)
    for name in ("dataset_description.json", ".bidsignore", "participants.tsv", "README", "run.json"):
        (EXAMPLE / name).unlink()
    print(EXAMPLE)
    print(_photographed(EXAMPLE / _strongest(EXAMPLE / "cohort.tsv", "changed") / "report.html"))


def _strongest(table: Path, status: str) -> str:
    """The patient of that status whose newest visit differs most; of any status where nobody has it."""
    cohort = pd.read_csv(table, sep="\t").sort_values("change_z", ascending=False)
    return str(cohort.subject[cohort.status.eq(status).sort_values(ascending=False, kind="stable").index[0]])


def _photographed(page: Path) -> Path:
    picture = ROOT / "docs" / "report.png"
    shot = [f"--screenshot={picture}", "--window-size=1100,2150", page.as_uri()]
    subprocess.run(["chromium", *QUIET, *shot], check=True, capture_output=True)
    return picture


if __name__ == "__main__":
    main()
