"""Every word for what became of a file, with a hint what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from siamese_med.study.vocabulary import ScanFlag

if TYPE_CHECKING:
    from siamese_med.ingestion.dicom.origins import DicomOrigin

FILE_OUTCOMES = ("ingested", "skipped", "duplicate", "quarantined")
"""Possible outcomes of a file; each file has exactly one outcome."""

SKIPPED_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "non_image": "a report, plan, segmentation, directory or waveform; nothing to do",
        "secondary_capture": "a screen picture, not a measured volume; export the original series",
        "rgb": "a colour picture; export the original grey-scale series",
        "localizer": "a planning view; nothing to do",
        "projection": "a projection, not a volume; nothing to do",
        "subtraction": "the difference of two scans; export the scans themselves",
        "unsupported_modality": "not MR, CT or PET; such volumes are not compared",
        "side_car": "a text beside the images, used where it helps; nothing to do",
        "derivative": "made by other software from the scans; ingest the scans themselves",
        "lesion_mask": "a mask of lesions; it is kept with the scan on whose grid it lies, nothing to do",
        "mask_without_scan": "a mask of lesions that was left out: its name fits no scan, or another mask fits the "
        "same one; name it as the scan is named, or in a manifest",
        "replaced": "its file was overwritten by other content, which was taken instead; nothing to do",
        "linked_folder": "a link to a folder that was read at another place or holds the link; nothing to do",
        "own_folder": "a folder that this study writes to; if scans of yours lie in it, name another with --data",
        "repository_file": "kept by git or DataLad for its own use; nothing to do",
        "system_file": "kept by the operating system for its own use; nothing to do",
        "repeat": "a further repeat of a static field map; the first one was taken",
    }
)
"""Files that are expected in a hospital export and are no volume."""

MACHINE_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "unreadable_file": "the system does not let us read it; check its permissions, then run again",
        "read_error": "the disk or the network share failed while it was read; check both, then run again",
        "file_vanished": "it was listed and gone when it was to be read; run again once nothing moves there",
        "file_changed": "it was written to while it was read; run again once nothing moves there",
        "unlisted_folder": "a folder whose files cannot be listed; check its permissions and the share, then run again",
        "timed_out": "it took longer than ingest.timeout_s; run again, and raise that if it happens again",
        "out_of_memory": "the memory did not suffice; set ingest.workers lower, then run again",
        "open_files_limit": "too many files were open on this machine; raise `ulimit -n`, then run again",
        "no_disk_space": "there was no space left to write it; free some, then run again",
        "write_error": "its volume could not be written to the data folder; check that, then run again",
    }
)
"""Errors of the machine, not of the content: not remembered as a verdict, and tried again by the next run."""

QUARANTINED_REASONS: Mapping[str, str] = MappingProxyType(
    {
        **MACHINE_REASONS,
        "special_file": "a pipe, socket or device, which is never opened; name a regular file",
        "not_fetched": "its content was not fetched; run `datalad get` or `git annex get`, then run again",
        "broken_link": "a link that leads nowhere or to itself; restore its target or remove it",
        "unusable_path": "too long for the system, or with a character that no path may hold; shorten or correct it",
        "empty_folder": "the manifest names a folder without a file; correct its path, or mount what belongs there",
        "subject_conflict": "the subjects of the folder and of the file name differ; rename one, or use a manifest",
        "session_conflict": "the sessions of the folder and of the file name differ; rename one, or use a manifest",
        "unclear_label": "where the label ends in the file name is unclear; use folders sub-*/ses-*, or a manifest",
        "unclear_dataset": "one label in several folders; put dataset_description.json in each data set, or above all",
        "empty_file": "the file has no byte; copy it again",
        "packed_archive": "files are packed in it; unpack it, then run again",
        "not_an_image": "neither DICOM nor NIfTI; remove it, or convert it first",
        "unreadable_header": "the header is cut or broken; export the file again",
        "truncated_pixels": "the pixels are cut; copy or export the file again",
        "undecodable": "no decoder that is installed reads the pixels; export the series uncompressed",
        "missing_slice": "the series lacks at least one slice; export the whole series again",
        "sop_uid_conflict": "two files bear one SOP instance UID and differ; remove the wrong one",
        "duplicate_position": "two slices lie at one place and differ; remove the wrong one",
        "irregular_spacing": "the gaps between slices differ; use a reconstruction with even spacing",
        "gantry_tilt": "the slices are sheared by a tilted gantry; correct the tilt at the workstation first",
        "mixed_geometry": "one series mixes orientations or matrices that are not whole by themselves; split it",
        "too_few_slices": "fewer slices than a volume needs; were they exported with one series UID a slice, or none?",
        "unread_mosaic": "all slices are one picture in a way that is not read; export the slices one by one",
        "bad_spacing": "the voxel size is missing, zero or not a number; repair the header",
        "missing_geometry": "position or orientation is missing; export with the full header",
        "missing_patient_id": "no PatientID; export with it, or name the subject in a manifest",
        "patient_conflict": "one scan bears two patients; sort it out at the source, nothing of it was taken",
        "ndim_4": "several volumes in one series; set ingest.volume_of_4d to take one of them",
        "unclear_repeats": "several volumes in one series, and no tag tells their slices apart; export each by itself",
        "ndim_2": "a single picture; a volume is needed",
        "corrupt_gzip": "the compressed file is damaged; copy it again",
        "truncated": "the file ends before its voxels do; copy it again",
        "too_large": "the declared volume is over ingest.max_gigabytes; raise it if the file is right",
        "bad_affine": "the affine is singular or not a number; repair the header",
        "affine_conflict": "sform and qform disagree by more than 0.1 mm; repair the header",
        "no_orientation": "neither sform nor qform is set, so left and right are unknown; convert from DICOM again",
        "no_finite_voxel": "no voxel is a number; make the file again",
        "constant_image": "all voxels are equal; make the file again",
        "complex": "complex numbers; save magnitude and phase apart",
        "face_not_removed": "ingest.deface is on, and no head was found whose face can be removed for sure; deface it "
        "otherwise, or, if it shows no face, ingest it into another study without --deface",
        "check_failed": "a check that ingest.reasons names failed on it; repair the check, then run again",
    }
)
"""Files that should have been a scan and cannot be used as they are."""

PATH_REASONS = frozenset(
    (
        "derivative",
        "lesion_mask",
        "mask_without_scan",
        "subject_conflict",
        "session_conflict",
        "unclear_label",
        "unclear_dataset",
    )
)
"""Reasons that follow from the path of a NIfTI file and what lies around it."""

UNOPENED_REASONS = frozenset(
    (
        "linked_folder",
        "own_folder",
        "repository_file",
        "special_file",
        "not_fetched",
        "broken_link",
        "unusable_path",
        "empty_folder",
    )
)
"""Reasons of paths that are counted without being opened."""

DUPLICATE_REASONS: Mapping[str, str] = MappingProxyType(
    {"duplicate": "the same content was seen under another name; nothing to do"}
)
"""Files whose content was seen before."""

REASON_HINTS: Mapping[str, str] = MappingProxyType({**SKIPPED_REASONS, **DUPLICATE_REASONS, **QUARANTINED_REASONS})
"""Every reason word, and what to do."""

SCAN_FLAGS: Mapping[str, str] = MappingProxyType({str(flag): flag.explanation for flag in ScanFlag})
"""Words on a scan that was ingested and deserves a look."""


class RejectedError(Exception):
    """A file, series or volume that cannot be used.

    Attributes
    ----------
    reason : str
        A key of `REASON_HINTS`.
    file : str or None
        Content hash of the file at fault.
    origin : DicomOrigin or None
        Patient and series, for a DICOM file whose header could be read.
    """

    def __init__(self, reason: str, file: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.file = file
        self.origin: DicomOrigin | None = None  # of a DICOM file whose header could be read

    def __reduce__(self) -> tuple[type[RejectedError], tuple[str, str | None]]:
        return RejectedError, (self.reason, self.file)


OTHER_CHECK = "refused by a check that this configuration does not name; see ingest.reasons"
"""Text for a word that is none of HINTS: a check of the user's own gave it, which is not named any more."""


def get_outcome(reason: str) -> str:
    """Return the outcome, one of `FILE_OUTCOMES`, for a reason word; the empty word means ingested.

    Examples
    --------
    >>> get_outcome(""), get_outcome("localizer"), get_outcome("missing_slice")
    ('ingested', 'skipped', 'quarantined')
    """
    if not reason:
        return "ingested"
    if reason in SKIPPED_REASONS:
        return "skipped"
    return "duplicate" if reason in DUPLICATE_REASONS else "quarantined"
