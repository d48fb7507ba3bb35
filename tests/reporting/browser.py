"""A page in headless Chromium: what it becomes after a script has driven it, and what the console said."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
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


def visit(page: Path, folder: Path, milliseconds: int = 3000) -> Visit:
    """Load a page from its file, and wait so long in the browser's own time; `folder` takes the browser's profile."""
    assert CHROMIUM, ABSENT
    command = [CHROMIUM, "--headless", "--no-sandbox", *IN_SOFTWARE, f"--user-data-dir={folder / 'profile'}"]
    command += ["--enable-logging=stderr", f"--virtual-time-budget={milliseconds}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Visit(done.stdout, tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line))


def driven(page: Path, script: str, folder: Path, milliseconds: int = 3000) -> Visit:
    """Load a copy of a page with one more script at its end, which the copy's policy names."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = page.read_text(encoding="utf-8")
    allowed = text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    assert allowed != text
    copy = folder / page.name
    before, _, after = allowed.rpartition("</body>")
    copy.write_text(f"{before}<script>{script}</script></body>{after}", encoding="utf-8")
    return visit(copy, folder, milliseconds)
