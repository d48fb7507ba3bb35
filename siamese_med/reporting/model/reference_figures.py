"""What the model folder says: threshold, no-change pairs, provenance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import ModelError
from siamese_med.reporting.data.report_content import Provenance, ReportReference, ReportStratum
from siamese_med.study.model_info import ModelInfo, RecordedStratum, read_model_info
from siamese_med.study.model_metrics import ModelMetrics, read_model_metrics
from siamese_med.study.thresholds import DETECTION_POWER, MIN_REFERENCE_PAIRS, NORMAL_BAND_Z

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.study.config import ReportConfig


@dataclass(frozen=True)
class ModelFolder:
    """The JSON files of a model, its pairs, its log and its gallery, read once for all pages."""

    path: Path
    info: ModelInfo
    metrics: ModelMetrics

    def table(self, name: str) -> pd.DataFrame | None:
        """A Parquet or CSV file of the folder, or None where it is absent."""
        import pandas as pd

        path = self.path / name
        if not path.is_file():
            return None
        try:
            return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise self.broken(name) from error

    def broken(self, name: str) -> ModelError:
        """What to say of a file of the folder that holds other things than training left there."""
        return ModelError(f"{name} in the model folder cannot be read, or holds NaN: copy the folder again")


def read_model_folder(folder: Path) -> ModelFolder:
    """Read and check the JSON files of a model folder; raises ModelError and MissingFileError."""
    return ModelFolder(folder, read_model_info(folder), read_model_metrics(folder))


def build_reference(info: ModelInfo, significance: float | None = None) -> ReportReference:
    """The threshold and the no-change pairs of a model; `significance` of the verdicts, the model's where not given."""
    significance = significance or info.config.score.significance or 0.05
    return ReportReference(
        modalities=info.modalities,
        contrasts=info.contrasts,
        threshold=info.calibration.threshold,
        false_match_rate=info.calibration.false_match_rate,
        significance=significance,
        power=DETECTION_POWER,
        detector=info.change.detector,
        strata=tuple(_stratum(one, significance) for one in info.change_reference.strata),
        normal_z=NORMAL_BAND_Z,
    )


def _stratum(recorded: RecordedStratum, significance: float) -> ReportStratum:
    values = tuple(sorted(round(z, 4) for z in recorded.z))
    n = recorded.n or len(values)
    return ReportStratum(f"{recorded.contrast}, {recorded.scanner}", recorded.source, n, _band(n, significance), values)


def _band(n: int, significance: float) -> tuple[float, float]:
    """Where one more pair without change falls, so that the band ends about where the verdict `changed` begins.

    Two degrees of freedom go into the line over the pairs' levels, as in the noise floor.
    """
    if n < MIN_REFERENCE_PAIRS:
        return NORMAL_BAND_Z
    from scipy.stats import t

    reach = round(float(t.isf(significance, n - 2)) * math.sqrt(1 + 1 / n), 4)
    return -reach, reach


def build_provenance(folder: ModelFolder, config: ReportConfig) -> Provenance:
    """Versions, digests and seeds behind every figure of this model."""
    info = folder.info
    return Provenance(
        model=info.id,
        model_format=info.format,
        recipe=info.recipe,
        parameters=info.parameters,
        weights_sha256=info.weights_sha256,
        template_sha256=info.template_sha256,
        model_config_sha256=info.config.compute_digest(),
        report_config=config.fingerprint(),
        seeds=_seeds(folder),
        versions=dict(sorted(info.created_by.items())),
    )


def _seeds(folder: ModelFolder) -> dict[str, int]:
    config = folder.info.config
    named = {"pair": config.pair.seed, "train": config.train.seed, "measured": folder.metrics.seed}
    return {stage: seed for stage, seed in named.items() if seed is not None}
