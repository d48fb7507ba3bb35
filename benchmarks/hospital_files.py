"""The bytes of a simulated hospital's files: a series' header is encoded once, a slice encodes only what is its own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from benchmarks import hospital_headers as headers
from benchmarks.hospital import CT, MR, Series, geometry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def of_series(one: Series, voxels: NDArray[np.uint16]) -> Iterator[bytes]:
    """The bytes of each file of a series, slice by slice; `voxels` (slice, row, column)."""
    place, meta = geometry(one), _meta(one)
    uids = [one.uid(one.number, index).encode() for index in range(len(voxels))]
    shared = {int(element.tag): _encoded(_alone(element), one.implicit) for element in headers.of_series(one, place)}
    for index, pixels in enumerate(voxels):
        own = headers.of_slice(one, place, index, pixels)
        elements = shared | {int(element.tag): _encoded(_alone(element), one.implicit) for element in own}
        body = b"".join(elements[tag] for tag in sorted(elements))
        yield bytes(128) + b"DICM" + meta.replace(uids[0], uids[index]) + body + _pixels(pixels, one.implicit)


def _alone(element: Any) -> Dataset:
    dataset = Dataset()
    dataset.add(element)
    return dataset


def _encoded(dataset: Dataset, implicit: bool) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = implicit, True
    write_dataset(file, dataset)
    content: bytes = file.getvalue()
    return content


def _meta(one: Series) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = CT if one.ct else MR
    meta.MediaStorageSOPInstanceUID = one.uid(one.number, 0)
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if one.implicit else ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = "1.2.276.0.7230010.3.0.3.6.4", "OFFIS_DCMTK_364"
    file = DicomBytesIO()
    write_file_meta_info(file, meta)
    content: bytes = file.getvalue()
    return content


def _pixels(pixels: NDArray[np.uint16], implicit: bool) -> bytes:
    content = pixels.astype("<u2").tobytes()
    kind = b"" if implicit else b"OW\0\0"
    return struct.pack("<HH", 0x7FE0, 0x0010) + kind + struct.pack("<I", len(content)) + content
