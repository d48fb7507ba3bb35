"""The straight line, start reading here: six stages, each from files on disk to files on disk.

    ingest -> prepare -> pair -> train -> score -> report

Stages never import one another; this is where they meet. Every function can be called again: it does only what is
new and leaves the same files. None of them knows Prefect; the flows call them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.study.input_source import Pull
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import NO_REPORT_EXTRAS, IngestResult, ReportExtras, ReportResult, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from siamese_med.network.model_folder import TrainedModel
    from siamese_med.study.model_info import ModelInfo
    from siamese_med.training.model_registry import PromotionDecision


def simulate(folder: Path, patients: int = 16, visits: int = 3, seed: int = 0) -> Path:
    """Write a simulated cohort and its truth under `folder`; returns the folder that a hospital would have exported."""
    from siamese_med.simulation import cohort

    cohort.write_cohort(folder, patients, visits, seed)
    return folder / "input"


def ingest(source: Path | Pull, study: Study, verify: bool = False) -> IngestResult:
    """Files (folder, BIDS tree, CSV manifest or a PACS) to scans: catalogue, NIfTI, and an account of every file.

    `verify` hashes every file of a folder again, also those whose size and time are as before.
    """
    place = (study.data, study.catalogue_url, study.config.ingest)
    if isinstance(source, Pull):
        from siamese_med.ingestion.pacs import pacs_pull

        ingested = pacs_pull.ingest_from_pacs(source, *place)
    else:
        from siamese_med.ingestion import ingest_folder

        ingested = ingest_folder.ingest_files(source, *place, verify)
    if ingested.new or not study.files_page.is_file():
        write_files_page(study)
    return ingested


def write_files_page(study: Study) -> Path:
    """The catalogue to the page on what came in; returns its path."""
    from siamese_med.ingestion.catalogue import catalogue, inventory
    from siamese_med.reporting.write import ingest_page

    page = ingest_page.write_ingest_page(
        study.files_page, study.config.report.title, inventory.read_inventory(study.catalogue_url)
    )
    catalogue.mark_ingest_page_current(study.catalogue_url)
    return page


def reveal_pseudonym(label: str, study: Study, source: Path | None = None) -> dict[str, Any]:
    """Who and which files are behind a label of a page, for those with the secret; nothing is recorded."""
    from siamese_med.ingestion.privacy import reidentification

    return reidentification.reveal_label(label, study.catalogue_url, study.config.ingest.secret_file, source)


def scans(study: Study) -> pd.DataFrame:
    """Every scan of the catalogue, one row each, with the columns of tables.SCAN_COLUMNS."""
    from siamese_med.ingestion.catalogue import catalogue

    return catalogue.read_scan_table(study.catalogue_url)


def prepare(study: Study, model: Path | None = None) -> PreparedStudy:
    """Scans to aligned volumes on one grid; on the template of `model` where one is given."""
    from siamese_med.network.model_folder import find_checked_template
    from siamese_med.preparation import aligned_volumes
    from siamese_med.preparation import study_template as templates

    template = (
        find_checked_template(model)
        if model is not None
        else templates.check_configured_template(study.config.prepare.template)
    )
    return aligned_volumes.prepare_scans(scans(study), study.data, template, study.config.prepare)


def build_pairs(study: Study) -> pd.DataFrame:
    """Scans to pairs, patients split first; columns of tables.PAIR_COLUMNS."""
    from siamese_med.pairing import pair_table

    return pair_table.build_pair_table(scans(study), study.pairs, study.config.pair)


def train(study: Study, candidate: bool = False) -> Path:
    """Pairs to a model folder, calibrated on validation patients and measured once on test patients.

    The model speaks from then on, unless it was refused before; a `candidate` has to be promoted first.
    """
    from siamese_med.training import model_registry, train_model

    if candidate:
        model_registry.record_current_model(study)
    model = train_model.build_model(study, scans(study), prepare(study), read_pairs(study))
    if not candidate and model.name not in model_registry.list_refused_models(study):
        model_registry.set_current_model(study, model.name, "trained by hand")
    return model


def promote_candidate(study: Study, candidate: Path) -> tuple[Path, PromotionDecision]:
    """The model that speaks now, and why: the candidate if it is not worse on the fixed validation patients."""
    from siamese_med.training import model_registry

    return model_registry.decide_promotion(study, candidate, scans(study), read_pairs(study), partial(prepare, study))


def current_model(study: Study) -> Path:
    """The model that speaks for this study, see `promotion`; raises ModelError where there is none."""
    from siamese_med.training import model_registry

    return model_registry.find_current_model(study)


def score(study: Study, model: Path) -> pd.DataFrame:
    """Pairs to scores; columns of tables.SCORE_COLUMNS. Scans that are not prepared for this model yet are."""
    from siamese_med.network import siamese
    from siamese_med.network.model_folder import load_model
    from siamese_med.runtime.files import write_parquet_file
    from siamese_med.scoring import score_table
    from siamese_med.scoring.change import detectors
    from siamese_med.study import score_tables

    chosen = load_model(model)
    config = chosen.measures(study.config.score)
    prepared = prepare(study, model)
    everything, pairs = scans(study), read_pairs(study)
    score_tables.remove_tables_of_other_model(study, chosen.info)
    embedded = _embedded(study, chosen, everything, prepared)
    _look_for_owners(study, chosen, everything, prepared, embedded)
    vectors = dict(zip(everything.id, embedded, strict=True))
    sides = [siamese.stack_embeddings(vectors, pairs[column]) for column in ("scan_a", "scan_b")]
    measured = score_table.score_pairs(
        _marked_new(pairs, everything, chosen.info).assign(distance=siamese.measure_distances(chosen.network, *sides)),
        prepared.scans(everything),
        chosen,
        detectors.build_model_detector(chosen.info, model, config),
        study.scores(chosen.info.id).with_suffix(""),
        study.data,
        config,
    )
    write_parquet_file(study.scores(chosen.info.id), measured)
    return measured


def _look_for_owners(
    study: Study, chosen: TrainedModel, everything: pd.DataFrame, prepared: PreparedStudy, embedded: Tensor
) -> None:
    """Write whose each scan seems to be, and let the alarms stand in the catalogue."""
    from siamese_med.ingestion.catalogue import catalogue
    from siamese_med.network import siamese
    from siamese_med.runtime.files import hold_exclusive_lock, write_parquet_file
    from siamese_med.scoring.identity import wrong_patient
    from siamese_med.scoring.identity.patient_evidence import make_evidence

    aligned = prepared.alignments.set_index("scan").ok.reindex(everything.id).to_numpy(bool)
    judged = wrong_patient.find_judgeable_scans(everything, aligned, chosen.info)
    vectors = siamese.project_embeddings(chosen.network, embedded)
    found = wrong_patient.build_owner_table(everything, judged, vectors, make_evidence(chosen.info))
    write_parquet_file(study.owners(chosen.info.id), found)
    alarmed = everything[found.alarm.to_numpy()]
    with hold_exclusive_lock(study.data / catalogue.INGEST_LOCK_FILE):
        catalogue.replace_wrong_patient_alarms(study.catalogue_url, dict(zip(alarmed.id, alarmed.sha256, strict=True)))


def _marked_new(pairs: pd.DataFrame, scans: pd.DataFrame, info: ModelInfo) -> pd.DataFrame:
    """A study's own splits say nothing of a model that was made elsewhere: pairs it has not learned from are new."""
    learned = set(scans[scans.sha256.isin(info.learned_from)].id)
    new = ~(pairs.scan_a.isin(learned) | pairs.scan_b.isin(learned)) & (pairs.split != "test")
    return pairs.assign(split=pairs.split.mask(new, "new"))


def report(
    study: Study, model: Path, extras: ReportExtras = NO_REPORT_EXTRAS, source: Path | Pull | None = None
) -> ReportResult:
    """Scores to pages, and what else is asked for; `source` is the input, which DICOM objects are filed by."""
    from siamese_med.ingestion.catalogue import catalogue
    from siamese_med.reporting.write import study_pages
    from siamese_med.study import score_tables
    from siamese_med.study.model_info import read_model_info

    if extras.dicom:
        from siamese_med.dicom_export import export

        originals = export.check_export_folder(extras.dicom, source, study)
        extras = replace(extras, pdf=True)  # it goes to the archive too
    info = read_model_info(model)
    scores, owners = score_tables.read_score_tables(study, info)
    index = study_pages.write_reports(
        study.reports,
        study.data,
        model,
        scans(study),
        scores,
        prepare(study, model).alignments,
        owners,
        catalogue.read_account(study.catalogue_url),
        study.config.report,
        extras,
    )
    write_files_page(study)
    if not extras.dicom:
        return ReportResult(index)
    return ReportResult(index, export.write_dicom_export(extras.dicom, originals, study, info.id, scans(study)))


def compare(a: Path, b: Path, model: Path, study: Study) -> dict[str, Any]:
    """Two scans (NIfTI files or DICOM folders) to one comparison, without a catalogue."""
    from siamese_med.pipeline import single_scans

    return single_scans.measure_two_scans(a, b, single_scans.load_model_for_query(model), study.config)


def identify(scan: Path, model: Path, study: Study) -> dict[str, Any]:
    """Rank the enrolled patients (those of the catalogue) for one scan; nothing is retrained."""
    from siamese_med.pipeline import single_scans

    chosen = single_scans.load_model_for_query(model)
    prepared = prepare(study, model)
    enrolled = scans(study).merge(prepared.alignments[prepared.alignments.ok][["scan"]], left_on="id", right_on="scan")
    return single_scans.rank_enrolled_patients(
        scan, chosen, enrolled, _embedded(study, chosen, enrolled, prepared), study.config
    )


def read_pairs(study: Study) -> pd.DataFrame:
    """The pair table; raises EmptyInputError where there is none or nothing in it."""
    from siamese_med.errors import EmptyInputError
    from siamese_med.runtime.untrusted_input import read_untrusted_table

    if not study.pairs.is_file():
        raise EmptyInputError("there is no pair table yet: run `siamese-med pair` first")
    pairs = read_untrusted_table(study.pairs, ("scan_a", "scan_b", "subject_a", "subject_b"))
    if pairs.empty:
        raise EmptyInputError("the pair table is empty: a study needs two scans of a patient, or two patients")
    return pairs


def locate_embedding_cache(study: Study, info: ModelInfo) -> Path:
    """Where the embeddings of a model are kept; of its weights, since two models trained apart may bear one id."""
    return study.scores(info.id).with_suffix("") / f"embeddings-{info.weights_sha256[:16]}.parquet"


def _embedded(study: Study, chosen: TrainedModel, table: pd.DataFrame, prepared: PreparedStudy) -> Tensor:
    from siamese_med.network.embedding_cache import embed_with_cache

    volumes, contents = prepared.volumes(study.data, table.id), prepared.contents(table.id)
    return embed_with_cache(chosen.network, volumes, contents, locate_embedding_cache(study, chosen.info))
