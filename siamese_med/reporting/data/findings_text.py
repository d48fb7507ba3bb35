"""Compose the findings of a patient in three sentences, to be pasted into a report.

They never say more than the verdict: "uncertain" is not "no change", and no sentence says that nothing changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from siamese_med.reporting import formatting
from siamese_med.reporting.data import contrast_agent, finding_lines, lesion_sentences, patient_verdict
from siamese_med.study.contrasts import join_contrasts, join_words
from siamese_med.study.thresholds import DETECTION_POWER, LARGEST_TESTED_ML
from siamese_med.study.vocabulary import ComponentKind, PatientStatus, ScanFlag, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siamese_med.reporting.data.lesion_content import LesionLine
    from siamese_med.reporting.data.patient_verdict import JudgedPairs
    from siamese_med.reporting.data.report_content import ContrastLine, PatientHeadline, ReportPair, ReportVisit

LARGEST_TESTED = f"{formatting.fixed(LARGEST_TESTED_ML, 0)} ml"
POWER = f"{DETECTION_POWER:.0%}".replace("%", " %")
LISTED_KINDS = tuple(kind for kind in ComponentKind if kind != ComponentKind.MAY_BE_CHANCE)
"""Parts of a change map that alone are beyond a rescan, in the order of the sentence."""
MAX_NAMED_REGIONS = 3
"""Largest number of regions that are named of the parts of one kind."""
MAX_NAMED_VISITS = 4
"""Largest number of pairs of visits that are named where the verdict does not rest on them."""


@dataclass(frozen=True)
class FindingsSource:
    """Parts of a `PatientReport` that the sentences are made from.

    `claimed`: whether a scan that is filed under another patient looks like this one's.
    """

    headline: PatientHeadline
    visits: tuple[ReportVisit, ...]
    pairs: tuple[ReportPair, ...]
    lines: tuple[ContrastLine, ...]
    lesions: tuple[LesionLine, ...]
    claimed: bool = False


def compose_findings(found: FindingsSource) -> tuple[str, str, str]:
    """Compose the three sentences: what changed, how much, and what was left out or is uncertain."""
    if found.headline.status == PatientStatus.WRONG_PATIENT:
        return (
            "No change is reported: a scan under this patient's name does not look like this patient's.",
            "No amount of change is given, because it may be the difference between two persons.",
            "Check whose scan it is before anything else; no scan was moved or renamed.",
        )
    if any(ScanFlag.IDENTITY_CONFLICT in scan.flags for visit in found.visits for scan in visit.scans):
        return (
            "No change is reported: the headers of these scans contradict one another, and may be of several people.",
            "No amount of change was measured.",
            "No pair of these scans was compared, until the patients are told apart.",
        )
    if found.headline.status == PatientStatus.ONE_VISIT:
        visit = f"There is one visit only ({found.visits[0].session})" if found.visits else "There is no scan"
        return f"{visit}, so nothing can be said of change.", "No amount of change was measured.", _limits(found, {})
    judged = patient_verdict.group_judged_pairs(found.pairs)
    return _change(found, judged), _amount(found, judged), _limits(found, judged)


def _change(found: FindingsSource, judged: JudgedPairs) -> str:
    """Describe the change between each two visits, the changed ones first, and other visits that differ."""
    told: dict[str, list[str]] = {}
    for verdict, groups in judged.items():
        for pairs in groups.values():
            told.setdefault(_between(pairs[0]), []).append(_clause(verdict, pairs))
    clauses = [f"from {between} {join_words(clauses)}" for between, clauses in told.items()]
    newest = found.visits[-1].session
    other = _change_between_others(found)
    if not clauses:
        none = f"{newest} could not be compared with an earlier visit, so nothing can be said of change"
        return f"{none} up to {newest}; {other}." if other else f"{none}."
    return _sentence([*clauses, other])


def _change_between_others(found: FindingsSource) -> str:
    """Name the changed pairs on which a verdict does not rest that says nothing of change; empty without any."""
    changed: dict[str, list[str]] = {}
    for pair in patient_verdict.list_other_changed_pairs(found.headline, found.pairs):
        changed.setdefault(_between(pair), []).append(pair.contrast)
    if not changed:
        return ""
    named = [f"from {between} in {join_contrasts(names)}" for between, names in changed.items()]
    more = [f"{len(named) - MAX_NAMED_VISITS} more"] if len(named) > MAX_NAMED_VISITS else []
    where = join_words([*named[:MAX_NAMED_VISITS], *more])
    return f"between other visits there is change beyond that of a repeated scan: {where}"


def _between(pair: ReportPair) -> str:
    return f"{pair.between} ({formatting.interval(pair.score.interval_days)})".replace(
        "(unknown)", "(interval unknown)"
    )


def _clause(verdict: Verdict, pairs: Sequence[ReportPair]) -> str:
    where = f"in {join_contrasts(pair.contrast for pair in pairs)}"
    if verdict == Verdict.CHANGED:
        return f"there is change {where} beyond that of a repeated scan"
    if verdict == Verdict.UNCERTAIN:
        return f"it is too uncertain {where} to tell whether anything changed"
    return f"no change beyond that of a repeated scan was found {where}"


def _amount(found: FindingsSource, judged: JudgedPairs) -> str:
    suspects = contrast_agent.list_suspect_pairs(found.pairs)
    clauses = [
        _measured(verdict, pair, pair.between if len(_told_visits(judged)) > 1 else "") + _same_place(pair, told)
        for verdict, groups in judged.items()
        for pairs in groups.values()
        for pair, told in _with_told(sorted(_one_a_contrast(pairs), key=lambda pair: pair in suspects))
    ]
    return _sentence([*(clauses or [_no_amount(found)]), *lesion_sentences.describe_lesions(found.lesions)])


def _no_amount(found: FindingsSource) -> str:
    others = patient_verdict.list_other_changed_pairs(found.headline, found.pairs)
    return f"no amount of change was measured{f' up to {found.visits[-1].session}' if others else ''}"


def _with_told(pairs: Sequence[ReportPair]) -> list[tuple[ReportPair, Sequence[ReportPair]]]:
    """Each pair of the same two visits with those that are told before it."""
    return [(pair, pairs[:place]) for place, pair in enumerate(pairs)]


def _same_place(pair: ReportPair, told: Iterable[ReportPair]) -> str:
    """Name the contrasts told before that also show a finding of the pair: one lesion is not to be counted twice."""
    mine = _findings(pair)
    others = [one.contrast for one in told if mine & _findings(one)]
    return (
        f"; {'one of these places' if len(mine) > 1 else 'the same place'} also changed in {join_contrasts(others)}"
        if others
        else ""
    )


def _findings(pair: ReportPair) -> set[int]:
    return {part.finding for part in pair.score.components if part.finding is not None}


def _told_visits(judged: JudgedPairs) -> set[str]:
    return {between for groups in judged.values() for between in groups}


def _one_a_contrast(pairs: Iterable[ReportPair]) -> list[ReportPair]:
    """One pair of each contrast: where a scan was repeated, the one in which least would have been seen."""
    chosen: dict[str, ReportPair] = {}
    for pair in pairs:
        known = chosen.get(pair.contrast)
        if known is None or _blindness(pair) > _blindness(known):
            chosen[pair.contrast] = pair
    return list(chosen.values())


def _blindness(pair: ReportPair) -> float:
    """Return the size of a change that could have been missed, in ml."""
    limit = pair.score.smallest_detectable_ml
    return float("inf") if limit is None else limit


def _measured(verdict: Verdict, pair: ReportPair, visits: str) -> str:
    where = f"in {join_contrasts([pair.contrast])}{f' from {visits}' if visits else ''}"
    missed = _could_be_missed(pair.score.smallest_detectable_ml)
    return f"{where}, {_marked(pair)}; elsewhere {missed}" if verdict == Verdict.CHANGED else f"{where} {missed}"


def _could_be_missed(limit: float | None) -> str:
    """Describe what a pair would have shown; `limit`: smallest detectable change in ml, None where nothing was seen."""
    if limit is None:
        return f"even a change of {LARGEST_TESTED} might have been missed"
    seen = f"a change of {formatting.fixed(limit)} ml or more would have been seen with a chance of {POWER}"
    return f"{seen}, and a smaller one may have been missed"


def _marked(pair: ReportPair) -> str:
    """Describe how much changed in a pair that is called changed, and in which parts."""
    p = pair.score.change_p if pair.score.change_p_adjusted is None else pair.score.change_p_adjusted
    shown = formatting.probability(p)
    chance = f"corrected p {shown}" if shown.startswith(("<", ">")) else f"corrected p = {shown}"
    if not pair.score.volume_ml:
        return f"no voxel of the change map is over its threshold: the change is faint or spread out ({chance})"
    parts = [_parts(kind, pair) for kind in LISTED_KINDS if any(one.kind == kind for one in pair.score.components)]
    if not parts:
        over = f"{formatting.fixed(pair.score.volume_ml)} ml are over the threshold of the change map ({chance})"
        return f"{over}, but no single part of it is beyond a repeated scan"
    return f"beyond a repeated scan ({chance}): {join_words(parts)}"


def _parts(kind: ComponentKind, pair: ReportPair) -> str:
    """Describe how many parts of one kind there are, of what volume, and where; they are listed strongest first."""
    parts = [one for one in pair.score.components if one.kind == kind]
    volumes = [one.volume_ml for one in parts if one.volume_ml is not None]
    volume = f" of {formatting.fixed(sum(volumes))} ml" if volumes else ""
    places = list(dict.fromkeys(one.region for one in parts if one.region))
    others = len(places) > MAX_NAMED_REGIONS or not all(one.region for one in parts)
    named = [*places[:MAX_NAMED_REGIONS], *(["other places"] if others and places else [])]
    where = f" ({', '.join(named)})" if named else ""
    signs = {one.sign for one in parts}
    tone = " that became brighter" if signs == {1} else " that became darker" if signs == {-1} else ""
    several = "s" if len(parts) > 1 else ""
    word = "" if kind in (ComponentKind.BRIGHTER, ComponentKind.DARKER) else f" {kind}"
    return f"{len(parts)}{word} part{several}{volume}{' in all' if len(volumes) > 1 else ''}{tone}{where}"


def _limits(found: FindingsSource, judged: JudgedPairs) -> str:
    left = [f"{line.name} ({line.why_not})" for line in found.lines if line.why_not]
    agent = list(dict.fromkeys(pair.contrast for pair in contrast_agent.list_suspect_pairs(found.pairs)))
    beside = list(dict.fromkeys(pair.contrast for pair in found.pairs if finding_lines.list_two_way_parts(pair)))
    doubtful = [pair.contrast for pairs in judged.get(Verdict.UNCERTAIN, {}).values() for pair in pairs]
    changed = [visit.session for visit in _compared_visits(found, judged)[1:] if visit.scanner_changed]
    undated = [visit.session for visit in found.visits if visit.day is None]
    clauses = [
        f"not compared with an earlier visit: {', '.join(left)}" if left else "",
        *(
            f"{pair.title} was not compared ({patient_verdict.join_reasons(pair)})"
            for pair in patient_verdict.list_pairs_without_verdict(found.pairs, found.lines)
        ),
        f"read {join_contrasts(doubtful)} by eye: the measurement cannot say whether anything changed there"
        if doubtful
        else "",
        f"the change in {join_contrasts(agent)} may come from contrast agent: check whether a scan is contrast-enhanced"
        if agent
        else "",
        f"brighter and darker parts lie beside each other in {join_contrasts(beside)}, as also where tissue was pushed "
        "aside or scans are not exactly registered"
        if beside
        else "",
        f"the scanner changed at {join_words(changed)}, which may look like change" if changed else "",
        f"the date of {join_words(undated)} is not known" if undated else "",
        "a scan that is filed under another patient may be this patient's" if found.claimed else "",
    ]
    return _sentence(clauses) or "No contrast of the newest visit was left out."


def _compared_visits(found: FindingsSource, judged: JudgedPairs) -> Sequence[ReportVisit]:
    """The visits from the earliest one that a sentence names to the newest."""
    named = {pair.earlier_session for groups in judged.values() for pairs in groups.values() for pair in pairs}
    places = [place for place, visit in enumerate(found.visits) if visit.session in named]
    return found.visits[min(places, default=len(found.visits)) :]


def _sentence(clauses: Iterable[str]) -> str:
    r"""Join clauses to one sentence of plain text.

    Examples
    --------
    >>> _sentence(["in T1 the growth is \u22120.30 ml", "", "in FLAIR nothing is known"])
    'In T1 the growth is -0.30 ml; in FLAIR nothing is known.'
    """
    text = "; ".join(clause for clause in clauses if clause)
    return " ".join(formatting.sentence(text).replace("\u2212", "-").split())
