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


@dataclass(frozen=True)
class Visit:
    """The document after loading, and the lines of the console."""

    document: str
    console: tuple[str, ...]


def visit(page: Path, folder: Path) -> Visit:
    """Load a page from its file; `folder` takes the browser's profile."""
    assert CHROMIUM, ABSENT
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += ["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Visit(done.stdout, tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line))


def driven(page: Path, script: str, folder: Path) -> Visit:
    """Load a copy of a page with one more script at its end, which the copy's policy names."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = page.read_text(encoding="utf-8")
    allowed = text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    assert allowed != text
    copy = folder / page.name
    copy.write_text(allowed.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return visit(copy, folder)
