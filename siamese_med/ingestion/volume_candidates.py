"""From a group of files to the volumes that it should become: subject, session, files, and how to decode them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from siamese_med.ingestion import contrast_finding, series_contrast
from siamese_med.ingestion.catalogue.scan_names import NameCandidate
from siamese_med.ingestion.contrast import ENHANCED_T1
from siamese_med.ingestion.contrast_finding import ContrastFinding
from siamese_med.ingestion.conversion import ConversionJob
from siamese_med.ingestion.date_traits import HEADER, MANIFEST, list_date_traits
from siamese_med.ingestion.dicom import series
from siamese_med.ingestion.dicom.instances import DicomInstance, ScanFacts
from siamese_med.ingestion.dicom.person_traits import NAME_TRAIT, NAMED_TRAIT, VISIT_STEM_TRAIT
from siamese_med.ingestion.dicom.placeholder_ids import is_placeholder_id
from siamese_med.ingestion.dicom.series import VolumeDraft
from siamese_med.ingestion.dicom.tags import parse_scan_date
from siamese_med.ingestion.image_contrast import should_ask_image
from siamese_med.ingestion.inputs import ownership
from siamese_med.ingestion.inputs.claims import InputClaim
from siamese_med.ingestion.inputs.entries import NO_STAT, FileGroup, InputEntry
from siamese_med.ingestion.inputs.ownership import FileOwner, GroupOwnership
from siamese_med.ingestion.joined_groups import list_instances, split_by_series
from siamese_med.ingestion.lesion_segmentations import find_segmentation_of_volume, list_frames_of_reference
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms
from siamese_med.ingestion.scan_checks import scan_checks
from siamese_med.study.bids import ENHANCED_T1_SUFFIX
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import UNKNOWN, ContrastSource, ScanFlag, ScanSource


@dataclass(frozen=True)
class PlannedVolume:
    """One volume before conversion: the candidate for its name, the job that makes it, and what is known beforehand."""

    candidate: NameCandidate
    job: ConversionJob
    facts: ScanFacts
    changed: int | None
    source: str
    files: tuple[str, ...]  # content hashes
    likeness: str = ""  # HMAC, see ownership.FileOwner.likeness
    since: str = ""  # session key (HMAC) of the visit that the mask of what changed names; empty for the one before


@dataclass
class GroupPlan:
    """Planned result for a group: volumes, and a reason word for each content that is in none of them."""

    group: FileGroup
    volumes: list[PlannedVolume] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    belongings: GroupOwnership | None = None  # not known where slices of an earlier run are missing


def plan_group(group: FileGroup, config: IngestConfig, secret: Pseudonyms) -> GroupPlan:
    """Decide which volumes a group of files makes up.

    A group with slices of an earlier run that are not in this input is not judged: its files get `missing_slice`.

    Parameters
    ----------
    group
        The files, inspected.
    config
        Limits.
    secret
        For the keys of names, subjects and sessions.
    """
    work = GroupPlan(group, belongings=None if group.absent else ownership.collect_ownership(group, secret))
    instances = list_instances(group.entries)
    marked = [entry.known[0] for entry in group.entries if entry.is_segmentation]
    work.reasons.update(dict.fromkeys(marked, "lesion_mask"))
    if instances and group.absent:
        work.reasons.update({one.content: "missing_slice" for one in instances})
    elif instances:
        parts = split_by_series(group, instances, config.min_slices, secret)
        for key, entries in parts.items():
            own = instances if len(parts) == 1 else list_instances(entries)
            _plan_dicom(work, key, (entries, own), config, secret)
    elif len(marked) < len(group.entries):
        _plan_nifti(work, config, secret)
    return work


def _plan_dicom(
    work: GroupPlan,
    key: str,
    part: tuple[Sequence[InputEntry], Sequence[DicomInstance]],
    config: IngestConfig,
    secret: Pseudonyms,
) -> None:
    """Plan the volumes of a series, given as its entries and what they hold."""
    entries, instances = part
    found = entries[0].found
    given = found.claim if found.listed else None
    verdict = series.assess_series(instances, config, subject_given=bool(given and given.subject))
    work.reasons.update(verdict.reasons)
    for draft in verdict.drafts:
        planned = _add_segmentation(_from_dicom(key, draft, found.path, given, config, secret), work.group, draft)
        paths = {one.path for _, one in planned.job.storages} | {planned.job.lesions}
        job = replace(planned.job, states=_list_states(work.group.entries, paths))
        work.volumes.append(replace(planned, job=job, candidate=replace(planned.candidate, series=work.group.key)))


def _from_dicom(
    key: str, draft: VolumeDraft, place: Path, claim: InputClaim | None, config: IngestConfig, secret: Pseudonyms
) -> PlannedVolume:
    one = next(iter(draft.storages.values()))
    day = (claim.date if claim else None) or draft.facts.date
    owner = ownership.identify_dicom_owner(claim, one, day)
    label = owner.visit if claim and (claim.subject or claim.session) else ""
    facts = replace(decide_dicom_contrast(draft, place, claim.said_contrast if claim else ""), date=day)
    if claim and claim.date and parse_scan_date(claim.date.isoformat()) is None:
        facts = replace(facts, acquired="")  # all visits may have this day, and then none is a repeat of another
    if claim and claim.subject:
        told = (trait for trait in facts.person if trait[0] != NAME_TRAIT)  # people may change their name
        facts = replace(facts, person=(*told, (NAMED_TRAIT, ("manifest",))))
    elif is_placeholder_id(one.patient):
        facts = replace(facts, flags=(*facts.flags, ScanFlag.PLACEHOLDER_ID))
    dated = list_date_traits([(MANIFEST, claim.date if claim else None), (HEADER, draft.facts.date)])
    facts = _add_stem(replace(facts, person=(*facts.person, *dated)), owner)
    order = (facts.number, facts.clock, draft.part)
    candidate = NameCandidate(
        secret.label("scan", key, draft.part), owner.subject(secret), owner.session_key(secret), label, day,
        _suffix(facts), order, key,
    )  # fmt: skip
    storages = tuple((file, instance.storage) for file, instance in draft.storages.items())
    job = _add_masks(ConversionJob(repeats=draft.repeats, storages=storages), claim)
    job = apply_config_limits(ask_image_for_contrast(job, facts), config)
    return PlannedVolume(
        candidate, job, facts, claim.changed if claim else None, ScanSource.DICOM, tuple(draft.storages),
        owner.likeness(secret), _find_earlier_visit(owner, claim, secret),
    )  # fmt: skip


def _plan_nifti(work: GroupPlan, config: IngestConfig, secret: Pseudonyms) -> None:
    entry = next((one for one in work.group.entries if one.follows is None), work.group.entries[0])
    look = entry.look
    contents = [one.known[0] for one in work.group.entries]
    if look is None or not look.voxels:
        work.reasons.update(dict.fromkeys(contents, look.reason if look else "unreadable_file"))
        return
    if not entry.found.claim.subject:
        work.reasons.update(dict.fromkeys(contents, "missing_patient_id"))
        return
    planned = _from_nifti(work.group.key, entry, look.voxels, contents, config, secret)
    paths = {str(entry.found.path), look.voxels}
    work.volumes.append(replace(planned, job=replace(planned.job, states=_list_states(work.group.entries, paths))))


def _add_stem(facts: ScanFacts, owner: FileOwner) -> ScanFacts:
    """Return the facts with the identifier without its visit, where it ends with one."""
    stem = owner.stem()
    return replace(facts, person=(*facts.person, (VISIT_STEM_TRAIT, (stem,)))) if stem else facts


def _list_states(entries: Iterable[InputEntry], paths: Container[str]) -> tuple[tuple[str, int, int], ...]:
    """List path, size and time of change of the files that a volume is made of, as far as the system told them."""
    known = ((str(entry.found.path), *entry.stat[:2]) for entry in entries if entry.stat != NO_STAT[:3])
    return tuple(state for state in known if state[0] in paths)


def _from_nifti(
    key: str, entry: InputEntry, voxels: str, contents: Iterable[str], config: IngestConfig, secret: Pseudonyms
) -> PlannedVolume:
    claim = entry.found.claim
    owner = ownership.identify_nifti_owner(claim)
    facts = _add_stem(make_nifti_facts(claim), owner)
    if claim.by_place:
        facts = replace(facts, flags=(*facts.flags, ScanFlag.PATIENT_UNNAMED))
    if claim.by_folder:
        facts = replace(facts, flags=(*facts.flags, ScanFlag.PATIENT_FROM_FOLDER))
    candidate = NameCandidate(
        key=secret.label("scan", key, entry.known[0]),
        subject=owner.subject(secret),
        session_key=owner.session_key(secret),
        session_label=owner.visit,
        date=claim.date,
        suffix=_suffix(facts),
        order=(0, "", entry.found.path.name),
        series=key,
    )
    job = _add_masks(ConversionJob(nifti=(str(entry.found.path), voxels)), claim)
    job = apply_config_limits(ask_image_for_contrast(job, facts), config)
    likeness = "" if claim.by_place else owner.likeness(secret)
    since = _find_earlier_visit(owner, claim, secret)
    return PlannedVolume(candidate, job, facts, claim.changed, ScanSource.NIFTI, tuple(contents), likeness, since)


def decide_dicom_contrast(draft: VolumeDraft, place: Path, said: str = "") -> ScanFacts:
    """Return the facts of a volume with its contrast, see `contrast_finding.find_dicom_contrast`.

    Parameters
    ----------
    draft
        The volume; a phase image stays one, whatever is said of its series.
    place
        Path of the first file of its series.
    said
        The contrast that a manifest says, or an empty text.
    """
    facts = replace(draft.facts, flags=draft.flags)
    if ScanFlag.PHASE in draft.flags:
        return replace(facts, contrast="phase", contrast_source=ContrastSource.HEADER)
    image_type = dict(draft.repeats[0].planes[0].content).get("image type", ())
    kind = series_contrast.find_kind("", image_type if isinstance(image_type, tuple) else ())
    found = contrast_finding.find_dicom_contrast(facts.contrast if kind == UNKNOWN else kind, place, said)
    return replace(facts, contrast=found.contrast, contrast_source=found.source)


def make_nifti_facts(claim: InputClaim) -> ScanFacts:
    """Return what the claim on a NIfTI file tells of the scan."""
    named = claim.kind == "manifest"  # people may change their name
    person = tuple(trait for trait in claim.person if not (named and trait[0] == NAME_TRAIT))
    person += claim.date_traits
    return ScanFacts(
        claim.modality, claim.contrast, claim.date, scanner=claim.scanner, protocol=claim.protocol, flags=claim.flags,
        contrast_source=claim.contrast_source, contrast_confidence=claim.contrast_confidence, person=person,
    )  # fmt: skip


def ask_image_for_contrast(job: ConversionJob, facts: ScanFacts) -> ConversionJob:
    """Return the job, which also has to read the contrast from the image where nothing else tells it."""
    wanted = should_ask_image(facts.modality, facts.contrast, facts.contrast_source)
    return replace(job, contrast_wanted=wanted, modality=facts.modality, contrast=facts.contrast)


def complete_facts_by_image(facts: ScanFacts, found: ContrastFinding) -> ScanFacts:
    """Return the facts with what the image told of the contrast; it is MR then."""
    if found.contrast == UNKNOWN:
        return facts
    return replace(
        facts, modality="MR", contrast=found.contrast, contrast_source=found.source,
        contrast_confidence=found.confidence,
    )  # fmt: skip


def _add_masks(job: ConversionJob, claim: InputClaim | None) -> ConversionJob:
    """Return the job with the masks that the input has for the scan."""
    if claim is None:
        return job
    mask, lesions, difference = (one[0] if one else "" for one in (claim.mask, claim.lesions, claim.difference))
    named = claim.kind == "manifest"
    return replace(job, mask=mask, lesions=lesions, lesions_named=named, difference=difference)


def _find_earlier_visit(owner: FileOwner, claim: InputClaim | None, secret: Pseudonyms) -> str:
    """Return the session key of the visit that a mask of what changed names; empty where it is the visit before."""
    if claim is None or not claim.since:
        return ""
    return replace(owner, visit=claim.since).session_key(secret)


def _add_segmentation(planned: PlannedVolume, group: FileGroup, draft: VolumeDraft) -> PlannedVolume:
    """Return the volume with the DICOM Segmentation that marks its lesions, unless the input names another mask."""
    path, flag = planned.job.lesions, None
    if not path:
        path, flag = find_segmentation_of_volume(draft, group.entries)
    references = list_frames_of_reference(draft) if path else ()
    flags = (*planned.facts.flags, flag) if flag else planned.facts.flags
    job = replace(planned.job, lesions=path, frames_of_reference=references)
    return replace(planned, job=job, facts=replace(planned.facts, flags=flags))


def apply_config_limits(job: ConversionJob, config: IngestConfig) -> ConversionJob:
    """Return the job with the limits and the checks of the configuration."""
    return replace(
        job,
        volume_of_4d=config.volume_of_4d,
        max_gigabytes=config.max_gigabytes,
        min_slices=config.min_slices,
        checks=scan_checks(config),
        deface=bool(config.deface),
    )


def _suffix(facts: ScanFacts) -> str:
    """Return the last part of a scan's id, from closed vocabularies: contrast, else modality, else `scan`.

    An id is given before the image is read and never changes, so a contrast that the image tells is no part of it.
    """
    if facts.contrast == ENHANCED_T1:
        return ENHANCED_T1_SUFFIX
    if facts.contrast != UNKNOWN:
        return facts.contrast
    return facts.modality if facts.modality != UNKNOWN else "scan"
