"""The items of a reporting guideline, and which facts of siamese-med belong to each."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_med.study.vocabulary import Word


class ChecklistTopic(Word):
    """A group of facts that siamese-med can state; several items may ask for the same group."""

    TECHNOLOGY = "technology"
    PURPOSE = "purpose"
    SCANS = "scans"
    FILES = "files"
    PREPROCESSING = "preprocessing"
    PRIVACY = "privacy"
    MISSING_DATA = "missing_data"
    ACQUISITION = "acquisition"
    REFERENCE_STANDARD = "reference_standard"
    PARTITIONS = "partitions"
    DISJOINTNESS = "disjointness"
    SAMPLE_SIZE = "sample_size"
    ARCHITECTURE = "architecture"
    SOFTWARE = "software"
    INITIALISATION = "initialisation"
    TRAINING = "training"
    SELECTION = "selection"
    COMBINATION = "combination"
    MEASURES = "measures"
    UNCERTAINTY = "uncertainty"
    ROBUSTNESS = "robustness"
    MAPS = "maps"
    INTERNAL_TEST = "internal_test"
    EXTERNAL_TEST = "external_test"
    FLOW = "flow"
    PERFORMANCE = "performance"
    ESTIMATES = "estimates"
    ERRORS = "errors"
    LIMITS = "limits"
    AVAILABILITY = "availability"
    OUTPUT = "output"
    BALANCE = "balance"


@dataclass(frozen=True)
class ChecklistItem:
    """One item of a guideline.

    Parameters
    ----------
    number
        As in the guideline, such as `7` or `12a`.
    section
        Heading under which it stands.
    asks
        What it asks for, in short and in our words.
    topics
        Facts of siamese-med that belong to it.
    remains
        What only the authors can write; empty where the facts may be all of it.
    """

    number: str
    section: str
    asks: str
    topics: tuple[ChecklistTopic, ...] = ()
    remains: str = ""


@dataclass(frozen=True)
class ReportingGuideline:
    """A published guideline: its name, where it is published, and its items in order."""

    name: str
    source: str
    items: tuple[ChecklistItem, ...]
