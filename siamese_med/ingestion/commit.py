"""Writing the outcome of files and volumes to the catalogue by series, so that a killed run leaves nothing half way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace

from siamese_med.ingestion import verdict_rules
from siamese_med.ingestion.catalogue.rows import (
    FILE_TABLE,
    SCAN_TABLE,
    SESSION_TABLE,
    SUBJECT_TABLE,
    FileRow,
    ScanRow,
    SeriesRow,
    SubjectRow,
    ThumbnailRow,
    VerdictRow,
)
from siamese_med.ingestion.catalogue.scan_names import ScanName
from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.conversion import ConversionJob, ConvertedVolume
from siamese_med.ingestion.dicom.instances import ScanFacts
from siamese_med.ingestion.dicom.person_traits import FORMER_IDS_TRAIT, IDENTITY_TRAIT, VISIT_STEM_TRAIT
from siamese_med.ingestion.inputs import ownership
from siamese_med.ingestion.masks import (
    DIFFERENCE_MASK,
    LESION_MASK,
    NIFTI_ENDING,
    NIFTI_GZ_ENDING,
    REGION_MASK,
    MaskKind,
    get_mask_path,
)
from siamese_med.ingestion.reasons import get_outcome
from siamese_med.ingestion.run_state import IngestRun, UnitOutcome
from siamese_med.ingestion.volume_candidates import GroupPlan, PlannedVolume, complete_facts_by_image
from siamese_med.ingestion.workers import WorkerLostError
from siamese_med.study.vocabulary import ScanFlag

SERIES_PER_TRANSACTION = 64
"""Series after which the waiting rows are written."""


@dataclass
class _WaitingRows:
    """Rows that are not written yet. The names of the fields are those of the tables."""

    file: list[FileRow] = field(default_factory=list)
    verdict: list[VerdictRow] = field(default_factory=list)
    scan: list[ScanRow] = field(default_factory=list)
    series: list[SeriesRow] = field(default_factory=list)
    subject: list[SubjectRow] = field(default_factory=list)
    thumbnail: list[ThumbnailRow] = field(default_factory=list)


class IngestCommitter:
    """Collects the results of conversion, decides on the outcome of every file, and writes rows to the catalogue.

    Results may come in any order. Call `flush` at the end.
    """

    def __init__(self, run: IngestRun, names: dict[str, ScanName]) -> None:
        self._run, self._names = run, names
        self._data, self._catalogue, self._secret, self._fates = run.data, run.catalogue, run.secret, run.fates
        self._results: dict[str, list[tuple[PlannedVolume, ConvertedVolume]]] = defaultdict(list)
        self._waiting = _WaitingRows()
        self._gone: dict[str, str] = {}
        self._unbound: list[ContentUnit] = []
        self._committed_groups = 0
        self._before: dict[str, dict[str, str]] = defaultdict(dict)
        for row in run.catalogue.rows(SCAN_TABLE):
            self._before[row["series"]][row["id"]] = row["path"]
        self._sessions = {row["key"]: f"ses-{row['number']:02d}" for row in run.catalogue.rows(SESSION_TABLE)}
        self._sealed = {row["subject"] for row in run.catalogue.rows(SUBJECT_TABLE)}

    def job(self, planned: PlannedVolume) -> ConversionJob:
        """Return the conversion job of a volume with the path that its NIfTI is written to.

        The path is `scans/<subject>/<session>/<id>.nii.gz` below the data folder; `.nii` without `ingest.compress`.
        """
        return replace(planned.job, target=str(self._data / self._path(planned)))

    def _path(self, planned: PlannedVolume) -> str:
        name = self._names[planned.candidate.key]
        ending = NIFTI_GZ_ENDING if self._run.config.compress else NIFTI_ENDING
        return f"scans/{name.subject}/{name.session}/{name.id}{ending}"

    def take(self, work: GroupPlan, planned: PlannedVolume, result: ConvertedVolume | WorkerLostError) -> None:
        """Record one volume's result, or the loss of its process.

        With the last result of its group, the group is committed.
        """
        if isinstance(result, WorkerLostError):
            result = ConvertedVolume(reason=result.reason or "undecodable")
        results = self._results[work.group.key]
        results.append((planned, result))
        if len(results) == len(work.volumes):
            self.commit_group(work)

    def commit_group(self, work: GroupPlan) -> None:
        """Decide on every file of a group, and delete scans of earlier runs that the group no longer makes up.

        Scans of an earlier run are kept where an error of the machine, or an incomplete input, prevents making them
        again.
        """
        reasons = dict(work.reasons)
        scans: dict[str, str] = {}
        bound: set[str] = set()
        troubled = False
        for planned, converted in self._results.pop(work.group.key, []):
            if converted.reason:
                passes = verdict_rules.is_machine_reason(converted.reason)
                troubled |= passes
                rest = "missing_slice" if converted.culprit and not passes else converted.reason
                reasons.update(dict.fromkeys(planned.files, rest))
                reasons.update({converted.culprit: converted.reason} if converted.culprit else {})
                continue
            name = self._names[planned.candidate.key]
            row = self._scan(name, planned, converted)
            self._waiting.scan.append(row)
            self._waiting.thumbnail.append({"id": name.id, "picture": converted.thumbnail})
            if verdict_rules.scan_depends_on_rules(
                row["flags"], row["shape"], self._run.config, row["contrast_source"]
            ):
                bound.add(name.id)
            for file in planned.files:
                scans.setdefault(file, name.id)
        made = {row["id"] for row in self._waiting.scan}
        if not (work.group.absent or troubled):  # earlier scans stay while they cannot be made again
            for key in (work.group.key, *work.group.joined):
                self._gone.update({one: path for one, path in self._before[key].items() if one not in made})
        self._note_files(work, reasons, scans, bound)
        self._note_owners(work)
        self._committed_groups += 1
        if self._committed_groups % SERIES_PER_TRANSACTION == 0:
            self.flush()

    def note_replaced(self, units: set[ContentUnit]) -> None:
        """Record that these contents were replaced by others at their paths; their reason becomes `replaced`."""
        for row in self._catalogue.rows(FILE_TABLE, "sha256", {digest for digest, _ in units}):
            if (row["sha256"], row["claim"]) in units:
                row.update({"outcome": get_outcome("replaced"), "reason": "replaced", "scan": ""})
                self._waiting.file.append(row)

    def forget(self, groups: Iterable[str]) -> None:
        """Delete the scans of groups whose files were replaced by others. The next `flush` carries it out."""
        for group in groups:
            self._gone.update(self._before[group])

    def _note_files(self, work: GroupPlan, reasons: dict[str, str], scans: dict[str, str], bound: set[str]) -> None:
        for entry in work.group.entries:
            digest, claim = entry.known
            scan = scans.get(digest, "")
            reason = "" if scan else reasons.get(digest) or "unreadable_header"
            fate = UnitOutcome(get_outcome(reason), reason, scan, work.group.key)
            before = self._fates.get(entry.known)
            self._fates[entry.known] = fate
            if entry.known in self._run.kept:
                continue
            size = entry.look.size if entry.look else 0
            self._waiting.file.append(_make_file_row(entry.known, size, fate))
            if scan in bound or (
                verdict_rules.refusal_depends_on_rules(reason) and not verdict_rules.is_machine_reason(reason)
            ):
                self._waiting.verdict.append({"sha256": digest, "claim": claim, "rules": self._rules_of(work)})
            elif before is not None:
                self._unbound.append(entry.known)

    def _rules_of(self, work: GroupPlan) -> str:
        """Return the digest of the rules; empty, to be judged again, where missing slices may be unreadable ones."""
        return "" if work.group.absent and self._run.kept else self._run.rules

    def _note_owners(self, work: GroupPlan) -> None:
        if work.belongings is None or all(entry.known in self._run.kept for entry in work.group.entries):
            return
        self._waiting.series.append(ownership.make_series_row(work.group.key, work.belongings, self._secret))
        for owner in sorted(work.belongings.owners, key=astuple):
            subject = owner.subject(self._secret)
            if subject not in self._sealed:
                self._sealed.add(subject)
                self._waiting.subject.append({"subject": subject, "sealed": ownership.seal_owner(owner, self._secret)})

    def _scan(self, name: ScanName, planned: PlannedVolume, converted: ConvertedVolume) -> ScanRow:
        facts = complete_facts_by_image(planned.facts, converted.contrast)
        undated = () if facts.date else (ScanFlag.DATE_UNKNOWN,)
        difference, since = self._difference(planned, converted)
        lost = (ScanFlag.DIFFERENCE_UNUSED,) if DIFFERENCE_MASK in converted.masks and not difference else ()
        return {
            "id": name.id,
            "subject": name.subject,
            "session": name.session,
            "date": self._secret.shifted(facts.date, name.subject),
            "modality": facts.modality,
            "contrast": facts.contrast,
            "scanner": self._secret.describe("scanner", facts.scanner),
            "protocol": self._secret.describe("protocol", facts.protocol),
            "shape": list(converted.shape),
            "spacing_mm": list(converted.spacing_mm),
            "affine": [list(row) for row in converted.affine],
            "path": self._path(planned),
            "sha256": converted.sha256,
            "flags": sorted(map(str, {*facts.flags, *converted.flags, *undated, *lost})),
            "source": str(planned.source),
            "changed": planned.changed,
            "contrast_source": str(facts.contrast_source),
            "contrast_confidence": facts.contrast_confidence,
            "mask": self._mask_path(planned, converted, REGION_MASK),
            "lesions": self._mask_path(planned, converted, LESION_MASK),
            "difference": difference,
            "since": since,
            "acquired": self._acquired(facts, name.subject),
            "series": planned.candidate.series,
            "nan_voxels": converted.nan_voxels,
            "person": self._person(facts, planned.likeness or name.subject),
            "likeness": planned.likeness,
            "acquisition": dict(facts.acquisition),
        }

    def _mask_path(self, planned: PlannedVolume, converted: ConvertedVolume, kind: MaskKind) -> str | None:
        return get_mask_path(self._path(planned), kind) if kind in converted.masks else None

    def _difference(self, planned: PlannedVolume, converted: ConvertedVolume) -> tuple[str | None, str | None]:
        """The mask of what changed, and the session it names; neither where the patient has no such session."""
        path = self._mask_path(planned, converted, DIFFERENCE_MASK)
        since = self._sessions.get(planned.since)
        return (None, None) if path is None or (planned.since and not since) else (path, since)

    def _acquired(self, facts: ScanFacts, subject: str) -> str | None:
        return f"acquisition-{self._secret.label('acquisition', subject, facts.acquired)}" if facts.acquired else None

    def _person(self, facts: ScanFacts, likeness: str) -> dict[str, list[str]]:
        """HMACs of what the header says of the person.

        They can be compared among similar identifiers alone, but for those that link two identifiers.
        """
        return {
            name: [self._secret_of_trait(likeness, name, value) for value in values] for name, values in facts.person
        }

    def _secret_of_trait(self, likeness: str, name: str, value: str) -> str:
        if name == FORMER_IDS_TRAIT:
            return ownership.FileOwner("dicom", value, "").likeness(self._secret)
        return self._secret.label("trait", "" if name in (IDENTITY_TRAIT, VISIT_STEM_TRAIT) else likeness, name, value)

    def flush(self) -> None:
        """Write the waiting rows in one transaction; afterwards, delete the files of scans that no longer exist.

        In this order a killed run leaves superfluous files at most, never a row without its file.
        """
        self._catalogue.write(vars(self._waiting), self._gone, self._unbound)
        for path in self._gone.values():
            (self._data / path).unlink(missing_ok=True)
        self._waiting, self._gone, self._unbound = _WaitingRows(), {}, []


def _make_file_row(unit: ContentUnit, size: int, fate: UnitOutcome) -> FileRow:
    return {
        "sha256": unit[0], "claim": unit[1], "size": size,
        "outcome": fate.outcome, "reason": fate.reason, "scan": fate.scan, "series": fate.series,
    }  # fmt: skip
