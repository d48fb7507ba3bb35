"""Performance of a trained model in metrics.json: figures on patients that it has not learned from.

A figure that was not recorded is None, or empty. What is recorded is checked when the file is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from siamese_med.errors import ModelError
from siamese_med.runtime import untrusted_input
from siamese_med.study.recorded_part import (
    MAX_NAMED_VALUES,
    Count,
    FiniteFloat,
    NonNegativeFloat,
    RecordedPart,
    Text,
    UnitFloat,
    describe_first_flaw,
)

METRICS_FILE = "metrics.json"
MAX_BINS = 1000
"""Bins of the calibration curve."""
MAX_GROUPS = 10_000
"""Groups of test pairs by one property, such as the two contrasts."""


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Estimate:
    """A figure with the ends of its 95 % interval; None where the data did not suffice for one."""

    value: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None


def _without_interval(recorded: Any) -> Any:
    """Files of other versions may give the figure alone, as a number or as null."""
    return {"value": recorded} if recorded is None or isinstance(recorded, int | float) else recorded


RecordedEstimate = Annotated[Estimate, BeforeValidator(_without_interval)]
EstimatesByName = Annotated[dict[Text, RecordedEstimate], Field(max_length=MAX_NAMED_VALUES)]


class SplitCounts(RecordedPart):
    """A number for each side of the split of the patients."""

    train: Count | None = None
    validation: Count | None = None
    test: Count | None = None


class MeasuredCounts(RecordedPart):
    """On how many test patients and scans of theirs the figures rest."""

    patients: Count | None = None
    scans: Count | None = None


class TestPairCounts(RecordedPart):
    """Test pairs of one patient, and of two different ones."""

    same: Count | None = None
    different: Count | None = None


class MethodFigures(RecordedPart):
    """Performance of one method in telling patients apart.

    auc: area under the ROC curve. eer: equal error rate. tar_at_far_1pct, tar_at_far_01pct: true-accept rate at a
    false-accept rate of 1 % and 0.1 %. rank1: share of scans whose nearest other scan is of the same patient.
    """

    auc: RecordedEstimate = Estimate()
    eer: RecordedEstimate = Estimate()
    tar_at_far_1pct: RecordedEstimate = Estimate()
    tar_at_far_01pct: RecordedEstimate = Estimate()
    rank1: RecordedEstimate = Estimate()


class CalibrationBin(RecordedPart):
    """Pairs of similar similarity: its mean, the share of them that are of one patient, and their number."""

    predicted: FiniteFloat
    observed: FiniteFloat
    n: Count = 0


class CalibrationFigures(RecordedPart):
    """Whether the similarity is a probability that is right; ece: expected calibration error."""

    ece: RecordedEstimate = Estimate()
    bins: tuple[CalibrationBin, ...] = Field((), max_length=MAX_BINS)


class GroupSimilarity(RecordedPart):
    """Similarity of the test pairs of one group and kind: median, 5th and 95th percentile, share over the threshold."""

    group: Text = "unknown"
    kind: Literal["same", "different"]
    pairs: Count | None = None
    median: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    accepted: UnitFloat | None = None


Groups = Annotated[tuple[GroupSimilarity, ...], Field(max_length=MAX_GROUPS)]


class SimilarityStrata(RecordedPart):
    """Similarity by what may move it although the patient stays the same."""

    interval: Groups = ()
    scanner: Groups = ()
    contrast: Groups = ()


class ConfoundFigures(RecordedPart):
    """AUC of classifiers that see one shortcut alone, such as the header, on `patients` test patients.

    auc: on what the network is shown; in_scans: on the aligned scans; failed: shortcuts whose `auc` is over `limit`.
    """

    limit: UnitFloat | None = None
    patients: Count | None = None
    auc: EstimatesByName = Field(default_factory=dict)
    in_scans: EstimatesByName = Field(default_factory=dict)
    failed: tuple[Text, ...] = Field((), max_length=MAX_NAMED_VALUES)


class TrainingSummary(RecordedPart):
    """Duration of the identity training, and whether it stopped because it no longer got better.

    marked_pairs: pairs with marked changes that the change head learned from; None without any.
    """

    epochs: Count | None = None
    best_epoch: Count | None = None
    seconds: NonNegativeFloat | None = None
    pairs_per_second: NonNegativeFloat | None = None
    stopped_early: bool = False
    marked_pairs: Count | None = None


class LabelAgreement(RecordedPart):
    """Performance of the change score in telling visits that a study calls changed from those called unchanged."""

    auc: RecordedEstimate = Estimate()
    changed: Count | None = None
    unchanged: Count | None = None
    patients: Count | None = None


class IdentityFigures(RecordedPart):
    """Performance by method (network and baselines) in telling test patients apart; reliability of the similarity."""

    test: dict[Text, MethodFigures] = Field(default_factory=dict, max_length=MAX_NAMED_VALUES)
    best: Text | None = None
    calibration: CalibrationFigures = CalibrationFigures()
    false_match_rate_test: RecordedEstimate = Estimate()
    strata: SimilarityStrata = SimilarityStrata()
    measured: MeasuredCounts = MeasuredCounts()
    pairs_test: TestPairCounts = TestPairCounts()


class ModelMetrics(IdentityFigures):
    """All of metrics.json; `seed` is that of the bootstrap over patients."""

    patients: SplitCounts = SplitCounts()
    scans: SplitCounts = SplitCounts()
    audit: ConfoundFigures | None = None
    seed: int | None = Field(None, strict=True)
    training: TrainingSummary = TrainingSummary()
    change_labels: LabelAgreement | None = None


def read_model_metrics(folder: Path) -> ModelMetrics:
    """Read and check the metrics.json of a model folder.

    Parameters
    ----------
    folder : Path
        A model folder; the file may be absent.

    Returns
    -------
    ModelMetrics
        Without any figure where there is no file.

    Raises
    ------
    ModelError
        The file cannot be read, or holds what no metrics are. The message is one line.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return ModelMetrics()
    try:
        return ModelMetrics.model_validate(untrusted_input.read_untrusted_json(path))
    except ValidationError as error:
        raise ModelError(f"{path} cannot be used ({describe_first_flaw(error)}): copy the folder again") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read, or holds NaN: copy the folder again") from error
