"""From a group of files to the volumes that it should become: who, when, which files, and how to decode them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from siamese_med.config import IngestConfig
from siamese_med.ingestion import ownership, series
from siamese_med.ingestion.conversion import Job
from siamese_med.ingestion.entries import Entry, Group
from siamese_med.ingestion.instances import Facts, Instance
from siamese_med.ingestion.ownership import Belongings
from siamese_med.ingestion.register import Candidate
from siamese_med.ingestion.secret import Pseudonyms
from siamese_med.ingestion.series import Draft
from siamese_med.ingestion.sources import Claim


@dataclass(frozen=True)
class Planned:
    """One volume to be: its name's candidate, the job that makes it, and what is known of it beforehand."""

    candidate: Candidate
    job: Job
    facts: Facts
    changed: int | None
    source: str
    files: tuple[str, ...]  # content hashes


@dataclass
class Work:
    """What a group becomes: volumes, and a reason for each content that is in none of them."""

    group: Group
    volumes: list[Planned] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    belongings: Belongings | None = None  # not known where slices of an earlier run are missing


def work_of(group: Group, config: IngestConfig, secret: Pseudonyms) -> Work:
    """Judge a group."""
    work = Work(group, belongings=None if group.absent else ownership.belongings(group, secret))
    instances = [entry.look.instance for entry in group.entries if entry.look and entry.look.instance]
    if instances and group.absent:
        work.reasons.update({one.content: "missing_slice" for one in instances})
    elif instances:
        _judge(work, instances, config, secret)
    else:
        _plan_nifti(work, config, secret)
    return work


def _judge(work: Work, instances: list[Instance], config: IngestConfig, secret: Pseudonyms) -> None:
    found = work.group.entries[0].found
    given = found.claim if found.listed else None
    verdict = series.judge(instances, config, subject_given=given is not None)
    work.reasons.update(verdict.reasons)
    for draft in verdict.drafts:
        work.volumes.append(_from_dicom(work.group.key, draft, given, config, secret))


def _from_dicom(key: str, draft: Draft, claim: Claim | None, config: IngestConfig, secret: Pseudonyms) -> Planned:
    one = next(iter(draft.storages.values()))
    day = (claim.date if claim else None) or draft.facts.date
    owner = ownership.of_dicom(claim, one, day)
    label = owner.visit if claim else ""
    facts = replace(
        draft.facts, date=day, flags=draft.flags, contrast="phase" if "phase" in draft.flags else draft.facts.contrast
    )
    order = (facts.number, facts.clock, draft.part)
    candidate = Candidate(
        secret.label("scan", key, draft.part), owner.subject(secret), owner.session_key(secret), label, day,
        _suffix(facts), order, key,
    )  # fmt: skip
    storages = tuple((file, instance.storage) for file, instance in draft.storages.items())
    job = limits(Job(repeats=draft.repeats, storages=storages, mask=_mask(claim)), config)
    return Planned(candidate, job, facts, claim.changed if claim else None, "dicom", tuple(draft.storages))


def _plan_nifti(work: Work, config: IngestConfig, secret: Pseudonyms) -> None:
    entry = next((one for one in work.group.entries if one.follows is None), work.group.entries[0])
    look = entry.look
    contents = [one.known[0] for one in work.group.entries]
    if look is None or not look.voxels:
        work.reasons.update(dict.fromkeys(contents, look.reason if look else "unreadable_file"))
        return
    work.volumes.append(_from_nifti(work.group.key, entry, look.voxels, contents, config, secret))


def _from_nifti(
    key: str, entry: Entry, voxels: str, contents: Iterable[str], config: IngestConfig, secret: Pseudonyms
) -> Planned:
    claim = entry.found.claim
    owner = ownership.of_nifti(claim)
    facts = Facts(
        claim.modality, claim.contrast, claim.date, scanner=claim.scanner, protocol=claim.protocol, flags=claim.flags
    )
    candidate = Candidate(
        key=secret.label("scan", key, entry.known[0]),
        subject=owner.subject(secret),
        session_key=owner.session_key(secret),
        session_label=owner.visit,
        date=claim.date,
        suffix=_suffix(facts),
        order=(0, "", entry.found.path.name),
        series=key,
    )
    job = limits(Job(nifti=(str(entry.found.path), voxels), mask=_mask(claim)), config)
    return Planned(candidate, job, facts, claim.changed, "nifti", tuple(contents))


def _mask(claim: Claim | None) -> str:
    return claim.mask[0] if claim and claim.mask else ""


def limits(job: Job, config: IngestConfig) -> Job:
    """The job under the limits of the config."""
    return replace(
        job, volume_of_4d=config.volume_of_4d, max_gigabytes=config.max_gigabytes, min_slices=config.min_slices
    )


def _suffix(facts: Facts) -> str:
    """The last part of a scan's id, of closed vocabularies."""
    if facts.contrast != "unknown":
        return facts.contrast
    return facts.modality if facts.modality != "unknown" else "scan"
