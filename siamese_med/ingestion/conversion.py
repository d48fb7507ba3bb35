"""One volume from its files to a NIfTI under the data folder; runs in a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from siamese_med.imaging import thumbnails, volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import machine_errors, masks, nifti
from siamese_med.ingestion.dicom import pixels
from siamese_med.ingestion.dicom.instances import PixelStorage
from siamese_med.ingestion.dicom.slice_geometry import SliceStack
from siamese_med.ingestion.reasons import RejectedError
from siamese_med.ingestion.scan_checks import check_scan
from siamese_med.plugins import Plugin


@dataclass(frozen=True)
class ConversionJob:
    """What to decode, either stacks of DICOM slices or a NIfTI (header path, voxel path), and where to write it.

    checks: of the user's own, see `scan_checks`.
    """

    repeats: tuple[SliceStack, ...] = ()
    storages: tuple[tuple[str, PixelStorage], ...] = ()
    nifti: tuple[str, str] | None = None
    mask: str = ""
    target: str = ""
    volume_of_4d: str = "refuse"
    max_gigabytes: float = 4.0
    min_slices: int = 3
    checks: tuple[Plugin, ...] = ()


@dataclass(frozen=True)
class ConvertedVolume:
    """What is known of a volume once it is written; or the reason why it is not, with the file to blame."""

    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    affine: tuple[tuple[float, ...], ...] = ()
    sha256: str = ""
    flags: tuple[str, ...] = ()
    nan_voxels: int = 0
    thumbnail: bytes = b""
    masked: bool = False
    reason: str = ""
    culprit: str | None = None


def convert_volume(job: ConversionJob) -> ConvertedVolume:
    """Decode, check, write."""
    try:
        decoded, flags, nan_voxels = decode_volume(job)
    except RejectedError as rejected:
        return ConvertedVolume(reason=rejected.reason, culprit=rejected.file)
    except (OSError, MemoryError) as error:
        return ConvertedVolume(reason=machine_errors.find_machine_error_reason(error) or "undecodable")
    try:
        volume.write_volume(Path(job.target), decoded)
        unused = masks.write_mask(Path(job.mask), Path(job.target), decoded, job.max_gigabytes) if job.mask else ""
    except OSError as error:
        return ConvertedVolume(reason=machine_errors.find_write_error_reason(error))
    masked = bool(job.mask) and not unused
    return ConvertedVolume(
        shape=tuple(decoded.voxels.shape),
        spacing_mm=tuple(round(float(edge), 6) for edge in decoded.spacing_mm),
        affine=tuple(tuple(round(float(one), 6) + 0.0 for one in row) for row in decoded.affine),
        sha256=decoded.content_digest(),
        flags=(*flags, *((unused,) if unused else ())),
        masked=masked,
        nan_voxels=nan_voxels,
        thumbnail=thumbnails.make_thumbnail_strip(decoded),
    )


def decode_volume(job: ConversionJob) -> tuple[Volume, list[str], int]:
    """The canonical volume, flags that its voxels earn, and how many of them were no number; raises RejectedError."""
    found = _decoded(job)
    check_scan(found[0], job.checks)
    return found


def _decoded(job: ConversionJob) -> tuple[Volume, list[str], int]:
    if job.nifti is None:
        return pixels.decode_slices(job.repeats, dict(job.storages), job.max_gigabytes), [], 0
    header, voxels = map(Path, job.nifti)
    return nifti.decode_nifti(header, voxels, job.volume_of_4d, job.max_gigabytes, job.min_slices)


def try_decode_volume(job: ConversionJob) -> tuple[Volume, list[str], int] | RejectedError:
    """Load in a worker and hand the voxels back; a refusal is returned, since only values cross the pipe."""
    try:
        return decode_volume(job)
    except RejectedError as rejected:
        return rejected
