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
    """Decode a stack of slices to a volume.

    Parameters
    ----------
    repeats
        One stack, or several of equal geometry, of which the mean is taken.
    storages
        How the pixels of each file lie, by the file's content hash.
    max_gigabytes
        Largest volume, at 4 bytes a voxel, in 10^9 bytes.

    Returns
    -------
    Volume
        Voxels in RAS+ order with their affine (voxel to mm), rescaled slice by slice with Rescale Slope and Intercept
        (DICOM PS3.3, section C.7.6.16.2.9).

    Raises
    ------
    RejectedError
        `too_large`, `constant_image`, `undecodable`, or a machine reason such as `read_error`; `file` is the file at
        fault.
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
    """Return rescaled voxels with axes (column, row, slice)."""
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
    """Rescale pixels; integers stay integers where slope and intercept are, so that exact values stay exact."""
    if slope == 1 and intercept == 0:
        return pixels
    if slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < 2**14:
        return pixels.astype(np.int32 if pixels.itemsize < 4 else np.int64) * int(slope) + int(intercept)
    return pixels.astype(np.float64) * slope + intercept


def _decoded(file: str, storage: PixelStorage) -> NDArray[Any]:
    """Return stored values with axes (frame or tile, row, column)."""
    try:
        pixels = _native(storage) if storage.offset is not None else _by_pydicom(storage)
    except RejectedError as rejected:
        raise RejectedError(rejected.reason, file) from rejected
    except Exception as error:  # decoders may raise any exception
        raise RejectedError(machine_errors.find_machine_error_reason(error) or "undecodable", file) from error
    pixels = pixels.reshape(storage.frames, storage.rows, storage.columns)
    return pixels if storage.tiles is None else _tiles(pixels[0], storage.tiles)


def _native(storage: PixelStorage) -> NDArray[Any]:
    order = ">" if storage.big_endian else "<"
    kind = np.dtype(f"{order}{'i' if storage.signed else 'u'}{storage.bits_allocated // 8}")
    count = storage.frames * storage.rows * storage.columns
    pixels = np.fromfile(storage.path, dtype=kind, count=count, offset=storage.offset or 0)
    if pixels.size < count:  # the file was long enough when it was inspected
        raise RejectedError("read_error")
    pixels = pixels.astype(kind.newbyteorder("="), copy=False)
    if storage.low_bits and _lies_high(pixels, storage):
        return (pixels << (storage.bits_allocated - storage.bits_stored - storage.low_bits)) >> (
            storage.bits_allocated - storage.bits_stored
        )
    spare = storage.bits_allocated - storage.bits_stored
    if 0 < spare < storage.bits_allocated and (storage.signed or storage.masked):
        pixels = (pixels << spare) >> spare
    return pixels


def _lies_high(pixels: NDArray[Any], storage: PixelStorage) -> bool:
    """Whether values lie in the bits that HighBit says; some writers set it wrongly, and leave them in the lowest."""
    empty = not (pixels & ((1 << storage.low_bits) - 1)).any()
    return empty or (not storage.signed and int(pixels.max()) >= 1 << storage.bits_stored)


def _by_pydicom(storage: PixelStorage) -> NDArray[Any]:
    """Decode compressed or deflated pixels with the decoders that are installed."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels: NDArray[Any] = pydicom.dcmread(storage.path, force=True).pixel_array
    if pixels.size != storage.frames * storage.rows * storage.columns:
        raise RejectedError("undecodable")
    return pixels


def _tiles(picture: NDArray[Any], tile: tuple[int, int]) -> NDArray[Any]:
    """Cut a mosaic (rows, columns) into (tile, row, column), left to right and top to bottom."""
    rows, columns = tile
    down, across = picture.shape[0] // rows, picture.shape[1] // columns
    cut = picture[: down * rows, : across * columns].reshape(down, rows, across, columns)
    return cut.swapaxes(1, 2).reshape(down * across, rows, columns)
