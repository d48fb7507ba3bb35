"""Decode the slices of a stack into a volume; runs in a worker process, since the bytes come from outside."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import machine_errors
from siamese_med.ingestion.dicom.instances import PixelStorage
from siamese_med.ingestion.dicom.slice_geometry import SliceStack
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decode_slices(repeats: tuple[SliceStack, ...], storages: dict[str, PixelStorage], max_gigabytes: float) -> Volume:
    """The canonical RAS+ volume (the mean where there are several repeats), rescaled slice by slice.

    Raises RejectedError: too_large, or undecodable and truncated_pixels with the file to blame.
    """
    first = repeats[0]
    voxel_count = first.planes[0].rows * first.planes[0].columns * len(first.planes)
    if voxel_count * 4 > max_gigabytes * 1e9:
        raise RejectedError("too_large")
    voxels = _stacked(first, storages)
    if len(repeats) > 1:
        voxels = sum((_stacked(stack, storages) for stack in repeats[1:]), voxels.astype(np.float64)) / len(repeats)
    if voxels.min() == voxels.max():
        raise RejectedError("constant_image")
    return volume.reorient_to_ras(Volume(volume.narrow_voxel_dtype(voxels), first.affine))


def _stacked(stack: SliceStack, storages: dict[str, PixelStorage]) -> NDArray[Any]:
    """Voxels (column, row, slice), rescaled."""
    frames: dict[str, NDArray[Any]] = {}
    slices = []
    for plane in stack.planes:
        if plane.file not in frames:
            if len(storages) > 1 and storages[plane.file].frames == 1 and storages[plane.file].tiles is None:
                frames.clear()
            frames[plane.file] = _decoded(plane.file, storages[plane.file])
        slices.append(
            volume.narrow_voxel_dtype(_rescaled(frames[plane.file][plane.index], plane.slope, plane.intercept))
        )
    return np.stack(slices).T


def _rescaled(pixels: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Whole numbers stay whole, so that what is exact stays exact."""
    if slope == 1 and intercept == 0:
        return pixels
    if slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < 2**14:
        return pixels.astype(np.int32 if pixels.itemsize < 4 else np.int64) * int(slope) + int(intercept)
    return pixels.astype(np.float64) * slope + intercept


def _decoded(file: str, storage: PixelStorage) -> NDArray[Any]:
    """Stored values (frame or tile, row, column)."""
    try:
        pixels = _native(storage) if storage.offset is not None else _by_pydicom(storage)
    except RejectedError as rejected:
        raise RejectedError(rejected.reason, file) from rejected
    except Exception as error:  # decoders raise whatever they like
        raise RejectedError(machine_errors.find_machine_error_reason(error) or "undecodable", file) from error
    pixels = pixels.reshape(storage.frames, storage.rows, storage.columns)
    return pixels if storage.tiles is None else _tiles(pixels[0], storage.tiles)


def _native(storage: PixelStorage) -> NDArray[Any]:
    order = ">" if storage.big_endian else "<"
    kind = np.dtype(f"{order}{'i' if storage.signed else 'u'}{storage.bits_allocated // 8}")
    count = storage.frames * storage.rows * storage.columns
    pixels = np.fromfile(storage.path, dtype=kind, count=count, offset=storage.offset or 0)
    if pixels.size < count:  # the file was long enough when it was looked at, or it would not have come here
        raise RejectedError("read_error")
    pixels = pixels.astype(kind.newbyteorder("="), copy=False)
    spare = storage.bits_allocated - storage.bits_stored
    if 0 < spare < storage.bits_allocated and (storage.signed or storage.masked):
        pixels = (pixels << spare) >> spare
    return pixels


def _by_pydicom(storage: PixelStorage) -> NDArray[Any]:
    """Compressed or deflated pixels, by whatever decoders are installed."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels: NDArray[Any] = pydicom.dcmread(storage.path, force=True).pixel_array
    if pixels.size != storage.frames * storage.rows * storage.columns:
        raise RejectedError("undecodable")
    return pixels


def _tiles(picture: NDArray[Any], tile: tuple[int, int]) -> NDArray[Any]:
    """A mosaic (rows, columns) cut into (tile, row, column), left to right and top to bottom."""
    rows, columns = tile
    down, across = picture.shape[0] // rows, picture.shape[1] // columns
    cut = picture[: down * rows, : across * columns].reshape(down, rows, across, columns)
    return cut.swapaxes(1, 2).reshape(down * across, rows, columns)
