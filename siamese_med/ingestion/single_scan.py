"""One scan from a path, without a catalogue, for `compare A B` and `identify SCAN`."""

from __future__ import annotations

import hashlib
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
from siamese_med.ingestion.dicom.instances import DicomInstance, ScanFacts
from siamese_med.ingestion.dicom.joined_series import are_parts_of_one_volume
from siamese_med.ingestion.inputs import file_content, sources
from siamese_med.ingestion.inputs.file_content import InspectedFile, InspectionRequest
from siamese_med.ingestion.reasons import REASON_HINTS, RejectedError
from siamese_med.ingestion.scan_checks import own_hints
from siamese_med.ingestion.workers import WorkerLostError, Workers
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import UNKNOWN, ContrastSource


@dataclass(frozen=True)
class SingleScan:
    """A volume in RAS+ orientation, and what `ingest` would record of it.

    Parameters
    ----------
    volume
        The voxels and their place.
    modality, contrast
        As ingest records them for the same file, but for a contrast that only a manifest says.
    scanner
        A label of maker, model and serial number, or `unknown`: scans of one scanner have one label. It is no pseudonym
        of the study, since no secret is asked for, and is written nowhere.
    flags
        Flags that the headers give rise to.
    contrast_source, contrast_confidence
        How the contrast is known, see `study.tables.SCAN_COLUMNS`.
    """

    volume: Volume
    modality: str
    contrast: str
    scanner: str = UNKNOWN
    flags: tuple[str, ...] = ()
    contrast_source: ContrastSource = ContrastSource.NONE
    contrast_confidence: float | None = None


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
            scans = [*_from_dicom(paths, looks, config), *_from_nifti(paths, looks)]
            if len(scans) > 1:
                raise InputError(f"{path} holds {len(scans)} scans: name a folder or file with one of them")
            if not scans:
                raise RejectedError(next((look.reason for look in looks if look.reason), "not_an_image"))
            job, facts = scans[0]
            job = volume_candidates.ask_image_for_contrast(volume_candidates.apply_config_limits(job, config), facts)
            decoded, told = _run_one_task(workers, conversion.try_decode_volume, job)
            return _single_scan(decoded, volume_candidates.complete_facts_by_image(facts, told))
    except RejectedError as rejected:
        raise InputError(f"{path} cannot be used ({rejected.reason}): {hints[rejected.reason]}") from rejected


def _single_scan(decoded: Volume, facts: ScanFacts) -> SingleScan:
    named = any(facts.scanner)
    scanner = f"scanner-{hashlib.sha256(repr(facts.scanner).encode()).hexdigest()[:10]}" if named else UNKNOWN
    return SingleScan(
        decoded, facts.modality, facts.contrast, scanner, facts.flags, facts.contrast_source, facts.contrast_confidence
    )


def _run_one_task(workers: Workers, function: Callable[[Any], Any], task: Any) -> Any:
    """Return the result of one task; raise RejectedError, also where the process was lost."""
    _, result = next(workers.each(function, [task]))
    if isinstance(result, WorkerLostError):
        raise RejectedError(result.reason or "undecodable")
    if isinstance(result, RejectedError):
        raise result
    return result


def _from_dicom(
    paths: list[Path], looks: list[InspectedFile], config: IngestConfig
) -> list[tuple[ConversionJob, ScanFacts]]:
    by_series: dict[tuple[str, str], dict[str, DicomInstance]] = defaultdict(dict)
    places: dict[tuple[str, str], Path] = {}
    for path, look in zip(paths, looks, strict=True):
        if look.instance:
            key = (look.instance.study, look.instance.series)
            by_series[key][look.sha256] = look.instance
            places.setdefault(key, path)
    if len(by_series) > 1 and are_parts_of_one_volume(
        [[*one.values()] for one in by_series.values()], config.min_slices
    ):
        by_series = {next(iter(by_series)): {file: one for part in by_series.values() for file, one in part.items()}}
    scans, reasons = [], []
    for key, instances in by_series.items():
        verdict = series.assess_series(list(instances.values()), config, subject_given=True)
        reasons += list(verdict.reasons.values())
        for draft in verdict.drafts:
            storages = tuple((file, one.storage) for file, one in draft.storages.items())
            facts = volume_candidates.decide_dicom_contrast(draft, places[key])
            scans.append((ConversionJob(repeats=draft.repeats, storages=storages), facts))
    if reasons and not scans:
        raise RejectedError(reasons[0])
    return scans


def _from_nifti(paths: list[Path], looks: list[InspectedFile]) -> list[tuple[ConversionJob, ScanFacts]]:
    scans = []
    for path, look in zip(paths, looks, strict=True):
        if look.voxels:
            claim = sources.make_plain_input_path(path, path.parent).claim
            scans.append((ConversionJob(nifti=(str(path), look.voxels)), volume_candidates.make_nifti_facts(claim)))
    return scans
