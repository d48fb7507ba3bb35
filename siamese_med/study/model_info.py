"""Record of a trained model in model.json, as one typed object that is checked when it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from siamese_med.errors import MissingFileError, ModelError
from siamese_med.runtime import untrusted_input
from siamese_med.study.config import SECTIONS, TrainConfig
from siamese_med.study.plugin_names import PluginKind, PluginRecord
from siamese_med.study.recorded_part import (
    MAX_NAMED_VALUES,
    Count,
    FiniteFloat,
    NonNegativeFloat,
    PositiveFloat,
    RecordedPart,
    Sha256,
    Text,
    UnitFloat,
    describe_first_flaw,
)
from siamese_med.study.thresholds import MIN_REGION_SHARE

MODEL_FORMAT = 6
"""The `format` in model.json that this version writes and reads.

5: pairs are registered directly and compared inside the brain, so noise floors of format 4 say nothing of a pair."""
MODEL_FILE = "model.json"
NEEDED_KEYS = (
    *("id", "config", "shape", "box", "weights_sha256", "calibration", "threshold", "evidence"),
    *("change", "change_reference", "growth_reference"),
)
"""Keys of model.json without which no scan can be scored."""
REPEATED_KEYS = ("threshold", "false_match_rate")
"""Keys of model.json that repeat a value of its `calibration`, for people and programs that read the file."""

MAX_GRID_VOXELS = 4096
"""Voxels of the template along one axis."""
MAX_STRATA = 1000
MAX_PLUGINS = 20
MAX_STRATUM_PAIRS = 100_000
MAX_TAIL_LEVELS = 1000
MAX_SCANS = 10_000_000
MAX_SCAN_KINDS = 10_000
"""Modalities or contrasts that a model was trained on."""
MAX_LOSS_CHECKS = 100_000

GridSize = Annotated[int, Field(strict=True, ge=1, le=MAX_GRID_VOXELS)]
GridEdge = Annotated[int, Field(strict=True, ge=0, le=MAX_GRID_VOXELS)]
StratumValues = Annotated[tuple[FiniteFloat, ...], Field(max_length=MAX_STRATUM_PAIRS)]
ScanDigests = Annotated[tuple[Sha256, ...], Field(max_length=MAX_SCANS)]
ScanKinds = Annotated[tuple[Text, ...], Field(max_length=MAX_SCAN_KINDS)]


class SimilarityCurve(RecordedPart):
    """The logistic curve from embedding distance to similarity, and the similarity from which two scans match."""

    slope: FiniteFloat
    intercept: FiniteFloat
    threshold: UnitFloat
    false_match_rate: UnitFloat


class RecordedEvidence(RecordedPart):
    """The logistic curve from distance to the log odds that a scan is a patient's.

    `alarm`: log10 of a likelihood ratio.
    """

    slope: FiniteFloat
    intercept: FiniteFloat
    alarm: FiniteFloat


class RecordedRegion(RecordedPart):
    """The region that the identity network looks at, and the body that half of the training scans show, both in ml."""

    ml: NonNegativeFloat
    body_ml: NonNegativeFloat

    @property
    def is_small(self) -> bool:
        """Whether the region is less than MIN_REGION_SHARE of the body."""
        return self.ml < MIN_REGION_SHARE * self.body_ml


class LossCheck(RecordedPart):
    """One line of the change head's training log: mean losses since the line before."""

    step: Count
    train_loss: FiniteFloat
    validation_loss: FiniteFloat


class DetectorChoice(RecordedPart):
    """Change detector that gives the verdicts, and the AUC of each one on `planted` pairs with a simulated change."""

    detector: Text
    planted: Count | None = None
    auc: dict[Text, UnitFloat] = Field(default_factory=dict, max_length=MAX_NAMED_VALUES)
    practised: Annotated[tuple[LossCheck, ...], Field(max_length=MAX_LOSS_CHECKS)] = ()


class RecordedStratum(RecordedPart):
    """Pairs without change of one contrast, on the same or on different scanners.

    figures, levels: natural logarithms, one a pair; tail: mean share of voxels over each level of the change map;
    noise_max: noise of the noisiest pair; beyond: extra standard deviation of the log figures. `n`, `slope`, `sd` and
    `z` follow from these and are recorded for readers.
    """

    contrast: Text
    scanner: Text
    source: Text
    figures: Annotated[StratumValues, Field(min_length=1)]
    levels: StratumValues
    tail: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=MAX_TAIL_LEVELS)]
    noise_max: FiniteFloat
    beyond: NonNegativeFloat
    n: Count | None = None
    slope: FiniteFloat | None = None
    sd: FiniteFloat | None = None
    z: StratumValues = ()

    @model_validator(mode="after")
    def require_a_level_for_every_figure(self) -> RecordedStratum:
        """Check that every figure has a level, since figures are judged against levels, pair by pair."""
        if len(self.figures) != len(self.levels):
            raise ValueError("there must be as many levels as figures")
        return self


class RecordedNoiseFloor(RecordedPart):
    """All pairs without change that a model is read against, by stratum."""

    strata: Annotated[tuple[RecordedStratum, ...], Field(max_length=MAX_STRATA)]


class RecordedSection(RecordedPart):
    """A section of the configuration as it was recorded, also keys that this version does not know."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    seed: Annotated[int, Field(strict=True)] | None = None


class RecordedScoreSection(RecordedSection):
    """Used part of the `score` section: voxel edge and smoothing (mm) for measuring change, and the significance."""

    spacing_mm: PositiveFloat | None = None
    smoothing_mm: PositiveFloat | None = None
    significance: UnitFloat | None = None


class RecordedConfig(RecordedPart):
    """The configuration that a model was trained with, as it was recorded."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, RecordedSection]

    pair: RecordedSection = RecordedSection()
    train: RecordedSection = RecordedSection()
    score: RecordedScoreSection = RecordedScoreSection()

    def list_settings(self) -> dict[str, dict[str, JsonValue]]:
        """Return section, key and value of everything recorded, in alphabetical order."""
        sections = {name: getattr(self, name) for name in ("pair", "train", "score")} | (self.__pydantic_extra__ or {})
        return {
            name: dict(sorted(section.to_json_object().items()))
            for name, section in sorted(sections.items())
            if section.model_fields_set
        }

    def compute_digest(self) -> str:
        """Return the SHA-256 (hex) of the settings under the first name that each had: a new name changes nothing."""
        settings = {
            name: SECTIONS[name].with_first_names(values) if name in SECTIONS else values
            for name, values in self.to_json_object().items()
            if isinstance(values, dict)
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def parse_train_config(self) -> TrainConfig:
        """Return the `train` section, which says how the network is built; raises ValueError for an unknown key.

        Left out is what a trained network does not need: on how many hosts it was trained, and the transform that its
        training drew from.
        """
        recorded = self.train.to_json_object() | {"hosts": 1}
        return TrainConfig.model_validate({key: recorded[key] for key in recorded if not key.startswith("transform")})


class ModelInfo(RecordedPart):
    """Contents of model.json: identity, provenance, geometry, calibration and noise floors of a trained model.

    shape: voxels (i, j, k) of the template grid; box: first and one past the last voxel that the network sees, by axis;
    learned_from: SHA-256 of the training and validation patients' scans, trained_on: of the training patients' alone
    (None in models that did not record it); region: what of that box it looks at (None where that is everything, and in
    models that did not record it); weights_sha256, template_sha256: of the files beside model.json; head_template:
    the template is that of heads, which the package makes on a grid of `brain.head_template.HEAD_GRID_MM`, and no file;
    plugins: those that it was made with.

    The values of REPEATED_KEYS stand in the file twice. The object holds them once, in `calibration`.
    """

    id: Text
    format: Count = MODEL_FORMAT
    recipe: Text | None = None
    created_by: dict[Text, Text] = Field(default_factory=dict, max_length=MAX_NAMED_VALUES)
    config: RecordedConfig
    modalities: ScanKinds = ()
    contrasts: ScanKinds = ()
    learned_from: ScanDigests = ()
    trained_on: ScanDigests | None = None
    shape: tuple[GridSize, GridSize, GridSize]
    box: tuple[tuple[GridEdge, GridEdge], ...] = Field(min_length=3, max_length=3)
    region: RecordedRegion | None = None
    parameters: Count | None = None
    head_template: bool = False
    template_sha256: Sha256 | None = None
    weights_sha256: Sha256
    calibration: SimilarityCurve
    evidence: RecordedEvidence
    change: DetectorChoice
    change_reference: RecordedNoiseFloor
    growth_reference: RecordedNoiseFloor
    plugins: Annotated[tuple[PluginRecord, ...], Field(max_length=MAX_PLUGINS)] = ()

    @field_validator("id")
    @classmethod
    def require_name(cls, identity: str) -> str:
        """Check that the id is a name, since it becomes part of paths."""
        if not untrusted_input.is_safe_name(identity):
            raise ValueError("it is a path, hidden, or no name at all")
        return identity

    @model_validator(mode="before")
    @classmethod
    def require_equal_repetitions(cls, recorded: Any) -> Any:
        """Check that values which stand twice are equal; otherwise pages and scores would use different ones."""
        curve = recorded.get("calibration") if isinstance(recorded, dict) else None
        if isinstance(curve, dict):
            for name in REPEATED_KEYS:
                if name in recorded and recorded[name] != curve.get(name):
                    raise ValueError(f"'{name}' is another than in 'calibration'")
        return recorded

    @model_validator(mode="after")
    def require_box_in_grid(self) -> ModelInfo:
        """Check that the network's box lies within the template's grid."""
        if any(not start < stop <= size for (start, stop), size in zip(self.box, self.shape, strict=True)):
            raise ValueError("the box must lie inside the shape")
        return self

    @model_serializer(mode="wrap")
    def add_repetitions(self, dump: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Write the values of REPEATED_KEYS a second time, beside the calibration."""
        return {**dump(self), **{name: getattr(self.calibration, name) for name in REPEATED_KEYS}}

    def compute_instrument_digest(self) -> str:
        """Return the SHA-256 (hex) of what the model brings to the change score: weights, detector, noise floors."""
        measuring = (self.change, self.change_reference, self.growth_reference)
        parts = [self.weights_sha256, *(part.to_json_object() for part in measuring)]
        parts += [one.model_dump(mode="json") for one in self.plugins if one.kind is PluginKind.DETECTOR]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_model_info(folder: Path) -> ModelInfo:
    """Read and check the model.json of a model folder.

    Parameters
    ----------
    folder : Path
        A folder that training wrote, here or elsewhere.

    Returns
    -------
    ModelInfo
        Complete: scans can be scored by it, if weights and template are those that it names.

    Raises
    ------
    MissingFileError
        There is no such folder.
    ModelError
        The file is missing, is not JSON, is of another format, or holds what no model has. The message is one line.
    """
    if not folder.is_dir():
        raise MissingFileError(f"no model folder at {folder}: check --model, or train one with `siamese-med train`")
    try:
        recorded = untrusted_input.read_untrusted_json(folder / MODEL_FILE)
    except untrusted_input.NotFiniteError as error:
        raise ModelError(f"the model.json in {folder} has NaN or an infinite number: copy the folder again") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder} is not a model folder (no readable model.json): name one under data/models"
        ) from error
    found = recorded.get("format") if isinstance(recorded, dict) else None
    if found != MODEL_FORMAT:
        raise ModelError(f"{folder} has model format {found}, this version reads {MODEL_FORMAT}: train it again")
    if not untrusted_input.is_safe_name(recorded.get("id")):
        raise ModelError(f"the id in the model.json of {folder} is no name, or a path: copy the folder again")
    if missing := [key for key in NEEDED_KEYS if key not in recorded]:
        raise ModelError(f"the model.json in {folder} lacks {', '.join(missing)}: copy the folder again")
    try:
        return ModelInfo.model_validate(recorded)
    except ValidationError as error:
        raise ModelError(
            f"the model.json in {folder} cannot be used ({describe_first_flaw(error)}): copy the folder again"
        ) from error
