"""Facts of a model folder for a reporting checklist: data, network, training, test figures, as sentences by topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from siamese_med.reporting import formatting
from siamese_med.reporting.checklist.checklist_item import ChecklistTopic as Topic
from siamese_med.reporting.data.methods_text import SOURCES
from siamese_med.reporting.model import statements
from siamese_med.reporting.model.metrics_file import FIGURE_NAMES, STRATUM_NAMES, ModelFigures, read_model_figures
from siamese_med.study.contrasts import describe_stratum, join_words
from siamese_med.study.model_info import ModelInfo
from siamese_med.study.model_metrics import ModelMetrics
from siamese_med.study.vocabulary import SPLITS, NullSource

Facts = Mapping[Topic, Sequence[str]]
Settings = Mapping[str, JsonValue]

PARTS_OF_EMBEDDING = (
    "There is no ensemble. The embedding of a scan joins two parts: what the network learned, and edges of the "
    "anatomy. Change is judged by two p-values, of the change map and of boundaries that moved (weighted Bonferroni)."
)
MEASURES_OF_IDENTITY = (
    "Same person or not: {figures}, expected calibration error, and the false-match rate at the threshold, on test "
    "patients, beside four untrained baselines."
)
INTERVALS = (
    "95 % intervals are by a bootstrap over patients, not over pairs{seed}. Change: p below {significance} after "
    "Hommel's correction for all pairs that end with one visit of a patient."
)


def compose_model_facts(
    info: ModelInfo, metrics: ModelMetrics, starter: bool, significance: float | None = None
) -> Facts:
    """Compose what a model folder tells of each topic.

    Parameters
    ----------
    info, metrics
        What model.json and metrics.json of the folder hold.
    starter
        Whether it is the starter model that comes with siamese-med.
    significance
        Of the study's verdicts; where it is not given, that of the model's configuration.

    Returns
    -------
    Mapping
        Sentences by topic; a topic of which nothing was recorded is absent.
    """
    figures, settings = read_model_figures(info, metrics), info.config.list_settings()
    facts = {
        **_describe_network(info, settings),
        **_describe_partitions(metrics, settings, starter),
        **_describe_training(info, metrics, settings),
        **_describe_measures(figures, info.config.score.significance if significance is None else significance),
        **_describe_results(info, figures, metrics),
        Topic.PURPOSE: [statements.INTENDED_USE],
        Topic.LIMITS: [*statements.LIMITS, statements.region_note(info.region)],
        Topic.AVAILABILITY: [
            "siamese-med is under the licence Apache-2.0. "
            f"Model {info.id}, SHA-256 of its weights {info.weights_sha256}."
        ],
    }
    return {topic: [text for text in texts if text] for topic, texts in facts.items() if any(texts)}


def _describe_network(info: ModelInfo, settings: Mapping[str, Settings]) -> dict[Topic, list[str]]:
    train = settings.get("train", {})
    encoder = _setting(train, "encoder", "not recorded")
    size = "" if info.parameters is None else f", {formatting.count(info.parameters)} parameters"
    box = " × ".join(str(stop - start) for start, stop in info.box)
    template = "the template of heads of siamese-med" if info.head_template else "a template made of the study's scans"
    change = (
        f"Change is measured by the detector {info.change.detector}, voxel by voxel, on two scans that were registered "
        f"to each other, at {_setting(settings.get('score', {}), 'spacing_mm', '?')} mm."
    )
    network = (
        f"A Siamese 3D convolutional network with the encoder {encoder}{size}. Input: one scan on a grid of "
        f"{' × '.join(map(str, info.shape))} voxels, of which {box} are looked at. Output: an embedding; the distance "
        "of two embeddings becomes a probability of one person by a logistic curve."
    )
    return {
        Topic.TECHNOLOGY: [f"Deep learning: a Siamese 3D convolutional network (recipe {info.recipe or '?'})."],
        Topic.ARCHITECTURE: [network, change],
        Topic.PREPROCESSING: [
            f"For identity, scans were placed on {template} by registration, and resampled to one grid.",
            "For change, the two scans of a pair were registered rigidly to each other, in both directions at once.",
        ],
        Topic.COMBINATION: [PARTS_OF_EMBEDDING],
        Topic.OUTPUT: [
            f"Similarity, 0 to 1: two scans match from {formatting.fixed(info.calibration.threshold, 3)} on, set for a "
            f"false-match rate of {formatting.percent(info.calibration.false_match_rate)} on validation patients.",
            "Change: z and p against pairs without change, a map, and the smallest volume that would have been seen.",
        ],
    }


def _describe_partitions(
    metrics: ModelMetrics, settings: Mapping[str, Settings], starter: bool
) -> dict[Topic, list[str]]:
    pair, counted = settings.get("pair", {}), metrics.patients
    if all(getattr(counted, split) is None for split in SPLITS):
        return {}
    sizes = join_words(
        [
            f"{split} {formatting.count(getattr(counted, split))} patients with "
            f"{formatting.count(getattr(metrics.scans, split))} scans"
            for split in SPLITS
        ]
    )
    shares = (
        f" Patients were assigned at random (seed {_setting(pair, 'seed', '?')}; share of validation "
        f"{_setting(pair, 'validation_share', '?')}, of test {_setting(pair, 'test_share', '?')})."
    )
    who = "These are patients of public data that the starter model learned from, not yours. " if starter else ""
    return {
        Topic.PARTITIONS: [f"{who}Of the model's own data: {sizes}.{shares}"],
        Topic.DISJOINTNESS: ["Disjoint by patient: patients were split before scans were paired."],
    }


def _describe_training(
    info: ModelInfo, metrics: ModelMetrics, settings: Mapping[str, Settings]
) -> dict[Topic, list[str]]:
    train, done = settings.get("train", {}), metrics.training
    listed = ", ".join(f"{name} {value}" for name, value in train.items() if value not in (None, {}))
    went = f"{done.epochs} epochs in {formatting.fixed(done.seconds, 0)} s" if done.epochs is not None else ""
    marked = f"The change head also learned from {done.marked_pairs} pairs of which somebody had marked what changed."
    early = ", stopped since the validation loss fell no more" if done.stopped_early else ""
    best = f"The epoch with the lowest validation loss was taken ({done.best_epoch} of {done.epochs})."
    aucs = join_words([f"{name} {formatting.fixed(auc, 3)}" for name, auc in sorted(info.change.auc.items())])
    planted = f"AUC on {info.change.planted} pairs with simulated changes: {aucs}." if aucs else ""
    start = "a MONAI bundle" if train.get("encoder") == "bundle" else "random weights"
    began = f"The encoder began with {start}, seed {_setting(train, 'seed', '?')}."
    return {
        Topic.TRAINING: [
            f"Settings: {listed}." if listed else "",
            f"Training took {went}{early}." if went else "",
            marked if done.marked_pairs else "",
        ],
        Topic.INITIALISATION: [began if train else ""],
        Topic.SELECTION: [
            best if done.best_epoch is not None else "",
            f"The change detector {info.change.detector} gives the verdicts. {planted}",
        ],
        Topic.BALANCE: [_describe_balance(train)] if train else [],
        Topic.SOFTWARE: ["Made with " + ", ".join(f"{name} {made}" for name, made in info.created_by.items()) + "."]
        if info.created_by
        else [],
    }


def _describe_balance(train: Settings) -> str:
    if train.get("sampling") == "pairs":
        return "Pairs of one and of two persons were drawn as the pair table has them."
    return (
        f"Each batch has {_setting(train, 'patients_per_batch', '?')} patients with "
        f"{_setting(train, 'scans_per_patient', '?')} scans each, so rare patients count as much as others. "
        "The similarity was calibrated afterwards, on validation patients."
    )


def _describe_measures(figures: ModelFigures, significance: float | None) -> dict[Topic, list[str]]:
    seed = "" if figures.seed is None else f", seed {figures.seed}"
    limit = "the chosen limit" if significance is None else f"{significance:g}"
    strata = [name.lower() for key, name in STRATUM_NAMES.items() if figures.strata[key]]
    return {
        Topic.MEASURES: [MEASURES_OF_IDENTITY.format(figures=", ".join(FIGURE_NAMES.values()))],
        Topic.UNCERTAINTY: [INTERVALS.format(seed=seed, significance=limit)],
        Topic.ROBUSTNESS: [
            f"Similarity was looked at by {join_words(strata)}; the model page has the tables." if strata else "",
            statements.audit_note(figures.audit),
        ],
        Topic.MAPS: [
            "Each pair has a map of change, listed parts, and slices through them. It is the measurement itself, not "
            "an explanation made afterwards."
        ],
    }


def _describe_results(info: ModelInfo, figures: ModelFigures, metrics: ModelMetrics) -> dict[Topic, list[str]]:
    headline = statements.compose_model_headline(figures)
    record = "A record, not a result: " if headline.withheld else ""
    listed = [
        f"{record}{method.name}: "
        + ", ".join(
            f"{FIGURE_NAMES[key]} {statements.ends(one)}"
            for key, one in method.figures.items()
            if one.value is not None
        )
        + "."
        for method in figures.methods
    ]
    measured = figures.counts["measured"]["patients"] is not None
    floors = [
        f"{formatting.count(one.n)} of {describe_stratum(f'{one.contrast}, {one.scanner}')} "
        f"({SOURCES[NullSource(one.source)] if one.source in SOURCES else one.source})"
        for one in info.change_reference.strata
    ]
    labels = metrics.change_labels
    known = (
        f"The study said of {formatting.count(labels.changed)} visits that they changed, of "
        f"{formatting.count(labels.unchanged)} that they did not; AUC {statements.ends(labels.auc)}."
        if labels is not None
        else ""
    )
    return {
        Topic.INTERNAL_TEST: [headline.text] if measured else [],
        Topic.ESTIMATES: listed if measured else [],
        Topic.SAMPLE_SIZE: [statements.size_note(figures)] if measured else [],
        Topic.ERRORS: [statements.match_note(figures), statements.calibration_note(figures.calibration)]
        if measured
        else [],
        Topic.REFERENCE_STANDARD: [
            "Same person: the patient identifier under which a scan is filed.",
            f"No change: pairs of {join_words(floors)}." if floors else "",
            known,
        ],
    }


def _setting(settings: Settings, name: str, missing: str) -> str:
    value = settings.get(name)
    return missing if value is None else str(value)
