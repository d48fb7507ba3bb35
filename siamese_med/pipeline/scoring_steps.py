"""The steps of the score stage, in the order in which `stages.score` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from siamese_med.study import table_cells
from siamese_med.study.prepared_scans import PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import UNKNOWN, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from torch import Tensor

    from siamese_med.network.model_folder import TrainedModel
    from siamese_med.scoring.lesions.followed_scans import ScanWithLesions
    from siamese_med.scoring.score_table import ScoringSetup
    from siamese_med.study.config import ScoreConfig
    from siamese_med.study.model_info import ModelInfo
    from siamese_med.study.prepared_scans import PreparedScan


def build_scoring_setup(study: Study, chosen: TrainedModel, config: ScoreConfig) -> ScoringSetup:
    """Collect what every pair is measured with: the reader of scans, the calibrated detector, and the settings."""
    from siamese_med.scoring.change import detectors, noise_floor
    from siamese_med.scoring.change.pair_scoring import CalibratedDetector
    from siamese_med.scoring.change.scan_side import ScanReader
    from siamese_med.scoring.score_table import ScoringSetup

    floors = noise_floor.make_floors(chosen.info)
    return ScoringSetup(
        ScanReader(study.data),
        study.scores(chosen.info.id).with_suffix(""),
        CalibratedDetector(detectors.build_model_detector(chosen.info, chosen.folder, config), *floors),
        chosen.instrument,
        config,
    )


def write_owner_table(
    study: Study, chosen: TrainedModel, everything: pd.DataFrame, prepared: PreparedStudy, embedded: Tensor
) -> None:
    """Write the owner table, which says whose each scan seems to be, and put its alarms into the catalogue.

    Parameters
    ----------
    everything
        The scan table.
    embedded
        (s, e), the embedding of every scan, in the order of `everything`.
    """
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


def mark_new_pairs(pairs: pd.DataFrame, scans: pd.DataFrame, info: ModelInfo) -> pd.DataFrame:
    """Return the pairs, with the split `new` where the model has learned from neither scan.

    A study's own splits say nothing of a model that was trained elsewhere. Test pairs stay test pairs.
    """
    learned = set(scans[scans.sha256.isin(info.learned_from)].id)
    new = ~(pairs.scan_a.isin(learned) | pairs.scan_b.isin(learned)) & (pairs.split != Split.TEST)
    return pairs.assign(split=pairs.split.mask(new, str(Split.NEW)))


def write_lesion_table(
    study: Study, everything: pd.DataFrame, scores: pd.DataFrame, prepared: Mapping[str, PreparedScan]
) -> None:
    """Follow the lesions of every patient with masks of lesions, and write the lesion table.

    Parameters
    ----------
    everything, scores
        The scan table, and the score table, which tells how the scans of a patient lie to each other.
    prepared
        The scans that are prepared, by id; their brains tell the regions of lesions.
    """
    from siamese_med.runtime.files import write_parquet_file
    from siamese_med.scoring.lesions import lesion_table
    from siamese_med.scoring.lesions.lesion_table import PatientJob
    from siamese_med.study.lesion import build_lesion_table
    from siamese_med.study.score_columns import read_scores
    from siamese_med.study.visit_order import sort_scans_by_time

    marked = everything[everything.lesions.notna()]
    lesion_table.remove_departed_files(study.data, set(everything.id), set(everything.subject), set(marked.subject))
    if marked.empty:
        study.lesions.unlink(missing_ok=True)
        return
    same = scores[(scores.subject_a == scores.subject_b) & scores.subject_a.isin(marked.subject)]
    pairs = {subject: tuple(read_scores(rows)) for subject, rows in same.groupby("subject_a")}
    scans: dict[str, list[ScanWithLesions]] = {}
    for row in sort_scans_by_time(everything.itertuples()):  # all: the date of a visit may be that of an unmarked scan
        if not isinstance(row.lesions, str):
            continue
        brain = prepared[row.id].brain if row.id in prepared else None
        scans.setdefault(row.subject, []).append(_describe_marked_scan(row, brain))
    jobs = [PatientJob(study.data, one, tuple(scans[one]), pairs.get(one, ())) for one in scans]
    write_parquet_file(study.lesions, build_lesion_table(lesion_table.follow_lesions(jobs)))


def _describe_marked_scan(row: Any, brain: str | None) -> ScanWithLesions:
    """Take from a row of the scan table what the lesions of its mask are followed with."""
    from siamese_med.scoring.lesions.followed_scans import ScanWithLesions

    return ScanWithLesions(
        row.id,
        row.session,
        row.modality if row.contrast == UNKNOWN else row.contrast,
        row.lesions,
        row.path,
        row.sha256,
        tuple(sorted(row.flags)),
        brain,
        row.protocol if isinstance(row.protocol, str) else None,
        int(min((edge for edge in table_cells.parse_numbers(row.shape) if edge), default=0)),
    )


def locate_embedding_cache(study: Study, info: ModelInfo) -> Path:
    """Return the path of the Parquet file that keeps a model's embeddings.

    It is named by the weights, since two models that were trained apart may have the same id.
    """
    return study.scores(info.id).with_suffix("") / f"embeddings-{info.weights_sha256[:16]}.parquet"


def embed_study_scans(study: Study, chosen: TrainedModel, table: pd.DataFrame, prepared: PreparedStudy) -> Tensor:
    """Return the embeddings of the scans of `table`, (s, e), float32.

    Embeddings are kept for each model, and looked up by the scan's content: only new scans are embedded.
    """
    from siamese_med.network.embedding_cache import embed_with_cache

    volumes, contents = prepared.volumes(study.data, table.id), prepared.contents(table.id)
    return embed_with_cache(chosen.network, volumes, contents, locate_embedding_cache(study, chosen.info))
