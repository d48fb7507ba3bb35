"""The example report and the README's picture, from a finished demo: `python -m tests.benchmarks.example demo`.

Takes the simulated patient with the strongest change at the newest visit. The picture needs Debian's chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
FILES = ("report.html", "report.json", "pairs.tsv")
QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")


def main() -> None:
    """Copy the report of one simulated patient into the repository and photograph it."""
    reports = Path(sys.argv[1]) / "reports"
    cohort = pd.read_csv(reports / "cohort.tsv", sep="\t")
    changed = cohort[cohort.status == "changed"].sort_values("change_z", ascending=False)
    page = reports / str(changed.subject.iloc[0])
    example = ROOT / "reports" / "example"
    example.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(page / name, example / name)
    picture = ROOT / "docs" / "report.png"
    shot = [f"--screenshot={picture}", "--window-size=1100,2150", (example / "report.html").as_uri()]
    subprocess.run(["chromium", *QUIET, *shot], check=True, capture_output=True)
    print(f"{example}\n{picture}")


if __name__ == "__main__":
    main()
