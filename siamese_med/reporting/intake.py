"""Writes the ingest page and its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med import files
from siamese_med.reporting import arrivals, pages

if TYPE_CHECKING:
    from siamese_med.records import Inventory

PAGE = "ingest.html"


def write(reports: Path, title: str, inventory: Inventory) -> Path:
    """Write ingest.html and ingest.tsv under `reports`; the same catalogue gives the same bytes. Returns the page."""
    shown = arrivals.arrivals(title, inventory, (reports / "index.html").is_file())
    files.write_text(reports / "ingest.tsv", arrivals.table(inventory))
    files.write_text(reports / PAGE, pages.ingest_page(shown))
    return reports / PAGE
