"""Choice, among the files of a series, of the DICOM Segmentation that marks the lesions of a volume."""

from __future__ import annotations

from collections.abc import Iterable

from siamese_med.ingestion.dicom.series import VolumeDraft
from siamese_med.ingestion.inputs.entries import InputEntry
from siamese_med.study.vocabulary import ScanFlag


def find_segmentation_of_volume(draft: VolumeDraft, entries: Iterable[InputEntry]) -> tuple[str, ScanFlag | None]:
    """Find the segmentation that refers to images of a volume.

    Parameters
    ----------
    draft
        The volume.
    entries
        The files of its series, with the segmentations that refer to it.

    Returns
    -------
    path : str
        The only segmentation of the volume's patient; empty where there is none, or several.
    flag : ScanFlag or None
        `lesions_unused` where segmentations refer to the volume and none can be taken.
    """
    images = frozenset(one.sop for one in draft.storages.values())
    one = next(iter(draft.storages.values()))
    there = [
        (str(entry.found.path), entry.look.segmentation)
        for entry in entries
        if entry.look and entry.look.segmentation and entry.look.segmentation.marks(images)
    ]
    usable = [path for path, marked in there if marked.is_of_patient(one)] if list_frames_of_reference(draft) else []
    if len(usable) == 1:
        return usable[0], None
    return "", ScanFlag.LESIONS_UNUSED if there else None


def list_frames_of_reference(draft: VolumeDraft) -> tuple[str, ...]:
    """List the UIDs of the frames of reference of a volume's images, sorted; empty where they name none."""
    return tuple(sorted({plane.frame[0] for one in draft.storages.values() for plane in one.planes} - {""}))
