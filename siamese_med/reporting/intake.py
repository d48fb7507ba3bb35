"""Writes the ingest page and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med import files
from siamese_med.reporting import arrivals, pages

if TYPE_CHECKING:
    from pathlib import Path

    from siamese_med.records import Inventory


def write(page: Path, title: str, inventory: Inventory) -> Path:
    """Write the page, and beside it ingest.tsv; the same catalogue gives the same bytes. Returns the page."""
    shown = arrivals.arrivals(title, inventory, page.with_name("index.html").is_file())
    files.write_text(page.with_name("ingest.tsv"), arrivals.table(inventory))
    files.write_text(page, pages.ingest_page(shown))
    return page
