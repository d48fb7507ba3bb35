"""The real line from input files to models, one a training seed, and their figures on test patients as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from siamese_med.pipeline import stages
from siamese_med.scoring.identity import verification_metrics
from siamese_med.scoring.identity.verification_metrics import BootstrapInterval, ScanPairs
from siamese_med.study.config import Config
from siamese_med.study.tables import Study

SECRET = b"simulated: every machine draws the same split"
FIGURES = {
    "auc": "AUC",
    "eer": "EER",
    "tar_at_far_1pct": "TAR at FAR 1 %",
    "tar_at_far_01pct": "TAR at FAR 0.1 %",
    "rank1": "rank-1",
}
TRUST = {"ece": "calibration error", "false_matches": "false matches at nominal 1 %"}
SHORTCUTS = ("header", "background", "outline", "histogram", "thumbnail")


def ingested(source: Path, folder: Path, config: Config) -> Study:
    """A study of its own under `folder`, under a secret that is no secret, since nobody in it is real."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    ingest = config.ingest.model_copy(update={"secret_file": secret})
    study = Study(folder / "data", folder / "reports", config.model_copy(update={"ingest": ingest}))
    stages.ingest(source, study)
    return study


def trained(study: Study, seeds: Sequence[int]) -> list[Path]:
    """One model a training seed, on the same split of the same pairs."""
    stages.prepare(study)
    stages.build_pairs(study)
    models = []
    for seed in seeds:
        train = study.config.train.model_copy(update={"seed": seed})
        models.append(stages.train(Study(study.data, study.reports, study.config.model_copy(update={"train": train}))))
    return models


def measured(model: Path) -> dict[str, Any]:
    """What the train stage measured of a model."""
    found: dict[str, Any] = json.loads((model / "metrics.json").read_text())
    return found


def over_seeds(models: Sequence[Path]) -> dict[str, BootstrapInterval]:
    """The network's figures, averaged over models of one split; patients are drawn once for all of them."""
    known = [pd.read_parquet(model / "reference.parquet").query("split == 'test'") for model in models]
    scans = sorted({*known[0].scan_a, *known[0].scan_b})
    pairs = ScanPairs([scan.split("_")[0] for scan in scans])
    distances = [_matrix(table, scans, "distance") for table in known]
    similarities = [_matrix(table, scans, "similarity")[pairs.places] for table in known]
    limits = [json.loads((model / "model.json").read_text())["threshold"] for model in models]

    def figures(drawn: NDArray[np.float64]) -> dict[str, float]:
        weight = pairs.weights(drawn)
        each = [
            {
                **verification_metrics.compute_verification(-distance, pairs.subjects, drawn),
                "ece": verification_metrics.calibration_bins(similarity, pairs.same, weight)[0],
                "false_matches": float(np.average((similarity >= limit)[~pairs.same], weights=weight[~pairs.same])),
            }
            for distance, similarity, limit in zip(distances, similarities, limits, strict=True)
        ]
        return {name: float(np.mean([one[name] for one in each])) for name in each[0]}

    found = verification_metrics.compute_intervals(
        figures(np.ones(len(scans))), map(figures, verification_metrics.draw_patients(pairs.subjects, 0))
    )
    enough = int((~pairs.same).sum())
    return {
        name: one for name, one in found.items() if enough * verification_metrics.FALSE_ACCEPT_RATES.get(name, 1.0) >= 1
    }


def _matrix(table: pd.DataFrame, scans: Sequence[str], column: str) -> NDArray[np.float64]:
    place = {scan: number for number, scan in enumerate(scans)}
    a, b = table.scan_a.map(place), table.scan_b.map(place)
    matrix = np.zeros((len(scans), len(scans)))
    matrix[a, b] = matrix[b, a] = table[column]
    return matrix


def counts(found: Mapping[str, Any]) -> str:
    """How much was measured, in words."""
    patients, scans, pairs = found["patients"], found["scans"], found["pairs_test"]
    learned = f"; trained on {patients['train']}, chosen on {patients['validation']}" if "train" in patients else ""
    return (
        f"{patients['test']} test patients, {scans['test']} scans, {pairs['same']} same and "
        f"{pairs['different']} different pairs{learned}. 95 % intervals by a bootstrap over patients."
    )


def figure_table(rows: Sequence[tuple[str, str, Mapping[str, BootstrapInterval]]]) -> str:
    """Method, seed and FIGURES as a Markdown table."""
    lines = [f"| method | seed | {' | '.join(FIGURES.values())} |", "|---|---|" + "---|" * len(FIGURES)]
    lines += [
        f"| {name} | {seed} | {' | '.join(cell(found.get(key)) for key in FIGURES)} |" for name, seed, found in rows
    ]
    return "\n".join(lines)


def trust_table(rows: Sequence[tuple[str, Mapping[str, BootstrapInterval], Mapping[str, Any]]]) -> str:
    """Seed, TRUST and the audit's AUCs as a Markdown table."""
    titles = [*TRUST.values(), *(f"audit: {name}" for name in SHORTCUTS)]
    lines = [f"| seed | {' | '.join(titles)} |", "|---|" + "---|" * len(titles)]
    for seed, trust, audit in rows:
        cells = [cell(trust.get(key)) for key in TRUST] + [cell(audit.get(name)) for name in SHORTCUTS]
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def trust_of(found: Mapping[str, Any]) -> dict[str, BootstrapInterval]:
    """The figures of TRUST from what was measured of one model."""
    return {"ece": found["calibration"]["ece"], "false_matches": found["false_match_rate_test"]}


def similarity_table(found: Mapping[str, Any]) -> str:
    """How similarity is spread, by what divides the pairs, as a Markdown table."""
    lines = ["| pairs | n | median (5 to 95 %) | accepted |", "|---|---|---|---|"]
    for groups in found["strata"].values():
        for group in groups:
            spread = f"{group['median']:.3f} ({group['low']:.3f}-{group['high']:.3f})"
            lines.append(
                f"| {group['kind']}, {group['group']} | {group['pairs']} | {spread} | {group['accepted']:.3f} |"
            )
    return "\n".join(lines)


def cell(figure: BootstrapInterval | None) -> str:
    """A figure with its interval; a dash where there is none."""
    if figure is None or figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"
