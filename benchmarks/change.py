"""Dose and response, false alarms and localisation of change detection, on planted changes and beside the controls.

    python -m benchmarks.planted FOLDER
    python -m benchmarks.change FOLDER --model DIR [DIR DIR] [--patients N] [--json FILE]

Thresholds and references of no change are fixed on the validation pairs, boosting learns from the learning pairs, the
residual's smoothing is the better one of two on the validation pairs. Test pairs are of patients, machines and lesion
shapes that neither training nor validation has. Everything is simulated.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks import controls, false_alarms, planted, readings, response
from benchmarks.false_alarms import Alarms
from benchmarks.lesion_shapes import HELD_OUT
from benchmarks.planted import BINS_MM3, NONE, SPACING_MM
from benchmarks.readings import Reading
from benchmarks.response import Judged, Settings
from siamese_med.network import change_inference
from siamese_med.scoring.change import detectors
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.identity.verification_metrics import BootstrapInterval
from siamese_med.study.config import ScoreConfig
from siamese_med.study.model_info import read_model_info

NETWORK, PLAIN = "network", "deviation"
QUIET_SETS = {
    "test": "unseen machines",
    "known_machines": "machines of the training",
    "T1w": "T1w, a contrast not seen",
    "T2w": "T2w, a contrast not seen",
}
"""Sets with pairs without change, and what they are."""


@dataclass(frozen=True)
class Rival:
    """One detector, read on the sets as they are needed; `make` is called once there is something to read."""

    name: str
    make: Callable[[], ChangeDetector]
    folder: Path
    patients: int | None

    @cached_property
    def detector(self) -> ChangeDetector:
        """Made late: boosting has to learn first, a network to be loaded."""
        return self.make()

    def read(self, name: str) -> list[Reading]:
        """Readings of a set; of the test set, of the first patients alone where so asked."""
        few = self.patients if name == "test" else None
        label = self.name.replace(" ", "_")
        return list(readings.of_set(self.folder, name, lambda *pair: self.detector(*pair), label, few))

    @cached_property
    def settings(self) -> Settings:
        """What the validation pairs fix."""
        return response.choose_settings(self.read("validation"))

    def judged(self, name: str) -> list[Judged]:
        """A set under these settings."""
        return self.settings.judged(self.read(name))


def rivals(folder: Path, models: Sequence[Path], patients: int | None) -> list[Rival]:
    """The networks, the product's residual, and the controls."""
    makers: dict[str, Callable[[], ChangeDetector]] = {
        **{f"{NETWORK} {model.name}": partial(_network, model) for model in models},
        PLAIN: lambda: detectors.build_residual_detector(ScoreConfig()),
        **{f"residual {sigma}": partial(controls.PlainResidual, sigma) for sigma in controls.RESIDUAL_SMOOTHINGS},
        "brightness": lambda: controls.brightness,
        "boosting": partial(_boosting, folder),
    }
    return [Rival(name, make, folder, patients) for name, make in makers.items()]


def _network(model: Path) -> ChangeDetector:
    return partial(change_inference.detect_with_network, model)


def _boosting(folder: Path) -> ChangeDetector:
    return controls.kept(folder / "boosting.joblib", partial(planted.pairs, folder, "learning"), SPACING_MM)


def measure(chosen: Sequence[Rival]) -> dict[str, dict[str, dict[str, BootstrapInterval]]]:
    """Figures with intervals by rival and group of test pairs; networks also averaged."""
    found = {rival.name: _by_group([rival]) for rival in _with_better_residual(chosen)}
    networks = [rival for rival in chosen if rival.name.startswith(NETWORK)]
    if len(networks) > 1:
        found = {f"{NETWORK}, mean of {len(networks)}": _by_group(networks), **found}
    return found


def _with_better_residual(chosen: Sequence[Rival]) -> list[Rival]:
    """One of the two smoothings: the one with the higher average precision on validation pairs."""
    residuals = [rival for rival in chosen if rival.name.startswith("residual ")]
    precise = [response.figures(rival.judged("validation"))["precision"] for rival in residuals]
    worse = {rival.name for rival, value in zip(residuals, precise, strict=True) if value < max(precise)}
    return [rival for rival in chosen if rival.name not in worse]


def _by_group(rivals: Sequence[Rival]) -> dict[str, dict[str, BootstrapInterval]]:
    """All test pairs, and those of each family, always with the pairs without change; and the other pairs without."""
    read = [rival.judged("test") for rival in rivals]
    families = {"all": HELD_OUT, **{family: (family,) for family in HELD_OUT}}
    groups = {
        group: [[one for one in pairs if one.facts.family in (*names, NONE)] for pairs in read]
        for group, names in families.items()
    }
    there = [name for name in QUIET_SETS if (rivals[0].folder / name).is_dir()]
    groups |= {name: [response.quiet(rival.judged(name)) for rival in rivals] for name in there}
    return {group: response.with_intervals(pairs) for group, pairs in groups.items()}


def model_alarms(chosen: Sequence[Rival], models: Sequence[Path]) -> dict[str, dict[str, Alarms]]:
    """False alarms of each model as it is used: by its own detector, noise floor and rules; by set."""
    found = {}
    for model in models:
        info = read_model_info(model)
        learned = info.change.detector == detectors.NETWORK_DETECTOR
        rival = next(one for one in chosen if one.name == (f"{NETWORK} {model.name}" if learned else PLAIN))
        there = [name for name in QUIET_SETS if (rival.folder / name).is_dir()]
        found[model.name] = {name: false_alarms.of_model(info, rival.read(name), ScoreConfig()) for name in there}
    return found


def alarms_table(found: dict[str, dict[str, Alarms]]) -> str:
    """A line a model and set."""
    lines = ["| model | pairs without change | called changed at nominal 5 % |", "|---|---|---|"]
    for model, sets in found.items():
        lines += [f"| {model} | {QUIET_SETS[name]} | {alarms.words} |" for name, alarms in sets.items()]
    return "\n".join(lines)


def tables(found: dict[str, dict[str, dict[str, BootstrapInterval]]]) -> str:
    """What the issue asks for, as Markdown."""
    lows = BINS_MM3[:-1]
    bins = [f"{low}-{high}" for low, high in pairwise(BINS_MM3[:-1])] + [f"over {lows[-1]}"]
    dose = {
        "Spearman": "spearman",
        "of changed": "spearman_changed",
        **{f"AUC {title}": f"auc_{low}" for title, low in zip(bins, lows, strict=True)},
        "AUC .90 at mm3": "smallest_mm3",
    }
    place = {
        "AP": "precision",
        **{f"AP {title}": f"precision_{low}" for title, low in zip(bins, lows, strict=True)},
        "peak inside": "peak_inside",
        "lesions found": "found",
        "F1": "f1",
        "false parts a pair": "false_parts",
    }
    parts = [
        f"{title}\n\n{_table(found, group, dose)}\n\n{_table(found, group, place)}"
        for group, title in (("all", "all shapes"), *((family, f"shapes: {family}") for family in HELD_OUT))
    ]
    alarms = {"false alarms at 5 %": "alarms"}
    parts += [
        f"no change, {title}\n\n{_table(found, group, alarms)}"
        for group, title in QUIET_SETS.items()
        if all(group in one for one in found.values())
    ]
    return "\n\n".join(parts)


def _table(found: dict[str, dict[str, dict[str, BootstrapInterval]]], group: str, columns: dict[str, str]) -> str:
    lines = [f"| detector | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for name, groups in found.items():
        lines.append(f"| {name} | {' | '.join(_cell(groups[group][key]) for key in columns.values())} |")
    return "\n".join(lines)


def _cell(figure: BootstrapInterval) -> str:
    """A figure with its interval; volumes without decimals."""
    parts = [figure[key] for key in ("value", "low", "high")]
    if parts[0] is None:
        return "-"
    value, low, high = (f"{part:.0f}" if part > 10 else f"{part:.2f}" for part in parts if part is not None)
    return f"{value} ({low}-{high})"


def counts(chosen: Sequence[Rival]) -> str:
    """How much was measured, in words."""
    test, validation = (chosen[0].judged(name) for name in ("test", "validation"))
    by_bin = np.histogram([one.facts.volume_mm3 for one in response.changed(test)], BINS_MM3)[0]
    return (
        f"test: {len({one.facts.patient for one in test})} patients, {len(response.quiet(test))} pairs without change, "
        f"{'/'.join(map(str, by_bin))} with, by volume; fixed on {len({one.facts.patient for one in validation})} "
        f"validation patients, {len(validation)} pairs; simulation seed {planted.SEED}. "
        "95 % intervals by a bootstrap over patients."
    )


def main() -> None:
    """Read, choose settings, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, nargs="*", default=[])
    parser.add_argument("--patients", type=int, help="the first so many of the test set")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = rivals(given.folder, given.model, given.patients)
    found = measure(chosen)
    print(counts(chosen), end="\n\n")
    print(tables(found), end="\n\n")
    alarms = model_alarms(chosen, given.model)
    print(alarms_table(alarms))
    if given.json:
        chosen_settings = {rival.name: {"threshold": rival.settings.threshold} for rival in chosen}
        content = {
            "counts": counts(chosen),
            "chosen_settings": chosen_settings,
            "figures": found,
            "model_alarms": {
                model: {name: asdict(one) for name, one in sets.items()} for model, sets in alarms.items()
            },
        }
        given.json.write_text(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
