"""Is it the same person? Network and baselines on a hard simulated cohort, and on simulated follow-ups of real scans.

python -m benchmarks.identity hard FOLDER --patients 160 --visits 4 --seed 21 --difference 0.25 --seeds 0 1 2
python -m benchmarks.identity hippocampus FOLDER --crops ../shared/real/hippocampus --seeds 0 1 2
python -m benchmarks.identity heads FOLDER --heads ../shared/real/ixi_2mm --model MODEL

`hard` has six scanners, FLAIR, T1w and T2w. `hippocampus` takes every crop for a person (whether two crops are the two
sides of one head is unknown, so two of the "different" may be one); `heads` scores with a model that has seen none of
the heads. Of real scans every visit is simulated, see `siamese_med.simulation.rescan`: anatomy does not change between
visits. Test patients are looked at once, by the train stage.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import verification
from siamese_med.network.model_folder import load_model
from siamese_med.network.scan_dataset import ScanDataset
from siamese_med.network.siamese import compute_distance_matrix, embed_scans
from siamese_med.pipeline import stages
from siamese_med.scoring.identity import evaluation
from siamese_med.scoring.identity.baselines import BASELINES
from siamese_med.scoring.identity.calibration import make_calibration
from siamese_med.simulation import cohort, follow_ups
from siamese_med.study import config as configuration
from siamese_med.study.tables import Study
from siamese_med.study.vocabulary import SAME_PATIENT

CONTRASTS = ("FLAIR", "T1w", "T2w")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the three and print its tables."""
    given = _parsed(arguments)
    config = configuration.load_config(given.config)
    if given.cohort == "heads":
        study = verification.ingested(_tree(given, given.heads), given.folder, config)
        found = _with_existing_model(study, given.model)
    else:
        source = _tree(given, given.crops) if given.cohort == "hippocampus" else _hard(given)
        study = verification.ingested(source, given.folder, config)
        found = _with_own_models(study, given.seeds)
    if given.json:
        given.json.write_text(json.dumps({"simulation": _simulation(given), **found}, indent=2))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", choices=("hard", "hippocampus", "heads"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=160, help="of the simulated cohort")
    parser.add_argument("--difference", type=float, default=0.25, help="of the simulated cohort, 1 being real people")
    parser.add_argument("--inside-only", action="store_true", help="simulated people share outline and coarse form")
    parser.add_argument("--visits", type=int, default=4)
    parser.add_argument("--seed", type=int, default=21, help="of the simulation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the training")
    parser.add_argument("--crops", type=Path, default=Path("../shared/real/hippocampus"))
    parser.add_argument("--heads", type=Path, default=Path("../shared/real/ixi_2mm"))
    parser.add_argument("--contrast", choices=CONTRASTS, default="T1w", help="of the real scans")
    parser.add_argument("--model", type=Path, help="folder of a model that has not seen the heads")
    parser.add_argument("--config", type=Path, help="TOML over the defaults")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    given = parser.parse_args(arguments)
    if given.cohort == "heads" and given.model is None:
        parser.error("heads needs --model")
    return given


def _simulation(given: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(given).items() if isinstance(value, (int, float, str))}


def _hard(given: argparse.Namespace) -> Path:
    recipe = (given.patients, given.visits, given.seed, given.difference, CONTRASTS, given.inside_only)
    cohort.write_cohort(given.folder / "simulated", *recipe)
    return Path(given.folder / "simulated" / "input")


def _tree(given: argparse.Namespace, sources: Path) -> Path:
    scans = sorted(path for path in sources.rglob("*.nii*") if path.is_file())
    if not scans:
        raise SystemExit(f"no NIfTI under {sources}")
    return follow_ups.write_follow_ups(given.folder / "simulated", scans, given.visits, given.seed, given.contrast)


def _with_own_models(study: Study, seeds: Sequence[int]) -> dict[str, Any]:
    models = verification.trained(study, seeds)
    each = [verification.measured(model) for model in models]
    mean = verification.over_seeds(models)
    rows = [("network", str(seed), found["test"]["network"]) for seed, found in zip(seeds, each, strict=True)]
    rows += [("network, mean", "all", mean), *((name, "-", each[0]["test"][name]) for name in BASELINES)]
    trust = [
        (str(seed), verification.trust_of(found), found["audit"]["auc"])
        for seed, found in zip(seeds, each, strict=True)
    ]
    print(verification.counts(each[0]), end="\n\n")
    print(verification.figure_table(rows), end="\n\n")
    print(verification.trust_table([*trust, ("all, mean", mean, {})]), end="\n\n")
    print(verification.similarity_table(each[0]), end="\n\n")
    print(f"training: {', '.join(_training(found) for found in each)}")
    best = max((each[0]["test"][name]["auc"]["value"], name) for name in BASELINES)
    low = mean["auc"]["low"] or 0.0
    word = "above" if low > best[0] else "not above"
    print(f"lower end of the network's AUC {low:.4f}, {word} the best baseline's {best[0]:.4f} ({best[1]})")
    return {"models": dict(zip(map(str, seeds), each, strict=True)), "mean": mean}


def _training(found: dict[str, Any]) -> str:
    training = found["training"]
    return f"{training['seconds']:.0f} s, {training['epochs']} epochs"


def _with_existing_model(study: Study, model: Path) -> dict[str, Any]:
    """All pairs of all scans as the train stage measures test patients, and the score stage on the pair table."""
    chosen = load_model(model)
    prepared = stages.prepare(study, model)
    usable = stages.scans(study).merge(
        prepared.alignments[prepared.alignments.ok][["scan", "volume"]], left_on="id", right_on="scan"
    )
    quality = prepared.alignments.quality
    print(
        f"{len(usable)} of {len(quality)} scans aligned; quality {quality.min():.3f} to {quality.max():.3f}", end="\n\n"
    )
    if usable.subject.nunique() < 2:
        raise SystemExit("too few scans reach prepare.min_quality on this model's template: see --config")
    paths = [study.data / path for path in usable.volume]
    distance = compute_distance_matrix(
        chosen.network, embed_scans(chosen.network, ScanDataset(paths, list(usable.subject)))
    )
    curve = make_calibration(chosen.info)
    figures = evaluation.evaluate_test_patients(usable, distance, evaluation.measure_baselines(paths), curve, 0)
    found: dict[str, Any] = figures.to_json_object()
    found |= {"patients": {"test": int(usable.subject.nunique())}, "scans": {"test": len(usable)}}
    rows = [(name, "-", found["test"][name]) for name in ("network", *BASELINES)]
    print(verification.counts(found), end="\n\n")
    print(verification.figure_table(rows), end="\n\n")
    print(verification.trust_table([("-", verification.trust_of(found), {})]), end="\n\n")
    print(verification.similarity_table(found), end="\n\n")
    found["change"] = _false_alarms(study, model)
    print(
        "change, where there is none: {alarms} alarms of {judged} pairs judged, {pairs} in all".format(
            **found["change"]
        )
    )
    return found


def _false_alarms(study: Study, model: Path) -> dict[str, int]:
    stages.build_pairs(study)
    scores = stages.score(study, model)
    same = scores[scores.kind.isin(SAME_PATIENT)]
    judged = same[same.comparable.astype(bool)]
    alarms = int(np.sum(judged.verdict == "changed"))
    return {"alarms": alarms, "judged": len(judged), "pairs": len(same)}


if __name__ == "__main__":
    main()
