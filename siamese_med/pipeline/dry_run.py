"""Preview of `run`: what it would do, and about what it would cost; nothing is written to the study.

The input is read as by `ingest --plan`. Pairs, splits and whether a model is trained are decided by the code that a run
uses. What lies in the data folder already counts as done.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from siamese_med.errors import NothingUsableError
from siamese_med.ingestion.expected_scans import ExpectedScans, expect_scans
from siamese_med.network.starter_model import STARTER_NAME, is_starter_model
from siamese_med.pairing import pair_table
from siamese_med.pipeline.run_estimate import RunWork, StageEstimate, estimate_stages
from siamese_med.runtime.terminal_text import format_duration
from siamese_med.scoring.score_table import name_pair
from siamese_med.study.input_source import refuse_own_folder
from siamese_med.study.model_info import ModelInfo, read_model_info
from siamese_med.study.prepared_scans import ALIGNMENT_COLUMNS, PreparedStudy
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import UNKNOWN
from siamese_med.training import model_registry, training_scans

if TYPE_CHECKING:
    import pandas as pd

ACCURACY = "within about a factor of two for whole heads, on cores that do nothing else"
"""Accuracy of the estimate; how it was checked is in docs/stages.md."""


class _RunCosts(TypedDict):
    """Time and disk of a run, beside what is free."""

    cpu_minutes: float
    wall_minutes: float
    data_gb: float
    reports_gb: float
    free_data_gb: float
    free_reports_gb: float
    warnings: list[str]


class DryRun(_RunCosts):
    """Preview of a run: counts of the study after it, what of them is done already, and the cost of the rest."""

    patients: int
    visits: int
    scans: int
    scans_done: int
    contrast_unknown: int
    left_out: Mapping[str, int]
    pairs: int
    pairs_done: int
    pairs_of_two_patients: int
    trains: bool
    why_not: str | None
    model: str | None
    cores: int
    accuracy: str
    stages: list[StageEstimate]


def plan_run(source: Path, study: Study, model: Path | None = None) -> DryRun:
    """Work out what a run would do and about what it would cost.

    Parameters
    ----------
    source
        A folder, a manifest or one file.
    model
        Folder of the model that the run is given; None: a model is trained where there are enough patients.

    Raises
    ------
    MissingFileError, EmptyInputError, ManifestError, SecretError, ModelError, UsageError, NothingUsableError
        The input, the manifest, the secret of the catalogue, or the model cannot be used, or there is no scan.
    """
    refuse_own_folder(source, study.own_folders)
    expected = expect_scans(source, study.data, study.config.ingest, study.own_folders)
    scans = expected.scans
    if scans.empty:
        raise NothingUsableError(f"no file makes up a scan ({', '.join(expected.left_out) or 'no file'})")
    pairs = _build_pairs(scans, study)
    why_not = _find_training_obstacle(scans, pairs, study) if model is None else "--model was given"
    used, info = _find_model(study, model, trains=why_not is None)
    mine = pairs[pair_table.is_same_patient(pairs)]
    work, to_compare = _list_work(expected, pairs, study, info, why_not is None)
    cores = os.cpu_count() or 1
    stages = estimate_stages(work, cores, study.config.ingest.workers)
    return {
        **_sum_costs(stages, study),
        "patients": int(scans.subject.nunique()),
        "visits": len(scans[["subject", "session"]].drop_duplicates()),
        "scans": len(scans),
        "scans_done": int((~scans.new.astype(bool)).sum()),
        "contrast_unknown": int((scans.new.astype(bool) & (scans.contrast == UNKNOWN)).sum()),
        "left_out": expected.left_out,
        "pairs": len(mine),
        "pairs_done": len(mine) - to_compare,
        "pairs_of_two_patients": len(pairs) - len(mine),
        "trains": why_not is None,
        "why_not": why_not,
        "model": used,
        "cores": cores,
        "accuracy": ACCURACY,
        "stages": stages,
    }


def _sum_costs(stages: Sequence[StageEstimate], study: Study) -> _RunCosts:
    """Sum time and disk over the stages, beside what is free."""
    data_gb, reports_gb = (sum(one[name] for one in stages) / 1000 for name in ("data_mb", "reports_mb"))
    free = {folder: shutil.disk_usage(_existing(folder)).free / 1e9 for folder in (study.data, study.reports)}
    return {
        "cpu_minutes": round(sum(one["cpu_minutes"] for one in stages), 1),
        "wall_minutes": round(sum(one["wall_minutes"] for one in stages), 1),
        "data_gb": round(data_gb, 3),
        "reports_gb": round(reports_gb, 3),
        "free_data_gb": round(free[study.data], 1),
        "free_reports_gb": round(free[study.reports], 1),
        "warnings": _warn_of_disk({study.data: data_gb, study.reports: reports_gb}, free),
    }


def _build_pairs(scans: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The pairs of a run, made in a folder that is thrown away; patients keep the splits that they have."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / study.pairs.name
        if study.pairs.is_file():
            shutil.copy(study.pairs, path)
        return pair_table.build_pair_table(scans, path, study.config.pair)


def _find_training_obstacle(scans: pd.DataFrame, pairs: pd.DataFrame, study: Study) -> str | None:
    """Find why the run would train no model, by the run's own rule, if all scans can be aligned; None if it would."""
    compared = study.config.promote.min_patients if model_registry.has_current_model(study) else 0

    def align_all() -> PreparedStudy:
        rows = scans.assign(scan=scans.id, ok=True, volume="").reindex(columns=list(ALIGNMENT_COLUMNS))
        return PreparedStudy(rows, study.data)

    return training_scans.find_training_obstacle(scans, pairs, align_all, compared)


def _find_model(study: Study, model: Path | None, trains: bool) -> tuple[str | None, ModelInfo | None]:
    """Name of the model in use before a training, and what is known of it; nothing of a model still to be trained."""
    if model is None and not model_registry.has_current_model(study):
        return None, None
    folder = model or model_registry.find_current_model(study)
    info = read_model_info(folder)
    return STARTER_NAME if is_starter_model(folder) else folder.name, None if trains else info


def _list_work(
    expected: ExpectedScans, pairs: pd.DataFrame, study: Study, info: ModelInfo | None, trains: bool
) -> tuple[RunWork, int]:
    """List what is not done yet, and count the pairs of one patient that are not measured."""
    import pandas as pd

    scans, config = expected.scans, study.config
    stored = set() if info is None else _stems(study.scores(info.id).with_suffix(""), "pair-*.json")
    there = pd.Series([name_pair(*ids) in stored for ids in zip(pairs.scan_a, pairs.scan_b, strict=True)], dtype=bool)
    same = pair_table.is_same_patient(pairs)
    measured, waiting = pairs[same & there], pairs[same & ~there]
    rescanned = {*measured.scan_a, *measured.scan_b}
    own = info is None or (study.models / info.id).is_dir()
    prepared = {stem.removesuffix("_brain") for stem in _stems(study.prepared, "*/volumes/*.np[yz]")}
    again = trains and (bool(expected.input_bytes) or not any(study.models.glob("*/model.json")))
    steps = config.train.epochs * config.train.steps_per_epoch if again else 0
    templates = 2 if again else 1  # the study's own for the training, and that of the model to compare it with
    spacing = None if info is None else info.config.score.spacing_mm
    work = RunWork(
        new_scans=int(scans.new.astype(bool).sum()),
        input_mb=expected.input_bytes / 1e6,
        scans_mb=expected.new_bytes / 1e6,
        to_prepare=templates * len(set(scans.id) - prepared),
        to_rescan=0 if own else len({*waiting.scan_a, *waiting.scan_b} - rescanned),
        to_compare=len(waiting),
        other_pairs=int((~same & ~there).sum()),
        shown_pairs=int(same.sum()),
        train_steps=steps,
        change_steps=config.train.change_steps if again else 0,
        spacing_mm=spacing or config.score.spacing_mm,
    )
    return work, len(waiting)


def _stems(folder: Path, pattern: str) -> set[str]:
    return {path.stem for path in folder.glob(pattern)}


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(one for one in (folder, *folder.absolute().parents) if one.exists())


def _warn_of_disk(needed_gb: Mapping[Path, float], free_gb: Mapping[Path, float]) -> list[str]:
    """One line for each disk with less space than the run needs; folders on one disk are taken together."""
    disks: dict[int, list[Path]] = {}
    for folder in needed_gb:
        disks.setdefault(_existing(folder).stat().st_dev, []).append(folder)
    return [
        f"about {needed:.2f} GB are needed for {' and '.join(folder.name for folder in folders)}, "
        f"{free_gb[folders[0]]:.2f} GB are free there"
        for folders in disks.values()
        if (needed := sum(needed_gb[folder] for folder in folders)) > free_gb[folders[0]]
    ]


def format_dry_run(plan: DryRun) -> str:
    """Format what a run would do for reading: what comes in, pairs, the model, and a table of the stages."""
    held = {"patient": plan["patients"], "visit": plan["visits"], "scan": plan["scans"]}
    counts = ", ".join(_count(number, thing) for thing, number in held.items())
    lines = [f"{counts}, {plan['scans_done']} of them ingested before; nothing was written"]
    if plan["left_out"]:
        lines.append("no scan: " + ", ".join(f"{n} {word}" for word, n in plan["left_out"].items()))
    if plan["contrast_unknown"]:
        unsure = _count(plan["contrast_unknown"], "scan")
        lines.append(f"the contrast of {unsure} shows only when the voxels are read: there may be other pairs then")
    others = _count(plan["pairs_of_two_patients"], "pair")
    lines.append(
        f"{_count(plan['pairs'], 'pair')} to compare, {plan['pairs_done']} of them measured before; "
        f"{others} of two patients"
    )
    lines.append(_describe_model(plan))
    lines += ["", f"estimate, {plan['accuracy']}; {_count(plan['cores'], 'core')} here:", *_table(plan)]
    lines += [
        f"free disk: {plan['free_data_gb']:.1f} GB for data, {plan['free_reports_gb']:.1f} GB for reports",
        *(f"warning: {one}" for one in plan["warnings"]),
    ]
    return "\n".join(lines)


def _describe_model(plan: DryRun) -> str:
    if plan["trains"]:
        now = f" and compared with {plan['model']}" if plan["model"] else ""
        return f"a model would be trained{now}, if enough scans can be aligned"
    return f"model: {plan['model']}; none would be trained: {plan['why_not']}"


def _table(plan: DryRun) -> Iterable[str]:
    yield f"{'':10}{'CPU':>14}{'wall':>14}{'data':>12}{'reports':>12}"
    total: StageEstimate = {
        "stage": "all",
        "cpu_minutes": plan["cpu_minutes"],
        "wall_minutes": plan["wall_minutes"],
        "data_mb": plan["data_gb"] * 1000,
        "reports_mb": plan["reports_gb"] * 1000,
    }
    for one in (*plan["stages"], total):
        times = "".join(f"{format_duration(60 * minutes):>14}" for minutes in (one["cpu_minutes"], one["wall_minutes"]))
        disk = "".join(f"{mb / 1000:>9.3f} GB" for mb in (one["data_mb"], one["reports_mb"]))
        yield f"{one['stage']:10}{times}{disk}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
