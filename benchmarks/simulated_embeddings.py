"""Calibration and alarm on embeddings drawn from a known law: `python -m benchmarks.simulated_embeddings`.

No image and no network: a patient is a point, a scan lies around it by noise (of varying size) and by what its contrast
does to this patient; all are brought to length one. 40 patients with 4 scans calibrate, 40 others are tested; the mean
over seeds is printed, and how many seeds reach the aims (calibration error at most 0.03, false matches within a factor
1.5 of 1 %). It is here that the way to calibrate was chosen, before any network was looked at.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import pandas as pd

from siamese_med.scoring.identity import calibration, verification_metrics, wrong_patient
from siamese_med.scoring.identity.verification_metrics import ScanPairs

PATIENTS, DIMENSIONS, CONTRASTS = 40, 24, 3
NOISE = (0.4, 0.55, 0.75)
RATE, SHARE, ROUNDS = 0.01, 0.05, 5


@dataclass(frozen=True)
class Cohort:
    """Embeddings (n, e) of unit length and the patient of each."""

    vectors: np.ndarray
    subjects: list[str]

    @property
    def distance(self) -> np.ndarray:
        """Of all pairs (n, n)."""
        return np.sqrt(np.clip(2 - 2 * self.vectors @ self.vectors.T, 0, None))

    @property
    def visits(self) -> list[str]:
        """Every scan is a visit."""
        return [f"ses-{number}" for number in range(len(self.subjects))]


def simulated(rng: np.random.Generator, scans: int, noise: float) -> Cohort:
    """Patients with `scans` scans each; a scan's noise varies by a quarter or so, a patient's by a sixth."""
    person = rng.standard_normal((PATIENTS, 1, DIMENSIONS))
    contrast = rng.integers(CONTRASTS, size=(PATIENTS, scans))
    shift = 0.2 * rng.standard_normal((CONTRASTS, DIMENSIONS))[contrast]
    own = 0.3 * rng.standard_normal((PATIENTS, CONTRASTS, DIMENSIONS))[np.arange(PATIENTS)[:, None], contrast]
    size = noise * np.exp(
        0.25 * rng.standard_normal((PATIENTS, scans, 1)) + 0.15 * rng.standard_normal((PATIENTS, 1, 1))
    )
    vectors = person + shift + own + size * rng.standard_normal((PATIENTS, scans, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return Cohort(vectors.reshape(-1, DIMENSIONS), [f"sub-{n // scans}" for n in range(PATIENTS * scans)])


def main() -> None:
    """Simulate and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=10)
    seeds = range(arguments.parse_args().seeds)
    print(f"{len(seeds)} seeds, {PATIENTS} patients to calibrate on and {PATIENTS} others\n")
    print("| noise | AUC | calibration error | at most 0.03 | false matches | within 1.5 |\n|---|---|---|---|---|---|")
    for noise in NOISE:
        found = np.array([_calibration(seed, noise) for seed in seeds])
        auc, error, rate = found.mean(0)
        right = (found[:, 1] <= 0.03).sum(), ((found[:, 2] >= RATE / 1.5) & (found[:, 2] <= RATE * 1.5)).sum()
        print(f"| {noise} | {auc:.4f} | {error:.4f} | {right[0]} | {rate:.4f} | {right[1]} |")
    print(f"\n{SHARE:.0%} of the scans exchanged, {ROUNDS} rounds a seed\n")
    print("| noise | scans a patient | found | right owner | false alarms |\n|---|---|---|---|---|")
    for noise in NOISE:
        for scans in (2, 3, 4, 8):
            found = np.mean([_alarm(seed, noise, scans) for seed in seeds], axis=0)
            print(f"| {noise} | {scans} | {' | '.join(f'{share:.3f}' for share in found)} |")


def _calibration(seed: int, noise: float) -> tuple[float, float, float]:
    rng = np.random.default_rng(seed)
    known, unseen = simulated(rng, 4, noise), simulated(rng, 4, noise)
    curve = calibration.calibrate_similarity(known.distance, known.subjects, RATE)
    pairs = ScanPairs(unseen.subjects)
    found = curve.similarities(unseen.distance[pairs.places])
    error = verification_metrics.calibration_bins(found, pairs.same)[0]
    auc = verification_metrics.compute_verification(-unseen.distance, unseen.subjects)["auc"]
    return auc, error, float((found[~pairs.same] >= curve.threshold).mean())


def _alarm(seed: int, noise: float, scans: int) -> tuple[float, float, float]:
    """Share found, share whose owner was named, and false alarms among the scans that stayed."""
    rng = np.random.default_rng(seed)
    known, unseen = simulated(rng, 4, noise), simulated(rng, scans, noise)
    curve = wrong_patient.calibrate_evidence_curve(known.vectors, known.subjects, known.visits, RATE, seed)
    table = pd.DataFrame({"id": unseen.visits, "session": unseen.visits})
    shares = []
    for _ in range(ROUNDS):
        filed = wrong_patient.exchange_scans(unseen.subjects, unseen.visits, SHARE, rng)
        moved = filed.moved
        said = wrong_patient.build_owner_table(
            table.assign(subject=filed.subjects, session=filed.visits), np.ones(len(table), bool), unseen.vectors, curve
        )
        right = said.owner.to_numpy() == np.array(unseen.subjects)
        shares.append((said.alarm[moved].mean(), right[moved].mean(), said.alarm[~moved].mean()))
    found, named, false = np.mean(shares, axis=0)
    return float(found), float(named), float(false)


if __name__ == "__main__":
    main()
