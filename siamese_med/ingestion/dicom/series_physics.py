"""Acquisition of a series, as far as its contrast follows from it: timing, sequence, contrast agent, fat.

Classic files say it at the top level, enhanced ones in functional groups (DICOM PS3.3, section C.8.13) and in a
sequence of contrast agents. Of an enhanced file the first frame is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from siamese_med.ingestion import agent_words
from siamese_med.ingestion.dicom import tags
from siamese_med.ingestion.dicom.fast_header import PlainHeader

if TYPE_CHECKING:
    from pydicom import Dataset

    from siamese_med.ingestion.dicom.tags import DicomHeader
    from siamese_med.ingestion.series_contrast import Times

AGENT_KEYWORDS = ("ContrastBolusAgent", "ContrastBolusIngredient")
"""Elements that name a contrast agent (DICOM PS3.3, section C.7.6.4)."""

AGENT_CODES_KEYWORD = "ContrastBolusAgentSequence"
"""The sequence that has codes of the contrast agents."""

SEQUENCE_BY_PULSES = {"SPIN": "SE", "GRADIENT": "GR", "BOTH": "SE GR"}
"""Scanning Sequence by Echo Pulse Sequence of enhanced files."""


@dataclass(frozen=True)
class SeriesPhysics:
    """Timing in ms (repetition, echo, inversion), words of the sequence, contrast agent, options such as `FS`.

    Of PET, the tracer is the agent. Flip angle in degrees, b-value in s/mm2; None where not known.
    """

    times_ms: Times
    sequence: str
    agent: str
    options: tuple[str, ...]
    flip_degrees: float | None = None
    b_value: float | None = None


def read_series_physics(dataset: DicomHeader, modality: str = "MR") -> SeriesPhysics:
    """Read it from the header of a file; what is missing is None or empty."""
    if not isinstance(dataset, PlainHeader) and tags.get_tag_value(dataset, "PerFrameFunctionalGroupsSequence"):
        found = _read_enhanced(dataset)
        return replace(found, agent=read_tracer(dataset)) if modality == "PT" else found
    times = tuple(tags.get_tag_number(dataset, key) for key in ("RepetitionTime", "EchoTime", "InversionTime"))
    words = tags.get_tag_words(dataset, "ScanningSequence") + tags.get_tag_words(dataset, "SequenceVariant")
    options = tags.get_tag_words(dataset, "ScanOptions")
    agent = read_tracer(dataset) if modality == "PT" else _read_classic_agent(dataset)
    more = (tags.get_tag_number(dataset, key) for key in ("FlipAngle", "DiffusionBValue"))
    return SeriesPhysics((times[0], times[1], times[2]), " ".join(words), agent, options, *more)


def read_tracer(dataset: DicomHeader) -> str:
    """Return the texts that name the tracer of a PET, by its name and its code; empty without one."""
    key = "RadiopharmaceuticalInformationSequence"
    if isinstance(dataset, PlainHeader):
        return " ".join(
            text for wanted in ("Radiopharmaceutical", "CodeMeaning") for text in dataset.get_item_texts(key, wanted)
        )
    items = tags.list_items(dataset, key)
    coded = (code for item in items for code in tags.list_items(item, "RadiopharmaceuticalCodeSequence"))
    return " ".join(
        [
            *(tags.get_tag_text(item, "Radiopharmaceutical") for item in items),
            *(tags.get_tag_text(code, "CodeMeaning") for code in coded),
        ]
    )


def _read_agent(dataset: DicomHeader) -> str:
    """Return what names the contrast agent; a volume or dose that was given stands for one without a name."""
    for key in AGENT_KEYWORDS:
        text = tags.get_tag_text(dataset, key)
        if agent_words.names_agent(text):
            return text
    given = any(
        (tags.get_tag_number(dataset, key) or 0) > 0 for key in ("ContrastBolusVolume", "ContrastBolusTotalDose")
    )
    return "agent" if given or _has_start_of_bolus(dataset) else ""


def _read_classic_agent(dataset: DicomHeader) -> str:
    return _read_agent(dataset) or ("agent" if _has_agent_code(dataset) else "")


def _has_agent_code(dataset: DicomHeader) -> bool:
    """Tell whether a classic file codes an agent; of plain headers the code is not read, and no code says `none`."""
    if isinstance(dataset, PlainHeader):
        return dataset.has_items(AGENT_CODES_KEYWORD)
    return bool(tags.list_items(dataset, AGENT_CODES_KEYWORD))


def _has_start_of_bolus(dataset: DicomHeader) -> bool:
    return bool(tags.get_tag_text(dataset, "ContrastBolusStartTime").strip("0.:"))


def _read_enhanced(dataset: Dataset) -> SeriesPhysics:
    frame = tags.get_first_item(dataset, "PerFrameFunctionalGroupsSequence")
    shared = tags.get_first_item(dataset, "SharedFunctionalGroupsSequence")

    def group(name: str) -> Dataset | None:
        return tags.get_first_item(frame, name) or tags.get_first_item(shared, name)

    timing, modifier = group("MRTimingAndRelatedParametersSequence"), group("MRModifierSequence")
    times = (
        tags.get_tag_number(timing, "RepetitionTime"),
        tags.get_tag_number(group("MREchoSequence"), "EffectiveEchoTime"),
        get_inversion_ms(modifier),
    )
    words = [SEQUENCE_BY_PULSES.get(tags.get_tag_text(dataset, "EchoPulseSequence").upper(), "")]
    words += ["EP"] if _says_yes(dataset, "EchoPlanarPulseSequence") else []
    words += ["IR"] if _says_yes(modifier, "InversionRecovery") else []
    words += ["MTC"] if tags.get_tag_text(dataset, "MagnetizationTransfer").upper() in ("ON", "YES") else []
    suppressed = tags.get_tag_text(dataset, "SpectrallySelectedSuppression").upper()
    agent = _read_enhanced_agent(dataset, group("ContrastBolusUsageSequence"))
    more = (
        tags.get_tag_number(timing, "FlipAngle"),
        tags.get_tag_number(group("MRDiffusionSequence"), "DiffusionBValue"),
    )
    return SeriesPhysics(times, " ".join(words), agent, ("FS",) if "FAT" in suppressed else (), *more)


def get_inversion_ms(modifier: Dataset | None) -> float | None:
    """Return the first of the Inversion Times of an item of the MR Modifier Sequence, in ms; None without one."""
    found = tags.get_tag_value(modifier, "InversionTimes")
    try:
        values = [float(one) for one in (found if hasattr(found, "__iter__") else [found])]
    except (TypeError, ValueError):
        return None
    return values[0] if values else None


def _says_yes(dataset: DicomHeader | None, key: str) -> bool:
    return tags.get_tag_text(dataset, key).upper() == "YES"


def _read_enhanced_agent(dataset: Dataset, usage: Dataset | None) -> str:
    """Return the agent of an enhanced file, unless its frames say that it was not administered yet."""
    agents = tags.list_items(dataset, "ContrastBolusAgentSequence")
    if not agents or tags.get_tag_text(usage, "ContrastBolusAgentAdministered").upper() == "NO":
        return _read_agent(dataset)
    named = " ".join(tags.get_tag_text(one, "CodeMeaning") for one in agents)
    return named if agent_words.names_agent(named) else "" if named.strip() else "agent"
