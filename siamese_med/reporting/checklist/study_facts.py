"""Facts of a study's tables for a reporting checklist: files, scans, pairs and verdicts, as sentences by topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.checklist.checklist_item import ChecklistTopic as Topic
from siamese_med.reporting.data import verdicts
from siamese_med.study import table_cells
from siamese_med.study.contrasts import join_words
from siamese_med.study.vocabulary import SAME_PATIENT, UNKNOWN, ScanFlag, Verdict, explain_reason

if TYPE_CHECKING:
    import pandas as pd

    from siamese_med.reporting.checklist.model_facts import Facts
    from siamese_med.study.tables import IngestAccount


@dataclass(frozen=True)
class StudyTablesForChecklist:
    """Contents of a study so far.

    Parameters
    ----------
    scans
        The scan table.
    account
        What became of every file.
    scores
        The score table of the model; None where there is none yet.
    defaced
        Whether the study removes faces.
    learned_from
        SHA-256 of the scans that the model learned from.
    """

    scans: pd.DataFrame
    account: IngestAccount
    scores: pd.DataFrame | None
    defaced: bool
    learned_from: frozenset[str]


def compose_study_facts(study: StudyTablesForChecklist) -> Facts:
    """Compose what the tables of a study tell of each topic; a topic of which they tell nothing is absent."""
    facts = {
        Topic.SCANS: [_describe_scans(study.scans)],
        Topic.FILES: [_describe_files(study.account)],
        Topic.PRIVACY: _describe_privacy(study.defaced),
        Topic.ACQUISITION: _describe_acquisition(study.scans),
        Topic.MISSING_DATA: [_describe_missing(study.scans)],
        Topic.EXTERNAL_TEST: [_describe_overlap(study)],
        **(_describe_pairs(study.scores) if study.scores is not None else {}),
    }
    return {topic: [text for text in texts if text] for topic, texts in facts.items() if any(texts)}


def _describe_scans(scans: pd.DataFrame) -> str:
    visits = len(scans[["subject", "session"]].drop_duplicates())
    return (
        f"The study: {formatting.count(scans['subject'].nunique())} patients, {formatting.count(visits)} visits, "
        f"{formatting.count(len(scans))} scans ({_count_words(scans['modality'])})."
    )


def _describe_files(account: IngestAccount) -> str:
    reasons = ", ".join(
        f"{formatting.spaced(word)} {formatting.count(number)}" for word, number in sorted(account.reasons.items())
    )
    return (
        f"Of {formatting.count(account.files_seen)} files {formatting.count(account.ingested)} were ingested, "
        f"{formatting.count(account.skipped)} skipped, {formatting.count(account.duplicate)} duplicates, "
        f"{formatting.count(account.quarantined)} refused" + (f"; reasons: {reasons}." if reasons else ".")
    )


def _describe_privacy(defaced: bool) -> list[str]:
    faces = "Faces were removed from heads." if defaced else "Faces were left as they are."
    return [
        "Identifiers became pseudonyms made with a secret key. Dates were shifted by one number of days for each "
        "patient. Names were not stored; birth date, sex and UIDs at most as keyed hashes.",
        faces,
    ]


def _describe_acquisition(scans: pd.DataFrame) -> list[str]:
    scanners, protocols = (scans.loc[scans[name] != UNKNOWN, name].nunique() for name in ("scanner", "protocol"))
    edges = sorted(edge for cell in scans["spacing_mm"] for edge in table_cells.parse_numbers(cell) if edge is not None)
    voxels = f" Voxel edges {edges[0]:.2g} to {edges[-1]:.2g} mm." if edges else ""
    return [
        f"Contrasts: {_count_words(scans['contrast'])}. Scanners told apart by the headers: "
        f"{formatting.count(scanners)}; protocols: {formatting.count(protocols)}.{voxels}",
        "The JSON beside each scan of a DICOM series has its TR, TE, TI, flip angle, slice thickness, field strength.",
    ]


def _describe_missing(scans: pd.DataFrame) -> str:
    undated = sum(ScanFlag.DATE_UNKNOWN in table_cells.parse_words(cell) for cell in scans["flags"])
    contrast, scanner = (formatting.count((scans[name] == UNKNOWN).sum()) for name in ("contrast", "scanner"))
    return (
        f"Scans without a date: {formatting.count(undated)}; of unknown contrast: {contrast}; of an unknown scanner: "
        f"{scanner}. Nothing was imputed: what could not be compared has no verdict."
    )


def _describe_overlap(study: StudyTablesForChecklist) -> str:
    if not study.learned_from:
        return ""
    shared = int(study.scans["sha256"].isin(study.learned_from).sum())
    return (
        f"Of the {formatting.count(len(study.scans))} scans of the study the model has learned from "
        f"{formatting.count(shared)}" + ("." if shared else ": for this model the study is external data.")
    )


def _describe_pairs(scores: pd.DataFrame) -> dict[Topic, list[str]]:
    pairs = scores[scores["kind"].isin(SAME_PATIENT)]
    words = [table_cells.parse_text(cell) or str(Verdict.NOT_COMPARABLE) for cell in pairs["verdict"]]
    found = Counter(words)
    named = [f"{verdicts.STATUSES[key].label.lower()} {found[key]}" for key in verdicts.STATUSES if found[key]]
    reasons = Counter(word for cell in pairs["reasons"] for word in table_cells.parse_words(cell))
    why = [f"{explain_reason(word)} ({number} pairs)" for word, number in sorted(reasons.items())]
    detectable = _median(pairs["smallest_detectable_ml"])
    return {
        Topic.FLOW: [
            f"{formatting.count(len(pairs))} pairs of one patient: {join_words(named) or 'none'}.",
            f"No verdict because {join_words(why)}." if why else "",
        ],
        Topic.PERFORMANCE: [
            f"Median of the smallest change that a pair would have shown: {formatting.fixed(detectable, 2)} ml."
            if detectable is not None
            else ""
        ],
    }


def _median(cells: pd.Series[float]) -> float | None:
    numbers = cells.dropna()
    return None if numbers.empty else float(numbers.median())


def _count_words(cells: pd.Series[str]) -> str:
    """Each word with the number of scans, the most frequent first."""
    counted: Sequence[tuple[str, int]] = sorted(Counter(map(str, cells)).items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{word} {number}" for word, number in counted)
