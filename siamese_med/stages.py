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

from siamese_med.address import Pull
from siamese_med.prepared import Prepared
from siamese_med.records import NO_EXTRAS, Extras, Ingested, Reported, Study

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from siamese_med.network.model import Model
    from siamese_med.promotion import Decision


def simulate(folder: Path, patients: int = 16, visits: int = 3, seed: int = 0) -> Path:
    """Write a simulated cohort and its truth under `folder`; returns the folder that a hospital would have exported."""
    from siamese_med.phantom import cohort

    cohort.write_cohort(folder, patients, visits, seed)
    return folder / "input"


def ingest(source: Path | Pull, study: Study, verify: bool = False) -> Ingested:
    """Files (folder, BIDS tree, CSV manifest or a PACS) to scans: catalogue, NIfTI, and an account of every file.

    `verify` hashes every file of a folder again, also those whose size and time are as before.
    """
    place = (study.data, study.catalogue_url, study.config.ingest)
    if isinstance(source, Pull):
        from siamese_med.ingestion import dicomweb

        ingested = dicomweb.ingest(source, *place)
    else:
        from siamese_med.ingestion import batch

        ingested = batch.ingest(source, *place, verify)
    if ingested.new or not study.files_page.is_file():
        describe_files(study)
    return ingested


def describe_files(study: Study) -> Path:
    """The catalogue to the page on what came in; returns its path."""
    from siamese_med.ingestion import catalogue, inventory
    from siamese_med.reporting import intake

    page = intake.write(study.files_page, study.config.report.title, inventory.inventory(study.catalogue_url))
    catalogue.note_shown(study.catalogue_url)
    return page


def reveal(label: str, study: Study, source: Path | None = None) -> dict[str, Any]:
    """Who and which files are behind a label of a page, for those with the secret; nothing is recorded."""
    from siamese_med.ingestion import revealing

    return revealing.reveal(label, study.catalogue_url, study.config.ingest.secret_file, source)


def scans(study: Study) -> pd.DataFrame:
    """Every scan of the catalogue, one row each, with the columns of records.SCAN_COLUMNS."""
    from siamese_med.ingestion import catalogue

    return catalogue.scans(study.catalogue_url)


def prepare(study: Study, model: Path | None = None) -> Prepared:
    """Scans to aligned volumes on one grid; on the template of `model` where one is given."""
    from siamese_med.network.model import template_of
    from siamese_med.preparation import template as templates
    from siamese_med.preparation import volumes

    template = template_of(model) if model is not None else templates.checked(study.config.prepare.template)
    return volumes.prepare(scans(study), study.data, template, study.config.prepare)


def build_pairs(study: Study) -> pd.DataFrame:
    """Scans to pairs, patients split first; columns of records.PAIR_COLUMNS."""
    from siamese_med.pairing import pairs

    return pairs.build(scans(study), study.pairs, study.config.pair)


def train(study: Study, candidate: bool = False) -> Path:
    """Pairs to a model folder, calibrated on validation patients and measured once on test patients.

    The model speaks from then on, unless it was refused before; a `candidate` has to be promoted first.
    """
    from siamese_med import models, promotion

    if candidate:
        promotion.settle(study)
    model = models.make(study, scans(study), prepare(study), read_pairs(study))
    if not candidate and model.name not in promotion.refusals(study):
        promotion.appoint(study, model.name, "trained by hand")
    return model


def promote(study: Study, candidate: Path) -> tuple[Path, Decision]:
    """The model that speaks now, and why: the candidate if it is not worse on the fixed validation patients."""
    from siamese_med import promotion

    return promotion.decide(study, candidate, scans(study), read_pairs(study), partial(prepare, study))


def current_model(study: Study) -> Path:
    """The model that speaks for this study, see `promotion`; raises ModelError where there is none."""
    from siamese_med import promotion

    return promotion.current(study)


def score(study: Study, model: Path) -> pd.DataFrame:
    """Pairs to scores; columns of records.SCORE_COLUMNS. Scans that are not prepared for this model yet are."""
    from siamese_med import detectors, results
    from siamese_med.files import write_parquet
    from siamese_med.network import siamese
    from siamese_med.network.model import load
    from siamese_med.scoring import table

    chosen = load(model)
    config = chosen.measures(study.config.score)
    prepared = prepare(study, model)
    everything, pairs = scans(study), read_pairs(study)
    results.take(study, chosen.about)
    embedded = _embedded(study, chosen, everything, prepared)
    _look_for_owners(study, chosen, everything, prepared, embedded)
    vectors = dict(zip(everything.id, embedded, strict=True))
    sides = [siamese.stacked(vectors, pairs[column]) for column in ("scan_a", "scan_b")]
    measured = table.score(
        _marked_new(pairs, everything, chosen.about).assign(distance=siamese.distances(chosen.network, *sides)),
        prepared.scans(everything),
        chosen,
        detectors.of_model(chosen.about, model, config),
        study.scores(chosen.about["id"]).with_suffix(""),
        study.data,
        config,
    )
    write_parquet(study.scores(chosen.about["id"]), measured)
    return measured


def _look_for_owners(
    study: Study, chosen: Model, everything: pd.DataFrame, prepared: Prepared, embedded: Tensor
) -> None:
    """Write whose each scan seems to be, and let the alarms stand in the catalogue."""
    from siamese_med.files import alone, write_parquet
    from siamese_med.ingestion import catalogue
    from siamese_med.network import siamese
    from siamese_med.scoring import owners
    from siamese_med.scoring.evidence import Evidence

    aligned = prepared.alignments.set_index("scan").ok.reindex(everything.id).to_numpy(bool)
    judged = owners.judged(everything, aligned, chosen.about)
    vectors = siamese.vectors(chosen.network, embedded)
    found = owners.table(everything, judged, vectors, Evidence(**chosen.about["evidence"]))
    write_parquet(study.owners(chosen.about["id"]), found)
    alarmed = everything[found.alarm.to_numpy()]
    with alone(study.data / catalogue.LOCK):
        catalogue.note_alarms(study.catalogue_url, dict(zip(alarmed.id, alarmed.sha256, strict=True)))


def _marked_new(pairs: pd.DataFrame, scans: pd.DataFrame, about: dict[str, Any]) -> pd.DataFrame:
    """A study's own splits say nothing of a model that was made elsewhere: pairs it has not learned from are new."""
    learned = set(scans[scans.sha256.isin(about["learned_from"])].id)
    new = ~(pairs.scan_a.isin(learned) | pairs.scan_b.isin(learned)) & (pairs.split != "test")
    return pairs.assign(split=pairs.split.mask(new, "new"))


def report(study: Study, model: Path, extras: Extras = NO_EXTRAS, source: Path | Pull | None = None) -> Reported:
    """Scores to pages, and what else is asked for; `source` is the input, which DICOM objects are filed by."""
    from siamese_med import results
    from siamese_med.ingestion import catalogue
    from siamese_med.network.model import read_about
    from siamese_med.reporting import cohort

    if extras.dicom:
        from siamese_med.archive import export

        originals = export.check(extras.dicom, source, study)
        extras = replace(extras, pdf=True)  # it goes to the archive too
    about = read_about(model)
    scores, owners = results.read(study, about)
    index = cohort.write_reports(
        study.reports,
        study.data,
        model,
        scans(study),
        scores,
        prepare(study, model).alignments,
        owners,
        catalogue.account(study.catalogue_url),
        study.config.report,
        extras,
    )
    describe_files(study)
    if not extras.dicom:
        return Reported(index)
    return Reported(index, export.write(extras.dicom, originals, study, about["id"], scans(study)))


def compare(a: Path, b: Path, model: Path, study: Study) -> dict[str, Any]:
    """Two scans (NIfTI files or DICOM folders) to one comparison, without a catalogue."""
    from siamese_med import queries

    return queries.compare(a, b, queries.load(model), study.config)


def identify(scan: Path, model: Path, study: Study) -> dict[str, Any]:
    """Rank the enrolled patients (those of the catalogue) for one scan; nothing is retrained."""
    from siamese_med import queries

    chosen = queries.load(model)
    prepared = prepare(study, model)
    enrolled = scans(study).merge(prepared.alignments[prepared.alignments.ok][["scan"]], left_on="id", right_on="scan")
    return queries.identify(scan, chosen, enrolled, _embedded(study, chosen, enrolled, prepared), study.config)


def read_pairs(study: Study) -> pd.DataFrame:
    """The pair table; raises EmptyInputError where there is none or nothing in it."""
    from siamese_med.errors import EmptyInputError
    from siamese_med.untrusted import read_table

    if not study.pairs.is_file():
        raise EmptyInputError("there is no pair table yet: run `siamese-med pair` first")
    pairs = read_table(study.pairs, ("scan_a", "scan_b", "subject_a", "subject_b"))
    if pairs.empty:
        raise EmptyInputError("the pair table is empty: a study needs two scans of a patient, or two patients")
    return pairs


def embedding_cache(study: Study, about: dict[str, Any]) -> Path:
    """Where the embeddings of a model are kept; of its weights, since two models trained apart may bear one id."""
    return study.scores(about["id"]).with_suffix("") / f"embeddings-{about['weights_sha256'][:16]}.parquet"


def _embedded(study: Study, chosen: Model, table: pd.DataFrame, prepared: Prepared) -> Tensor:
    from siamese_med.network.embedding import embeddings

    volumes, contents = prepared.volumes(study.data, table.id), prepared.contents(table.id)
    return embeddings(chosen.network, volumes, contents, embedding_cache(study, chosen.about))
