"""A page in headless Chromium: what it becomes after a script has driven it, and what the console said.

One browser serves all pages of a test process; it starts with the first page and ends with the process.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ABSENT = "no Chromium here: install Debian's package chromium to run this test"

IN_SOFTWARE = ("--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL without a graphics card."""


@dataclass(frozen=True)
class Visit:
    """The document after loading, and the lines of the console."""

    document: str
    console: tuple[str, ...]


def visit(page: Path, script: str = "") -> Visit:
    """Load a page from its file, run one more script in it, and read the document that it then is."""
    from tests.reporting import devtools

    with devtools.opened(devtools.shared(), page.as_uri()) as tab:
        if script:
            tab.evaluate(f"{{{script}}}")  # in a block: its names are its own
        document = str(tab.evaluate("document.documentElement.outerHTML"))
        return Visit(document, tuple(tab.complaints))
