"""The tutorial's pictures, from the reports folder that its commands make.

`python -m benchmarks.tutorial_pictures tutorial/reports` photographs the pages of the simulated patient into docs/. It
needs Debian's chromium.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from benchmarks.example import QUIET, ROOT

WIDTH, HEIGHT = 1100, 6000
PARTS = {"tutorial-index": (0, 640), "tutorial-patient": (0, 1180), "tutorial-slices": (2395, 3345)}
"""Which rows of a page each picture shows, in pixels."""


def main() -> None:
    """Photograph the index and the only patient's page."""
    reports = Path(sys.argv[1])
    (patient,) = reports.glob("sub-*/report.html")
    for name, (top, bottom) in PARTS.items():
        page = reports / "index.html" if name == "tutorial-index" else patient
        with TemporaryDirectory() as folder:
            whole = Path(folder) / "page.png"
            shot = [f"--screenshot={whole}", f"--window-size={WIDTH},{HEIGHT}", page.absolute().as_uri()]
            subprocess.run(["chromium", *QUIET, *shot], check=True, capture_output=True)
            part = Image.open(whole).convert("RGB").crop((0, top, WIDTH, bottom))
        part.save(ROOT / "docs" / f"{name}.png", optimize=True)
        print(ROOT / "docs" / f"{name}.png")


if __name__ == "__main__":
    main()
