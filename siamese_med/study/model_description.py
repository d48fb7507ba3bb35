"""What a model says of itself in model.json, checked before anything is computed from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from siamese_med.runtime import untrusted_input

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
Positive = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Count = Annotated[int, Field(strict=True, ge=1)]
Edge = Annotated[int, Field(strict=True, ge=0)]


class DescriptionPart(BaseModel):
    """A part of the description; what else is in it is for readers."""

    model_config = ConfigDict(extra="ignore")


class StoredCalibration(DescriptionPart):
    """From distance to similarity, and what counts as a match."""

    slope: Number
    intercept: Number
    threshold: Share
    false_match_rate: Share


class StoredEvidenceCurve(DescriptionPart):
    """From distance to the evidence that a scan is a patient's."""

    slope: Number
    intercept: Number
    alarm: Number


class StoredDetector(DescriptionPart):
    """Which detector gives the verdicts."""

    detector: str


class StoredStratum(DescriptionPart):
    """Pairs without change that are alike."""

    contrast: str
    scanner: str
    source: str
    figures: list[Number] = Field(min_length=1)
    levels: list[Number]
    tail: list[Number] = Field(min_length=1)
    noise_max: Number
    beyond: Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]

    @model_validator(mode="after")
    def has_a_level_for_every_figure(self) -> StoredStratum:
        """Figures are read against levels, pair by pair."""
        if len(self.figures) != len(self.levels):
            raise ValueError("there must be as many levels as figures")
        return self


class StoredNoiseFloor(DescriptionPart):
    """All pairs without change."""

    strata: list[StoredStratum]


class ModelDescription(DescriptionPart):
    """What scans are scored by."""

    id: str
    shape: tuple[Count, Count, Count]
    box: tuple[tuple[Edge, Edge], tuple[Edge, Edge], tuple[Edge, Edge]]
    weights_sha256: str
    calibration: StoredCalibration
    threshold: Share
    evidence: StoredEvidenceCurve
    change: StoredDetector
    change_reference: StoredNoiseFloor
    growth_reference: StoredNoiseFloor
    learned_from: list[str] = []
    trained_on: list[str] = []
    modalities: list[str] = []
    contrasts: list[str] = []


def find_description_flaw(about: Mapping[str, Any]) -> str | None:
    """What is wrong with a description, by the place in it; None where scans can be scored by it."""
    if not untrusted_input.is_safe_name(about["id"]):
        return "'id' is a path, hidden, or no name at all"
    try:
        ModelDescription.model_validate(about)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        return f"'{where}' {first['msg'][0].lower()}{first['msg'][1:]}"
    return None


def digest_description(about: Mapping[str, Any]) -> str:
    """SHA-256 of a description, which names those of weights and template: tells models apart that go by one id."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
