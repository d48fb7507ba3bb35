"""One scan from a path, without a catalogue: for `compare A B` and `identify SCAN`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siamese_med.config import IngestConfig
from siamese_med.errors import InputError, MissingFileError
from siamese_med.ingestion import candidates, content, conversion, series, sources
from siamese_med.ingestion.content import Glance, Look
from siamese_med.ingestion.conversion import Job
from siamese_med.ingestion.instances import Instance
from siamese_med.ingestion.reasons import HINTS, RejectedError
from siamese_med.ingestion.workers import WorkerLostError, Workers
from siamese_med.volume import Volume


@dataclass(frozen=True)
class SingleScan:
    """A canonical RAS+ volume, what kind of picture it is, and what its headers warn of."""

    volume: Volume
    modality: str
    contrast: str
    flags: tuple[str, ...] = ()


def read_one(path: Path, config: IngestConfig) -> SingleScan:
    """A NIfTI file, or a folder (or file) with one DICOM series; the patient's name and ID do not matter here.

    Raises MissingFileError, or InputError with the reason word.
    """
    if not path.exists():
        raise MissingFileError(f"no scan at {path}: name a NIfTI file or a folder with one DICOM series")
    paths = sources.files_below(path) if path.is_dir() else [path]
    try:
        with Workers(1, config.timeout_s) as workers:
            looks = _one(workers, content.look_at, Glance(tuple(map(str, paths)), config.max_gigabytes))
            scans = [*_from_dicom(looks, config), *_from_nifti(paths, looks)]
            if len(scans) > 1:
                raise InputError(f"{path} holds {len(scans)} scans: name a folder or file with one of them")
            if not scans:
                raise RejectedError(next((look.reason for look in looks if look.reason), "not_an_image"))
            job, modality, kind, flags = scans[0]
            decoded, _, _ = _one(workers, conversion.attempt, candidates.limits(job, config))
            return SingleScan(decoded, modality, kind, flags)
    except RejectedError as rejected:
        raise InputError(f"{path} cannot be used ({rejected.reason}): {HINTS[rejected.reason]}") from rejected


def _one(workers: Workers, function: Callable[[Any], Any], task: Any) -> Any:
    """The result of one task; raises RejectedError, also where the process was lost."""
    _, result = next(workers.each(function, [task]))
    if isinstance(result, WorkerLostError):
        raise RejectedError(result.reason or "undecodable")
    if isinstance(result, RejectedError):
        raise result
    return result


def _from_dicom(looks: list[Look], config: IngestConfig) -> list[tuple[Job, str, str, tuple[str, ...]]]:
    by_series: dict[tuple[str, str], dict[str, Instance]] = defaultdict(dict)
    for look in looks:
        if look.instance:
            by_series[look.instance.study, look.instance.series][look.sha256] = look.instance
    scans, reasons = [], []
    for instances in by_series.values():
        verdict = series.judge(list(instances.values()), config, subject_given=True)
        reasons += list(verdict.reasons.values())
        for draft in verdict.drafts:
            storages = tuple((file, one.storage) for file, one in draft.storages.items())
            kind = "phase" if "phase" in draft.flags else draft.facts.contrast
            scans.append((Job(repeats=draft.repeats, storages=storages), draft.facts.modality, kind, draft.flags))
    if reasons and not scans:
        raise RejectedError(reasons[0])
    return scans


def _from_nifti(paths: list[Path], looks: list[Look]) -> list[tuple[Job, str, str, tuple[str, ...]]]:
    scans: list[tuple[Job, str, str, tuple[str, ...]]] = []
    for path, look in zip(paths, looks, strict=True):
        if look.voxels:
            claim = sources.plain(path, path.parent).claim
            scans.append((Job(nifti=(str(path), look.voxels)), claim.modality, claim.contrast, ()))
    return scans
