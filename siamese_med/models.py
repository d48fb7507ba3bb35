"""The train stage put together: network and scoring meet here, in a model folder that appears all at once.

A model's id is a digest of all it is made from, so training the same thing twice finds the first one.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siamese_med import exercises, files, trials
from siamese_med.errors import EmptyInputError, NotEnoughDataError
from siamese_med.network import card, model, ranks, training
from siamese_med.network.cohort import Cohort
from siamese_med.network.siamese import Siamese, distance_matrix, embed, shown, vectors
from siamese_med.network.synthesis import Source
from siamese_med.network.training import Progress
from siamese_med.prepared import Prepared
from siamese_med.records import SAME_PATIENT, SPLITS, Study
from siamese_med.scoring import audit, evaluation, owners, similarity
from siamese_med.scoring.evidence import Evidence

if TYPE_CHECKING:
    import pandas as pd

Positions = list[tuple[int, int]]
"""Pairs as places of their scans in a cohort."""

MAKERS = ("siamese-med", "torch", "monai", "numpy", "pydicom", "nibabel")

ELSEWHERE = ("ingest", "promote", "report", "run")
UNTOLD: dict[str, bool | set[str]] = {**dict.fromkeys(ELSEWHERE, True), "train": {"rendezvous"}}
"""Of the config: what says nothing of a model, or names a computer."""
DESCRIBED = ("id", "subject", "session", "date", "modality", "contrast", "scanner", "protocol", "shape", "spacing_mm")
"""Columns of the scan table that calibration, strata and the confound audit of a model depend on."""
MEASURED_SCANS = 600
"""Of the validation and of the test patients' scans, so many are measured on; with their patients' other scans."""


def make(study: Study, scans: pd.DataFrame, prepared: Prepared, pairs: pd.DataFrame) -> Path:
    """Train, calibrate, measure and write one model; returns its folder, at once where it exists already."""
    usable = usable_scans(scans, prepared, pairs)
    _require_patients(usable)
    identity = model_id(study, usable, prepared, pairs)
    finished, building = study.models / identity, study.models / f".building-{identity}"
    if (finished / "model.json").is_file():
        return finished
    building.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(building)
    cohorts, explicit = material(study, scans, prepared, pairs)
    exercised = sources(study, scans, prepared, pairs, building / "exercises")
    network, progress = ranks.fit(
        cohorts["train"], cohorts["validation"], explicit, study.config.train, building, exercised
    )
    shutil.rmtree(building / "exercises", ignore_errors=True)
    _describe(building, identity, study, usable, prepared, pairs, network, progress)
    for checkpoint in training.CHECKPOINTS:
        (building / checkpoint).unlink(missing_ok=True)
    shutil.rmtree(finished, ignore_errors=True)
    building.rename(finished)
    return finished


def material(
    study: Study, scans: pd.DataFrame, prepared: Prepared, pairs: pd.DataFrame
) -> tuple[dict[str, Cohort], tuple[Positions, Positions]]:
    """What training takes: the volumes of each split, and the explicit training pairs, same and different."""
    usable = usable_scans(scans, prepared, pairs)
    cohorts = {split: _cohort(usable[usable.split == split], study.data) for split in SPLITS}
    return cohorts, _positions(usable, pairs)


def sources(
    study: Study, scans: pd.DataFrame, prepared: Prepared, pairs: pd.DataFrame, folder: Path
) -> tuple[list[Source], list[Source]] | None:
    """What the change head learns from and is checked on, kept under `folder`; None where it is not to learn."""
    settings = study.config.train
    if settings.change_steps == 0:
        return None
    usable = usable_scans(scans, prepared, pairs)
    return exercises.sources(
        usable,
        prepared.scans(usable),
        pairs,
        (study.data, prepared.template),
        study.config.score.spacing_mm,
        settings.change_sources,
        folder,
    )


def usable_scans(scans: pd.DataFrame, prepared: Prepared, pairs: pd.DataFrame) -> pd.DataFrame:
    """Aligned scans of patients that have a split, with their split and their volume."""
    sides = {
        **dict(zip(pairs.subject_a, pairs.split, strict=True)),
        **dict(zip(pairs.subject_b, pairs.split, strict=True)),
    }
    aligned = prepared.alignments[prepared.alignments.ok]
    usable = scans.merge(aligned[["scan", "volume"]], left_on="id", right_on="scan")
    usable = usable.assign(split=usable.subject.map(sides)).dropna(subset=["split"]).sort_values("id")
    if usable.empty:
        raise EmptyInputError("no scan could be aligned, so there is nothing to train on: see `siamese-med status`")
    return usable.reset_index(drop=True)


def _require_patients(usable: pd.DataFrame) -> None:
    """Every split needs pairs of both kinds: to learn from, to calibrate on, and to measure with."""
    for split in SPLITS:
        scans = usable[usable.split == split].subject.value_counts()
        if len(scans) < 2 or scans.max() < 2:
            raise NotEnoughDataError(
                f"the {split} split has {len(scans)} patients, {int((scans > 1).sum())} with two aligned scans: "
                "each split needs two patients, one of them with two scans; ingest more patients, "
                "or score with an existing model (--model)"
            )


def model_id(study: Study, usable: pd.DataFrame, prepared: Prepared, pairs: pd.DataFrame) -> str:
    """Name a model by the recipe and a digest of everything that it is trained, calibrated and measured on."""
    parts = [
        study.config.train.fingerprint(),
        study.config.score.learning(),
        files.digest(prepared.template),
        *usable[list(DESCRIBED)].astype(str).agg(" ".join, axis=1),
        *prepared.contents(usable.id),
        *pairs[["scan_a", "scan_b", "kind", "split"]].astype(str).agg(" ".join, axis=1),
        str(model.FORMAT),
    ]
    return f"{study.config.train.recipe}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def _cohort(usable: pd.DataFrame, data: Path) -> Cohort:
    return Cohort([data / path for path in usable.volume], list(usable.subject))


def _positions(usable: pd.DataFrame, pairs: pd.DataFrame) -> tuple[Positions, Positions]:
    """Explicit training pairs, same and different, as positions in the training cohort."""
    place = {scan: position for position, scan in enumerate(usable[usable.split == "train"].id)}
    mine = pairs[(pairs.split == "train") & pairs.scan_a.isin(place) & pairs.scan_b.isin(place)]
    kinds: tuple[Positions, Positions] = ([], [])
    for pair in mine.itertuples():
        kinds[0 if pair.kind in SAME_PATIENT else 1].append((place[pair.scan_a], place[pair.scan_b]))
    return kinds


def _describe(
    folder: Path,
    identity: str,
    study: Study,
    usable: pd.DataFrame,
    prepared: Prepared,
    pairs: pd.DataFrame,
    network: Siamese,
    progress: Progress,
) -> None:
    """Everything in the folder but the weights' training; model.json comes last."""
    weights = model.write_weights(folder, network)
    measured = _measure(study, usable, network)
    curve, reference = measured.curve, measured.reference
    files.write_parquet(folder / "reference.parquet", reference)
    paths = {row.id: study.data / row.volume for row in usable.itertuples()}
    evaluation.write_gallery(folder / "gallery.npz", reference[reference.split == "test"], paths)
    with files.replacing(folder / "template.nii.gz") as temporary:
        shutil.copyfile(prepared.template, temporary)
    card.write_curve(folder / "training.png", progress.log)
    seed = study.config.train.seed
    learned, unseen = (usable[usable.split == split] for split in ("train", "test"))
    metrics = {
        **measured.figures,
        **_counts(usable),
        "audit": audit.audit(learned, unseen, study.data, prepared.template, partial(shown, network), seed),
        "seed": seed,
        "training": _training(progress, study),
    }
    about = {
        "id": identity,
        "format": model.FORMAT,
        "recipe": study.config.train.recipe,
        "created_by": _versions(),
        "config": study.config.model_dump(mode="json", exclude=UNTOLD),
        "modalities": sorted(set(learned.modality)),
        "contrasts": sorted(set(learned.contrast)),
        "learned_from": sorted(usable[usable.split != "test"].sha256),
        "trained_on": sorted(learned.sha256),
        "shape": list(_cohort(usable, study.data).shape),
        "box": [list(edges) for edges in network.atlas.box],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "template_sha256": files.digest(prepared.template),
        "weights_sha256": weights,
        "calibration": vars(curve),
        "threshold": curve.threshold,
        "false_match_rate": curve.false_match_rate,
        "evidence": vars(measured.evidence),
        **trials.change(study, usable, prepared, pairs, folder, progress.practised),
    }
    metrics["change_labels"] = trials.labelled(study, usable, prepared, pairs, folder, about)
    files.write_json(folder / "metrics.json", metrics)
    card.write(folder, about, metrics)
    files.write_json(folder / "model.json", about)


@dataclass(frozen=True)
class Measured:
    """What validation patients gave (similarity, the alarm), and how it held on test patients."""

    curve: similarity.Calibration
    evidence: Evidence
    reference: pd.DataFrame
    figures: dict[str, Any]


def _measure(study: Study, usable: pd.DataFrame, network: Siamese) -> Measured:
    """Calibrate on validation patients, then look at test patients once."""
    import pandas as pd

    seed, rate = study.config.train.seed, study.config.score.false_match_rate
    split = {name: measurable(usable[usable.split == name], seed) for name in ("validation", "test")}
    embedded = {name: embed(network, _cohort(part, study.data)) for name, part in split.items()}
    distance = {name: distance_matrix(network, embeddings) for name, embeddings in embedded.items()}
    known, unseen = split["validation"], split["test"]
    curve = similarity.calibrate(distance["validation"], list(known.subject), rate)
    evidence = owners.learn(
        vectors(network, embedded["validation"]), list(known.subject), list(known.session), rate, seed
    )
    baselines = evaluation.baseline_matrices(list(_cohort(unseen, study.data).volumes))
    figures = evaluation.of_test_patients(unseen, distance["test"], baselines, curve, seed)
    tables = [
        evaluation.reference_table(name, list(part.id), list(part.subject), distance[name], curve, found)
        for name, part, found in (("validation", known, {}), ("test", unseen, baselines))
    ]
    return Measured(curve, evidence, pd.concat(tables, ignore_index=True), figures)


def measurable(scans: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Scans of patients drawn until there are enough to measure on: pairs grow with their square."""
    order = np.random.default_rng(seed).permutation(scans.subject.unique())
    counts = scans.subject.value_counts()[order].cumsum()
    return scans[scans.subject.isin(set(counts.index[counts - counts.diff().fillna(counts) < MEASURED_SCANS]))]


def _counts(usable: pd.DataFrame) -> dict[str, Any]:
    return {
        "patients": {split: int(usable[usable.split == split].subject.nunique()) for split in SPLITS},
        "scans": {split: int((usable.split == split).sum()) for split in SPLITS},
    }


def _training(progress: Progress, study: Study) -> dict[str, Any]:
    seconds = sum(epoch.seconds for epoch in progress.log)
    return {
        "epochs": len(progress.log),
        "best_epoch": progress.best.epoch + 1,
        "seconds": round(seconds, 1),
        "pairs_per_second": round(sum(epoch.pairs for epoch in progress.log) / max(seconds, 1e-9), 1),
        "stopped_early": len(progress.log) < study.config.train.epochs,
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in MAKERS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
