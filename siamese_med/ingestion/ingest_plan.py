"""Plan of an ingest: patients, visits and scans that it would take from an input, and why, without writing to a study.

Headers and names are read as in an ingest, into a catalogue that is thrown away. Voxels are not decoded, so scans that
only their voxels give away are still among those that are planned. Nobody is named: patients are numbered, and dates
are days since the patient's first visit.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TypedDict

from siamese_med.ingestion import ingest_folder
from siamese_med.ingestion.catalogue.catalogue import Catalogue
from siamese_med.ingestion.catalogue.scan_names import part_sessions_by_day
from siamese_med.ingestion.inputs import sources, time_limits
from siamese_med.ingestion.inputs.entries import FileGroup, make_entries
from siamese_med.ingestion.privacy.pseudonyms import Pseudonyms, load_pseudonyms
from siamese_med.ingestion.run_state import IngestRun
from siamese_med.ingestion.volume_candidates import PlannedVolume, plan_group
from siamese_med.ingestion.workers import Workers
from siamese_med.runtime.terminal_text import escape_for_terminal
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import ScanFlag

NAMED_BY = {
    "manifest": "the manifest",
    "bids": "its BIDS label",
    "folder": "the folder above a date",
    "name": "nothing: the file stands for a patient",
}
"""Texts that say what names a patient, by the kind of claim."""
BY_HEADER = "PatientID in the header"
BY_PLACEHOLDER = "a PatientID that stands for nobody"


CATALOGUE_FILE = "catalogue.sqlite"
"""Name of a study's catalogue in the data folder, unless `ingest.database` names a server."""


class PlannedScan(TypedDict):
    """One scan that ingest would make.

    `patient` and `visit` are numbers from 1, `days` counts from the patient's first dated visit, `file` is the first of
    its `files`, as a path below the input.
    """

    patient: int
    named_by: str
    visit: int
    days: int | None
    contrast: str
    files: int
    file: str


class IngestPlan(TypedDict):
    """Expected result of the ingest of an input; `left_out` counts files that become no scan, by reason word."""

    patients: int
    visits: int
    scans: int
    left_out: Mapping[str, int]
    plan: list[PlannedScan]


@dataclass(frozen=True)
class VolumeOfInput:
    """A volume with what names its patient, the path of its first file, and the bytes of all its files."""

    volume: PlannedVolume
    named_by: str
    place: str
    size: int

    @property
    def visit(self) -> tuple[str, str]:
        return self.volume.candidate.subject, self.volume.candidate.session_key


def plan_ingest(source: Path, config: IngestConfig, own: Sequence[Path] = ()) -> IngestPlan:
    """Work out what ingest would make of an input, as if nothing were known of it; nothing is written.

    Parameters
    ----------
    source
        A folder, a manifest or one file.
    config, own
        As of `ingest_folder.ingest_files`.

    Raises
    ------
    MissingFileError, EmptyInputError, ManifestError
        The input or manifest cannot be used.
    """
    with open_trial_run(source, config, own) as run:
        groups, _ = ingest_folder.gather_groups(run, source, by_content=False)
        planned, left_out = plan_volumes(run, groups, source if source.is_dir() else source.parent)
        scans = _number(planned)
    return {
        "patients": len({one["patient"] for one in scans}),
        "visits": len({(one["patient"], one["visit"]) for one in scans}),
        "scans": len(scans),
        "left_out": left_out,
        "plan": scans,
    }


@contextmanager
def open_trial_run(
    source: Path, config: IngestConfig, own: Sequence[Path] = (), data: Path | None = None
) -> Iterator[IngestRun]:
    """Open an ingest run whose catalogue is thrown away at the end of the block; nothing else is written.

    Parameters
    ----------
    source, config, own
        As of `ingest_folder.ingest_files`.
    data
        Data folder of a study: the run begins with a copy of its catalogue, and with the user's secret. None, or a
        folder without a catalogue file: it begins with nothing.

    Raises
    ------
    MissingFileError, EmptyInputError, ManifestError, SecretError
        The input, the manifest, or the secret of the study's catalogue cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder, time_limits.limit_system_calls(config.timeout_s):
        found = sources.collect_input_paths(source, own)
        secret = Pseudonyms(os.urandom(32))  # the user's own is neither read nor made
        if data is not None and (data / CATALOGUE_FILE).is_file():
            secret = load_pseudonyms(config.secret_file, make=False)
            shutil.copy(data / CATALOGUE_FILE, folder)
        catalogue = Catalogue(f"sqlite:///{folder}/{CATALOGUE_FILE}", secret.label("catalogue"))
        secret = replace(secret, dates_in_past=catalogue.dates_in_past)
        try:
            with Workers(config.workers, config.timeout_s) as workers:
                entries = make_entries(found, secret)
                yield IngestRun(data or Path(folder), config, secret, catalogue, workers, entries)
        finally:
            catalogue.close()


def plan_volumes(
    run: IngestRun, groups: Sequence[FileGroup], root: Path
) -> tuple[list[VolumeOfInput], Mapping[str, int]]:
    """Plan the volumes of a run's groups, with their visits as ingest tells them apart.

    Parameters
    ----------
    groups
        From `ingest_folder.gather_groups`.
    root
        Folder that paths are shown below.

    Returns
    -------
    tuple
        The volumes, and the number of files that become no scan, by reason word. Files that the run's catalogue knows
        are in neither.
    """
    planned, left_out = [], Counter[str]()
    judged = set[str]()
    for group in groups:
        work = plan_group(group, run.config, run.secret)
        left_out.update(word for word in work.reasons.values() if word)
        places = {entry.known[0]: entry for entry in group.entries}
        judged.update(entry.key for entry in group.entries)
        for volume in work.volumes:
            first = places.get(volume.files[0], group.entries[0])
            claim = first.found.claim if first.found.listed or (first.look and first.look.voxels) else None
            header = BY_PLACEHOLDER if ScanFlag.PLACEHOLDER_ID in volume.facts.flags else BY_HEADER
            named_by = NAMED_BY[claim.kind.partition(" ")[0]] if claim and claim.subject else header
            size = sum(places[file].stat[0] for file in volume.files if file in places)
            planned.append(VolumeOfInput(volume, named_by, _shorten(first.found.path, root), size))
    left_out.update(
        (entry.look.reason if entry.look and entry.look.reason else "duplicate")
        for entry in run.entries
        if entry.key not in judged and entry.unit not in run.fates
    )
    candidates = part_sessions_by_day([one.volume.candidate for one in planned], (), run.secret)
    parted = {one.key: one for one in candidates}
    planned = [replace(one, volume=replace(one.volume, candidate=parted[one.volume.candidate.key])) for one in planned]
    return planned, dict(sorted(left_out.items()))


def _shorten(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name


def _number(planned: Sequence[VolumeOfInput]) -> list[PlannedScan]:
    """Number patients by their first file, and visits by their date, undated ones last."""
    ordered = sorted(planned, key=lambda one: one.place)
    patients = {subject: n for n, subject in enumerate(dict.fromkeys(one.visit[0] for one in ordered), 1)}
    days: dict[tuple[str, str], date] = {}
    visits: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    for one in ordered:
        if day := one.volume.candidate.date:
            days[one.visit] = min(day, days.get(one.visit, day))
        visits[one.visit[0]][one.visit] = None
    numbers: dict[tuple[str, str], int] = {}
    firsts: dict[str, date] = {}
    for subject, known in visits.items():
        by_day = sorted(known, key=lambda visit: days.get(visit, date.max))
        numbers.update({visit: n for n, visit in enumerate(by_day, 1)})
        if by_day[0] in days:
            firsts[subject] = days[by_day[0]]
    return sorted(
        (
            {
                "patient": patients[one.visit[0]],
                "named_by": one.named_by,
                "visit": numbers[one.visit],
                "days": (days[one.visit] - firsts[one.visit[0]]).days if one.visit in days else None,
                "contrast": one.volume.facts.contrast,
                "files": len(one.volume.files),
                "file": one.place,
            }
            for one in ordered
        ),
        key=lambda scan: (scan["patient"], scan["visit"]),
    )


def format_plan(plan: IngestPlan) -> str:
    """Format a plan for reading: a line a patient and a line a scan.

    Examples
    --------
    >>> print(format_plan({"patients": 1, "visits": 1, "scans": 1, "left_out": {"side_car": 1}, "plan": [
    ...     {"patient": 1, "named_by": "its BIDS label", "visit": 1, "days": 0, "contrast": "T1w", "files": 1,
    ...      "file": "sub-1/sub-1_T1w.nii"}]}))
    1 patient, 1 visit, 1 scan; nothing was written
    patient 1, named by its BIDS label
      visit 1, day 0: T1w, 1 file, sub-1/sub-1_T1w.nii
    no scan: 1 side_car
    """
    counts = ", ".join(_count(plan[name], name[:-1]) for name in ("patients", "visits", "scans"))
    lines = [f"{counts}; nothing was written"]
    shown = 0
    for scan in plan["plan"]:
        if scan["patient"] != shown:
            shown = scan["patient"]
            lines.append(f"patient {shown}, named by {scan['named_by']}")
        day = "no date" if scan["days"] is None else f"day {scan['days']}"
        files = _count(scan["files"], "file")
        place = escape_for_terminal(scan["file"])
        lines.append(f"  visit {scan['visit']}, {day}: {scan['contrast']}, {files}, {place}")
    if plan["left_out"]:
        lines.append("no scan: " + ", ".join(f"{n} {word}" for word, n in plan["left_out"].items()))
    return "\n".join(lines)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
