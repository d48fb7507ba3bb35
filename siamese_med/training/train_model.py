"""The train stage: train the network, calibrate and measure it, and write the model folder in one step.

A model's id is a digest of everything that it is made from. To train the same model again finds the folder of the first
time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from siamese_med.imaging.volume import read_volume
from siamese_med.network import bundle_files, model_folder
from siamese_med.network.atlas import ATLAS_VERSION, measure_region
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import (
    SiameseNetwork,
    extract_network_view,
)
from siamese_med.plugins import describe_plugin, named_plugins, plugin_identities
from siamese_med.reporting.model import card
from siamese_med.runtime import files
from siamese_med.scoring.change.scan_side import ScanReader
from siamese_med.scoring.identity import confound_audit, evaluation
from siamese_med.study.model_info import (
    MODEL_FILE,
    MODEL_FORMAT,
    ModelInfo,
    RecordedConfig,
    RecordedEvidence,
    RecordedRegion,
    SimilarityCurve,
)
from siamese_med.study.model_metrics import METRICS_FILE, ModelMetrics
from siamese_med.study.plugin_names import PluginKind, PluginRecord
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import Split
from siamese_med.training import (
    change_sources,
    detector_selection,
    distributed,
    encoder_bundle,
    identity_training,
    marked_pairs,
    similarity_fusion,
    training_curve,
)
from siamese_med.training.identity_training import TrainingProgress
from siamese_med.training.marked_pairs import MarkedPair
from siamese_med.training.model_evaluation import ModelEvaluation, evaluate_model, select_measured_scans
from siamese_med.training.model_provenance import count_by_split, list_package_versions, summarise_training
from siamese_med.training.synthetic_follow_ups import ChangeSource
from siamese_med.training.training_scans import (
    collect_training_data,
    load_scan_dataset,
    require_enough_patients,
    select_usable_scans,
)

if TYPE_CHECKING:
    import pandas as pd

EXCLUDED_CONFIG_SECTIONS = ("ingest", "promote", "report", "run")
EXCLUDED_CONFIG: dict[str, bool | set[str]] = {**dict.fromkeys(EXCLUDED_CONFIG_SECTIONS, True), "train": {"rendezvous"}}
"""Parts of the configuration that a model does not record: they do not affect it, or name a computer."""
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
"""Kinds of plug-ins that affect a model."""


def build_model(study: Study, scans: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame) -> Path:
    """Train, calibrate, measure and write one model.

    Parameters
    ----------
    scans
        The scan table.
    prepared
        The alignments to the study's template.
    pairs
        The pair table, with its splits.

    Returns
    -------
    pathlib.Path
        The finished model folder; at once where it exists already. An interrupted training goes on from its last
        checkpoint.

    Raises
    ------
    EmptyInputError, NotEnoughDataError
        See `select_usable_scans` and `require_enough_patients`.
    PluginError
        The encoder is that of a bundle which cannot be used, see `encoder_bundle.read_bundle_encoder`.
    """
    usable = select_usable_scans(scans, prepared, pairs)
    require_enough_patients(usable)
    settings, weights = encoder_bundle.read_bundle_encoder(study.config.train)
    study = replace(study, config=study.config.model_copy(update={"train": settings}))
    identity = compute_model_id(study, usable, prepared, pairs)
    finished, building = study.models / identity, study.models / f".building-{identity}"
    if (finished / MODEL_FILE).is_file():
        return finished
    building.mkdir(parents=True, exist_ok=True)
    files.remove_stale_temporary_files(building)
    if weights is not None:
        files.write_bytes_file(building / encoder_bundle.INITIAL_WEIGHTS_FILE, weights)
    cohorts, explicit = collect_training_data(study, usable, pairs, prepared.template)
    exercised = prepare_change_sources(study, usable, prepared, pairs, building / "exercises")
    network, progress = distributed.train_on_ranks(
        cohorts[Split.TRAIN], cohorts[Split.VALIDATION], explicit, study.config.train, building, exercised
    )
    shutil.rmtree(building / "exercises", ignore_errors=True)
    _write_model_files(building, identity, study, usable, prepared, pairs, network, progress)
    return _finish_model_folder(building, finished)


def _finish_model_folder(building: Path, finished: Path) -> Path:
    """Remove what only training needs, and give the folder the name under which the model is known."""
    for name in (*identity_training.CHECKPOINT_FILES, encoder_bundle.INITIAL_WEIGHTS_FILE):
        (building / name).unlink(missing_ok=True)
    shutil.rmtree(finished, ignore_errors=True)
    building.rename(finished)
    return finished


def prepare_change_sources(
    study: Study, usable: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame, folder: Path
) -> tuple[list[ChangeSource], list[ChangeSource]] | None:
    """Prepare what the change head learns from and what it is checked on, and keep both below `folder`.

    Parameters
    ----------
    usable
        See `training_scans.select_usable_scans`.

    Returns
    -------
    tuple or None
        Sources of the training patients, the last of them their marked pairs, and of the validation patients; None
        where `train.change_steps` is 0.
    """
    settings = study.config.train
    if settings.change_steps == 0:
        return None
    rows, reader, score = prepared.scans(usable), ScanReader(study.data), study.config.score
    learning, checking = change_sources.build_change_sources(
        usable, rows, pairs, reader, score.spacing_mm, settings.change_sources, folder
    )
    marked = _select_marked_pairs(study, usable, pairs)
    return [*learning, *marked_pairs.build_marked_sources(marked, rows, reader, score, folder)], checking


def _select_marked_pairs(study: Study, usable: pd.DataFrame, pairs: pd.DataFrame) -> list[MarkedPair]:
    """The marked pairs that the change head learns from; none where it does not learn or is to learn without them."""
    settings = study.config.train
    wanted = settings.change_steps > 0 and settings.change_marked_share > 0
    return marked_pairs.find_marked_pairs(usable, pairs) if wanted else []


def compute_model_id(study: Study, usable: pd.DataFrame, prepared: PreparedStudy, pairs: pd.DataFrame) -> str:
    """Name a model by its loss and by a digest of everything that it is trained, calibrated and measured on.

    Returns
    -------
    str
        Such as `supcon-0123456789ab`. It changes with a setting, a scan's voxels, an alignment, a pair, the template,
        the format of model folders, the way in which an atlas is made, the code of a plug-in, or what is marked as
        changed between two scans of a training patient.
    """
    parts = [
        study.config.train.fingerprint(),
        study.config.score.calibration_fingerprint(),
        files.compute_file_digest(prepared.template),
        *usable[list(MODEL_ID_COLUMNS)].astype(str).fillna("None").agg(" ".join, axis=1),
        *prepared.contents(usable.id),
        *pairs[["scan_a", "scan_b", "kind", "split"]].astype(str).agg(" ".join, axis=1),
        f"{MODEL_FORMAT} {ATLAS_VERSION}",
        *plugin_identities(study.config, *MADE_BY),
        *marked_pairs.describe_marked_pairs(_select_marked_pairs(study, usable, pairs), study.data),
    ]
    recipe = re.sub(r"\W+", "-", study.config.train.loss.rpartition(":")[2]).lower()
    return f"{recipe}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:12]}"


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
    known = usable[usable.split == Split.VALIDATION]
    similarity_fusion.fuse_similarity(
        network, load_scan_dataset(select_measured_scans(known, study.config.train.seed), study.data)
    )
    weights = model_folder.write_weights(folder, network)
    measured = evaluate_model(study, usable, network)
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
    bundle_files.write_bundle_files(folder, info)
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
        shape=load_scan_dataset(usable, study.data).shape,
        box=network.atlas.box,
        region=measure_region_ml(network, load_scan_dataset(learned, study.data), prepared.template),
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


def measure_region_ml(network: SiameseNetwork, learned: ScanDataset, template: Path) -> RecordedRegion | None:
    """Measure the region that a network looks at, and the body that half of the scans it learned from show, in ml.

    Parameters
    ----------
    learned
        The training scans.
    template
        NIfTI of the template, for the size of a voxel.

    Returns
    -------
    RecordedRegion or None
        None where the grid is too thin for a region, so that the network looks at everything.
    """
    found = measure_region(network.atlas, learned)
    if found is None:
        return None
    voxel_ml = float(np.prod(read_volume(template).spacing_mm)) / 1000
    region, body = (round(voxels * voxel_ml, 1) for voxels in found)
    return RecordedRegion(ml=region, body_ml=body)


def _plugins(study: Study) -> dict[str, tuple[PluginRecord, ...]]:
    """Describe the plug-ins that the model was made with; nothing, not even a key, with built-in ones alone."""
    made_by = [plugin for plugin in named_plugins(study.config) if plugin.kind in MADE_BY]
    return {"plugins": tuple(map(describe_plugin, made_by))} if made_by else {}
