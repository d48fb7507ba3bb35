"""DICOM folders with one thing special each, and what must become of their files (an empty word: ingested)."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from tests.ingestion import exports
from tests.ingestion.exports import series, write
from tests.ingestion.uids import new_uid

CASES: dict[str, Case] = {}


@dataclass(frozen=True)
class Case:
    """How to make the folder; how many files end under which reason word; how many scans, with which flags."""

    make: Callable[[Path], object]
    reasons: dict[str, int]
    scans: int
    flags: tuple[str, ...] = ()


def case(
    reasons: dict[str, int], scans: int = 0, flags: tuple[str, ...] = ()
) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    """Register a function that fills a folder, under its name."""

    def register(make: Callable[[Path], object]) -> Callable[[Path], object]:
        CASES[make.__name__] = Case(make, reasons, scans, flags)
        return make

    return register


def whole(flags: tuple[str, ...] = ()) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    """All six slices ingested as one scan."""
    return case({"": exports.SLICES}, 1, flags)


def changed(index: int, **tags: object) -> list[Dataset]:
    """A series of which one slice has other tags."""
    slices = series(seed=len(CASES) + index)
    for keyword, value in tags.items():
        setattr(slices[index], keyword, value)
    return slices


@whole()
def plain(folder: Path) -> object:
    return write(folder, series())


@case({"empty_file": 1, "not_an_image": 3})
def rubbish(folder: Path) -> None:
    folder.mkdir()
    (folder / "nothing").touch()
    (folder / "letter.txt").write_text("Dear colleague, thank you for the referral")
    (folder / "noise.dcm").write_bytes(np.random.default_rng(0).bytes(4000))
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))


@case({"unreadable_header": 1, "missing_slice": 5})
def header_cut(folder: Path) -> None:
    path = write(folder, series(seed=1))[2]
    content = path.read_bytes()
    path.write_bytes(content[: content.index(struct.pack("<HH", 0x7FE0, 0x10)) - 4])


@case({"truncated_pixels": 1, "missing_slice": 5})
def pixels_cut(folder: Path) -> None:
    path = write(folder, series(seed=2))[5]
    path.write_bytes(path.read_bytes()[:-40])


@whole()
def no_preamble(folder: Path) -> None:
    for path in write(folder, series(seed=3)):
        path.write_bytes(path.read_bytes()[132:])


@whole()
def implicit_without_meta(folder: Path) -> None:
    for path in _in_syntax(folder, ImplicitVRLittleEndian, 4):
        content = path.read_bytes()
        path.write_bytes(content[content.index(struct.pack("<HH", 8, 8)) :])


@whole()
def implicit(folder: Path) -> object:
    return _in_syntax(folder, ImplicitVRLittleEndian, 5)


@whole()
def deflated(folder: Path) -> object:
    return _in_syntax(folder, DeflatedExplicitVRLittleEndian, 6)


@whole()
def big_endian(folder: Path) -> object:
    slices = series(seed=7)
    for dataset in slices:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    return write(folder, slices)


@whole()
def run_length(folder: Path) -> object:
    return _compressed(folder, RLELossless, 8)


@whole()
def jpeg_2000(folder: Path) -> object:
    return _compressed(folder, JPEG2000Lossless, 9)


@case({"truncated_pixels": 1, "missing_slice": 5})
def compressed_cut(folder: Path) -> None:
    path = _compressed(folder, RLELossless, 10)[1]
    path.write_bytes(path.read_bytes()[:-60])


@case({"undecodable": 1, "missing_slice": 5})
def compressed_garbage(folder: Path) -> None:
    path = _compressed(folder, JPEG2000Lossless, 11)[1]
    content = path.read_bytes()
    start = content.index(b"\xff\x4f\xff\x51")
    path.write_bytes(content[:start] + b"\x55" * 60 + content[start + 60 :])


def _in_syntax(folder: Path, syntax: str, seed: int) -> list[Path]:
    slices = series(seed=seed)
    for dataset in slices:
        dataset.file_meta.TransferSyntaxUID = syntax
    return write(folder, slices)


def _compressed(folder: Path, syntax: str, seed: int) -> list[Path]:
    slices = series(seed=seed)
    for dataset in slices:
        if syntax == RLELossless:
            dataset.compress(syntax, generate_instance_uid=False)
        else:
            pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
            dataset.PixelData = encapsulate([bytes(encode_array(pixels))])
            dataset["PixelData"].VR, dataset.file_meta.TransferSyntaxUID = "OB", syntax
    return write(folder, slices)


@whole()
def wrong_charset(folder: Path) -> None:
    for path in write(folder, series(seed=12, PatientName="Muller^Jurg")):
        path.write_bytes(path.read_bytes().replace(b"Muller^Jurg", "Müller^Jürg".encode("latin-1")))


@whole()
def unknown_charset(folder: Path) -> object:
    return write(folder, series(seed=13, SpecificCharacterSet="ISO_IR 999"))


@case({"non_image": 4})
def no_images(folder: Path) -> object:
    classes = ("88.11", "104.1", "481.2", "66.4")  # structured report, PDF, RT dose, segmentation
    slices = series(seed=14)
    return write(
        folder, [exports.of_class(f"1.2.840.10008.5.1.4.1.1.{tail}", slices[i]) for i, tail in enumerate(classes)]
    )


@case({"secondary_capture": 2, "projection": 2, "unsupported_modality": 2})
def other_images(folder: Path) -> object:
    tails = ("7", "7.2", "1.1", "12.1", "6.1", "20")
    slices = series(seed=15)
    return write(
        folder, [exports.of_class(f"1.2.840.10008.5.1.4.1.1.{tail}", slices[i]) for i, tail in enumerate(tails)]
    )


@case({"localizer": 6})
def localizer(folder: Path) -> object:
    return write(folder, series(seed=16, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))


@case({"rgb": 6})
def colour(folder: Path) -> object:
    return write(folder, series(seed=17, SamplesPerPixel=3, PhotometricInterpretation="RGB"))


@whole()
def derived(folder: Path) -> object:
    return write(folder, series(seed=18, ImageType=["DERIVED", "SECONDARY", "MPR"]))


@case({"": 6, "duplicate": 1}, 1)
def same_pixels_again(folder: Path) -> object:
    slices = series(seed=19)
    again = copy.deepcopy(slices[3])
    again.SOPInstanceUID, again.InstanceNumber = new_uid(), 99
    return write(folder, [*slices, again])


@case({"sop_uid_conflict": 7})
def same_uid_other_pixels(folder: Path) -> object:
    slices, others = series(seed=20), series(seed=21)
    others[3].SeriesInstanceUID, others[3].StudyInstanceUID = slices[0].SeriesInstanceUID, slices[0].StudyInstanceUID
    others[3].SOPInstanceUID, others[3].FrameOfReferenceUID = slices[3].SOPInstanceUID, slices[0].FrameOfReferenceUID
    return write(folder, [*slices, others[3]])


@case({"duplicate_position": 7})
def same_place_other_pixels(folder: Path) -> object:
    slices, others = series(seed=22), series(seed=23)
    for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(others[3], keyword, getattr(slices[0], keyword))
    return write(folder, [*slices, others[3]])


@case({"missing_slice": 6})
def one_missing(folder: Path) -> object:
    slices = series(seed=24, slices=7)
    return write(folder, slices[:3] + slices[4:])


@case({"missing_slice": 6})
def two_missing_in_a_row(folder: Path) -> object:
    slices = series(seed=25, slices=8)
    return write(folder, slices[:3] + slices[5:])


@case({"irregular_spacing": 6})
def uneven(folder: Path) -> object:
    slices = series(seed=26)
    slices[5].ImagePositionPatient = _moved(slices[5], 0.7)
    return write(folder, slices)


@case({"irregular_spacing": 6})
def wider_from_the_middle(folder: Path) -> object:
    slices = series(seed=27)
    for dataset in slices[4:]:
        dataset.ImagePositionPatient = _moved(dataset, exports.GAP)
    return write(folder, slices)


@whole()
def jitter_of_a_micrometre(folder: Path) -> object:
    slices = series(seed=28)
    for number, dataset in enumerate(slices):
        dataset.ImagePositionPatient = _moved(dataset, 0.001 * (-1) ** number)
    return write(folder, slices)


def _moved(dataset: Dataset, along_mm: float) -> list[float]:
    """The position, moved along the slices' normal, which is -x here."""
    x, y, z = dataset.ImagePositionPatient
    return [float(x) - along_mm, float(y), float(z)]


@case({"gantry_tilt": 6})
def tilted(folder: Path) -> object:
    slices = series(seed=29)
    for number, dataset in enumerate(slices):
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [float(x), float(y) + 0.02 * number, float(z)]
    return write(folder, slices)


@case({"": 12}, 2)
def two_orientations(folder: Path) -> object:
    first, second = series(seed=30), series(seed=31)
    for number, dataset in enumerate(second):
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = first[0].SeriesInstanceUID, first[0].StudyInstanceUID
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [0, 0, 3.0 * number]
    return write(folder, first + second)


@case({"mixed_geometry": 6})
def one_slice_of_another_matrix(folder: Path) -> object:
    slices = series(seed=32)
    exports.fill(slices[2], np.zeros((8, 8), np.uint16))
    return write(folder, slices)


@case({"too_few_slices": 2})
def too_few(folder: Path) -> object:
    return write(folder, series(seed=33, slices=2))


@case({"too_few_slices": 6})
def a_series_for_each_slice(folder: Path) -> object:
    slices = series(seed=34)
    for dataset in slices:
        dataset.SeriesInstanceUID = new_uid()
    return write(folder, slices)


@case({"bad_spacing": 6})
def no_spacing(folder: Path) -> object:
    slices = series(seed=35)
    for dataset in slices:
        del dataset.PixelSpacing
    return write(folder, slices)


@case({"bad_spacing": 6})
def zero_spacing(folder: Path) -> object:
    return write(folder, series(seed=36, PixelSpacing=[0, 0]))


@case({"missing_geometry": 6})
def one_without_position(folder: Path) -> object:
    slices = series(seed=37)
    del slices[1].ImagePositionPatient
    return write(folder, slices)


@case({"missing_geometry": 6})
def no_orientation(folder: Path) -> object:
    return write(folder, series(seed=38, ImageOrientationPatient=[0, 0, 0, 0, 0, 0]))


@case({"missing_patient_id": 6})
def nobody(folder: Path) -> object:
    slices = series(patient="", seed=39)
    del slices[0].PatientID
    slices[1].PatientID = "   "
    return write(folder, slices)


@case({"patient_conflict": 6})
def two_patients(folder: Path) -> object:
    return write(folder, changed(4, PatientID="PAT-2"))


@case({"patient_conflict": 6})
def one_slice_of_nobody(folder: Path) -> object:
    return write(folder, changed(5, PatientID=""))


@whole(("date_unknown",))
def no_date(folder: Path) -> object:
    slices = series(seed=41)
    for dataset in slices:
        del dataset.StudyDate
    return write(folder, slices)


@whole(("date_unknown",))
def impossible_date(folder: Path) -> object:
    return write(folder, series(seed=42, StudyDate="20211399"))


@whole(("inverted",))
def inverted(folder: Path) -> object:
    slices = series(seed=43)
    for dataset in slices:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    return write(folder, slices)


@whole(("rescale_varies",))
def rescaled_slice_by_slice(folder: Path) -> object:
    slices = series(seed=44)
    for number, dataset in enumerate(slices):
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + number, -3.25
    return write(folder, slices)


@whole(("burned_in",))
def burned_in(folder: Path) -> object:
    return write(folder, series(seed=45, BurnedInAnnotation="YES"))


@whole(("lossy",))
def lossy(folder: Path) -> object:
    return write(folder, series(seed=46, LossyImageCompression="01"))


@case({"": 12}, 2)
def two_echoes(folder: Path) -> object:
    return write(folder, _interleaved("EchoTime", 4.9, 7.4))


@case({"": 12}, 2, ("phase",))
def magnitude_and_phase(folder: Path) -> object:
    return write(folder, _interleaved("ImageType", ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]))


@case({"ndim_4": 12})
def two_times(folder: Path) -> object:
    return write(folder, _interleaved("TemporalPositionIdentifier", 1, 2))


@case({"ndim_4": 12})
def two_acquisitions(folder: Path) -> object:
    return write(folder, _interleaved("AcquisitionNumber", 1, 2))


@case({"": 6, "repeat": 6}, 1, ("first_of_repeats",))
def field_map_taken_twice(folder: Path) -> object:
    slices = _interleaved("AcquisitionNumber", 1, 2)
    for dataset in slices:
        dataset.SeriesDescription = "EPI PE=AP"
    return write(folder, slices)


@case({"missing_slice": 3})
def one_missing_of_four(folder: Path) -> object:
    slices = series(seed=50, slices=4)
    return write(folder, [slices[0], *slices[2:]])


@case({"": 6, "missing_slice": 5}, 1)
def an_echo_that_lacks_a_slice(folder: Path) -> object:
    slices = _interleaved("EchoTime", 4.9, 7.4)
    return write(folder, slices[:9] + slices[10:])


def _interleaved(keyword: str, one: object, other: object) -> list[Dataset]:
    """Twelve slices of one series, every place taken twice, told apart by one tag."""
    seed = 100 + len(CASES)
    first, second = series(seed=seed), series(seed=1000 + seed)
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        b.SeriesInstanceUID, b.StudyInstanceUID, b.FrameOfReferenceUID = (
            a.SeriesInstanceUID,
            a.StudyInstanceUID,
            a.FrameOfReferenceUID,
        )
        a.InstanceNumber, b.InstanceNumber = 2 * number + 1, 2 * number + 2
        setattr(a, keyword, one)
        setattr(b, keyword, other)
    return [*first, *second]


@case({"": 1}, 1)
def enhanced(folder: Path) -> object:
    return write(folder, [exports.enhanced()])


@case({"ndim_4": 1})
def enhanced_over_time(folder: Path) -> object:
    return write(folder, [exports.enhanced(repeats=2)])


@case({"truncated_pixels": 1})
def enhanced_cut(folder: Path) -> None:
    path = write(folder, [exports.enhanced()])[0]
    path.write_bytes(path.read_bytes()[:-100])


@case({"": 1}, 1)
def mosaic(folder: Path) -> object:
    return write(folder, [exports.mosaic()])


@case({"constant_image": 6})
def constant(folder: Path) -> object:
    slices = series(seed=47)
    for dataset in slices:
        exports.fill(dataset, np.full((exports.ROWS, exports.COLUMNS), 7, np.uint16))
    return write(folder, slices)


@whole()
def hostile_names(folder: Path) -> object:
    return write(
        folder, series(patient="../../etc/passwd", seed=48, PatientName="</script><script>", SeriesDescription="=cmd()")
    )


@case({"too_large": 1, "missing_slice": 0})
def boastful(folder: Path) -> object:
    return write(folder, series(seed=49, slices=1, Rows=65535, Columns=65535, NumberOfFrames=100000))


@case({"": 12, "localizer": 3}, 1)
def scouts(folder: Path) -> object:
    """Three planning slices in the series of a volume: two across it, and one beside it."""
    slices = series(seed=50, slices=15)
    across = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], list(exports.SIDEWAYS))
    for number, (dataset, direction) in enumerate(zip(slices[12:], across, strict=True)):
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = direction, [150.0, 90.0 + number, 80.0]
    return write(folder, slices)


@case({"mixed_geometry": 12})
def last_slice_turned(folder: Path) -> object:
    """Not a scout: it lies where the volume's last slice would."""
    slices = series(seed=51, slices=12)
    slices[-1].ImageOrientationPatient = [0.0, 0.99995, 0.01, 0.0, 0.01, -0.99995]
    return write(folder, slices)


@case({"unread_mosaic": 1})
def united_imaging_grid(folder: Path) -> object:
    (slices,) = series(seed=52, slices=1, ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", "VFRAME"])
    slices.private_block(0x0065, "Image Private Header", create=True).add_new(0x50, "DS", "25")
    return write(folder, [slices])


@whole(("phase",))
def philips_susceptibility_phase(folder: Path) -> object:
    return write(folder, series(seed=53, ImageType=["ORIGINAL", "PRIMARY", "SW_P_FFE", "FFE"]))


@whole()
def frame_of_reference_for_each_slice(folder: Path) -> object:
    slices = series(seed=54)
    for dataset in slices:
        dataset.FrameOfReferenceUID = new_uid()
    return write(folder, slices)


@whole(("empty_slices",))
def half_zeroed(folder: Path) -> object:
    slices = series(seed=55)
    for dataset in slices[:3]:
        exports.fill(dataset, np.zeros((exports.ROWS, exports.COLUMNS), np.uint16))
    return write(folder, slices)


@whole(("implausible_size",))
def metres_for_millimetres(folder: Path) -> object:
    slices = series(seed=56, PixelSpacing=[1500.0, 1250.0])
    return write(folder, slices)
