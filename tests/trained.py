"""What training leaves in a model folder about itself, made up: a valid model.json and metrics.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from siamese_med.scoring.change.change_map import TAIL_THRESHOLDS
from siamese_med.scoring.change.noise_floor import (
    OTHER_SCANNER,
    SAME_SCANNER,
    NoChangeReference,
    NoiseFloor,
    NoiseStratum,
)
from siamese_med.study.model_info import MODEL_FORMAT, ModelInfo, RecordedNoiseFloor
from siamese_med.study.model_metrics import ModelMetrics

PAIRS_PER_STRATUM = 64
CALIBRATION = {"slope": -12.0, "intercept": 7.4, "threshold": 0.583, "false_match_rate": 0.01}


def model_json(**changes: Any) -> dict[str, Any]:
    """Return the content of model.json with some of its keys changed."""
    floor = noise_floor().to_json_object()
    about = {
        "id": "supcon-4c1e9a7f20b3",
        "format": MODEL_FORMAT,
        "recipe": "supcon",
        "created_by": {"siamese-med": "0.1.0", "torch": "2.13.0", "monai": "1.6.1", "numpy": "2.4.6"},
        "config": {
            "pair": {"seed": 5, "test": 0.25, "validation": 0.25},
            "prepare": {"shape": [64, 64, 64], "spacing_mm": 3.0},
            "score": {"significance": 0.05, "smoothing_mm": 2.0, "spacing_mm": 1.5},
            "train": {"seed": 3, "recipe": "supcon", "epochs": 14},
        },
        "modalities": ["MR"],
        "contrasts": ["FLAIR"],
        "learned_from": ["1a" * 32, "2b" * 32, "3c" * 32],
        "trained_on": ["1a" * 32, "2b" * 32],
        "shape": [64, 64, 64],
        "box": [[8, 56], [0, 64], [8, 64]],
        "parameters": 311204,
        "template_sha256": "5e" * 32,
        "weights_sha256": "a7" * 32,
        "calibration": CALIBRATION,
        "threshold": CALIBRATION["threshold"],
        "false_match_rate": CALIBRATION["false_match_rate"],
        "evidence": {"slope": -7.3, "intercept": 5.2, "alarm": 1.5},
        "change": {"detector": "residual", "planted": 24, "auc": {"network": 0.81, "residual": 0.84}, "practised": []},
        "change_reference": floor,
        "growth_reference": floor,
    }
    return about | changes


def model_info(**changes: Any) -> ModelInfo:
    """Return what `model_json` says, as it is read from the file."""
    return ModelInfo.model_validate(model_json(**changes))


def noise_floor(pairs: int = PAIRS_PER_STRATUM, kinds: tuple[str, ...] = ("MR FLAIR",)) -> RecordedNoiseFloor:
    """Return a noise floor of two strata of each kind, each with so many pairs without change."""
    figures = np.random.default_rng(4).normal(0.3, 0.2, pairs).tolist()
    tail = np.exp(-TAIL_THRESHOLDS).tolist()
    strata = ((SAME_SCANNER, "rescans"), (OTHER_SCANNER, "synthesised"))
    references = {
        NoiseStratum(kind, scanner): NoChangeReference(source, figures, [0.0] * pairs, tail, 1.0, 0.1)
        for kind in kinds
        for scanner, source in strata
    }
    return NoiseFloor(references).to_record()


def metrics_json(best: str, failed: tuple[str, ...] = ()) -> dict[str, Any]:
    """metrics.json as training leaves it; the method `best` has the highest AUC."""
    auc = {
        "network": 0.957,
        "learned": 0.93,
        "edges": 0.95,
        "ncc": 0.861,
        "ncc_highpass": 0.946,
        "mutual_information": 0.943,
        "ssim": 0.9,
        best: 0.982,
    }
    shortcuts = ("header", "background", "outline", "histogram", "thumbnail")
    bins = [
        {"predicted": 0.1 * step + 0.05, "observed": (0.1 * step + 0.05) ** 1.2, "n": 40 - 3 * step}
        for step in range(10)
    ]
    return {
        "patients": {"train": 24, "validation": 12, "test": 12},
        "scans": {"train": 72, "validation": 36, "test": 36},
        "measured": {"patients": 12, "scans": 36},
        "pairs_test": {"same": 36, "different": 594},
        "seed": 11,
        "test": {name: _method(value) for name, value in auc.items()},
        "best": best,
        "calibration": {"ece": _figure(0.024), "bins": bins},
        "false_match_rate_test": _figure(0.013),
        "strata": {
            "interval": [*_group("up to 6 months", 0.91), *_group("6 to 12 months", 0.88)[:1]],
            "scanner": [*_group("same scanner", 0.93), *_group("other scanner", 0.84)],
            "contrast": [*_group("FLAIR", 0.92), *_group("FLAIR and T1w", 0.71)],
        },
        "audit": {
            "limit": 0.6,
            "patients": 12,
            "auc": {name: _figure(0.712 if name in failed else 0.531, 0.08) for name in shortcuts},
            "in_scans": {name: _figure(0.734, 0.08) for name in shortcuts},
            "failed": list(failed),
        },
        "training": {"epochs": 12, "seconds": 48.2, "pairs_per_second": 262.4, "stopped_early": True},
    }


def model_metrics(best: str, failed: tuple[str, ...] = ()) -> ModelMetrics:
    """Return what `metrics_json` says, as it is read from the file."""
    return ModelMetrics.model_validate(metrics_json(best, failed))


def _figure(value: float, reach: float = 0.012) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - reach), "high": min(1.0, value + reach)}


def _method(auc: float) -> dict[str, Any]:
    recognised = {"tar_at_far_1pct": auc - 0.15, "tar_at_far_01pct": auc - 0.4, "rank1": auc - 0.05}
    return {name: _figure(value) for name, value in {"auc": auc, "eer": 1 - auc, **recognised}.items()}


def _group(words: str, median: float) -> list[dict[str, Any]]:
    """One person's pairs, and two persons' pairs."""
    same = {"median": median, "low": median - 0.3, "high": 0.99, "accepted": 0.94}
    different = {"median": 0.06, "low": 0.002, "high": 0.49, "accepted": 0.012}
    return [
        {"group": words, "kind": "same", "pairs": 18, **same},
        {"group": words, "kind": "different", "pairs": 297, **different},
    ]
