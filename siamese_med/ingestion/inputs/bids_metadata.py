"""Metadata beside the images of a BIDS dataset: scanner, protocol, contrast and modality in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from siamese_med.ingestion import agent_words, contrast, machine_errors, series_contrast
from siamese_med.ingestion.contrast_finding import NO_CONTRAST, ContrastFinding
from siamese_med.ingestion.dicom import tags
from siamese_med.ingestion.dicom.person_traits import PersonTraits, add_name, list_person_traits
from siamese_med.ingestion.inputs import open_files, time_limits
from siamese_med.ingestion.inputs.bids_labels import normalise_unicode
from siamese_med.ingestion.protocol_parts import list_protocol_parts
from siamese_med.ingestion.reasons import SCAN_FLAGS, RejectedError
from siamese_med.study.vocabulary import DERIVED_FLAGS, MASK_FLAGS, UNKNOWN, ContrastSource, ScanFlag

DATASET_DESCRIPTION_FILE = "dataset_description.json"
SIDECAR_ENDINGS = (".json", ".tsv", ".tsv.gz", ".bval", ".bvec", ".txt", ".md", ".bidsignore")
"""Endings of text files that belong to images; such a file is no broken image."""

ROOT_TEXT_FILES = ("README", "CHANGES", "LICENSE")
"""Text files without an ending that BIDS allows in the top folder of a dataset."""

NIFTI_ENDINGS = (".nii", ".nii.gz", ".img", ".img.gz", ".hdr", ".hdr.gz")
"""Endings of NIfTI and Analyze files, in lower case."""

STEM_ENDINGS = (".gz", ".nii", ".img", ".hdr", ".json", ".tsv", ".csv", ".bval", ".bvec", ".dcm")
"""Endings that are removed from a name, one after the other, to compare an image with its side-cars."""

SCANNER_KEYS = ("Manufacturer", "ManufacturersModelName", "DeviceSerialNumber")
"""BIDS metadata fields that identify a scanner."""

DESCRIPTION_KEYS = ("SeriesDescription", "ProtocolName")
"""BIDS metadata fields whose free text is searched for the contrast."""

AGENT_KEYS = ("ContrastBolusAgent", "ContrastBolusIngredient")
"""Fields that name a contrast agent: the first as dcm2niix writes it, the second as BIDS defines it."""

TRACER_KEYS = ("TracerName", "Radiopharmaceutical")
"""Fields that name the tracer of a PET: of BIDS, and as dcm2niix writes it."""

TIME_KEYS = ("RepetitionTime", "EchoTime", "InversionTime")
"""Fields with the timing, in seconds."""

PHASE_WORDS = {"P", "PHASE", "REAL", "IMAGINARY", "R", "I"}
"""Words of Image Type, from the third on, of images that are no magnitude."""

MAX_TIME_S = 1e6
"""Repetition, echo and inversion times are shorter than this, in seconds; anything longer is ignored."""

MAX_FLIP_DEGREES = 360.0
"""Largest flip angle that is believed, in degrees."""

MAX_TEXT_BYTES = 16 * 2**20
"""Largest text file that is read, in bytes; a larger one counts as empty."""

TEMPLATE_WORDS = frozenset(
    {
        "a", "an", "and", "bids", "convert", "converted", "converter", "data", "dataset", "datasets", "default",
        "example", "fixme", "here", "in", "insert", "mri", "my", "n", "na", "name", "new", "nifti", "no", "none",
        "null", "of", "or", "project", "raw", "replace", "required", "sample", "set", "study", "tbd", "temp",
        "template", "test", "the", "this", "title", "tmp", "to", "todo", "unknown", "unnamed", "untitled", "with",
        "xxx", "your",
    }
)  # fmt: skip
"""Words of names that name no dataset: converters write them for users to replace."""

MAX_DATASET_NAME_CHARS = 200
"""Characters of a dataset's Name that are compared."""


@dataclass(frozen=True)
class Sidecar:
    """Values that are used of the JSON beside an image. Every field may be empty."""

    modality: str = ""
    scanner: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    date: date | None = None
    flags: tuple[str, ...] = ()
    contrast: ContrastFinding = NO_CONTRAST
    agent: bool = False  # whether a contrast agent is named
    times_ms: series_contrast.Times = (None, None, None)
    sequence: str = ""  # Scanning Sequence and Sequence Variant
    fat_suppressed: bool = False
    phase: bool = False
    person: PersonTraits = ()


def get_image_stem(path: Path) -> str:
    """Return a file's name without the endings of images and their side-cars.

    Examples
    --------
    >>> get_image_stem(Path("sub-01/anat/sub-01_T1w.nii.gz"))
    'sub-01_T1w'
    """
    name = path.name
    for ending in STEM_ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return name or path.name  # of a file that is called .nii


def is_sidecar(path: Path, name: str, described: bool, at_root: bool) -> bool:
    """Tell whether a file is a text that describes images.

    Parameters
    ----------
    path, name
        The file and its name.
    described
        Whether the file lies in a dataset with a dataset_description.json.
    at_root
        Whether it lies in the top folder of that dataset.
    """
    if name.lower().endswith(SIDECAR_ENDINGS) and (described or _beside_an_image(path)):
        return True
    return described and at_root and name in ROOT_TEXT_FILES


def _beside_an_image(path: Path) -> bool:
    return any(path.with_name(get_image_stem(path) + ending).is_file() for ending in (".nii", ".nii.gz"))


def read_dataset_name(root: Path) -> str:
    """Read the Name from a dataset's dataset_description.json.

    Returns
    -------
    str
        The name in Unicode form C with single spaces, at most `MAX_DATASET_NAME_CHARS` long. It is empty where there is
        no name or one that a program left to be filled in, and also where the file cannot be read now; in that case the
        dataset's images wait for the next run.
    """
    try:
        name = time_limits.call_with_time_limit(_json, root / DATASET_DESCRIPTION_FILE).get("Name")
    except OSError:
        return ""
    words = normalise_unicode(_text(" ".join(name.split())))[:MAX_DATASET_NAME_CHARS] if isinstance(name, str) else ""
    unfilled = set(re.findall(r"\w+", words.casefold())) <= TEMPLATE_WORDS
    return "" if unfilled and len(words) > 1 else words


def _text(value: object) -> str:
    """Return a value as text; JSON can contain half of a surrogate pair, which no encoding can."""
    return str(value).encode("utf-8", "replace").decode()


def read_sidecar(path: Path, stem: str) -> Sidecar:
    """Read the JSON file of the same name as an image.

    Timing fields are in seconds, as BIDS defines them. Fields that an earlier ingest of this program wrote (`Scanner`,
    `Protocol`, `Flags`, `Contrast`) are understood too. A missing file, or one that is no JSON object, gives an empty
    `Sidecar`.

    Raises
    ------
    OSError
        The file exists and the machine cannot read it now.
    """
    content = _json(path.with_name(f"{stem}.json"))
    scanner = tuple(_text(content.get(key, "")) for key in SCANNER_KEYS)
    acquired = str(content.get("AcquisitionDate") or content.get("AcquisitionDateTime") or "")
    modality = {"MR": "MR", "CT": "CT", "PT": "PT"}.get(str(content.get("Modality", "")).upper(), "")
    modality = modality or ("PT" if _words(content, "TracerName") else "")
    told = _contrast(content, modality or "MR")
    return Sidecar(
        modality,
        scanner if any(scanner) else _read_own_pseudonym(content, "Scanner"),
        _protocol(content, told.contrast) or _read_own_pseudonym(content, "Protocol"),
        tags.parse_scan_date(acquired),
        _flags(content),
        told,
        any(agent_words.names_agent(_words(content, key)) for key in AGENT_KEYS),
        _times_ms(content),
        _sequence(content),
        _suppresses_fat(content),
        bool(PHASE_WORDS & set(_words(content, "ImageType").upper().split()[2:])),
        _read_person(content, tags.parse_scan_date(acquired)),
    )


def _contrast(content: Mapping[str, object], modality: str) -> ContrastFinding:
    """Find the contrast: as an earlier ingest wrote it, or from descriptions, timing and agent."""
    own, sure = content.get("Contrast"), content.get("ContrastConfidence")
    if own in contrast.CONTRASTS and own != UNKNOWN:
        if isinstance(sure, (int, float)) and 0 <= sure <= 1:
            return ContrastFinding(str(own), ContrastSource.IMAGE, float(sure))
        return _by_header(str(own))
    description, protocol = (_words(content, key) for key in DESCRIPTION_KEYS)
    agent = next((agent for key in AGENT_KEYS if agent_words.names_agent(agent := _words(content, key))), "")
    if modality == "PT":
        agent = " ".join(_words(content, key) for key in TRACER_KEYS)
    image_type = tuple(_words(content, "ImageType").upper().split())
    return _by_header(
        series_contrast.classify_series_contrast(
            modality, description, _times_ms(content), _sequence(content), agent, protocol, image_type
        )
    )


def _by_header(word: str) -> ContrastFinding:
    return ContrastFinding(word, ContrastSource.HEADER) if word != UNKNOWN else NO_CONTRAST


def _read_person(content: Mapping[str, object], day: date | None) -> PersonTraits:
    """Read what dcm2niix writes of the person where it is told to; it is compared, and never kept."""
    sex, born, age = (_words(content, key) for key in ("PatientSex", "PatientBirthDate", "PatientAge"))
    height = content.get("PatientSize")
    traits = list_person_traits(sex, born, age, float(height) if isinstance(height, (int, float)) else None, day)
    return add_name(traits, _words(content, "PatientName"))


def _sequence(content: Mapping[str, object]) -> str:
    return " ".join(_words(content, key) for key in ("ScanningSequence", "SequenceVariant"))


def _suppresses_fat(content: Mapping[str, object]) -> bool:
    """Tell whether fat is suppressed, if the image is one of a weighting at all."""
    options, image_type = (re.split(r"[\s_\\]+", _words(content, key).upper()) for key in ("ScanOptions", "ImageType"))
    return series_contrast.suppresses_fat("T1w", _words(content, "SeriesDescription"), options, image_type)


def _words(content: Mapping[str, object], key: str) -> str:
    """Return a text, or a list of texts, as one text; empty where the field is missing or holds something else."""
    value = content.get(key)
    parts = value if isinstance(value, list) else [value]
    return " ".join(_text(part) for part in parts if isinstance(part, str))[: tags.MAX_TAG_TEXT_CHARS]


def _times_s(content: Mapping[str, object]) -> list[float | None]:
    times = (content.get(key) for key in TIME_KEYS)
    return [time if isinstance(time, (int, float)) and 0 <= time < MAX_TIME_S else None for time in times]


def _times_ms(content: Mapping[str, object]) -> series_contrast.Times:
    first, second, third = (None if time is None else 1000 * time for time in _times_s(content))
    return first, second, third


def _read_own_pseudonym(content: Mapping[str, object], key: str) -> tuple[str, ...]:
    """Read a pseudonym that an earlier ingest wrote beside its own scan, which is ingested again."""
    label = content.get(key)
    return (label,) if isinstance(label, str) and label.startswith(f"{key.lower()}-") else ()


def _flags(content: Mapping[str, object]) -> tuple[str, ...]:
    """Read the flags of an earlier ingest, without those about date, mask and patient, which are determined again."""
    said = content.get("Flags")
    anew = (ScanFlag.DATE_UNKNOWN, *MASK_FLAGS, *DERIVED_FLAGS)
    return tuple(word for word in SCAN_FLAGS if word not in anew and isinstance(said, list) and word in said)


def _protocol(content: Mapping[str, object], word: str) -> tuple[str, ...]:
    """Round timing to milliseconds, as for DICOM; BIDS writes seconds."""
    known = tuple("" if time is None else str(round(1000 * time)) for time in _times_s(content))
    flip = content.get("FlipAngle")
    degrees = float(flip) if isinstance(flip, (int, float)) and 0 <= flip <= MAX_FLIP_DEGREES else None
    parts = list_protocol_parts(word, _words(content, "SeriesDescription"), _times_ms(content)[0], degrees, None)
    return (*known, *parts) if any(known) else parts


def _json(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(read_small_text(path, "utf-8"))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_small_text(path: Path, encoding: str) -> str:
    """Read a text file; a missing one is empty. Raises OSError where the machine cannot read it now."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            return ""
        return open_files.read_regular_file(path).decode(encoding)
    except RejectedError:  # a folder, a pipe or a device
        return ""
    except OSError as error:
        if machine_errors.find_machine_error_reason(error) in ("", "file_vanished"):
            return ""
        raise
