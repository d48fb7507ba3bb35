"""Decide what a patient's page says first: one verdict over all contrasts.

The rule. A verdict is about the patient's newest visit, and rests on the pairs that end with it: the newest visit
against the one before, and against the first, each contrast by itself.

1. `wrong_patient` if a scan of the patient is under a wrong-patient alarm.
2. `one_visit` if there is one visit only.
3. `changed` if such a pair of any contrast is changed. Its p is corrected for all comparable pairs that end with this
   visit, of all contrasts together (Hommel, `scoring.change.pair_scoring.apply_multiple_testing`).
4. `uncertain` if such a pair of any contrast is uncertain, also beside pairs of other contrasts without a change.
5. `no_change` if such a pair of any contrast is comparable.
6. `not_comparable` otherwise.

So "no change" is said only where every such pair that was compared would have shown a change of a stated size, because
a change that is seen in one contrast alone, or only against the first visit, may hide in the pair that is uncertain.

T1 alone may give a verdict where the FLAIR cannot be compared. The headline therefore names the contrasts with this
verdict, those with another one, and those that were not compared, with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.data import verdicts
from siamese_med.reporting.data.report_content import ContrastLine, PatientHeadline
from siamese_med.study.contrasts import (
    CONTRAST_NOT_KNOWN,
    describe_contrast,
    join_contrasts,
    join_words,
    sort_contrast_names,
)
from siamese_med.study.thresholds import LARGEST_TESTED_ML
from siamese_med.study.vocabulary import PairRole, PatientStatus, ScanFlag, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siamese_med.reporting.data.report_content import ReportPair, ReportVisit, WrongPatientAlarm

ROLES_OF_NEWEST_VISIT = (PairRole.NEWEST, PairRole.SINCE_FIRST)
"""Roles of the pairs that end with the newest visit, on which the patient's verdict rests."""

JudgedPairs = dict[Verdict, dict[str, list["ReportPair"]]]
"""Pairs by verdict, then by their visits in words (`ReportPair.between`)."""

LOOK_YOURSELF = "Look at the images yourself."
"""Advice where this program cannot tell whether something changed."""

SEVERAL_PEOPLE = (
    "The headers of these scans contradict one another in sex, birth date or height, so they may be of several people. "
    "No pair of them was compared. Name the patients in a manifest."
)
"""The headline where one identifier seems to stand for several people."""

NOT_SCORED_YET = "not scored yet"
"""Reason why scans of one contrast have no pair although two visits have such a scan."""


def build_contrast_lines(visits: Sequence[ReportVisit], pairs: Sequence[ReportPair]) -> tuple[ContrastLine, ...]:
    """Build one time line for each contrast of a patient, with its verdict or why it has none.

    Parameters
    ----------
    visits, pairs
        Of the patient, as `patient_visits` built them. Pairs of different contrasts are on no time line.
    """
    sessions: dict[str, dict[str, int]] = {}  # scans of each visit, by the name of the contrast
    owners = {scan: pair.contrast for pair in _between_visits(pairs) for scan in (pair.earlier, pair.later)}
    for visit in visits:
        for scan in visit.scans:
            name = owners.get(scan.id) or describe_contrast(scan.contrast, scan.modality)
            counts = sessions.setdefault(name, {})
            counts[visit.session] = counts.get(visit.session, 0) + 1
    return tuple(_line(name, sessions[name], visits[-1].session, pairs) for name in sort_contrast_names(sessions))


def _between_visits(pairs: Iterable[ReportPair]) -> list[ReportPair]:
    return [pair for pair in pairs if not pair.unlike and pair.earlier_session != pair.later_session]


def _line(name: str, scans: dict[str, int], newest: str, pairs: Sequence[ReportPair]) -> ContrastLine:
    mine = [pair for pair in _between_visits(pairs) if pair.contrast == name]
    ending = [pair for pair in mine if pair.role in ROLES_OF_NEWEST_VISIT]
    lead = choose_lead_pair(ending)
    compared = lead is not None and lead.verdict != Verdict.NOT_COMPARABLE
    return ContrastLine(
        name=name,
        sessions=tuple(scans),
        pairs=tuple(pair.number for pair in mine),
        status=lead.status if lead else None,
        lead=lead.number if lead else None,
        why_not="" if compared else _explain_missing_verdict(name, scans, newest, lead),
    )


def _explain_missing_verdict(name: str, scans: dict[str, int], newest: str, pair: ReportPair | None) -> str:
    if pair:
        return join_reasons(pair)
    if len(scans) == 1:
        return f"scanned at {next(iter(scans))} only"
    if newest not in scans:
        return f"not scanned at {newest}"
    crowded = next((session for session, count in scans.items() if count > 1), None)
    if name == CONTRAST_NOT_KNOWN and crowded:
        return f"{crowded} has {scans[crowded]} such scans, and which belongs to which is not known"
    return NOT_SCORED_YET


def join_reasons(pair: ReportPair) -> str:
    """Return why a pair has no verdict, in words."""
    return "; ".join(reason.meaning for reason in pair.reasons) or "the reason was not stated"


def choose_lead_pair(pairs: Sequence[ReportPair]) -> ReportPair | None:
    """Choose the pair that stands for a patient, or for one contrast, in the headline and on the index.

    It is the one that decides the verdict: of the pairs that end with the newest visit and have a verdict, the one with
    the lowest rank in verdicts.STATUSES, then that against the visit before, then, of changed ones, the one with the
    lowest p, then the one with the lowest number. Pairs without a verdict are chosen only where there is no other; None
    where no pair ends with the newest visit.

    Parameters
    ----------
    pairs
        Pairs of one patient, in any order.
    """
    ending = [pair for pair in pairs if pair.role in ROLES_OF_NEWEST_VISIT]
    judged = [pair for pair in ending if pair.verdict != Verdict.NOT_COMPARABLE] or ending

    def precedence(pair: ReportPair) -> tuple[int, bool, float, int]:
        p = pair.score.change_p if pair.verdict == Verdict.CHANGED else None
        return verdicts.STATUSES[pair.status].rank, pair.role != PairRole.NEWEST, 0.0 if p is None else p, pair.number

    return min(judged, key=precedence, default=None)


def compose_patient_headline(
    visits: Sequence[ReportVisit], pairs: Sequence[ReportPair], alarms: Sequence[WrongPatientAlarm]
) -> PatientHeadline:
    """Compose the first lines of a patient's page: a status by the rule above, and what it rests on in sentences.

    Parameters
    ----------
    visits, pairs
        Of the patient, as `patient_visits` built them.
    alarms
        Of scans that are filed under this patient.
    """
    if alarms:
        return PatientHeadline(str(PatientStatus.WRONG_PATIENT), _doubt(alarms))
    if any(ScanFlag.IDENTITY_CONFLICT in scan.flags for visit in visits for scan in visit.scans):
        return PatientHeadline(str(Verdict.NOT_COMPARABLE), SEVERAL_PEOPLE)
    if len(visits) < 2:
        text = "There is no pair of scans to compare yet." if visits else "There is no scan."
        return PatientHeadline(str(PatientStatus.ONE_VISIT), text)
    lines = build_contrast_lines(visits, pairs)
    judged = group_judged_pairs(pairs)
    sentences = [
        *_sentences_of_change(judged),
        *_sentences_of_doubt(judged),
        *_sentences_of_no_change(judged, several=len(lines) > 1),
        *_sentences_of_no_verdict(visits[-1].session, pairs, lines),
    ]
    lead = choose_lead_pair(pairs)
    status = lead.verdict if lead else Verdict.NOT_COMPARABLE
    return PatientHeadline(
        str(status),
        " ".join(sentences),
        contrasts=_names(lines, status),
        uncertain=_names(lines, Verdict.UNCERTAIN) if status != Verdict.UNCERTAIN else (),
        unchanged=_names(lines, Verdict.NO_CHANGE) if status != Verdict.NO_CHANGE else (),
        not_compared=tuple(line.name for line in lines if line.why_not),
    )


def _names(lines: Iterable[ContrastLine], verdict: str) -> tuple[str, ...]:
    """The contrasts that were compared, with this verdict."""
    return tuple(line.name for line in lines if line.status == verdict and not line.why_not)


def _doubt(alarms: Sequence[WrongPatientAlarm]) -> str:
    sessions = sorted({alarm.session for alarm in alarms})
    scans = "A scan" if len(alarms) == 1 else f"{len(alarms)} scans"
    look = "does not look" if len(alarms) == 1 else "do not look"
    return (
        f"{scans} of {' and '.join(sessions)} {look} like this patient's. Check whose it is before reading anything "
        "about change."
    )


def group_judged_pairs(pairs: Iterable[ReportPair]) -> JudgedPairs:
    """Group the pairs that a patient's verdict rests on: by verdict, then by visits in words.

    A verdict against the first visit counts only where no other pair of its contrast has it. Where a scan was repeated,
    only the most urgent verdict of a contrast between two visits counts.
    """
    judged = [pair for pair in pairs if pair.role in ROLES_OF_NEWEST_VISIT and pair.verdict != Verdict.NOT_COMPARABLE]
    told: set[tuple[str, str]] = set()
    groups: JudgedPairs = {}
    for verdict in (Verdict.CHANGED, Verdict.UNCERTAIN, Verdict.NO_CHANGE):
        left = [pair for pair in judged if (pair.contrast, pair.between) not in told]
        groups[verdict] = _by_visits(_with_verdict(left, verdict))
        told |= {(pair.contrast, pair.between) for pair in left if pair.verdict == verdict}
    return groups


def list_other_changed_pairs(headline: PatientHeadline, pairs: Iterable[ReportPair]) -> list[ReportPair]:
    """List the changed pairs on which another verdict than `changed` does not rest, such as those of earlier visits."""
    if headline.status not in (Verdict.UNCERTAIN, Verdict.NO_CHANGE, Verdict.NOT_COMPARABLE):
        return []
    return [pair for pair in pairs if pair.status == Verdict.CHANGED]


def _sentences_of_change(judged: JudgedPairs) -> list[str]:
    """One sentence for the contrasts of the same two visits."""
    return [
        f"From {between} the scans differ {_in(pair.contrast for pair in group)} by more than a repeated scan would."
        for between, group in judged[Verdict.CHANGED].items()
    ]


def _sentences_of_doubt(judged: JudgedPairs) -> list[str]:
    """One sentence for the contrasts of the same two visits, and then what to do."""
    found = [
        f"From {between} it is not known whether anything changed {_in(pair.contrast for pair in group)}: even a "
        f"change of {formatting.fixed(LARGEST_TESTED_ML, 0)} ml might have been missed."
        for between, group in judged[Verdict.UNCERTAIN].items()
    ]
    return [*found, LOOK_YOURSELF] if found else []


def _with_verdict(judged: Iterable[ReportPair], verdict: Verdict) -> list[ReportPair]:
    """The pairs with this verdict; those since the first visit only where no other of their contrast has it."""
    found = [pair for pair in judged if pair.verdict == verdict]
    newest = {pair.contrast for pair in found if pair.role == PairRole.NEWEST}
    return [pair for pair in found if pair.role == PairRole.NEWEST or pair.contrast not in newest]


def _sentences_of_no_change(judged: JudgedPairs, several: bool) -> list[str]:
    """One sentence for the contrasts of the same two visits; `several`: whether the patient has several contrasts."""
    return [
        f"From {between} no change beyond that of a repeated scan was found {_in(pair.contrast for pair in group)}"
        f"{_seen(group, several)}."
        for between, group in judged[Verdict.NO_CHANGE].items()
    ]


def _sentences_of_no_verdict(newest: str, pairs: Sequence[ReportPair], lines: Sequence[ContrastLine]) -> list[str]:
    """List what was not compared, and why."""
    left = [line for line in lines if line.why_not]
    known = {pair.number: pair for pair in pairs}
    if len(lines) == 1 and left and left[0].lead:
        pair = known[left[0].lead]
        return [f"From {pair.between} no verdict is possible {_in([pair.contrast])}: {left[0].why_not}."]
    compared = {line.name for line in lines if not line.why_not}
    sentences = [
        f"From {pair.between} no verdict is possible {_in([pair.contrast])}: {join_reasons(pair)}."
        for pair in list_pairs_without_verdict(pairs, lines)
    ]
    if left:
        start = "Not compared" if compared else f"{newest} cannot be compared with a visit before it"
        sentences.append(f"{start}: {'; '.join(f'{line.name} ({line.why_not})' for line in left)}.")
    return sentences


def list_pairs_without_verdict(pairs: Sequence[ReportPair], lines: Iterable[ContrastLine]) -> list[ReportPair]:
    """List the pairs of the two newest visits without a verdict, of contrasts that have a verdict of another pair."""
    compared = {line.name for line in lines if not line.why_not}
    return [
        pair
        for pair in pairs
        if pair.role == PairRole.NEWEST
        and pair.verdict == Verdict.NOT_COMPARABLE
        and pair.contrast in compared
        and not _has_verdict(pair, pairs)
    ]


def _has_verdict(pair: ReportPair, pairs: Sequence[ReportPair]) -> bool:
    """Whether another pair of the same contrast and visits has a verdict, as where a scan was repeated."""
    return any(
        other.verdict != Verdict.NOT_COMPARABLE and (other.contrast, other.between) == (pair.contrast, pair.between)
        for other in pairs
    )


def _by_visits(pairs: Iterable[ReportPair]) -> dict[str, list[ReportPair]]:
    found: dict[str, list[ReportPair]] = {}
    for pair in pairs:
        found.setdefault(pair.between, []).append(pair)
    return found


def _in(names: Iterable[str]) -> str:
    return f"in {join_contrasts(names)}"


def _seen(pairs: Sequence[ReportPair], several: bool) -> str:
    """The smallest change that would have been detected, as the end of a sentence; with `several`, by contrast."""
    limits: dict[str, list[float | None]] = {}
    for pair in pairs:
        limits.setdefault(pair.contrast, []).append(pair.score.smallest_detectable_ml)
    named = {name: f" {_in([name])}" if several else "" for name in sort_contrast_names(limits)}
    known = [
        f"{formatting.fixed(max(ml for ml in limits[name] if ml is not None))} ml{words}"
        for name, words in named.items()
        if None not in limits[name]
    ]
    noisy = [name for name in named if None in limits[name]]
    ending = f"; a change of {join_words(known)} would have been seen" if known else ""
    if noisy:
        where = f" {_in(noisy)}" if several else ""
        ending += f"; the pair{where} is too noisy to promise that any change would have been seen"
    return ending
