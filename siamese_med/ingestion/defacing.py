"""The removal of the face from one volume, in a worker, before anything is written."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from siamese_med.imaging.volume import Volume
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from siamese_med.brain.defacing import FacelessScan

FACE_MODULE = "siamese_med.brain.defacing"
NOT_REMOVED = "face_not_removed"
"""Reason word of a volume whose face could not be removed for sure."""


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
