"""Writing down what became of files and volumes: a series at a time, and nothing that a killed run would leave half."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple, replace
from typing import Any

from siamese_med.ingestion import masks, verdict_rules
from siamese_med.ingestion.catalogue.scan_names import ScanName
from siamese_med.ingestion.catalogue.tables import ContentUnit
from siamese_med.ingestion.conversion import ConversionJob, ConvertedVolume
from siamese_med.ingestion.inputs import ownership
from siamese_med.ingestion.reasons import get_outcome
from siamese_med.ingestion.run_state import IngestRun, UnitOutcome
from siamese_med.ingestion.volume_candidates import GroupPlan, PlannedVolume
from siamese_med.ingestion.workers import WorkerLostError
from siamese_med.study.vocabulary import ScanFlag

SERIES_PER_TRANSACTION = 64


class IngestCommitter:
    """Takes results as they come, and tells the run what became of every unit."""

    def __init__(self, run: IngestRun, names: dict[str, ScanName]) -> None:
        self._run, self._names = run, names
        self._data, self._catalogue, self._secret, self._fates = run.data, run.catalogue, run.secret, run.fates
        self._results: dict[str, list[tuple[PlannedVolume, ConvertedVolume]]] = defaultdict(list)
        self._waiting: dict[str, list[dict[str, Any]]] = _empty_tables()
        self._gone: dict[str, str] = {}
        self._unbound: list[ContentUnit] = []
        self._settled = 0
        self._before: dict[str, dict[str, str]] = defaultdict(dict)
        for row in run.catalogue.rows("scan"):
            self._before[row["series"]][row["id"]] = row["path"]
        self._sealed = {row["subject"] for row in run.catalogue.rows("subject")}

    def job(self, planned: PlannedVolume) -> ConversionJob:
        """The job with the place its NIfTI goes to."""
        return replace(planned.job, target=str(self._data / self._path(planned)))

    def _path(self, planned: PlannedVolume) -> str:
        name = self._names[planned.candidate.key]
        return f"scans/{name.subject}/{name.session}/{name.id}.nii.gz"

    def take(self, work: GroupPlan, planned: PlannedVolume, result: ConvertedVolume | WorkerLostError) -> None:
        """Note one volume's result; when it was the last of its group, settle the group."""
        if isinstance(result, WorkerLostError):
            result = ConvertedVolume(reason=result.reason or "undecodable")
        results = self._results[work.group.key]
        results.append((planned, result))
        if len(results) == len(work.volumes):
            self.settle(work)

    def settle(self, work: GroupPlan) -> None:
        """Decide on every file of a group, and on scans of an earlier run that its series no longer makes up."""
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
            self._waiting["scan"].append(row)
            self._waiting["thumbnail"].append({"id": name.id, "picture": converted.thumbnail})
            if verdict_rules.scan_depends_on_rules(row["flags"], row["shape"], self._run.config):
                bound.add(name.id)
            for file in planned.files:
                scans.setdefault(file, name.id)
        made = {row["id"] for row in self._waiting["scan"]}
        if not (work.group.absent or troubled):  # what was made before stays while it cannot be made anew
            self._gone.update({one: path for one, path in self._before[work.group.key].items() if one not in made})
        self._note_files(work, reasons, scans, bound)
        self._note_owners(work)
        self._settled += 1
        if self._settled % SERIES_PER_TRANSACTION == 0:
            self.flush()

    def note_replaced(self, units: set[ContentUnit]) -> None:
        """Write down that contents gave way to others at their paths."""
        for row in self._catalogue.rows("file", "sha256", {digest for digest, _ in units}):
            if (row["sha256"], row["claim"]) in units:
                row |= {"outcome": get_outcome("replaced"), "reason": "replaced", "scan": ""}
                self._waiting["file"].append(row)

    def forget(self, groups: Iterable[str]) -> None:
        """Remove the scans of groups whose files gave way to others."""
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
            self._waiting["file"].append({"sha256": digest, "claim": claim, "size": size, **fate._asdict()})
            if scan in bound or (
                verdict_rules.refusal_depends_on_rules(reason) and not verdict_rules.is_machine_reason(reason)
            ):
                self._waiting["verdict"].append({"sha256": digest, "claim": claim, "rules": self._rules_of(work)})
            elif before is not None:
                self._unbound.append(entry.known)

    def _rules_of(self, work: GroupPlan) -> str:
        """None, so that it is judged again, where the slices that a series lacks may be those that cannot be read."""
        return "" if work.group.absent and self._run.kept else self._run.rules

    def _note_owners(self, work: GroupPlan) -> None:
        if work.belongings is None or all(entry.known in self._run.kept for entry in work.group.entries):
            return
        self._waiting["series"].append(ownership.make_series_row(work.group.key, work.belongings, self._secret))
        for owner in sorted(work.belongings.owners, key=astuple):
            subject = owner.subject(self._secret)
            if subject not in self._sealed:
                self._sealed.add(subject)
                self._waiting["subject"].append(
                    {"subject": subject, "sealed": ownership.seal_owner(owner, self._secret)}
                )

    def _scan(self, name: ScanName, planned: PlannedVolume, converted: ConvertedVolume) -> dict[str, Any]:
        facts = planned.facts
        undated = () if facts.date else (ScanFlag.DATE_UNKNOWN,)
        return {
            "id": name.id,
            "subject": name.subject,
            "session": name.session,
            "date": self._secret.shifted(facts.date, name.subject),
            "modality": facts.modality,
            "contrast": facts.contrast,
            "scanner": self._label("scanner", facts.scanner),
            "protocol": self._label("protocol", facts.protocol),
            "shape": list(converted.shape),
            "spacing_mm": list(converted.spacing_mm),
            "affine": [list(row) for row in converted.affine],
            "path": self._path(planned),
            "sha256": converted.sha256,
            "flags": sorted(map(str, {*facts.flags, *converted.flags, *undated})),
            "source": str(planned.source),
            "changed": planned.changed,
            "mask": masks.get_mask_path(self._path(planned)) if converted.masked else None,
            "series": planned.candidate.series,
            "nan_voxels": converted.nan_voxels,
        }

    def _label(self, purpose: str, parts: tuple[str, ...]) -> str:
        return f"{purpose}-{self._secret.label(purpose, *parts, length=10)}" if any(parts) else "unknown"

    def flush(self) -> None:
        """Write what waits in one transaction; only then remove files of scans that are no more."""
        self._catalogue.write(self._waiting, self._gone, self._unbound)
        for path in self._gone.values():
            (self._data / path).unlink(missing_ok=True)
        self._waiting, self._gone, self._unbound = _empty_tables(), {}, []


def _empty_tables() -> dict[str, list[dict[str, Any]]]:
    return {"file": [], "verdict": [], "scan": [], "series": [], "subject": [], "thumbnail": []}
