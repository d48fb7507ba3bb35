"""From a DICOM header to its planes: one for a classic file, one per frame of an enhanced one, one per mosaic tile."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from siamese_med.ingestion.dicom import series_physics, tags
from siamese_med.ingestion.dicom.header_memory import HeaderMemory
from siamese_med.ingestion.dicom.instances import SlicePlane, share_value
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from pydicom import Dataset

    from siamese_med.ingestion.dicom.tags import DicomHeader

COMPONENT_BY_WORD = {
    "M": "magnitude", "P": "phase", "R": "real", "I": "imaginary", "MAGNITUDE": "magnitude", "PHASE": "phase",
    "REAL": "real", "IMAGINARY": "imaginary", "PHASE MAP": "phase",
}  # fmt: skip
"""Component of the complex signal, by terms of Image Type and Complex Image Component (DICOM PS3.3, C.8.13.3.1.1)."""

GE_COMPONENT_TAG = (0x0043, 0x102F)
"""GE's private element for the component: 0 magnitude, 1 phase, 2 real, 3 imaginary."""

MOSAIC_COUNT_TAG = (0x0019, 0x100A)
"""Siemens' private element for the number of images in a mosaic."""

UIH_COUNT_TAG = (0x0065, 0x1050)
"""United Imaging's private element for the number of images in a grid; the grid is told by VFRAME in Image Type."""

CSA_IMAGE_TAG = (0x0029, 0x1010)
"""Siemens' private CSA image header."""

MAX_FRAMES = 100_000
"""Frames of one file that are accepted; more are `too_large`."""


def read_planes(dataset: DicomHeader, file: str) -> tuple[SlicePlane, ...]:
    """Read all planes of one file.

    Parameters
    ----------
    dataset
        The header.
    file
        SHA-256 of the file, by which its planes refer to it.

    Raises
    ------
    RejectedError
        `missing_geometry` for a multi-frame file without per-frame geometry or a mosaic without tile count,
        `unread_mosaic` for a grid of United Imaging, `bad_spacing`, `unreadable_header` where frames are missing,
        `too_large` above `MAX_FRAMES`.
    """
    if tags.get_tag_value(dataset, "PerFrameFunctionalGroupsSequence"):
        return _enhanced(dataset, file)
    single = _classic(dataset, file)
    if "MOSAIC" in tags.get_tag_words(dataset, "ImageType"):
        return _mosaic(dataset, single)
    if "VFRAME" in tags.get_tag_words(dataset, "ImageType") and (tags.get_tag_integer(dataset, UIH_COUNT_TAG) or 1) > 1:
        raise RejectedError("unread_mosaic")
    if (tags.get_tag_integer(dataset, "NumberOfFrames") or 1) > 1:
        raise RejectedError("missing_geometry")
    return (single,)


def _classic(dataset: DicomHeader, file: str) -> SlicePlane:
    return SlicePlane(
        file=file,
        index=0,
        rows=tags.get_tag_integer(dataset, "Rows") or 0,
        columns=tags.get_tag_integer(dataset, "Columns") or 0,
        position=tags.get_tag_numbers(dataset, "ImagePositionPatient", 3),
        orientation=tags.get_tag_numbers(dataset, "ImageOrientationPatient", 6),
        spacing=tags.get_tag_numbers(dataset, "PixelSpacing", 2),
        slope=_slope(dataset),
        intercept=tags.get_tag_number(dataset, "RescaleIntercept") or 0.0,
        content=_steady_content(dataset),
        time=_time(dataset, "TemporalPositionIdentifier"),
        frame=(tags.get_tag_text(dataset, "FrameOfReferenceUID"), tags.get_tag_text(dataset, "StackID")),
        instance=tags.get_tag_integer(dataset, "InstanceNumber"),
    )


def _slope(dataset: DicomHeader | None) -> float:
    return tags.get_tag_number(dataset, "RescaleSlope") or 1.0


def _content(dataset: DicomHeader) -> tuple[tuple[str, object], ...]:
    image_type = tags.get_tag_words(dataset, "ImageType")
    return (
        ("component", _component(dataset, image_type)),
        ("image type", tuple(word for word in image_type if word != "MOSAIC")),
        ("echo", tags.get_tag_integer(dataset, "EchoNumbers")),
        ("echo time", _rounded(tags.get_tag_number(dataset, "EchoTime"))),
        ("inversion", _rounded(tags.get_tag_number(dataset, "InversionTime"))),
        ("flip", _rounded(tags.get_tag_number(dataset, "FlipAngle"))),
        *_reconstruction(dataset, lambda _: dataset),
        *_present(
            ("series number", tags.get_tag_integer(dataset, "SeriesNumber")),
            ("description", tags.get_tag_text(dataset, "SeriesDescription")),
            ("sequence", tags.get_tag_text(dataset, "SequenceName")),
            ("gradient", tags.get_tag_numbers(dataset, "DiffusionGradientOrientation", 3)),
            ("stated slices", _read_stated_slices(dataset)),
        ),
    )


def _share_content(dataset: DicomHeader) -> tuple[tuple[str, object], ...]:
    shared: tuple[tuple[str, object], ...] = share_value(_content(dataset))
    return shared


_steady_content = HeaderMemory(_share_content)


def _read_stated_slices(dataset: DicomHeader) -> int | None:
    """Return how many slices the scanner says that a series has: of PET, or of one acquisition of all others."""
    count = tags.get_tag_integer(dataset, "NumberOfSlices")
    return count if count is not None else tags.get_tag_integer(dataset, "ImagesInAcquisition")


def _reconstruction(dataset: DicomHeader, group: Any) -> tuple[tuple[str, object], ...]:
    """Describe how the image was reconstructed; `group` gives a frame's functional group, or the classic header."""
    made, beam, measures = (
        group(name) for name in ("CTReconstructionSequence", "CTXRayDetailsSequence", "PixelMeasuresSequence")
    )
    kernel = tags.get_tag_words(made, "ConvolutionKernel"), tags.get_tag_words(made, "ReconstructionAlgorithm")
    energy = tags.get_tag_number(beam, "KVP"), tags.get_tag_number(made, "MonoenergeticEnergyEquivalent")
    corrections = (
        tags.get_tag_words(dataset, "CorrectedImage"),
        tags.get_tag_text(dataset, "AttenuationCorrectionMethod"),
    )
    return _present(
        ("kernel", kernel if any(kernel) else ()),
        ("filter", tags.get_tag_text(dataset, "FilterType")),
        ("reconstruction", tags.get_tag_text(dataset, "ReconstructionMethod")),
        ("energy", energy if energy != (None, None) else ()),
        ("correction", corrections if any(corrections) else ()),
        ("unit", tags.get_tag_text(dataset, "Units")),
        ("agent", tags.get_tag_text(dataset, "ContrastBolusAgent")),
        ("coil", tags.get_tag_text(dataset, "ReceiveCoilName")),
        ("thickness", _rounded(tags.get_tag_number(measures, "SliceThickness"))),
        ("spacing", _rounded(tags.get_tag_number(measures, "SpacingBetweenSlices"))),
    )


def _present(*pairs: tuple[str, object]) -> tuple[tuple[str, object], ...]:
    """Keep the pairs that have a value, since a run holds the planes of all new files in memory."""
    return tuple((name, value) for name, value in pairs if value not in (None, "", ()))


def _component(dataset: DicomHeader, image_type: tuple[str, ...]) -> str:
    named = tags.get_tag_text(dataset, "ComplexImageComponent").upper()
    if named in COMPONENT_BY_WORD:
        return COMPONENT_BY_WORD[named]
    for word in (word.removeprefix("SW_") for word in image_type[2:]):  # Philips marks susceptibility so: SW_P_FFE
        if word.split("_")[0] in COMPONENT_BY_WORD and (len(word) == 1 or "_" in word or word in COMPONENT_BY_WORD):
            return COMPONENT_BY_WORD[word.split("_")[0]]
    ge = tags.get_tag_integer(dataset, GE_COMPONENT_TAG)
    return {1: "phase", 2: "real", 3: "imaginary"}.get(ge if ge is not None else 0, "magnitude")


def _rounded(one: float | None) -> float | None:
    return None if one is None else round(one, 3)


def _time(dataset: DicomHeader, temporal: str) -> tuple[float, ...]:
    clock = tags.get_tag_text(dataset, "AcquisitionTime") or tags.get_tag_text(dataset, "ContentTime")
    ordered = (
        tags.get_tag_number(dataset, temporal),
        tags.get_tag_number(dataset, "AcquisitionNumber"),
        tags.get_tag_number(dataset, "TriggerTime"),
        tags.get_tag_number(dataset, "DiffusionBValue"),
        tags.get_tag_number(dataset, "FrameReferenceTime"),
        _as_number(clock),
        tags.get_tag_number(dataset, "InstanceNumber"),
    )
    return tuple(0.0 if one is None else one for one in ordered)


def _as_number(clock: str) -> float | None:
    try:
        one = float(clock)
    except ValueError:
        return None
    return one if math.isfinite(one) else None


def _enhanced(dataset: DicomHeader, file: str) -> tuple[SlicePlane, ...]:
    frames = tags.get_tag_value(dataset, "PerFrameFunctionalGroupsSequence")
    declared = tags.get_tag_integer(dataset, "NumberOfFrames") or 0
    if declared > MAX_FRAMES:
        raise RejectedError("too_large")
    if len(frames) != declared:
        raise RejectedError("unreadable_header")
    shared = tags.get_first_item(dataset, "SharedFunctionalGroupsSequence")
    base = _classic(dataset, file)
    return tuple(_frame(base, index, frame, shared, dataset) for index, frame in enumerate(frames))


def _frame(base: SlicePlane, index: int, frame: Dataset, shared: Dataset | None, dataset: DicomHeader) -> SlicePlane:
    def group(name: str) -> Dataset | None:
        return tags.get_first_item(frame, name) or tags.get_first_item(shared, name)

    content, measures, values = group("FrameContentSequence"), group("PixelMeasuresSequence"), None
    values = group("PixelValueTransformationSequence")
    return replace(
        base,
        index=index,
        position=tags.get_tag_numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=tags.get_tag_numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing=tags.get_tag_numbers(measures, "PixelSpacing", 2),
        slope=_slope(values) if values is not None else base.slope,
        intercept=(tags.get_tag_number(values, "RescaleIntercept") or 0.0) if values is not None else base.intercept,
        content=share_value(_frame_content(dataset, group)),
        time=_frame_time(group, content, index),
        frame=(base.frame[0], tags.get_tag_text(content, "StackID")),
        instance=tags.get_tag_integer(content, "InStackPositionNumber"),
    )


def _frame_content(dataset: DicomHeader, group: Any) -> tuple[tuple[str, object], ...]:
    kind = group("MRImageFrameTypeSequence") or group("CTImageFrameTypeSequence") or group("PETFrameTypeSequence")
    frame_type = tags.get_tag_words(kind, "FrameType") or tags.get_tag_words(dataset, "ImageType")
    named = tags.get_tag_text(kind, "ComplexImageComponent").upper()
    timing = group("MRTimingAndRelatedParametersSequence")
    direction = tags.get_first_item(group("MRDiffusionSequence"), "DiffusionGradientDirectionSequence")
    return (
        ("component", COMPONENT_BY_WORD.get(named) or _component(dataset, frame_type)),
        ("image type", frame_type),
        ("echo", None),
        ("echo time", _rounded(tags.get_tag_number(group("MREchoSequence"), "EffectiveEchoTime"))),
        ("inversion", _rounded(series_physics.get_inversion_ms(group("MRModifierSequence")))),
        ("flip", _rounded(tags.get_tag_number(timing, "FlipAngle"))),
        *_reconstruction(dataset, group),
        *_present(
            ("gradient", tags.get_tag_numbers(direction, "DiffusionGradientOrientation", 3)),
            ("concatenation", _read_concatenation(dataset)),
        ),
    )


def _read_concatenation(dataset: DicomHeader) -> tuple[str, int, int] | tuple[()]:
    """Return which part of a divided enhanced file this is, and of how many (0: not said); empty for a whole one."""
    whole, part = tags.get_tag_text(dataset, "ConcatenationUID"), tags.get_tag_integer(dataset, "InConcatenationNumber")
    if not whole or not part:
        return ()
    return whole, part, tags.get_tag_integer(dataset, "InConcatenationTotalNumber") or 0


def _frame_time(group: Any, content: Dataset | None, index: int) -> tuple[float, ...]:
    trigger = group("CardiacSynchronizationSequence")
    ordered = (
        tags.get_tag_number(content, "TemporalPositionIndex"),
        tags.get_tag_number(content, "FrameAcquisitionNumber"),
        tags.get_tag_number(trigger, "NominalCardiacTriggerDelayTime"),
        tags.get_tag_number(group("MRDiffusionSequence"), "DiffusionBValue"),
        None,
        _as_number(tags.get_tag_text(content, "FrameAcquisitionDateTime")),
        float(index),
    )
    return tuple(0.0 if one is None else one for one in ordered)


def _mosaic(dataset: DicomHeader, whole: SlicePlane) -> tuple[SlicePlane, ...]:
    """Return the tiles of a Siemens mosaic; its position is that of an image as large as all tiles, equally centred."""
    csa = _csa(tags.get_tag_value(dataset, CSA_IMAGE_TAG))
    count = tags.get_tag_integer(dataset, MOSAIC_COUNT_TAG) or int(next(iter(csa.get("NumberOfImagesInMosaic", ())), 0))
    if not 0 < count <= 4096:
        raise RejectedError("missing_geometry")
    side = math.ceil(math.sqrt(count))
    rows, columns = whole.rows // side, whole.columns // side
    tile = replace(whole, rows=rows, columns=columns)
    if whole.position is None or whole.orientation is None or whole.spacing is None:
        return tuple(replace(tile, index=index) for index in range(count))
    step = _mosaic_step(dataset, whole, csa)
    shift = [
        whole.orientation[axis] * whole.spacing[1] * (whole.columns - columns) / 2
        + whole.orientation[3 + axis] * whole.spacing[0] * (whole.rows - rows) / 2
        for axis in range(3)
    ]
    first = [whole.position[axis] + shift[axis] for axis in range(3)]
    return tuple(
        replace(
            tile, index=index, position=tuple(first[axis] + index * step[axis] for axis in range(3)), instance=index
        )
        for index in range(count)
    )


def _mosaic_step(dataset: DicomHeader, whole: SlicePlane, csa: dict[str, tuple[float, ...]]) -> list[float]:
    gap = tags.get_tag_number(dataset, "SpacingBetweenSlices") or tags.get_tag_number(dataset, "SliceThickness")
    if not gap or gap <= 0:
        raise RejectedError("bad_spacing")
    row, column = (whole.orientation or ())[:3], (whole.orientation or ())[3:]
    normal = [row[i - 2] * column[i - 1] - row[i - 1] * column[i - 2] for i in range(3)]
    named = csa.get("SliceNormalVector", ())
    backwards = len(named) == 3 and sum(a * b for a, b in zip(named, normal, strict=True)) < 0
    return [(-gap if backwards else gap) * one for one in normal]


def _csa(block: Any) -> dict[str, tuple[float, ...]]:
    """Numbers of a Siemens CSA header (`SV10` layout); empty where the block is missing or broken."""
    found: dict[str, tuple[float, ...]] = {}
    if not isinstance(block, bytes) or not block.startswith(b"SV10"):
        return found
    try:
        count, offset = struct.unpack_from("<I", block, 8)[0], 16
        for _ in range(min(count, 256)):
            name, items = block[offset : offset + 64].split(b"\0")[0].decode("ascii"), 0
            items, offset = struct.unpack_from("<I", block, offset + 76)[0], offset + 84
            values = []
            for _ in range(min(items, 4096)):
                length = struct.unpack_from("<I", block, offset)[0]
                values.append(block[offset + 16 : offset + 16 + length].split(b"\0")[0].strip())
                offset += 16 + (length + 3) // 4 * 4
            if name in ("NumberOfImagesInMosaic", "SliceNormalVector"):
                found[name] = tuple(float(one) for one in values if one)
    except (struct.error, ValueError):
        return {}
    return found
