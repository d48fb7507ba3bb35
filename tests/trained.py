"""What training leaves in a model folder about itself, made up: model.json and metrics.json."""

from __future__ import annotations

from typing import Any

import numpy as np


def about() -> dict[str, Any]:
    """model.json, as far as pages and card read it."""
    values = np.random.default_rng(4).standard_normal(64)
    return {
        "id": "supcon-4c1e9a7f20b3",
        "format": 1,
        "recipe": "supcon",
        "created_by": {"python": "3.11.9", "torch": "2.13.0", "monai": "1.6.1", "siamese_med": "0.1.0"},
        "config": {
            "train": {"seed": 3, "recipe": "supcon", "epochs": 14},
            "pair": {"seed": 5},
            "score": {"significance": 0.05},
        },
        "modalities": ["MR"],
        "contrasts": ["FLAIR"],
        "template_sha256": "5e" * 32,
        "weights_sha256": "a7" * 32,
        "alarm": -1.2,
        "threshold": 0.583,
        "false_match_rate": 0.01,
        "change": {"detector": "residual", "planted": 24, "auc": {"network": 0.81, "residual": 0.84}},
        "change_reference": {
            "strata": [
                {"contrast": "MR FLAIR", "scanner": scanner, "source": source, "n": 64, "z": values.tolist()}
                for scanner, source in (("other scanner", "synthesised"), ("same scanner", "rescans"))
            ],
        },
        "parameters": 311204,
    }


def metrics(best: str, failed: tuple[str, ...] = ()) -> dict[str, Any]:
    """metrics.json as training leaves it; the method `best` has the highest AUC."""
    auc = {"network": 0.957, "ncc": 0.861, "ncc_highpass": 0.946, "mutual_information": 0.943, "ssim": 0.9, best: 0.982}
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
