"""The straight line, start reading here: six stages, each from files on disk to files on disk.

    ingest -> prepare -> pair -> train -> score -> report

Stages never import one another; this is where they meet. Every function can be called again: it does only what is
new and leaves the same files. None of them knows Prefect; the flows call them.

A run gives its StudyTables to each of its stages, so that no table is read twice; called without them, a stage reads
for itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.pipeline.stage_facts import ComparisonFacts, IdentityFacts
from siamese_med.pipeline.study_tables import StudyTables
from siamese_med.study.input_source import Pull
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.score_columns import parquet_schema
from siamese_med.study.tables import NO_REPORT_EXTRAS, IngestResult, ReportExtras, ReportResult, Study
from siamese_med.study.vocabulary import Split

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from siamese_med.ingestion.privacy.revealed_facts import RevealedFacts
    from siamese_med.network.model_folder import TrainedModel
    from siamese_med.scoring.score_table import ScoringSetup
    from siamese_med.study.config import ScoreConfig
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
    from siamese_med.ingestion import scan_checks
    from siamese_med.ingestion.catalogue import catalogue, inventory
    from siamese_med.reporting.write import ingest_page

    found = inventory.read_inventory(study.catalogue_url, scan_checks.own_hints(study.config.ingest))
    page = ingest_page.write_ingest_page(study.files_page, study.config.report.title, found)
    catalogue.mark_ingest_page_current(study.catalogue_url)
    return page


def reveal_pseudonym(label: str, study: Study, source: Path | None = None) -> RevealedFacts:
    """Who and which files are behind a label of a page, for those with the secret; nothing is recorded."""
    from siamese_med.ingestion.privacy import reidentification

    return reidentification.reveal_label(label, study.catalogue_url, study.config.ingest.secret_file, source)


def scans(study: Study) -> pd.DataFrame:
    """Every scan of the catalogue, one row each, with the columns of tables.SCAN_COLUMNS."""
    return StudyTables(study).read_scans()


def prepare(study: Study, model: Path | None = None, tables: StudyTables | None = None) -> PreparedStudy:
    """Scans to aligned volumes on one grid; on the template of `model` where one is given."""
    return (tables or StudyTables(study)).prepare_scans(model)


def build_pairs(study: Study, tables: StudyTables | None = None) -> pd.DataFrame:
    """Scans to pairs, patients split first; columns of tables.PAIR_COLUMNS."""
    from siamese_med.pairing import pair_table

    return pair_table.build_pair_table((tables or StudyTables(study)).read_scans(), study.pairs, study.config.pair)


def train(study: Study, candidate: bool = False, tables: StudyTables | None = None) -> Path:
    """Pairs to a model folder, calibrated on validation patients and measured once on test patients.

    The model speaks from then on, unless it was refused before; a `candidate` has to be promoted first.
    """
    from siamese_med.training import model_registry, train_model

    if candidate:
        model_registry.record_current_model(study)
    known = tables or StudyTables(study)
    everything = known.read_scans()
    model = train_model.build_model(study, everything, known.prepare_scans(scans=everything), known.read_pairs())
    if not candidate and model.name not in model_registry.list_refused_models(study):
        model_registry.set_current_model(study, model.name, "trained by hand")
    return model


def promote_candidate(
    study: Study, candidate: Path, tables: StudyTables | None = None
) -> tuple[Path, PromotionDecision]:
    """The model that speaks now, and why: the candidate if it is not worse on the fixed validation patients."""
    from siamese_med.training import model_registry

    known = tables or StudyTables(study)
    return model_registry.decide_promotion(
        study, candidate, known.read_scans(), known.read_pairs(), known.prepare_scans
    )


def current_model(study: Study) -> Path:
    """The model that speaks for this study, see `promotion`; raises ModelError where there is none."""
    from siamese_med.training import model_registry

    return model_registry.find_current_model(study)


def score(study: Study, model: Path, tables: StudyTables | None = None) -> pd.DataFrame:
    """Pairs to scores, with the columns of `PairScore`. Scans that are not prepared for this model yet are."""
    from siamese_med.network import siamese
    from siamese_med.network.model_folder import load_model
    from siamese_med.plugins import trusted_plugins
    from siamese_med.runtime.files import write_parquet_file
    from siamese_med.scoring import score_table
    from siamese_med.scoring.identity.calibration import make_calibration
    from siamese_med.study import score_tables

    chosen = load_model(model, trusted_plugins(study.config))
    config = chosen.measures(study.config.score)
    known = tables or StudyTables(study)
    everything = known.read_scans()
    prepared, pairs = known.prepare_scans(model, everything), known.read_pairs()
    score_tables.remove_tables_of_other_model(study, chosen.info)
    embedded = _embedded(study, chosen, everything, prepared)
    _look_for_owners(study, chosen, everything, prepared, embedded)
    vectors = dict(zip(everything.id, embedded, strict=True))
    sides = [siamese.stack_embeddings(vectors, pairs[column]) for column in ("scan_a", "scan_b")]
    measured = score_table.score_pairs(
        _marked_new(pairs, everything, chosen.info).assign(distance=siamese.measure_distances(chosen.network, *sides)),
        prepared.scans(everything),
        make_calibration(chosen.info),
        _scoring_setup(study, chosen, config),
    )
    write_parquet_file(study.scores(chosen.info.id), measured, parquet_schema(measured))
    return measured


def _scoring_setup(study: Study, chosen: TrainedModel, config: ScoreConfig) -> ScoringSetup:
    from siamese_med.scoring.change import detectors, noise_floor
    from siamese_med.scoring.change.scan_side import ScanReader
    from siamese_med.scoring.change.score_pair import CalibratedDetector
    from siamese_med.scoring.score_table import ScoringSetup

    floors = noise_floor.make_floors(chosen.info)
    return ScoringSetup(
        ScanReader(study.data, chosen.template),
        study.scores(chosen.info.id).with_suffix(""),
        CalibratedDetector(detectors.build_model_detector(chosen.info, chosen.folder, config), *floors),
        chosen.instrument,
        config,
    )


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
    new = ~(pairs.scan_a.isin(learned) | pairs.scan_b.isin(learned)) & (pairs.split != Split.TEST)
    return pairs.assign(split=pairs.split.mask(new, str(Split.NEW)))


def report(
    study: Study,
    model: Path,
    extras: ReportExtras = NO_REPORT_EXTRAS,
    source: Path | Pull | None = None,
    tables: StudyTables | None = None,
) -> ReportResult:
    """Scores to pages, and what else is asked for; `source` is the input, which DICOM objects are filed by."""
    from siamese_med.ingestion.catalogue import catalogue
    from siamese_med.reporting.write import study_pages
    from siamese_med.reporting.write.study_pages import ReportInputs
    from siamese_med.study import score_tables
    from siamese_med.study.model_info import read_model_info

    if extras.dicom:
        from siamese_med.dicom_export import export

        originals = export.check_export_folder(extras.dicom, source, study)
        extras = replace(extras, pdf=True)  # it goes to the archive too
    info = read_model_info(model)
    scores, owners = score_tables.read_score_tables(study, info)
    known = tables or StudyTables(study)
    everything = known.read_scans()
    index = study_pages.write_reports(
        ReportInputs(
            reports=study.reports,
            data=study.data,
            model=model,
            scans=everything,
            scores=scores,
            alignments=known.prepare_scans(model, everything).alignments,
            owners=owners,
            account=catalogue.read_account(study.catalogue_url),
            config=study.config.report,
            extras=extras,
        )
    )
    write_files_page(study)
    if not extras.dicom:
        return ReportResult(index)
    return ReportResult(index, export.write_dicom_export(extras.dicom, originals, study, info.id, everything))


def compare(a: Path, b: Path, model: Path, study: Study) -> ComparisonFacts:
    """Two scans (NIfTI files or DICOM folders) to one comparison, without a catalogue."""
    from siamese_med.pipeline import single_scans

    return single_scans.measure_two_scans(a, b, single_scans.load_model_for_query(model, study.config), study.config)


def identify(scan: Path, model: Path, study: Study) -> IdentityFacts:
    """Rank the enrolled patients (those of the catalogue) for one scan; nothing is retrained."""
    from siamese_med.pipeline import single_scans

    chosen = single_scans.load_model_for_query(model, study.config)
    known = StudyTables(study)
    everything = known.read_scans()
    prepared = known.prepare_scans(model, everything)
    enrolled = everything.merge(prepared.alignments[prepared.alignments.ok][["scan"]], left_on="id", right_on="scan")
    return single_scans.rank_enrolled_patients(
        scan, chosen, enrolled, _embedded(study, chosen, enrolled, prepared), study.config
    )


def read_pairs(study: Study) -> pd.DataFrame:
    """The pair table; raises EmptyInputError where there is none or nothing in it."""
    return StudyTables(study).read_pairs()


def locate_embedding_cache(study: Study, info: ModelInfo) -> Path:
    """Where the embeddings of a model are kept; of its weights, since two models trained apart may bear one id."""
    return study.scores(info.id).with_suffix("") / f"embeddings-{info.weights_sha256[:16]}.parquet"


def _embedded(study: Study, chosen: TrainedModel, table: pd.DataFrame, prepared: PreparedStudy) -> Tensor:
    from siamese_med.network.embedding_cache import embed_with_cache

    volumes, contents = prepared.volumes(study.data, table.id), prepared.contents(table.id)
    return embed_with_cache(chosen.network, volumes, contents, locate_embedding_cache(study, chosen.info))
