"""Whether a run removes faces: the catalogue remembers what the last one did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.ingestion.catalogue.rows import META_TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siamese_med.ingestion.catalogue.catalogue import Catalogue
    from siamese_med.ingestion.catalogue.rows import MetaRow
    from siamese_med.study.config import IngestConfig

DEFACE_KEY = "deface"
"""Key of the catalogue's fact whether the last run removed faces."""


def decide_defacing(config: IngestConfig, catalogue: Catalogue) -> IngestConfig:
    """Decide whether this run removes faces: as configured, else as the last run into this catalogue did.

    A study whose faces were removed once does not get them back because an option was forgotten.

    Returns
    -------
    IngestConfig
        With `deface` true, or None where faces stay, so that equal decisions have equal digests.
    """
    known = _are_faces_removed(catalogue.rows(META_TABLE))
    wanted = known if config.deface is None else config.deface
    if wanted != known:
        catalogue.write({"meta": [{"key": DEFACE_KEY, "value": "yes" if wanted else "no"}]})
    return config.model_copy(update={"deface": True if wanted else None})


def read_face_setting(url: str) -> bool:
    """Return whether the last run into an existing catalogue removed faces.

    Raises EmptyInputError where nothing was ingested yet.
    """
    from siamese_med.ingestion.catalogue import catalogue

    return _are_faces_removed(catalogue.read_catalogue_rows(url, META_TABLE))


def _are_faces_removed(rows: Iterable[MetaRow]) -> bool:
    return {row["key"]: row["value"] for row in rows}.get(DEFACE_KEY, "no") == "yes"
