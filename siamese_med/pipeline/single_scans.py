"""Questions about single scans: how alike are these two, and whose scan is this?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from siamese_med.errors import EmptyInputError
from siamese_med.imaging import volume
from siamese_med.imaging.intensity import undo_monochrome1
from siamese_med.imaging.volume import Volume
from siamese_med.ingestion import single_scan
from siamese_med.network import model_folder
from siamese_med.network.model_folder import TrainedModel
from siamese_med.network.siamese import measure_distances
from siamese_med.pipeline.stage_facts import ComparisonFacts, IdentityFacts
from siamese_med.plugins import trusted_plugins
from siamese_med.preparation import aligned_volumes
from siamese_med.scoring.change import comparability, components, detectors, noise_floor, pair_registration, score_pair
from siamese_med.scoring.change.score_pair import CalibratedDetector, PairScan
from siamese_med.scoring.identity import baselines
from siamese_med.scoring.identity.calibration import make_calibration
from siamese_med.study.config import Config
from siamese_med.study.pair_score import PairScore
from siamese_med.study.vocabulary import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def measure_two_scans(a: Path, b: Path, chosen: TrainedModel, config: Config) -> ComparisonFacts:
    """Similarity, change and baselines of two scans, a taken for the earlier; the order changes signs alone."""
    template = volume.read_volume(chosen.template)
    (earlier, first), (later, second) = (_aligned(path, template, config) for path in (a, b))
    embeddings = _embeddings(chosen, [first, second])
    distance = float(measure_distances(chosen.network, embeddings[:1], embeddings[1:])[0])
    score = _change(earlier, later, template, chosen, config)
    return {
        "comparable": score.comparable,
        "reasons": [str(reason) for reason in score.reasons],
        "similarity": make_calibration(chosen.info).similarity(distance),
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
        "baselines": baselines.score_baselines(*_in_fixed_order([first, second])),
        "model": chosen.info.id,
    }


def rank_enrolled_patients(
    scan: Path, chosen: TrainedModel, scans: pd.DataFrame, enrolled: torch.Tensor, config: Config
) -> IdentityFacts:
    """Rank the enrolled patients by their most similar scan; `match` is the first, if it passes the threshold."""
    if scans.empty:
        raise EmptyInputError("nobody is enrolled: ingest and prepare the patients to search among first")
    side, voxels = _aligned(scan, volume.read_volume(chosen.template), config)
    asked = _embeddings(chosen, [voxels]).expand_as(enrolled)
    curve = make_calibration(chosen.info)
    nearest: dict[str, float] = {}
    for subject, distance in zip(scans.subject, measure_distances(chosen.network, asked, enrolled), strict=True):
        nearest[subject] = min(nearest.get(subject, np.inf), float(distance))
    # by distance: similarities near 1 round to the same number
    ranked = [
        (subject, curve.similarity(distance))
        for subject, distance in sorted(nearest.items(), key=lambda item: (item[1], item[0]))
    ]
    matched = side.aligned and ranked[0][1] >= curve.threshold
    return {
        "candidates": [{"subject": subject, "similarity": value} for subject, value in ranked],
        "match": ranked[0][0] if matched else None,
        "comparable": side.aligned,
        "reasons": [str(reason) for reason in comparability.reasons_of_alignment(side.aligned)],
        "threshold": curve.threshold,
        "model": chosen.info.id,
    }


def _aligned(path: Path, template: Volume, config: Config) -> tuple[PairScan, NDArray[np.float16]]:
    read = single_scan.read_single_scan(path, config.ingest)
    scan = Volume(undo_monochrome1(read.volume.voxels, read.flags), read.volume.affine)
    voxels, record = aligned_volumes.align_scan(scan, template, config.prepare)
    aligned = aligned_volumes.is_alignment_usable(record, config.prepare.min_quality)
    return PairScan(scan, np.asarray(record["matrix"]), read.modality, read.contrast, UNKNOWN, aligned), voxels


def _embeddings(chosen: TrainedModel, aligned: Sequence[NDArray[np.float16]]) -> torch.Tensor:
    batch = torch.from_numpy(np.stack(aligned).astype(np.float32))[:, None]
    with torch.inference_mode():
        # one by one: the sum over a batch may round differently with its size, and the order must not matter
        return torch.cat([chosen.network(chosen.network.cut(scan[None])) for scan in batch])


def _change(a: PairScan, b: PairScan, template: Volume, chosen: TrainedModel, config: Config) -> PairScore:
    """The change of a pair, measured in an order fixed by content and turned back where that is not theirs."""
    digests = [side.scan.content_digest() for side in (a, b)]
    first, second = (a, b) if digests[0] <= digests[1] else (b, a)
    score = chosen.measures(config.score)
    space = pair_registration.build_pair_space(template, score.spacing_mm)
    detector = detectors.build_model_detector(chosen.info, chosen.template.parent, score)
    instrument = CalibratedDetector(detector, *noise_floor.make_floors(chosen.info))
    pair, _ = score_pair.score_pair(first, second, space, instrument, score)
    (judged,) = score_pair.apply_multiple_testing([pair], score)
    return judged if first is a else _turned(judged, a)


def _turned(score: PairScore, earlier: PairScan) -> PairScore:
    return replace(
        score,
        change_sign=None if score.change_sign is None else -score.change_sign,
        growth_ml=None if score.growth_ml is None else -score.growth_ml,
        components=tuple(components.swap_component(part, earlier.matrix) for part in score.components),
    )


def _in_fixed_order(aligned: list[NDArray[np.float16]]) -> list[NDArray[np.float16]]:
    return sorted(aligned, key=lambda voxels: voxels.tobytes())


def load_model_for_query(folder: Path, config: Config) -> TrainedModel:
    """Read a model folder; raises ModelError, MissingFileError or PluginError."""
    return model_folder.load_model(folder, trusted_plugins(config))
