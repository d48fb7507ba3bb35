"""Values that patients' pages take from the model folder: threshold, pairs without change, provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import ModelError
from siamese_med.reporting.data.provenance import Provenance
from siamese_med.reporting.data.report_content import ReportReference, ReportStratum, compute_band_z
from siamese_med.study.config import ScoreConfig
from siamese_med.study.model_info import ModelInfo, RecordedStratum, read_model_info
from siamese_med.study.model_metrics import ModelMetrics, read_model_metrics
from siamese_med.study.thresholds import DETECTION_POWER, FALSE_CANDIDATES, LARGEST_TESTED_ML, NORMAL_BAND_Z

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.study.config import ReportConfig


@dataclass(frozen=True)
class ModelFolder:
    """A model folder, with its JSON files read once for all pages.

    Parameters
    ----------
    path
        The folder.
    info, metrics
        What model.json and metrics.json hold.
    """

    path: Path
    info: ModelInfo
    metrics: ModelMetrics

    def table(self, name: str) -> pd.DataFrame | None:
        """Read a Parquet or CSV file of the folder; None where it is absent.

        Raises
        ------
        ModelError
            The file cannot be read.
        """
        import pandas as pd

        path = self.path / name
        if not path.is_file():
            return None
        try:
            return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise self.broken(name) from error

    def broken(self, name: str) -> ModelError:
        """Make the error for a file of the folder that does not hold what training wrote."""
        return ModelError(f"{name} in the model folder cannot be read, or holds NaN: copy the folder again")


def read_model_folder(folder: Path) -> ModelFolder:
    """Read and check the JSON files of a model folder.

    Raises
    ------
    MissingFileError
        A file is missing.
    ModelError
        A file does not hold what this version can use.
    """
    return ModelFolder(folder, read_model_info(folder), read_model_metrics(folder))


def build_reference(info: ModelInfo, significance: float | None = None) -> ReportReference:
    """Build what pairs are compared with: the threshold on similarity, and the strata of pairs without change.

    Parameters
    ----------
    info
        What model.json holds.
    significance
        Of the verdicts, 0 to 1; where it is not given, that of the model's configuration.

    Returns
    -------
    ReportReference
        The band of a stratum is symmetric, in z. Its upper end is `t(significance, n - 2) * sqrt(1 + 1 / n)` with the
        upper quantile of Student's t: the prediction interval for one more pair beside the `n` pairs without change.
        With fewer than MIN_REFERENCE_PAIRS it is NORMAL_BAND_Z.
    """
    chosen = (significance, info.config.score.significance, ScoreConfig().significance)
    significance = next(limit for limit in chosen if limit is not None)
    return ReportReference(
        modalities=info.modalities,
        contrasts=info.contrasts,
        threshold=info.calibration.threshold,
        false_match_rate=info.calibration.false_match_rate,
        significance=significance,
        power=DETECTION_POWER,
        largest_tested_ml=LARGEST_TESTED_ML,
        false_candidates=FALSE_CANDIDATES,
        detector=info.change.detector,
        strata=tuple(_stratum(one, significance) for one in info.change_reference.strata),
        normal_z=NORMAL_BAND_Z,
    )


def _stratum(recorded: RecordedStratum, significance: float) -> ReportStratum:
    values = tuple(sorted(round(z, 4) for z in recorded.z))
    n = recorded.n or len(values)
    name, band = f"{recorded.contrast}, {recorded.scanner}", compute_band_z(n, significance)
    return ReportStratum(name, recorded.source, n, band, values)


def build_provenance(folder: ModelFolder, config: ReportConfig, starter: bool = False) -> Provenance:
    """Collect the versions, digests and seeds behind the figures of a model.

    Parameters
    ----------
    folder
        The model folder.
    config
        The `report` section of the configuration; its digest is recorded.
    starter
        Whether the model is the one that comes with siamese-med.
    """
    info = folder.info
    return Provenance(
        model=info.id,
        starter=starter,
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
