"""One patient's report as data, from the tables that the score stage left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siamese_med.reporting import history, verdicts
from siamese_med.reporting.content import Headline, Method, Pair, Patient, Provenance, Reference, Visit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEEN_IN_TRAINING = ("train", "validation")


def patient(
    subject: str,
    scans: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    alignments: Mapping[str, Mapping[str, Any]],
    title: str,
    reference: Reference,
    methods: tuple[Method, ...],
    provenance: Provenance,
) -> Patient:
    """All that a page says about one patient, without pictures: those follow from album.illustrated."""
    visits = history.visits(scans, alignments)
    pairs = history.pairs(scores, visits, reference.alarm)
    return Patient(
        subject=subject,
        title=title,
        headline=headline(visits, pairs),
        warnings=_warnings(visits, pairs, reference),
        visits=visits,
        pairs=pairs,
        reference=reference,
        methods=methods,
        provenance=provenance,
    )


def headline(visits: Sequence[Visit], pairs: Sequence[Pair]) -> Headline:
    """The verdict on the newest visit; two scans that look like two persons come before every verdict on change."""
    if not pairs:
        return Headline("one_visit", "There is no pair of scans to compare yet." if visits else "There is no scan.")
    doubtful = [pair for pair in pairs if pair.status == "wrong_patient"]
    if doubtful:
        return Headline("wrong_patient", _doubt(doubtful[0]))
    newest = lead(pairs)
    since_first = next((pair for pair in pairs if pair.role == "since_first" and pair.status == "changed"), None)
    if newest.status != "changed" and since_first:
        return Headline("changed", f"{_sentence(since_first)} {_sentence(newest)}")
    return Headline(newest.status, _sentence(newest))


def lead(pairs: Sequence[Pair]) -> Pair:
    """The pair that speaks for the newest visit: of several contrasts, the one that can be judged and says most."""
    newest = [pair for pair in pairs if pair.role == "newest"] or list(pairs)
    judged = [pair for pair in newest if pair.verdict != "not_comparable"] or newest
    return min(judged, key=lambda pair: (verdicts.STATUSES[pair.status].rank, pair.number))


def _doubt(pair: Pair) -> str:
    return (
        f"{pair.earlier_session} and {pair.later_session} look like two different persons: the similarity is below the "
        "threshold. Check that both scans belong to this patient before reading anything about change."
    )


def _sentence(pair: Pair) -> str:
    between = f"From {pair.earlier_session} to {pair.later_session}"
    if pair.verdict == "changed":
        return f"{between} the anatomy changed more than a rescan would."
    if pair.verdict == "no_change":
        return f"{between} nothing changed beyond what a rescan would."
    why = "; ".join(reason.meaning for reason in pair.reasons) or "the reason was not stated"
    return f"{between} no verdict is possible: {why}."


def _warnings(visits: Sequence[Visit], pairs: Sequence[Pair], reference: Reference) -> tuple[str, ...]:
    doubtful = [pair for pair in pairs if pair.status == "wrong_patient"]
    warnings = [f"{pair.earlier_session} and {pair.later_session} look like two persons, too." for pair in doubtful[1:]]
    if any(pair.split in SEEN_IN_TRAINING for pair in pairs):
        warnings.append("The model saw this patient while it was trained or calibrated: its similarity is optimistic.")
    if any(visit.scanner_changed for visit in visits):
        warnings.append("The scanner changed between visits: part of a measured change may come from it.")
    if any(visit.day is None for visit in visits):
        warnings.append(
            "A visit has no usable date: intervals with it are unknown, and the order follows the session number."
        )
    if reference.n == 0:
        warnings.append("The model holds no pairs without change: the reference band is that of a normal distribution.")
    return tuple(warnings)
