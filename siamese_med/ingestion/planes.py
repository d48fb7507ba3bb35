"""From a DICOM header to its planes: one a classic file, one a frame of enhanced ones, one a tile of a mosaic."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from siamese_med.ingestion import tags
from siamese_med.ingestion.instances import Plane
from siamese_med.ingestion.reasons import RejectedError

if TYPE_CHECKING:
    from pydicom import Dataset

    from siamese_med.ingestion.tags import Header

COMPONENTS = {
    "M": "magnitude", "P": "phase", "R": "real", "I": "imaginary", "MAGNITUDE": "magnitude", "PHASE": "phase",
    "REAL": "real", "IMAGINARY": "imaginary", "PHASE MAP": "phase",
}  # fmt: skip
GE_COMPONENT = (0x0043, 0x102F)
MOSAIC_COUNT = (0x0019, 0x100A)
CSA_IMAGE = (0x0029, 0x1010)
MOST_FRAMES = 100_000


def of(dataset: Header, file: str) -> tuple[Plane, ...]:
    """All planes of one file, `file` being its content hash; raises RejectedError for a broken mosaic or frame list."""
    if tags.value(dataset, "PerFrameFunctionalGroupsSequence"):
        return _enhanced(dataset, file)
    single = _classic(dataset, file)
    if "MOSAIC" in tags.words(dataset, "ImageType"):
        return _mosaic(dataset, single)
    if (tags.integer(dataset, "NumberOfFrames") or 1) > 1:
        raise RejectedError("missing_geometry")
    return (single,)


def _classic(dataset: Header, file: str) -> Plane:
    return Plane(
        file=file,
        index=0,
        rows=tags.integer(dataset, "Rows") or 0,
        columns=tags.integer(dataset, "Columns") or 0,
        position=tags.numbers(dataset, "ImagePositionPatient", 3),
        orientation=tags.numbers(dataset, "ImageOrientationPatient", 6),
        spacing=tags.numbers(dataset, "PixelSpacing", 2),
        slope=_slope(dataset),
        intercept=tags.number(dataset, "RescaleIntercept") or 0.0,
        content=_content(dataset),
        time=_time(dataset, "TemporalPositionIdentifier"),
        frame=(tags.text(dataset, "FrameOfReferenceUID"), tags.text(dataset, "StackID")),
        instance=tags.integer(dataset, "InstanceNumber"),
    )


def _slope(dataset: Header | None) -> float:
    return tags.number(dataset, "RescaleSlope") or 1.0


def _content(dataset: Header) -> tuple[tuple[str, object], ...]:
    image_type = tags.words(dataset, "ImageType")
    return (
        ("component", _component(dataset, image_type)),
        ("image type", tuple(word for word in image_type if word != "MOSAIC")),
        ("echo", tags.integer(dataset, "EchoNumbers")),
        ("echo time", _rounded(tags.number(dataset, "EchoTime"))),
        ("inversion", _rounded(tags.number(dataset, "InversionTime"))),
        ("flip", _rounded(tags.number(dataset, "FlipAngle"))),
        *_reconstruction(dataset, lambda _: dataset),
        *_present(
            ("series number", tags.integer(dataset, "SeriesNumber")),
            ("description", tags.text(dataset, "SeriesDescription")),
            ("sequence", tags.text(dataset, "SequenceName")),
            ("gradient", tags.numbers(dataset, "DiffusionGradientOrientation", 3)),
        ),
    )


def _reconstruction(dataset: Header, group: Any) -> tuple[tuple[str, object], ...]:
    """How the picture was made of what was measured; `group` gives a frame's group, or all of a classic header."""
    made, beam = group("CTReconstructionSequence"), group("CTXRayDetailsSequence")
    kernel = tags.words(made, "ConvolutionKernel"), tags.words(made, "ReconstructionAlgorithm")
    energy = tags.number(beam, "KVP"), tags.number(made, "MonoenergeticEnergyEquivalent")
    corrections = tags.words(dataset, "CorrectedImage"), tags.text(dataset, "AttenuationCorrectionMethod")
    return _present(
        ("kernel", kernel if any(kernel) else ()),
        ("filter", tags.text(dataset, "FilterType")),
        ("reconstruction", tags.text(dataset, "ReconstructionMethod")),
        ("energy", energy if energy != (None, None) else ()),
        ("correction", corrections if any(corrections) else ()),
        ("unit", tags.text(dataset, "Units")),
        ("agent", tags.text(dataset, "ContrastBolusAgent")),
        ("coil", tags.text(dataset, "ReceiveCoilName")),
        ("thickness", _rounded(tags.number(group("PixelMeasuresSequence"), "SliceThickness"))),
    )


def _present(*pairs: tuple[str, object]) -> tuple[tuple[str, object], ...]:
    """Those that have a value, since a run holds the planes of all new files."""
    return tuple((name, value) for name, value in pairs if value not in (None, "", ()))


def _component(dataset: Header, image_type: tuple[str, ...]) -> str:
    named = tags.text(dataset, "ComplexImageComponent").upper()
    if named in COMPONENTS:
        return COMPONENTS[named]
    for word in image_type[2:]:
        if word.split("_")[0] in COMPONENTS and (len(word) == 1 or "_" in word or word in COMPONENTS):
            return COMPONENTS[word.split("_")[0]]
    ge = tags.integer(dataset, GE_COMPONENT)
    return {1: "phase", 2: "real", 3: "imaginary"}.get(ge if ge is not None else 0, "magnitude")


def _rounded(one: float | None) -> float | None:
    return None if one is None else round(one, 3)


def _time(dataset: Header, temporal: str) -> tuple[float, ...]:
    clock = tags.text(dataset, "AcquisitionTime") or tags.text(dataset, "ContentTime")
    ordered = (
        tags.number(dataset, temporal),
        tags.number(dataset, "AcquisitionNumber"),
        tags.number(dataset, "TriggerTime"),
        tags.number(dataset, "DiffusionBValue"),
        tags.number(dataset, "FrameReferenceTime"),
        _as_number(clock),
        tags.number(dataset, "InstanceNumber"),
    )
    return tuple(0.0 if one is None else one for one in ordered)


def _as_number(clock: str) -> float | None:
    try:
        one = float(clock)
    except ValueError:
        return None
    return one if math.isfinite(one) else None


def _enhanced(dataset: Header, file: str) -> tuple[Plane, ...]:
    frames = tags.value(dataset, "PerFrameFunctionalGroupsSequence")
    declared = tags.integer(dataset, "NumberOfFrames") or 0
    if declared > MOST_FRAMES:
        raise RejectedError("too_large")
    if len(frames) != declared:
        raise RejectedError("unreadable_header")
    shared = tags.first_item(dataset, "SharedFunctionalGroupsSequence")
    base = _classic(dataset, file)
    return tuple(_frame(base, index, frame, shared, dataset) for index, frame in enumerate(frames))


def _frame(base: Plane, index: int, frame: Dataset, shared: Dataset | None, dataset: Header) -> Plane:
    def group(name: str) -> Dataset | None:
        return tags.first_item(frame, name) or tags.first_item(shared, name)

    content, measures, values = group("FrameContentSequence"), group("PixelMeasuresSequence"), None
    values = group("PixelValueTransformationSequence")
    return replace(
        base,
        index=index,
        position=tags.numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3),
        orientation=tags.numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        spacing=tags.numbers(measures, "PixelSpacing", 2),
        slope=_slope(values) if values is not None else base.slope,
        intercept=(tags.number(values, "RescaleIntercept") or 0.0) if values is not None else base.intercept,
        content=_frame_content(dataset, group),
        time=_frame_time(group, content, index),
        frame=(base.frame[0], tags.text(content, "StackID")),
        instance=tags.integer(content, "InStackPositionNumber"),
    )


def _frame_content(dataset: Header, group: Any) -> tuple[tuple[str, object], ...]:
    kind = group("MRImageFrameTypeSequence") or group("CTImageFrameTypeSequence") or group("PETFrameTypeSequence")
    frame_type = tags.words(kind, "FrameType") or tags.words(dataset, "ImageType")
    named = tags.text(kind, "ComplexImageComponent").upper()
    timing = group("MRTimingAndRelatedParametersSequence")
    direction = tags.first_item(group("MRDiffusionSequence"), "DiffusionGradientDirectionSequence")
    return (
        ("component", COMPONENTS.get(named) or _component(dataset, frame_type)),
        ("image type", frame_type),
        ("echo", None),
        ("echo time", _rounded(tags.number(group("MREchoSequence"), "EffectiveEchoTime"))),
        ("inversion", None),
        ("flip", _rounded(tags.number(timing, "FlipAngle"))),
        *_reconstruction(dataset, group),
        *_present(("gradient", tags.numbers(direction, "DiffusionGradientOrientation", 3))),
    )


def _frame_time(group: Any, content: Dataset | None, index: int) -> tuple[float, ...]:
    trigger = group("CardiacSynchronizationSequence")
    ordered = (
        tags.number(content, "TemporalPositionIndex"),
        tags.number(content, "FrameAcquisitionNumber"),
        tags.number(trigger, "NominalCardiacTriggerDelayTime"),
        tags.number(group("MRDiffusionSequence"), "DiffusionBValue"),
        None,
        _as_number(tags.text(content, "FrameAcquisitionDateTime")),
        float(index),
    )
    return tuple(0.0 if one is None else one for one in ordered)


def _mosaic(dataset: Header, whole: Plane) -> tuple[Plane, ...]:
    """Tiles of a Siemens mosaic; its position is that of a picture as large as all tiles around the same centre."""
    csa = _csa(tags.value(dataset, CSA_IMAGE))
    count = tags.integer(dataset, MOSAIC_COUNT) or int(next(iter(csa.get("NumberOfImagesInMosaic", ())), 0))
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


def _mosaic_step(dataset: Header, whole: Plane, csa: dict[str, tuple[float, ...]]) -> list[float]:
    gap = tags.number(dataset, "SpacingBetweenSlices") or tags.number(dataset, "SliceThickness")
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
