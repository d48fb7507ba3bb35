"""The six stages of a run. Start reading here.

    ingest -> prepare -> pair -> train -> score -> report

Each stage is one function below. It reads what earlier stages wrote, and writes files of its own to the study's data
folder (`data`) or reports folder (`reports`). The work itself is done in one folder of the package:

| Stage   | Function      | Folder        | Reads                             | Writes                                |
|---------|---------------|---------------|-----------------------------------|---------------------------------------|
| ingest  | `ingest`      | `ingestion`   | DICOM or NIfTI files, or a PACS   | the catalogue, `data/scans` (NIfTI)   |
| prepare | `prepare`     | `preparation` | catalogue, scans                  | `data/prepared`: template, alignments |
| pair    | `build_pairs` | `pairing`     | catalogue                         | `data/pairs.parquet`                  |
| train   | `train`       | `training`    | catalogue, aligned volumes, pairs | `data/models/<model id>`              |
| score   | `score`       | `scoring`     | the same, and a model             | `data/scores`: tables, change maps    |
| report  | `report`      | `reporting`   | catalogue, alignments, scores     | `reports`: pages, tables; DICOM       |

Between train and score, `promote_candidate` decides whether a model that was just trained replaces the current one. A
study without a model of its own uses the starter model, which comes with siamese-med. `stage_results` says which stage
name of a run calls which function, and what its result means. `single_scans` answers questions about one or two scans.

Every stage can be called again: it does only what is new and leaves the same files. No stage imports another one; this
module is where they meet. `study` always says where the study's files lie and how it is configured. `tables` holds the
tables that the run has read already; without it, a stage reads them itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.network.starter_model import is_starter_model
from siamese_med.pipeline import scoring_steps
from siamese_med.pipeline.study_tables import StudyTables
from siamese_med.runtime.extras import require_extra
from siamese_med.study import input_source
from siamese_med.study.input_source import Pull
from siamese_med.study.lesion import read_lesion_table
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.score_columns import parquet_schema
from siamese_med.study.tables import NO_REPORT_EXTRAS, IngestResult, ReportExtras, ReportResult, Study

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.ingestion.privacy.revealed_facts import RevealedFacts
    from siamese_med.training.current_model_record import PromotionDecision


def simulate(folder: Path | str, patients: int = 16, visits: int = 3, seed: int = 0) -> Path:
    """Write a simulated cohort and the truth about every change in it; equal seeds give equal files.

    Returns
    -------
    pathlib.Path
        The folder with the DICOM files, as a hospital would export them: the input of `ingest`.
    """
    from siamese_med.simulation import cohort

    folder = Path(folder)
    cohort.write_cohort(folder, patients, visits, seed)
    return folder / "input"


def ingest(source: Path | str | Pull, study: Study, verify: bool = False, deface: bool = False) -> IngestResult:
    """Turn files into scans, and account for every file.

    Parameters
    ----------
    source
        A folder, a BIDS data set or a CSV manifest on disk, or what to fetch from a PACS.
    verify
        Whether to hash every file of a folder again, also those whose size and time are as before.
    deface
        Whether to remove faces, now and in later runs; else as `ingest.deface` says.

    Returns
    -------
    IngestResult
        What became of every file, and the scans that this input's files make up. A file that is not accepted is
            quarantined with a reason; it raises nothing.

    Raises
    ------
    UsageError
        `source` is a folder that the study writes to.
    """
    config = study.config.ingest.model_copy(update={"deface": True}) if deface else study.config.ingest
    place = (study.data, study.catalogue_url, config)
    if isinstance(source, Pull):
        require_extra("pacs")
        from siamese_med.ingestion.pacs import pacs_pull

        ingested = pacs_pull.ingest_from_pacs(source, *place)
    else:
        from siamese_med.ingestion import ingest_folder

        folder = Path(source)
        input_source.refuse_own_folder(folder, study.own_folders)
        ingested = ingest_folder.ingest_files(folder, *place, verify, study.own_folders)
    if ingested.new or not study.files_page.is_file():
        write_files_page(study)
    return ingested


def write_files_page(study: Study) -> Path:
    """Write the page on what came in, from the catalogue, and return its path."""
    from siamese_med.ingestion import scan_checks
    from siamese_med.ingestion.catalogue import catalogue, inventory
    from siamese_med.reporting.write import ingest_page

    found = inventory.read_inventory(study.catalogue_url, scan_checks.own_hints(study.config.ingest))
    page = ingest_page.write_ingest_page(study.files_page, study.config.report.title, found)
    catalogue.mark_ingest_page_current(study.catalogue_url)
    return page


def reveal_pseudonym(label: str, study: Study, source: Path | None = None) -> RevealedFacts:
    """Return the patient and the files behind a pseudonym of a page, for those who hold the secret.

    Nothing is recorded. `source` is the input, by which the files are named as the hospital has them.
    """
    from siamese_med.ingestion.privacy import reidentification

    return reidentification.reveal_label(label, study.catalogue_url, study.config.ingest.secret_file, source)


def scans(study: Study) -> pd.DataFrame:
    """Read every scan of the catalogue, one row a scan, with the columns tables.SCAN_COLUMNS."""
    return StudyTables(study).read_scans()


def prepare(study: Study, model: Path | str | None = None, tables: StudyTables | None = None) -> PreparedStudy:
    """Align every scan to a template, and resample it to the template's grid.

    Parameters
    ----------
    model
        Folder of a model, on whose template the scans are to lie; None for the study's own template.

    Returns
    -------
    PreparedStudy
        The alignment table and the template. A scan that could not be aligned has `ok` false; it raises nothing.
    """
    return (tables or StudyTables(study)).prepare_scans(None if model is None else Path(model))


def build_pairs(study: Study, tables: StudyTables | None = None) -> pd.DataFrame:
    """Split the patients, then pair the scans.

    Returns
    -------
    pandas.DataFrame
        The pair table, one row a pair, with the columns tables.PAIR_COLUMNS. No patient is in two splits.
    """
    from siamese_med.pairing import pair_table

    return pair_table.build_pair_table((tables or StudyTables(study)).read_scans(), study.pairs, study.config.pair)


def train(study: Study, candidate: bool = False, tables: StudyTables | None = None) -> Path:
    """Train a model, calibrate it on validation patients, and measure it once on test patients.

    Parameters
    ----------
    candidate
        Whether the model has to be promoted before the study uses it. Otherwise it becomes the current model, unless it
        was refused before.

    Returns
    -------
    pathlib.Path
        The model folder; at once where the same model was trained before.
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


def find_training_obstacle(study: Study, tables: StudyTables | None = None) -> str | None:
    """Say in one line why the study has too few patients to train a candidate; None if it has enough."""
    from siamese_med.training import model_registry, training_scans

    known = tables or StudyTables(study)
    everything = known.read_scans()
    return training_scans.find_training_obstacle(
        everything,
        known.read_pairs(),
        lambda: known.prepare_scans(scans=everything),
        study.config.promote.min_patients if model_registry.has_current_model(study) else 0,
    )


def may_train(study: Study, tables: StudyTables | None = None) -> bool:
    """Return whether the scans are of enough patients to train a model, before they are split and aligned."""
    from siamese_med.training import training_scans

    return training_scans.may_have_enough_patients((tables or StudyTables(study)).read_scans())


def promote_candidate(
    study: Study, candidate: Path, tables: StudyTables | None = None
) -> tuple[Path, PromotionDecision]:
    """Make a candidate the current model if it is not worse on the fixed validation patients.

    Returns
    -------
    tuple
        The folder of the model that is current now, and the decision on the candidate, with its reason.
    """
    from siamese_med.training import model_registry

    known = tables or StudyTables(study)
    return model_registry.decide_promotion(
        study, candidate, known.read_scans(), known.read_pairs(), known.prepare_scans
    )


def current_model(study: Study) -> Path:
    """Return the folder of the study's current model: the starter model, where the study has none of its own.

    Raises ModelError where it is not there.
    """
    from siamese_med.training import model_registry

    return model_registry.find_current_model(study)


def score(study: Study, model: Path | str, tables: StudyTables | None = None) -> pd.DataFrame:
    """Measure similarity and change of every pair, and look for scans that are filed under the wrong patient.

    Scans that are not prepared for this model yet are prepared first. Pairs that were measured before are not measured
    again, if they were measured by the same model, with the same settings and of the same scans.

    Returns
    -------
    pandas.DataFrame
        One row a pair; the columns are the fields of `PairScore`.
    """
    import pandas as pd

    from siamese_med.network import siamese
    from siamese_med.network.model_folder import load_model
    from siamese_med.plugins import trusted_plugins
    from siamese_med.runtime.files import write_parquet_file
    from siamese_med.scoring import findings, score_table
    from siamese_med.scoring.identity.calibration import make_calibration
    from siamese_med.study import score_tables

    model = Path(model)
    chosen = load_model(model, trusted_plugins(study.config))
    config = chosen.measures(study.config.score)
    known = tables or StudyTables(study)
    everything = known.read_scans()
    prepared, pairs = known.prepare_scans(model, everything), known.read_pairs()
    score_tables.remove_tables_of_other_model(study, chosen.info)
    embedded = scoring_steps.embed_study_scans(study, chosen, everything, prepared)
    scoring_steps.write_owner_table(study, chosen, everything, prepared, embedded)
    findings.remove_departed_records(study.data, set(everything.subject))
    place = pd.Series(range(len(everything)), index=everything.id)
    sides = [place[pairs[column]].to_numpy() for column in ("scan_a", "scan_b")]
    scans = prepared.scans(everything)
    measured = score_table.score_pairs(
        scoring_steps.mark_new_pairs(pairs, everything, chosen.info).assign(
            distance=siamese.measure_pair_distances(chosen.network, embedded, *sides)
        ),
        scans,
        make_calibration(chosen.info),
        scoring_steps.build_scoring_setup(study, chosen, config),
    )
    write_parquet_file(study.scores(chosen.info.id), measured, parquet_schema(measured))
    scoring_steps.write_lesion_table(study, everything, measured, scans)
    return measured


def report(
    study: Study,
    model: Path | str,
    extras: ReportExtras = NO_REPORT_EXTRAS,
    source: Path | Pull | None = None,
    tables: StudyTables | None = None,
) -> ReportResult:
    """Write the pages, and what else is asked for, from the tables of the earlier stages.

    `model` is the folder of the model whose scores are shown. `source` is the input, by which DICOM objects are filed.
    Raises EmptyInputError where the model has no scores yet, InputError where another version measured them.
    """
    from siamese_med.ingestion.catalogue import catalogue
    from siamese_med.reporting.write import study_pages
    from siamese_med.scoring import score_table
    from siamese_med.study.model_info import read_model_info

    require_report_extras(extras)
    if extras.dicom:
        from siamese_med.dicom_export import export

        originals = export.check_export_folder(extras.dicom, source, study)
        extras = replace(extras, pdf=True)  # it goes to the archive too
    info, known = read_model_info(model := Path(model)), tables or StudyTables(study)
    scores, owners = score_table.read_tables_of_this_method(study, info)
    everything = known.read_scans()
    index = study_pages.write_reports(
        study_pages.ReportInputs(
            reports=study.reports,
            data=study.data,
            model=model,
            scans=everything,
            scores=scores,
            alignments=known.prepare_scans(model, everything).alignments,
            owners=owners,
            lesions=read_lesion_table(study.lesions),
            account=catalogue.read_account(study.catalogue_url),
            config=study.config.report,
            extras=extras,
            starter=is_starter_model(model),
        )
    )
    write_files_page(study)
    made = export.write_dicom_export(extras.dicom, originals, study, info.id, everything) if extras.dicom else None
    return ReportResult(index, made)


def require_report_extras(extras: ReportExtras) -> None:
    """Check that what `report` needs to write PDF or DICOM objects is installed; raises MissingExtraError if not."""
    if extras.dicom:
        require_extra("dicom")
    if extras.pdf:
        require_extra("pdf")


def read_pairs(study: Study) -> pd.DataFrame:
    """Read the pair table; raises EmptyInputError where there is none, or nothing in it."""
    return StudyTables(study).read_pairs()
