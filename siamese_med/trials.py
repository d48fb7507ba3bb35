"""Detectors of a model in the making, tried on pairs whose truth is known: which one speaks, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med import detectors
from siamese_med.config import ScoreConfig
from siamese_med.network.practice import Check
from siamese_med.prepared import Prepared, PreparedScan
from siamese_med.records import SPLITS, Study
from siamese_med.scoring import floor, labels, rescans
from siamese_med.scoring.comparison import stratum
from siamese_med.scoring.labels import Labelled
from siamese_med.scoring.overlay import Detector
from siamese_med.scoring.rescans import Trials

if TYPE_CHECKING:
    import pandas as pd

CHANGE_EVIDENCE = ("train", "validation")
"""Splits whose rescans may serve as the no-change reference; test patients stay unseen. A learned detector is at its
best on what it has learned from, so for one that leaves validation alone."""


def change(
    study: Study,
    usable: pd.DataFrame,
    prepared: Prepared,
    pairs: pd.DataFrame,
    folder: Path,
    practised: Sequence[Check],
) -> dict[str, Any]:
    """The noise floors, and which detector gives the verdicts: the better on validation patients' planted changes."""
    rivals = detectors.rivals(folder if practised else None, study.config.score)
    splits = CHANGE_EVIDENCE if len(rivals) == 1 else CHANGE_EVIDENCE[1:]
    evidence = usable[usable.split.isin(splits)]
    found = planted(study.data, evidence, prepared, pairs, rivals, study.config.score, study.config.train.seed)
    chosen = max(rivals, key=lambda name: found.auc[name])
    return {
        "change": {
            "detector": chosen,
            "planted": found.n,
            "auc": {name: found.auc[name] for name in rivals},
            "practised": [vars(check) for check in practised],
        },
        "change_reference": found.floors[chosen].as_json(),
        "growth_reference": found.floors[rescans.GROWTH].as_json(),
    }


def labelled(
    study: Study, usable: pd.DataFrame, prepared: Prepared, pairs: pd.DataFrame, folder: Path, about: Mapping[str, Any]
) -> dict[str, Any] | None:
    """How the change score agrees with the study's own labels, on patients that were not learned from; None without."""
    mine = pairs[pairs.kind.isin(("rescan", "changed")) & pairs.split.isin(SPLITS[1:])]
    rows = prepared.scans(usable)
    floors = {name: floor.from_json(about[f"{name}_reference"]) for name in ("change", rescans.GROWTH)}
    known = [
        (pair, (rows[pair.scan_a], rows[pair.scan_b]))
        for pair in mine.itertuples()
        if _both(pair, rows) and floors["change"].of(stratum(rows[pair.scan_a], rows[pair.scan_b]))
    ]
    if len({pair.kind for pair, _ in known}) < 2:
        return None
    detector = detectors.of_model(about, folder, study.config.score)
    place = study.data, prepared.template
    found = rescans.figures([sides for _, sides in known], place, {"change": detector}, study.config.score)
    judged = [
        Labelled(
            pair.subject_a,
            pair.kind == "changed",
            max(floors[name].references[where].z(finding) for name, finding in findings.items()),
        )
        for (pair, _), (where, findings) in zip(known, found, strict=True)
    ]
    return labels.agreement(judged, study.config.train.seed)


def planted(
    data: Path,
    evidence: pd.DataFrame,
    prepared: Prepared,
    pairs: pd.DataFrame,
    tried: Mapping[str, Detector],
    config: ScoreConfig,
    seed: int,
) -> Trials:
    """Detectors on pairs without change of the scans of `evidence`, also with changes planted; validation first."""
    evidence = evidence.sort_values(["split", "id"], ascending=[False, True])
    rows = prepared.scans(evidence)
    quiet = pairs[pairs.kind == "rescan"]
    known = [(rows[pair.scan_a], rows[pair.scan_b]) for pair in quiet.itertuples() if _both(pair, rows)]
    one_each = [rows[scan] for scan in evidence.groupby(["subject", "modality", "contrast"], sort=False).id.first()]
    return rescans.measured(known, one_each, (data, prepared.template), tried, config, seed)


def _both(pair: Any, rows: Mapping[str, PreparedScan]) -> bool:
    return pair.scan_a in rows and pair.scan_b in rows
