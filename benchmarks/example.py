"""The example study and the README's pictures.

    python -m benchmarks.example demo
    python -m benchmarks.example --real PAGE --pair N

The first takes a finished demo: two simulated patients, the one with the strongest change at the newest visit and one
without a change, go through the whole line by the demo's model, so every page is there and every link leads somewhere.
The pictures need Debian's chromium.

The second takes the page of a real patient, and draws its verdict and one pair. That of the README is patient01 of
`../shared/real/open_ms`, FLAIR, as `siamese-med run` with the starter model and a manifest left it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
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
    """Make the example or one of the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, nargs="?")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--pair", type=int, default=1)
    given = parser.parse_args()
    if given.real:
        print(draw_pair(given.real, given.pair, ROOT / "docs" / "report-real.png"))
    elif given.demo:
        make_example(given.demo)
    else:
        parser.error("name a demo, or a page with --real")


def draw_pair(page: Path, number: int, picture: Path) -> Path:
    """Draw the verdict of a page and one of its pairs, without what lies between them."""
    from PIL import Image

    text = page.read_text(encoding="utf-8")
    between = text.index('<nav class="jump"'), text.index(f'<section class="pair" id="pair-{number}"')
    with TemporaryDirectory() as folder:
        short = Path(folder) / "page.html"
        short.write_text(text[: between[0]] + text[between[1] :], encoding="utf-8")
        _draw_page(short, picture, (1100, 2060))
    with Image.open(picture) as image:
        image.convert("RGB").quantize(256).save(picture, optimize=True)
    return picture


def make_example(demo: Path) -> None:
    """Report on two patients of the demo into the repository, and draw the changed one's page."""
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
    page = EXAMPLE / _strongest(EXAMPLE / "cohort.tsv", "changed") / "report.html"
    print(_draw_page(page, ROOT / "docs" / "report.png", (1100, 2150)))


def _strongest(table: Path, status: str) -> str:
    """The patient of that status whose newest visit differs most; of any status where nobody has it."""
    cohort = pd.read_csv(table, sep="\t").sort_values("change_z", ascending=False)
    return str(cohort.subject[cohort.status.eq(status).sort_values(ascending=False, kind="stable").index[0]])


def _draw_page(page: Path, picture: Path, size: tuple[int, int]) -> Path:
    shot = [f"--screenshot={picture}", f"--window-size={size[0]},{size[1]}", page.as_uri()]
    subprocess.run(["chromium", *QUIET, *shot], check=True, capture_output=True)
    return picture


if __name__ == "__main__":
    main()
