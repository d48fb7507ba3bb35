"""Write the ingest page and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.reporting.data import received_files
from siamese_med.reporting.render import pages
from siamese_med.reporting.write import ingest_tsv
from siamese_med.runtime import files

if TYPE_CHECKING:
    from pathlib import Path

    from siamese_med.study.tables import IngestInventory


def write_ingest_page(page: Path, title: str, inventory: IngestInventory) -> Path:
    """Write the ingest page, and beside it ingest.tsv.

    Equal inventories give equal bytes. The page links to the cohort where index.html is in the same folder.

    Parameters
    ----------
    page
        HTML file to write.
    title
        Title of the study.
    inventory
        Every file that was ever seen.

    Returns
    -------
    Path
        `page`.
    """
    shown = received_files.build_ingest_page(title, inventory, page.with_name("index.html").is_file())
    files.write_text_file(page.with_name("ingest.tsv"), ingest_tsv.format_ingest_tsv(inventory))
    files.write_text_file(page, pages.render_ingest_page(shown))
    return page
