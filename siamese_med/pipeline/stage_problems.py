"""Unfinished or failed parts of a stage's result, in words for the command line and for Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from siamese_med.pipeline.stage_facts import ScanSummary
from siamese_med.study.model_info import RecordedRegion, read_model_info
from siamese_med.study.model_metrics import ConfoundFigures, Estimate, read_model_metrics
from siamese_med.study.tables import PacsTransfer
from siamese_med.study.vocabulary import ScanFlag


def list_failed_audits(model: Path) -> tuple[str, ...]:
    """List the shortcuts that may solve a model's task, one line each, from the confound audit in its metrics.json.

    A shortcut is the header, the background, the outline, the histogram or a thumbnail, without the anatomy.
    """
    audit = read_model_metrics(model).audit
    return () if audit is None else tuple(_suspected(shortcut, audit) for shortcut in audit.failed)


def list_model_doubts(model: Path) -> tuple[str, ...]:
    """List the doubts about a model, one line each: failed audits, and a region of identity that is small."""
    region = read_model_info(model).region
    if region is None or not region.is_small:
        return list_failed_audits(model)
    return (*list_failed_audits(model), describe_small_region(region))


def describe_small_region(region: RecordedRegion) -> str:
    """Say in one line how small the region of identity is, and why it may be.

    Examples
    --------
    >>> describe_small_region(RecordedRegion(ml=167, body_ml=2700))
    'identity is told from 167 ml of anatomy alone, 6 % of the body: fields of view differ, or scans lie wrong'
    """
    share = 100 * region.ml / region.body_ml
    return (
        f"identity is told from {region.ml:.0f} ml of anatomy alone, {share:.0f} % of the body: "
        "fields of view differ, or scans lie wrong"
    )


def _suspected(shortcut: str, audit: ConfoundFigures) -> str:
    lowest = audit.auc.get(shortcut, Estimate()).low
    if lowest is not None and audit.limit is not None and lowest > audit.limit:
        return f"same person or not: the {shortcut} alone tells the model's patients apart, so its figures are withheld"
    return f"same person or not: whether the {shortcut} alone tells the model's patients apart, too few of them can say"


def describe_problem(count: int, thing: str, what: str, endings: tuple[str, str] = ("", "s")) -> tuple[str, ...]:
    """Return a count of what went wrong as the only problem, or no problem where the count is zero.

    Examples
    --------
    >>> describe_problem(3, "file", "quarantined")
    ('3 files quarantined',)
    >>> describe_problem(1, "stud", "not transferred", ("y", "ies"))
    ('1 study not transferred',)
    >>> describe_problem(0, "file", "quarantined")
    ()
    """
    return (f"{count} {thing}{endings[count != 1]} {what}",) if count else ()


def list_transfer_problems(transfer: PacsTransfer) -> tuple[str, ...]:
    """List what a pull from a PACS lacks, one line each; empty where everything came."""
    return (
        *describe_problem(transfer.failed, "stud", "not transferred: run the same command again", ("y", "ies")),
        *describe_problem(transfer.missing, "instance", "listed by the PACS did not come: run the same command again"),
        *describe_problem(
            transfer.unexpected, "instance", "came that the PACS had not listed: run the same command again"
        ),
        *describe_problem(
            transfer.not_returned, "instance", "sent to the PACS did not come back: it dropped or replaced them"
        ),
    )


def list_identity_problems(scans: Sequence[ScanSummary]) -> tuple[str, ...]:
    """Describe scans that are in no pair, since it is not clear whose they are, or they are parts of a volume.

    Parameters
    ----------
    scans
        Scans of the catalogue, with their flags.

    Returns
    -------
    tuple of str
        One line each; none where all can be paired.
    """
    patients = {scan["subject"] for scan in scans if ScanFlag.IDENTITY_CONFLICT in scan["flags"]}
    nobodies = sum(ScanFlag.PLACEHOLDER_ID in scan["flags"] for scan in scans)
    parts = sum(ScanFlag.SPLIT_VOLUME in scan["flags"] for scan in scans)
    return (
        *describe_problem(
            len(patients),
            "patient identifier",
            "not paired, since sex, birth date or height differ between scans of one: if several people share an "
            "identifier, name them in a manifest (`identity_conflict`)",
        ),
        *describe_problem(
            nobodies,
            "scan",
            "not paired, since the PatientID is a word for nobody, such as ANONYMOUS or 0: name the patients in a "
            "manifest (`placeholder_id`)",
        ),
        *describe_problem(
            parts, "scan", "not paired, being a part of a volume: export it as one series (`split_volume`)"
        ),
    )


def list_face_problems(left: int) -> tuple[str, ...]:
    """Describe scans that came in before faces were to be removed, and that this run did not read.

    Examples
    --------
    >>> list_face_problems(0)
    ()
    """
    return describe_problem(left, "scan", "of other inputs with a face: ingest these inputs again, to remove it")


def list_identity_doubts(scans: Sequence[ScanSummary]) -> tuple[str, ...]:
    """Describe scans of which it is doubtful whose they are, and which are paired all the same.

    One line a flag; `scans` as in `list_identity_problems`.
    """
    unnamed = {scan["subject"] for scan in scans if ScanFlag.PATIENT_UNNAMED in scan["flags"]}
    return (
        *describe_problem(
            len(unnamed),
            "patient",
            "named by nothing but the place of a file, so two visits of one person count as two patients: name the "
            "patients in a manifest or by BIDS names (`patient_unnamed`)",
        ),
        *describe_problem(
            sum(ScanFlag.UNPROVEN_ID in scan["flags"] for scan in scans),
            "scan",
            "of one PatientID, the only one or given in two institutions, and no header tells sex, birth date or "
            "height: if they are of several people, name them in a manifest (`unproven_id`)",
        ),
        *describe_problem(
            sum(ScanFlag.COPIED_SCAN in scan["flags"] for scan in scans),
            "scan",
            "with the voxels of another patient's or visit's scan: find out which is right (`copied_scan`)",
        ),
    )
