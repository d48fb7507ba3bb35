"""The model page as data: how well the network and the baselines tell patients apart, with example pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from siamese_med.reporting.charts import curves
from siamese_med.reporting.data import methods_text
from siamese_med.reporting.model import statements
from siamese_med.reporting.render import pictures
from siamese_med.reporting.render.crop import find_crop_windows
from siamese_med.study import table_cells
from siamese_med.study.vocabulary import Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import JsonValue

    from siamese_med.reporting.charts.curves import CurvePoints
    from siamese_med.reporting.data.provenance import Provenance
    from siamese_med.reporting.data.report_content import ReportReference
    from siamese_med.reporting.model.metrics_file import MethodPerformance, ModelFigures
    from siamese_med.reporting.model.reference_figures import ModelFolder
    from siamese_med.reporting.model.statements import ModelHeadline
    from siamese_med.study.model_metrics import LabelAgreement, TrainingSummary

MAX_GALLERY_PAIRS = 12
"""Example pairs on the page."""

SCORE_COLUMN_OF_METHOD = {
    "network": "similarity",
    "ncc": "ncc",
    "ncc_highpass": "ncc_highpass",
    "mutual_information": "mutual_information",
    "ssim": "ssim",
}
"""Column of reference.parquet that holds each method's score."""


@dataclass(frozen=True)
class ExamplePair:
    """One pair of middle axial slices, and what the network said of it.

    Parameters
    ----------
    first, second
        PNG as data URLs, in display orientation.
    same
        Whether both scans are of one patient.
    distance
        Of the two embeddings.
    similarity
        Calibrated probability that both are of one patient.
    """

    first: str
    second: str
    same: bool
    distance: float | None
    similarity: float | None


@dataclass(frozen=True)
class TestPairs:
    """Scores of the test pairs, for the charts.

    Parameters
    ----------
    curves
        Name of each method, and the corners of its ROC curve.
    same_distances, different_distances
        Distances of the network's embeddings, of pairs of one patient and of two patients.
    """

    curves: tuple[tuple[str, CurvePoints], ...]
    same_distances: tuple[float, ...]
    different_distances: tuple[float, ...]


@dataclass(frozen=True)
class ChangeDetection:
    """Performance of each change detector on changes planted in scans, and the detector that gives the verdicts.

    Parameters
    ----------
    detector
        Name of the detector that gives the verdicts.
    meaning
        What it is, in words that follow "Change is measured".
    planted
        Number of pairs with a planted change; they are told from pairs without.
    auc
        Name and meaning of each detector, and its AUC, 0 to 1, the best first; .5 is chance.
    labels
        Agreement with what the study's manifest calls changed; None where it says nothing.
    """

    detector: str
    meaning: str
    planted: int | None
    auc: tuple[tuple[str, str, float], ...]
    labels: LabelAgreement | None


@dataclass(frozen=True)
class ModelPage:
    """Content of model.html.

    Parameters
    ----------
    title
        Title of the study.
    measured
        All figures of the model.
    claim
        The headline that follows from them.
    change
        How well change is seen.
    test
        Scores of the test pairs; empty where reference.parquet is missing.
    training
        Outcome of the training.
    log
        Columns of training_log.csv by name, one value for each epoch.
    gallery
        Example pairs, at most MAX_GALLERY_PAIRS.
    reference
        Threshold and pairs without change that pairs are compared with.
    provenance
        Versions, digests and seeds.
    settings
        Settings of the training by section of the configuration.
    """

    title: str
    measured: ModelFigures
    claim: ModelHeadline
    change: ChangeDetection
    test: TestPairs
    training: TrainingSummary
    log: tuple[tuple[str, tuple[float, ...]], ...]
    gallery: tuple[ExamplePair, ...]
    reference: ReportReference
    provenance: Provenance
    settings: dict[str, dict[str, JsonValue]]


def build_model_page(
    title: str, folder: ModelFolder, measured: ModelFigures, reference: ReportReference, provenance: Provenance
) -> ModelPage:
    """Read what a model page shows from the model folder.

    Parameters
    ----------
    title
        Title of the study.
    folder
        The model folder, with its JSON files read.
    measured, reference, provenance
        What `metrics_file` and `reference_figures` made of it.

    Returns
    -------
    ModelPage
        A part is empty where training did not leave its file.

    Raises
    ------
    ModelError
        A file of the folder cannot be read, or holds NaN.
    """
    return ModelPage(
        title=title,
        measured=measured,
        claim=statements.compose_model_headline(measured),
        change=_change_detection(folder),
        test=_test_pairs(folder, measured.methods),
        training=folder.metrics.training,
        log=_log(folder),
        gallery=tuple(_gallery(folder)),
        reference=reference,
        provenance=provenance,
        settings=folder.info.config.list_settings(),
    )


def _change_detection(folder: ModelFolder) -> ChangeDetection:
    choice = folder.info.change
    return ChangeDetection(
        detector=choice.detector,
        meaning=methods_text.describe_detector(choice.detector),
        planted=choice.planted,
        auc=tuple(
            (name, methods_text.describe_detector(name).removeprefix("by "), auc)
            for name, auc in sorted(choice.auc.items(), key=lambda item: (-item[1], item[0]))
        ),
        labels=folder.metrics.change_labels,
    )


def _test_pairs(folder: ModelFolder, methods: tuple[MethodPerformance, ...]) -> TestPairs:
    table = folder.table("reference.parquet")
    if table is None or not len(table):
        return TestPairs((), (), ())
    test = table[table["split"] == Split.TEST]
    same = test["same"].to_numpy(bool)
    distance = test["distance"].to_numpy(float)
    drawn = [
        (method.name, test[SCORE_COLUMN_OF_METHOD[method.key]].to_numpy(float))
        for method in methods
        if SCORE_COLUMN_OF_METHOD.get(method.key) in test
    ]
    if not all(np.isfinite(values).all() for values in (distance, *(score for _, score in drawn))):
        raise folder.broken("reference.parquet")
    return TestPairs(
        curves=tuple((name, curves.compute_roc_points(same, score)) for name, score in drawn),
        same_distances=tuple(distance[same].tolist()),
        different_distances=tuple(distance[~same].tolist()),
    )


def _log(folder: ModelFolder) -> tuple[tuple[str, tuple[float, ...]], ...]:
    table = folder.table("training_log.csv")
    if table is None or not len(table):
        return ()
    names = [name for name in ("epoch", "train_loss", "validation_loss", "validation_auc") if name in table]
    return tuple((name, tuple(table[name].astype(float).tolist())) for name in names)


def _gallery(folder: ModelFolder) -> Iterator[ExamplePair]:
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
    shown = find_crop_windows(np.maximum(first, second))
    for index in range(min(len(same), MAX_GALLERY_PAIRS)):
        yield ExamplePair(
            first=pictures.render_lettered_slice(first[index][shown[index]], "axial"),
            second=pictures.render_lettered_slice(second[index][shown[index]], "axial"),
            same=bool(same[index]),
            distance=table_cells.parse_number(distance[index]),
            similarity=table_cells.parse_number(similarity[index]),
        )
