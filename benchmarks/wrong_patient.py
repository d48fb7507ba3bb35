"""Scans filed under the wrong patient: `python -m benchmarks.wrong_patient STUDY --seed 0`.

STUDY is a folder with `data` in it, in which a model was trained. In its tables 5 % of the test patients' scans are
exchanged between patients, again and again; the limit of the alarm is the model's, from validation patients. Printed
are the share found, false alarms among the scans that stayed, and how often the right owner was named, with 95 %
intervals by a bootstrap over patients, and the same by the number of scans that a patient has.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from siamese_med.network import siamese
from siamese_med.network.model_folder import TrainedModel, load_model
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.pipeline import stages
from siamese_med.scoring.identity import verification_metrics, wrong_patient
from siamese_med.scoring.identity.patient_evidence import EvidenceCurve, make_evidence
from siamese_med.study.config import Config
from siamese_med.study.tables import Study

SHARE = 0.05


def main() -> None:
    """Exchange, look and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("study", type=Path)
    arguments.add_argument("--model", type=Path, help="default: the study's current")
    arguments.add_argument("--everyone", action="store_true", help="all patients: the model has seen none of them")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--rounds", type=int, default=100)
    given = arguments.parse_args()
    study = Study(given.study / "data", given.study / "reports", Config())
    model = load_model(given.model or stages.current_model(study))
    study = replace(study, config=Config.model_validate({"prepare": model.info.config.list_settings()["prepare"]}))
    scans = _judged_scans(study, model, given.everyone)
    curve = make_evidence(model.info)
    vectors = _vectors(study, model, scans)
    outcomes = pd.concat(
        _round(scans, vectors, curve, np.random.default_rng([given.seed, number])) for number in range(given.rounds)
    )
    print(f"{scans.subject.nunique()} patients, {len(scans)} scans, {given.rounds} rounds of {SHARE:.0%} exchanged")
    print(f"seed {given.seed}, model {model.info.id}, suspicion from which on there is an alarm: {curve.alarm:.2f}\n")
    print("| scans a patient | found | right owner named | false alarms among the others |\n|---|---|---|---|")
    print(_line("all", outcomes, given.seed))
    for count, part in outcomes.groupby("scans"):
        print(_line(str(count), part, given.seed))


def _judged_scans(study: Study, model: TrainedModel, everyone: bool) -> pd.DataFrame:
    """Scans of the test patients, or of all, that the model can judge."""
    scans = stages.scans(study)
    alignments = stages.prepare(study, model.folder).alignments
    scans = scans.merge(alignments[["scan", "ok", "volume"]], left_on="id", right_on="scan")
    if not everyone:
        pairs = stages.read_pairs(study)
        mine = pairs[pairs.split == "test"]
        scans = scans[scans.subject.isin({*mine.subject_a, *mine.subject_b})]
    return scans[wrong_patient.find_judgeable_scans(scans, scans.ok.to_numpy(bool), model.info)].reset_index(drop=True)


def _vectors(study: Study, model: TrainedModel, scans: pd.DataFrame) -> np.ndarray:
    cohort = ScanDataset([study.data / path for path in scans.volume], list(scans.subject))
    return siamese.project_embeddings(model.network, siamese.embed_scans(model.network, cohort))


def _round(scans: pd.DataFrame, vectors: np.ndarray, curve: EvidenceCurve, rng: np.random.Generator) -> pd.DataFrame:
    """One row a scan: its true patient, whether it was moved, and what was said of it."""
    filed = wrong_patient.exchange_scans(list(scans.subject), list(scans.session), SHARE, rng)
    moving = scans.assign(subject=filed.subjects, session=filed.visits)
    said = wrong_patient.build_owner_table(moving, np.ones(len(scans), bool), vectors, curve)
    return pd.DataFrame(
        {
            "patient": scans.subject,
            "scans": scans.groupby("subject").id.transform("size"),
            "moved": filed.moved,
            "alarm": said.alarm,
            "right": said.owner.to_numpy() == scans.subject.to_numpy(),
        }
    )


def _line(name: str, outcomes: pd.DataFrame, seed: int) -> str:
    moved, stayed = outcomes[outcomes.moved], outcomes[~outcomes.moved]
    cells = [_share(moved, "alarm", seed), _share(moved, "right", seed), _share(stayed, "alarm", seed)]
    return f"| {name} | {' | '.join(cells)} |"


def _share(rows: pd.DataFrame, column: str, seed: int) -> str:
    """Share of rows with its interval; patients are drawn, each with all rounds of all scans."""
    by_patient = rows.groupby("patient")[column].agg(["sum", "size"]).to_numpy(float)
    rng = np.random.default_rng(seed)
    drawn = by_patient[
        rng.integers(len(by_patient), size=(verification_metrics.BOOTSTRAP_RESAMPLES, len(by_patient)))
    ].sum(1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    return f"{by_patient[:, 0].sum() / by_patient[:, 1].sum():.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
