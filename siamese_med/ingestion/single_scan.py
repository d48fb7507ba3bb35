"""One scan from a path, without a catalogue, for `compare A B` and `identify SCAN`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siamese_med.errors import InputError, MissingFileError
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import conversion, volume_candidates
from siamese_med.ingestion.conversion import ConversionJob
from siamese_med.ingestion.dicom import series
from siamese_med.ingestion.dicom.instances import DicomInstance
from siamese_med.ingestion.inputs import file_content, sources
from siamese_med.ingestion.inputs.file_content import InspectedFile, InspectionRequest
from siamese_med.ingestion.reasons import REASON_HINTS, RejectedError
from siamese_med.ingestion.scan_checks import own_hints
from siamese_med.ingestion.workers import WorkerLostError, Workers
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import ScanFlag


@dataclass(frozen=True)
class SingleScan:
    """A volume in RAS+ orientation, its modality and contrast, and the flags that its headers give rise to."""

    volume: Volume
    modality: str
    contrast: str
    flags: tuple[str, ...] = ()


def read_single_scan(path: Path, config: IngestConfig) -> SingleScan:
    """Read a NIfTI file, or a folder or file with one DICOM series. Patient name and ID are not needed.

    Parameters
    ----------
    path
        The file or folder.
    config
        Limits and time limit.

    Raises
    ------
    MissingFileError
        Nothing exists at the path.
    InputError
        It holds no scan, several, or one that cannot be used; the message has the reason word and its hint.
    """
    if not path.exists():
        raise MissingFileError(f"no scan at {path}: name a NIfTI file or a folder with one DICOM series")
    paths = sources.list_files_below(path) if path.is_dir() else [path]
    hints = {**REASON_HINTS, **own_hints(config)}
    try:
        with Workers(1, config.timeout_s) as workers:
            looks = _run_one_task(
                workers, file_content.inspect_files, InspectionRequest(tuple(map(str, paths)), config.max_gigabytes)
            )
            scans = [*_from_dicom(looks, config), *_from_nifti(paths, looks)]
            if len(scans) > 1:
                raise InputError(f"{path} holds {len(scans)} scans: name a folder or file with one of them")
            if not scans:
                raise RejectedError(next((look.reason for look in looks if look.reason), "not_an_image"))
            job, modality, kind, flags = scans[0]
            decoded, _, _ = _run_one_task(
                workers, conversion.try_decode_volume, volume_candidates.apply_config_limits(job, config)
            )
            return SingleScan(decoded, modality, kind, flags)
    except RejectedError as rejected:
        raise InputError(f"{path} cannot be used ({rejected.reason}): {hints[rejected.reason]}") from rejected


def _run_one_task(workers: Workers, function: Callable[[Any], Any], task: Any) -> Any:
    """Return the result of one task; raise RejectedError, also where the process was lost."""
    _, result = next(workers.each(function, [task]))
    if isinstance(result, WorkerLostError):
        raise RejectedError(result.reason or "undecodable")
    if isinstance(result, RejectedError):
        raise result
    return result


def _from_dicom(
    looks: list[InspectedFile], config: IngestConfig
) -> list[tuple[ConversionJob, str, str, tuple[str, ...]]]:
    by_series: dict[tuple[str, str], dict[str, DicomInstance]] = defaultdict(dict)
    for look in looks:
        if look.instance:
            by_series[look.instance.study, look.instance.series][look.sha256] = look.instance
    scans, reasons = [], []
    for instances in by_series.values():
        verdict = series.assess_series(list(instances.values()), config, subject_given=True)
        reasons += list(verdict.reasons.values())
        for draft in verdict.drafts:
            storages = tuple((file, one.storage) for file, one in draft.storages.items())
            kind = "phase" if ScanFlag.PHASE in draft.flags else draft.facts.contrast
            scans.append(
                (ConversionJob(repeats=draft.repeats, storages=storages), draft.facts.modality, kind, draft.flags)
            )
    if reasons and not scans:
        raise RejectedError(reasons[0])
    return scans


def _from_nifti(paths: list[Path], looks: list[InspectedFile]) -> list[tuple[ConversionJob, str, str, tuple[str, ...]]]:
    scans: list[tuple[ConversionJob, str, str, tuple[str, ...]]] = []
    for path, look in zip(paths, looks, strict=True):
        if look.voxels:
            claim = sources.make_plain_input_path(path, path.parent).claim
            scans.append((ConversionJob(nifti=(str(path), look.voxels)), claim.modality, claim.contrast, ()))
    return scans
