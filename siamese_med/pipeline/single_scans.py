"""Questions about single scans: how similar are these two, and whose scan is this?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from siamese_med.brain.segmentation_files import make_probability_volume, make_structure_volume
from siamese_med.errors import EmptyInputError, UsageError
from siamese_med.imaging.intensity import undo_monochrome1
from siamese_med.imaging.volume import Volume, write_volume
from siamese_med.ingestion import single_scan
from siamese_med.ingestion.single_scan import SingleScan
from siamese_med.network import model_folder, siamese
from siamese_med.network.model_folder import TrainedModel
from siamese_med.network.siamese import measure_distances
from siamese_med.pipeline import scoring_steps
from siamese_med.pipeline.stage_facts import ComparisonFacts, IdentityFacts
from siamese_med.pipeline.study_tables import StudyTables
from siamese_med.plugins import trusted_plugins
from siamese_med.preparation import aligned_volumes, scan_placement
from siamese_med.runtime import memory, parallel
from siamese_med.scoring.change import (
    comparability,
    detectors,
    noise_floor,
    pair_scoring,
)
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.scoring.identity import baselines
from siamese_med.scoring.identity.calibration import make_calibration
from siamese_med.study.config import Config
from siamese_med.study.pair_score import PairScore
from siamese_med.study.tables import Study

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def compare(
    a: Path | str, b: Path | str, model: Path | str, study: Study, map_file: Path | str | None = None
) -> ComparisonFacts:
    """Compare two scans, each a NIfTI file or a folder with a DICOM series, without a catalogue.

    `a` is taken for the earlier scan. The change map is written to `map_file` (.nii or .nii.gz) where one is named, in
    the space of `a`. Where no map can be made, a file of that name is removed: it would be taken for the map.

    Raises
    ------
    UsageError
        `map_file` is one of the scans.
    """
    if map_file is not None and Path(map_file).resolve() in (Path(a).resolve(), Path(b).resolve()):
        raise UsageError(f"{map_file} is one of the two scans: name another file for the change map")
    memory.keep_freed_memory()
    chosen = load_model_for_query(Path(model), study.config)
    scans = [single_scan.read_single_scan(Path(path), study.config.ingest) for path in (a, b)]
    compared = compare_read_scans(scans[0], scans[1], chosen, study.config)
    if map_file is None:
        return compared.facts
    map_file = Path(map_file)
    if compared.change_map is None:
        map_file.unlink(missing_ok=True)
        return {**compared.facts, "map": None}
    write_volume(map_file, compared.change_map)
    return {**compared.facts, "map": str(map_file)}


def identify(scan: Path | str, model: Path | str, study: Study) -> IdentityFacts:
    """Rank the enrolled patients, those of the catalogue, by how similar their scans are to one scan.

    Nothing is retrained. `scan` is a NIfTI file or a folder with a DICOM series.
    """
    scan, model = Path(scan), Path(model)
    chosen = load_model_for_query(model, study.config)
    known = StudyTables(study)
    everything = known.read_scans()
    prepared = known.prepare_scans(model, everything)
    enrolled = everything.merge(prepared.alignments[prepared.alignments.ok][["scan"]], left_on="id", right_on="scan")
    return rank_enrolled_patients(
        scan, chosen, enrolled, scoring_steps.embed_study_scans(study, chosen, enrolled, prepared), study.config
    )


def measure_two_scans(a: Path, b: Path, chosen: TrainedModel, config: Config) -> ComparisonFacts:
    """Measure similarity, change and baselines of two scans.

    Parameters
    ----------
    a, b
        Each a NIfTI file or a folder with a DICOM series. `a` is taken for the earlier scan. To swap them changes signs
        only, see `pair_scoring.score_pair`.
    chosen
        The model to measure with.
    config
        The study's configuration.

    Returns
    -------
    ComparisonFacts
        As `siamese-med compare --json` prints it.
    """
    scans = [single_scan.read_single_scan(path, config.ingest) for path in (a, b)]
    return compare_read_scans(scans[0], scans[1], chosen, config).facts


@dataclass(frozen=True)
class ComparedScans:
    """Facts about two scans, and the change map (`pair_scoring.place_change_map`) where one could be measured."""

    facts: ComparisonFacts
    change_map: Volume | None


def compare_read_scans(a: SingleScan, b: SingleScan, chosen: TrainedModel, config: Config) -> ComparedScans:
    """Measure two scans that were read, see `measure_two_scans`; `a` is taken for the earlier one.

    As in a run, torch works with one thread, on which the last digits depend. The rescans use the other cores.
    """
    with parallel.use_threads_for_jobs():
        return _place_and_compare(a, b, chosen, config)


def _place_and_compare(a: SingleScan, b: SingleScan, chosen: TrainedModel, config: Config) -> ComparedScans:
    template = chosen.read_template()
    earlier, later = (_place_scan(scan, template, config) for scan in (a, b))
    embeddings = _embeddings(chosen, [earlier.voxels, later.voxels])
    distance = float(measure_distances(chosen.network, embeddings[:1], embeddings[1:])[0])
    placed = earlier.aligned and later.aligned
    score, change_map = _measure_change(earlier.side, later.side, chosen, config)
    facts: ComparisonFacts = {
        "comparable": score.comparable,
        "reasons": [str(reason) for reason in score.reasons],
        "similarity": make_calibration(chosen.info).similarity(distance) if placed else None,
        "distance": distance,
        "change": {
            name.removeprefix("change_"): getattr(score, name)
            for name in ("change_z", "change_p", "volume_ml", "smallest_detectable_ml")
        },
        "change_sign": score.change_sign,
        "growth": {name.removeprefix("growth_"): getattr(score, name) for name in ("growth_ml", "growth_p")},
        "components": [part.to_json() for part in score.components],
        "reference": None if score.reference is None else score.reference.to_json(),
        "verdict": score.verdict and str(score.verdict),
        "baselines": baselines.score_baselines(*_in_fixed_order([earlier.voxels, later.voxels])),
        "model": chosen.info.id,
    }
    return ComparedScans(facts, change_map)


@parallel.use_threads_for_jobs()  # one torch thread, as in a run: the last digits depend on it
def rank_enrolled_patients(
    scan: Path, chosen: TrainedModel, scans: pd.DataFrame, enrolled: torch.Tensor, config: Config
) -> IdentityFacts:
    """Rank the enrolled patients by their most similar scan; raises EmptyInputError where nobody is enrolled.

    Parameters
    ----------
    scan
        A NIfTI file or a folder with a DICOM series.
    scans
        The scan table of the enrolled patients, aligned scans only.
    enrolled
        (s, e), their embeddings, in the order of `scans`.

    Returns
    -------
    IdentityFacts
        All patients, the most similar first. `match` is the first one if the similarity reaches the model's threshold.
    """
    if scans.empty:
        raise EmptyInputError("nobody is enrolled: ingest and prepare the patients to search among first")
    placed = _place_scan(single_scan.read_single_scan(scan, config.ingest), chosen.read_template(), config)
    asked = _embeddings(chosen, [placed.voxels]).expand_as(enrolled)
    curve = make_calibration(chosen.info)
    nearest: dict[str, float] = {}
    for subject, distance in zip(scans.subject, measure_distances(chosen.network, asked, enrolled), strict=True):
        nearest[subject] = min(nearest.get(subject, np.inf), float(distance))
    # by distance: similarities near 1 round to the same number
    ranked = [
        (subject, curve.similarity(distance))
        for subject, distance in sorted(nearest.items(), key=lambda item: (item[1], item[0]))
    ]
    matched = placed.aligned and ranked[0][1] >= curve.threshold
    return {
        "candidates": [{"subject": subject, "similarity": value} for subject, value in ranked],
        "match": ranked[0][0] if matched else None,
        "comparable": placed.aligned,
        "reasons": [str(reason) for reason in comparability.reasons_of_alignment(placed.aligned)],
        "threshold": curve.threshold,
        "model": chosen.info.id,
    }


@dataclass(frozen=True)
class AskedScan:
    """One scan of a question: to compare, and on the template, float16 (i, j, k), with whether it can be used there."""

    side: PairScan
    voxels: NDArray[np.float16]
    aligned: bool


def _place_scan(read: SingleScan, template: Volume, config: Config) -> AskedScan:
    """Place a scan on the template, as ingest and prepare do for the scans of a study."""
    # the catalogue's NIfTI files hold the affine in float32: without that, the last digits would be others
    affine = read.volume.affine.astype(np.float32).astype(np.float64)
    scan = Volume(undo_monochrome1(read.volume.voxels, read.flags), affine)
    placed = aligned_volumes.align_scan(scan, template, config.prepare, read.contrast)
    aligned = scan_placement.is_alignment_usable(placed.record, config.prepare.min_quality)
    to_template = np.asarray(np.linalg.inv(placed.record["matrix"])) if aligned else None
    region = make_probability_volume(placed.brain) if placed.brain else None
    structures = make_structure_volume(placed.brain) if placed.brain else None
    side = PairScan(scan, region, to_template, read.modality, read.contrast, read.scanner, structures)
    return AskedScan(side, placed.voxels, aligned)


def _embeddings(chosen: TrainedModel, aligned: Sequence[NDArray[np.float16]]) -> torch.Tensor:
    batch = torch.from_numpy(np.stack(aligned).astype(np.float32))[:, None]
    # one by one, in a batch as `score` has it, so that neither the order nor the way of asking changes a digit
    return torch.cat([siamese.embed_batch(chosen.network, chosen.network.cut(scan[None])) for scan in batch])


def _measure_change(a: PairScan, b: PairScan, chosen: TrainedModel, config: Config) -> tuple[PairScore, Volume | None]:
    score = chosen.measures(config.score)
    detector = detectors.build_model_detector(chosen.info, chosen.folder, score)
    instrument = CalibratedDetector(detector, *noise_floor.make_floors(chosen.info))
    pair, measured = pair_scoring.score_pair(a, b, instrument, score)
    (judged,) = pair_scoring.apply_multiple_testing([pair], score)
    return judged, pair_scoring.place_change_map(a, *measured) if measured else None


def _in_fixed_order(aligned: list[NDArray[np.float16]]) -> list[NDArray[np.float16]]:
    return sorted(aligned, key=lambda voxels: voxels.tobytes())


def load_model_for_query(folder: Path, config: Config) -> TrainedModel:
    """Read a model folder with the plug-ins that the configuration allows.

    Raises ModelError, MissingFileError or PluginError, as `model_folder.load_model` does.
    """
    return model_folder.load_model(folder, trusted_plugins(config))
