"""Whether a run removes faces: the catalogue remembers what the last one did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.ingestion.catalogue.rows import META_TABLE

if TYPE_CHECKING:
    from siamese_med.ingestion.catalogue.catalogue import Catalogue
    from siamese_med.study.config import IngestConfig

DEFACE_KEY = "deface"
"""Key of the catalogue's fact whether the last run removed faces."""


def settle_defacing(config: IngestConfig, catalogue: Catalogue) -> IngestConfig:
    """Decide whether this run removes faces: as configured, else as the last run into this catalogue did.

    A study whose faces were removed once does not get them back because an option was forgotten.

    Returns
    -------
    IngestConfig
        With `deface` true, or None where faces stay, so that equal decisions have equal digests.
    """
    known = {row["key"]: row["value"] for row in catalogue.rows(META_TABLE)}.get(DEFACE_KEY, "no") == "yes"
    wanted = known if config.deface is None else config.deface
    if wanted != known:
        catalogue.write({"meta": [{"key": DEFACE_KEY, "value": "yes" if wanted else "no"}]})
    return config.model_copy(update={"deface": True if wanted else None})
