"""Whether an ingest run removes faces, and their removal from one volume, in a worker, before anything is written."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from siamese_med.imaging.volume import Volume
from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.catalogue.rows import META_TABLE
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.study.config import IngestConfig

if TYPE_CHECKING:
    from siamese_med.brain.defacing import FacelessScan

DEFACE_KEY = "deface"
"""Key of the catalogue's fact whether the last run removed faces."""
FACE_MODULE = "siamese_med.brain.defacing"
NOT_REMOVED = "face_not_removed"
"""Reason word of a volume whose face could not be removed for sure."""


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


def remove_face(scan: Volume, contrast: str) -> FacelessScan:
    """Remove the face of a head scan, see `brain.defacing.remove_face`.

    Raises
    ------
    RejectedError
        No head was found for sure, or it does not lie on the template of heads well enough: such a volume is not
        written, since it may show a face.
    """
    # looked up by name, since it brings torch, which a worker that only decodes files must not pay for
    module = importlib.import_module(FACE_MODULE)
    importlib.import_module("torch").set_num_threads(1)
    found: FacelessScan | None = module.remove_face(scan, contrast)
    if found is None:
        raise RejectedError(NOT_REMOVED)
    return found
