"""What the model folder says: threshold, no-change pairs, provenance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.errors import ModelError
from siamese_med.reporting import table_cells
from siamese_med.reporting.data.report_content import Provenance, ReportReference, ReportStratum
from siamese_med.reporting.model.metrics_file import config_digest, get_json_section
from siamese_med.runtime import untrusted_input

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.study.config import ReportConfig

REPORTED_DETECTION_POWER = 0.8
"""Chance of being seen that `smallest_detectable_ml` is computed for, see tables.SCORE_COLUMNS."""

MIN_PAIRS_FOR_BAND = 3
NORMAL_BAND_Z = (-1.645, 1.645)
"""Reference band where the model holds no values of its no-change pairs."""


@dataclass(frozen=True)
class ModelFolder:
    """The JSON files of a model, its pairs, its log and its gallery, read once for all pages."""

    path: Path
    model: dict[str, Any]
    metrics: dict[str, Any]

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
    """Read a model folder; raises ModelError where it has no readable model.json."""
    try:
        model = untrusted_input.read_untrusted_json(folder / "model.json")
        metrics_path = folder / "metrics.json"
        metrics = untrusted_input.read_untrusted_json(metrics_path) if metrics_path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ModelError(
            "a model folder needs a readable model.json and metrics.json without NaN: train a model, or check --model"
        ) from error
    return ModelFolder(folder, model, metrics)


def build_reference(model: dict[str, Any], significance: float | None = None) -> ReportReference:
    """The threshold and the no-change pairs of a model; `significance` of the verdicts, the model's where not given."""
    significance = (
        significance
        or table_cells.parse_number(get_json_section(get_json_section(model, "config"), "score").get("significance"))
        or 0.05
    )
    recorded = get_json_section(model, "change_reference").get("strata")
    return ReportReference(
        modalities=table_cells.parse_words(model.get("modalities")),
        contrasts=table_cells.parse_words(model.get("contrasts")),
        threshold=table_cells.parse_number(model.get("threshold")),
        false_match_rate=table_cells.parse_number(model.get("false_match_rate")),
        significance=significance,
        power=REPORTED_DETECTION_POWER,
        detector=table_cells.parse_text(get_json_section(model, "change").get("detector")) or "unknown",
        strata=tuple(
            _stratum(one, significance)
            for one in (recorded if isinstance(recorded, list) else ())
            if isinstance(one, dict)
        ),
        normal_z=NORMAL_BAND_Z,
    )


def _stratum(recorded: dict[str, Any], significance: float) -> ReportStratum:
    values = tuple(sorted(round(z, 4) for z in table_cells.parse_numbers(recorded.get("z")) if z is not None))
    name = ", ".join(table_cells.parse_text(recorded.get(part)) or "unknown" for part in ("contrast", "scanner"))
    source = table_cells.parse_text(recorded.get("source")) or "unknown"
    return ReportStratum(
        name,
        source,
        table_cells.parse_integer(recorded.get("n")) or len(values),
        _band(len(values), significance),
        values,
    )


def _band(n: int, significance: float) -> tuple[float, float]:
    """Where one more pair without change falls, so that the band ends about where the verdict `changed` begins.

    Two degrees of freedom go into the line over the pairs' levels, as in the noise floor.
    """
    if n < MIN_PAIRS_FOR_BAND:
        return NORMAL_BAND_Z
    from scipy.stats import t

    reach = round(float(t.isf(significance, n - 2)) * math.sqrt(1 + 1 / n), 4)
    return -reach, reach


def build_provenance(folder: ModelFolder, config: ReportConfig) -> Provenance:
    """Versions, digests and seeds behind every figure of this model."""
    model = folder.model
    return Provenance(
        model=str(model.get("id", "unknown")),
        model_format=table_cells.parse_integer(model.get("format")),
        recipe=table_cells.parse_text(model.get("recipe")),
        parameters=table_cells.parse_integer(model.get("parameters")),
        weights_sha256=table_cells.parse_text(model.get("weights_sha256")),
        template_sha256=table_cells.parse_text(model.get("template_sha256")),
        model_config_sha256=config_digest(model),
        report_config=config.fingerprint(),
        seeds=_seeds(folder),
        versions={str(name): str(version) for name, version in sorted(get_json_section(model, "created_by").items())},
    )


def _seeds(folder: ModelFolder) -> dict[str, int]:
    config = get_json_section(folder.model, "config")
    named = {
        stage: table_cells.parse_integer(get_json_section(config, stage).get("seed")) for stage in ("pair", "train")
    }
    named["measured"] = table_cells.parse_integer(folder.metrics.get("seed"))
    return {stage: seed for stage, seed in named.items() if seed is not None}
