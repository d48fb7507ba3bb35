"""The train stage put together: network and scoring meet here, in a model folder that appears all at once.

A model's id is a digest of all it is made from, so training the same thing twice finds the first one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.errors import EmptyInputError, NotEnoughDataError
from siamese_med.network import model_folder
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import (
    SiameseNetwork,
    compute_distance_matrix,
    embed_scans,
    extract_network_view,
    project_embeddings,
)
from siamese_med.plugins import describe_plugin, named_plugins, plugin_identities
from siamese_med.reporting.model import card
from siamese_med.runtime import files
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.scoring.identity import calibration, confound_audit, evaluation, wrong_patient
from siamese_med.scoring.identity.patient_evidence import EvidenceCurve
from siamese_med.study.model_info import (
    MODEL_FILE,
    MODEL_FORMAT,
    ModelInfo,
    RecordedConfig,
    RecordedEvidence,
    SimilarityCurve,
)
from siamese_med.study.model_metrics import METRICS_FILE, IdentityFigures, ModelMetrics
from siamese_med.study.plugin_names import PluginKind, PluginRecord
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import SAME_PATIENT, SPLITS, Split
from siamese_med.training import change_sources, detector_selection, distributed, identity_training, training_curve
from siamese_med.training.identity_training import TrainingProgress
from siamese_med.training.model_provenance import count_by_split, list_package_versions, summarise_training
from siamese_med.training.synthetic_follow_ups import ChangeSource

if TYPE_CHECKING:
    import pandas as pd

Positions = list[tuple[int, int]]
"""Pairs as places of their scans in a cohort."""

EXCLUDED_CONFIG_SECTIONS = ("ingest", "promote", "report", "run")
EXCLUDED_CONFIG: dict[str, bool | set[str]] = {**dict.fromkeys(EXCLUDED_CONFIG_SECTIONS, True), "train": {"rendezvous"}}
"""Of the config: what says nothing of a model, or names a computer."""
MODEL_ID_COLUMNS = (
    "id",
    "subject",
    "session",
    "date",
    "modality",
    "contrast",
    "scanner",
    "protocol",
    "shape",
    "spacing_mm",
)
"""Columns of the scan table that calibration, strata and the confound audit of a model depend on."""
MADE_BY = (PluginKind.ENCODER, PluginKind.LOSS, PluginKind.DETECTOR, PluginKind.REGISTRATION, PluginKind.TRANSFORM)
"""Plug-ins that have a part in a model."""
TARGET_MEASURED_SCANS = 600
"""Of the validation and of the test patients' scans, so many are measured on; with their patients' other scans."""


def build_model(study: Study, scans: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame) -> Path:
    """Train, calibrate, measure and write one model; returns its folder, at once where it exists already."""
    usable = select_usable_scans(scans, prepared, pairs)
    _require_patients(usable)
    identity = compute_model_id(study, usable, prepared, pairs)
    finished, building = study.models / identity, study.models / f".building-{identity}"
    if (finished / MODEL_FILE).is_file():
        return finished
    building.mkdir(parents=True, exist_ok=True)
    files.remove_stale_temporary_files(building)
    cohorts, explicit = collect_training_data(study, usable, pairs)
    exercised = prepare_change_sources(study, usable, prepared, pairs, building / "exercises")
    network, progress = distributed.train_on_ranks(
        cohorts[Split.TRAIN], cohorts[Split.VALIDATION], explicit, study.config.train, building, exercised
    )
    shutil.rmtree(building / "exercises", ignore_errors=True)
    _write_model_files(building, identity, study, usable, prepared, pairs, network, progress)
    for checkpoint in identity_training.CHECKPOINT_FILES:
        (building / checkpoint).unlink(missing_ok=True)
    shutil.rmtree(finished, ignore_errors=True)
    building.rename(finished)
    return finished


def collect_training_data(
    study: Study, usable: pd.DataFrame, pairs: pd.DataFrame
) -> tuple[dict[str, ScanDataset], tuple[Positions, Positions]]:
    """What training takes: the volumes of each split, and the explicit training pairs, same and different.

    `usable`: see `select_usable_scans`.
    """
    cohorts = {str(split): _cohort(usable[usable.split == split], study.data) for split in SPLITS}
    return cohorts, _positions(usable, pairs)


def prepare_change_sources(
    study: Study, usable: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame, folder: Path
) -> tuple[list[ChangeSource], list[ChangeSource]] | None:
    """What the change head learns from and is checked on, kept under `folder`; None where it is not to learn.

    `usable`: see `select_usable_scans`.
    """
    settings = study.config.train
    if settings.change_steps == 0:
        return None
    return change_sources.build_change_sources(
        usable,
        prepared.scans(usable),
        pairs,
        ScanReader(study.data, prepared.template),
        study.config.score.spacing_mm,
        settings.change_sources,
        folder,
    )


def select_usable_scans(scans: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame) -> pd.DataFrame:
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


def compute_model_id(study: Study, usable: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame) -> str:
    """Name a model by the recipe and a digest of everything that it is trained, calibrated and measured on."""
    parts = [
        study.config.train.fingerprint(),
        study.config.score.calibration_fingerprint(),
        files.compute_file_digest(prepared.template),
        *usable[list(MODEL_ID_COLUMNS)].astype(str).fillna("None").agg(" ".join, axis=1),
        *prepared.contents(usable.id),
        *pairs[["scan_a", "scan_b", "kind", "split"]].astype(str).agg(" ".join, axis=1),
        str(MODEL_FORMAT),
        *plugin_identities(study.config, *MADE_BY),
    ]
    recipe = re.sub(r"\W+", "-", study.config.train.loss.rpartition(":")[2]).lower()
    return f"{recipe}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


def _cohort(usable: pd.DataFrame, data: Path) -> ScanDataset:
    return ScanDataset([data / path for path in usable.volume], list(usable.subject))


def _positions(usable: pd.DataFrame, pairs: pd.DataFrame) -> tuple[Positions, Positions]:
    """Explicit training pairs, same and different, as positions in the training cohort."""
    place = {scan: position for position, scan in enumerate(usable[usable.split == Split.TRAIN].id)}
    mine = pairs[(pairs.split == Split.TRAIN) & pairs.scan_a.isin(place) & pairs.scan_b.isin(place)]
    kinds: tuple[Positions, Positions] = ([], [])
    for pair in mine.itertuples():
        kinds[0 if pair.kind in SAME_PATIENT else 1].append((place[pair.scan_a], place[pair.scan_b]))
    return kinds


def _write_model_files(
    folder: Path,
    identity: str,
    study: Study,
    usable: pd.DataFrame,
    prepared: PreparedStudy,
    pairs: pd.DataFrame,
    network: SiameseNetwork,
    progress: TrainingProgress,
) -> None:
    """Everything in the folder but the weights' training; model.json comes last."""
    weights = model_folder.write_weights(folder, network)
    measured = _evaluate_model(study, usable, network)
    _write_examples(folder, study, usable, measured.reference)
    with files.replace_atomically(folder / model_folder.TEMPLATE_FILE) as temporary:
        shutil.copyfile(prepared.template, temporary)
    training_curve.write_curve(folder / "training.png", progress.log)
    seed = study.config.train.seed
    learned, unseen = (usable[usable.split == split] for split in (Split.TRAIN, Split.TEST))
    audited = confound_audit.audit_confounds(
        learned, unseen, study.data, prepared.template, partial(extract_network_view, network), seed
    )
    change = detector_selection.select_change_detector(study, usable, prepared, pairs, folder, progress.practised)
    info = _describe_model(identity, study, usable, prepared, network, weights, measured, change)
    metrics = ModelMetrics(
        **dict(measured.figures),
        patients=count_by_split(usable.groupby("split").subject.nunique()),
        scans=count_by_split(usable.split.value_counts()),
        audit=audited,
        seed=seed,
        training=summarise_training(progress, study.config.train),
        change_labels=detector_selection.evaluate_on_study_labels(study, usable, prepared, pairs, folder, info),
    )
    files.write_json_file(folder / METRICS_FILE, metrics.to_json_object())
    card.write_model_card(folder, info, metrics)
    files.write_json_file(folder / MODEL_FILE, info.to_json_object())


def _write_examples(folder: Path, study: Study, usable: pd.DataFrame, reference: pd.DataFrame) -> None:
    """Write the scores of pairs of which the truth is known, and pictures of some of them."""
    files.write_parquet_file(folder / "reference.parquet", reference)
    paths = {row.id: study.data / row.volume for row in usable.itertuples()}
    evaluation.write_gallery(folder / "gallery.npz", reference[reference.split == Split.TEST], paths)


def _describe_model(
    identity: str,
    study: Study,
    usable: pd.DataFrame,
    prepared: PreparedStudy,
    network: SiameseNetwork,
    weights_sha256: str,
    measured: ModelEvaluation,
    change: detector_selection.ChangeCalibration,
) -> ModelInfo:
    """Return what model.json says; every field is set, since only what is set is written."""
    learned = usable[usable.split == Split.TRAIN]
    return ModelInfo(
        id=identity,
        format=MODEL_FORMAT,
        recipe=study.config.train.loss,
        created_by=list_package_versions(),
        config=RecordedConfig.model_validate(study.config.model_dump(mode="json", exclude=EXCLUDED_CONFIG)),
        modalities=tuple(sorted(set(learned.modality))),
        contrasts=tuple(sorted(set(learned.contrast))),
        learned_from=tuple(sorted(usable[usable.split != Split.TEST].sha256)),
        trained_on=tuple(sorted(learned.sha256)),
        shape=_cohort(usable, study.data).shape,
        box=network.atlas.box,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        template_sha256=files.compute_file_digest(prepared.template),
        weights_sha256=weights_sha256,
        calibration=SimilarityCurve(**vars(measured.curve)),
        evidence=RecordedEvidence(**vars(measured.evidence)),
        change=change.change,
        change_reference=change.change_reference,
        growth_reference=change.growth_reference,
        **_plugins(study),
    )


@dataclass(frozen=True)
class ModelEvaluation:
    """What validation patients gave (similarity, the alarm), and how it held on test patients."""

    curve: calibration.SimilarityCalibration
    evidence: EvidenceCurve
    reference: pd.DataFrame
    figures: IdentityFigures


def _evaluate_model(study: Study, usable: pd.DataFrame, network: SiameseNetwork) -> ModelEvaluation:
    """Calibrate on validation patients, then look at test patients once."""
    import pandas as pd

    seed, rate = study.config.train.seed, study.config.score.false_match_rate
    split = {name: select_measured_scans(usable[usable.split == name], seed) for name in (Split.VALIDATION, Split.TEST)}
    embedded = {name: embed_scans(network, _cohort(part, study.data)) for name, part in split.items()}
    distance = {name: compute_distance_matrix(network, embeddings) for name, embeddings in embedded.items()}
    known, unseen = split[Split.VALIDATION], split[Split.TEST]
    curve = calibration.calibrate_similarity(distance[Split.VALIDATION], list(known.subject), rate)
    evidence = wrong_patient.calibrate_evidence_curve(
        project_embeddings(network, embedded[Split.VALIDATION]), list(known.subject), list(known.session), rate, seed
    )
    baselines = evaluation.measure_baselines(list(_cohort(unseen, study.data).volumes))
    figures = evaluation.evaluate_test_patients(unseen, distance[Split.TEST], baselines, curve, seed)
    tables = [
        evaluation.build_reference_table(str(name), list(part.id), list(part.subject), distance[name], curve, found)
        for name, part, found in ((Split.VALIDATION, known, {}), (Split.TEST, unseen, baselines))
    ]
    return ModelEvaluation(curve, evidence, pd.concat(tables, ignore_index=True), figures)


def select_measured_scans(scans: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Scans of patients drawn until there are enough to measure on: pairs grow with their square."""
    order = np.random.default_rng(seed).permutation(scans.subject.unique())
    counts = scans.subject.value_counts()[order].cumsum()
    return scans[scans.subject.isin(set(counts.index[counts - counts.diff().fillna(counts) < TARGET_MEASURED_SCANS]))]


def _plugins(study: Study) -> dict[str, tuple[PluginRecord, ...]]:
    """What the plug-ins were that the model was made with; nothing, not even a key, with built-in ones alone."""
    made_by = [plugin for plugin in named_plugins(study.config) if plugin.kind in MADE_BY]
    return {"plugins": tuple(map(describe_plugin, made_by))} if made_by else {}
