"""The model page as data: how well the network and the baselines tell patients apart, with examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from siamese_med import cells, claims
from siamese_med.appraisal import section
from siamese_med.reporting import pictures
from siamese_med.reporting.charts import curves
from siamese_med.reporting.windows import windows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siamese_med.appraisal import Appraisal, Method
    from siamese_med.claims import Claim
    from siamese_med.reporting.charts.curves import Curve
    from siamese_med.reporting.content import Provenance, Reference
    from siamese_med.reporting.references import ModelFolder

GALLERY_LIMIT = 12

SCORES = {
    "network": "similarity",
    "ncc": "ncc",
    "ncc_highpass": "ncc_highpass",
    "mutual_information": "mutual_information",
    "ssim": "ssim",
}
"""Column of reference.parquet that holds each method's score."""


@dataclass(frozen=True)
class Training:
    """How training went; None for what was not recorded."""

    epochs: int | None
    seconds: float | None
    pairs_per_second: float | None
    stopped_early: bool


@dataclass(frozen=True)
class Example:
    """Two middle slices, shown as pictures, and what the network said of them."""

    first: str
    second: str
    same: bool
    distance: float | None
    similarity: float | None


@dataclass(frozen=True)
class TestPairs:
    """The model's test pairs: ROC corners a method, distances of both kinds."""

    curves: tuple[tuple[str, Curve], ...]
    same_distances: tuple[float, ...]
    different_distances: tuple[float, ...]


@dataclass(frozen=True)
class Performance:
    """Everything that is on the model page."""

    title: str
    measured: Appraisal
    claim: Claim
    test: TestPairs
    training: Training
    log: tuple[tuple[str, tuple[float, ...]], ...]
    gallery: tuple[Example, ...]
    reference: Reference
    provenance: Provenance
    settings: dict[str, dict[str, Any]]


def performance(
    title: str, folder: ModelFolder, measured: Appraisal, reference: Reference, provenance: Provenance
) -> Performance:
    """Read what a model page shows from the model folder; parts that training did not leave are empty."""
    return Performance(
        title=title,
        measured=measured,
        claim=claims.headline(measured),
        test=_test_pairs(folder, measured.methods),
        training=_training(section(folder.metrics, "training")),
        log=_log(folder),
        gallery=tuple(_gallery(folder)),
        reference=reference,
        provenance=provenance,
        settings=section(folder.model, "config"),
    )


def _training(figures: dict[str, Any]) -> Training:
    return Training(
        epochs=cells.whole(figures.get("epochs")),
        seconds=cells.number(figures.get("seconds")),
        pairs_per_second=cells.number(figures.get("pairs_per_second")),
        stopped_early=bool(figures.get("stopped_early")),
    )


def _test_pairs(folder: ModelFolder, methods: tuple[Method, ...]) -> TestPairs:
    table = folder.table("reference.parquet")
    if table is None or not len(table):
        return TestPairs((), (), ())
    test = table[table["split"] == "test"]
    same = test["same"].to_numpy(bool)
    distance = test["distance"].to_numpy(float)
    drawn = [
        (method.name, test[SCORES[method.key]].to_numpy(float)) for method in methods if SCORES[method.key] in test
    ]
    if not all(np.isfinite(values).all() for values in (distance, *(score for _, score in drawn))):
        raise folder.broken("reference.parquet")
    return TestPairs(
        curves=tuple((name, curves.roc_points(same, score)) for name, score in drawn),
        same_distances=tuple(distance[same].tolist()),
        different_distances=tuple(distance[~same].tolist()),
    )


def _log(folder: ModelFolder) -> tuple[tuple[str, tuple[float, ...]], ...]:
    table = folder.table("training_log.csv")
    if table is None or not len(table):
        return ()
    names = [name for name in ("epoch", "train_loss", "validation_loss", "validation_auc") if name in table]
    return tuple((name, tuple(table[name].astype(float).tolist())) for name in names)


def _gallery(folder: ModelFolder) -> Iterator[Example]:
    path = folder.path / "gallery.npz"
    if not path.is_file():
        return
    try:
        with np.load(path, allow_pickle=False) as file:
            first, second, same = file["a"], file["b"], file["same"]
            distance, similarity = file["distance"], file["similarity"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise folder.broken("gallery.npz") from error
    if not all(np.isfinite(values).all() for values in (first, second, distance, similarity)):
        raise folder.broken("gallery.npz")
    shown = windows(np.maximum(first, second))
    for index in range(min(len(same), GALLERY_LIMIT)):
        yield Example(
            first=pictures.scan(first[index][shown[index]], "axial"),
            second=pictures.scan(second[index][shown[index]], "axial"),
            same=bool(same[index]),
            distance=cells.number(distance[index]),
            similarity=cells.number(similarity[index]),
        )
