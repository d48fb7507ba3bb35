"""False alarms of pairs that are held against rescans of their own scans: nothing changed, so 5 % may alarm.

    python -m benchmarks.own_false_alarms --json OUT [--every N] [--datasets ixi_2mm] [--limit N] [--show]
    python -m benchmarks.own_false_alarms --json OUT --simulated N

Each real scan of `../shared/real` is taken for the truth and scanned VISITS times by simulated scanners, with seeds
that the product never uses: one scanner for one half of the scans, a scanner a visit for the others. The product gets
these scans as it would get those of a patient, without a model: it finds the brain in each, simulates rescans of each,
and scores every pair as the only one of its patient. A head that is done is appended to OUT, and not done again. What
is kept are the figures, so that another way to work out p can be tried on them without measuring again: `--show`
only prints, `--extra` as it would be with another extra spread than the product's.

The visits are made by the code that makes the product's own rescans, so this tells whether p is right where rescans are
as they are simulated, not whether they are like real ones. `--simulated` is a harder test of that: N simulated people
are scanned from their anatomy, each on machines with planes and slices of their own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.real_scans_list import REAL, RealScan, list_real_scans
from benchmarks.without_model import CONFIG, DETECTORS, build_instrument
from siamese_med.imaging.volume import Volume
from siamese_med.preparation.scan_placement import find_region
from siamese_med.scoring.change import pair_measurement, pair_scoring, simulated_rescans
from siamese_med.scoring.change.change_map import MapSummary
from siamese_med.scoring.change.noise_floor import OTHER_SCANNER, SAME_SCANNER
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import PairScan
from siamese_med.scoring.change.simulated_rescans import MeasuredRescan
from siamese_med.simulation import anatomy, rescan, scanner

if TYPE_CHECKING:
    from numpy.typing import NDArray

VISITS = 3
SEED = 7919
"""First number of the seeds of the visits; the product's seeds are made of a scan's content."""
CONTRASTS, DIFFERENCES = ("T1w", "FLAIR", "T2w"), (0.25, 0.7)
"""Simulated people have these contrasts in turn, and differ by one of these shares of real variation."""
NOMINAL = 0.05
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
BOOTSTRAPS = 2000


@dataclass(frozen=True)
class UnchangedPair:
    """One pair without change: whose it is, what the product said, and each p (`pair`, `evidence`, `growth`) and z."""

    person: str
    contrast: str
    kind: str
    reasons: tuple[str, ...]
    verdict: str
    p: dict[str, float]
    z: dict[str, float]
    parts: float
    cpu_s: float

    @property
    def half(self) -> str:
        """Half of the people: what is chosen on the even numbers is reported on the odd ones."""
        return "odd numbers" if int(self.person[-1]) % 2 else "even numbers"


def main() -> None:
    """Measure what is not measured yet, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--real", type=Path, default=REAL)
    parser.add_argument("--datasets", nargs="*")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--simulated", type=int)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--detector", choices=DETECTORS, default="pretrained")
    parser.add_argument("--extra", nargs=2, type=float, help="other extra spread of evidence and growth")
    given = parser.parse_args()
    if given.extra:
        simulated_rescans.OWN_EXTRA_LOG_SD, simulated_rescans.OWN_GROWTH_EXTRA_LOG_SD = given.extra
    torch.set_num_threads(1)
    instrument = build_instrument(given.detector)
    done = read_records(given.json)
    heads = simulate_people(given.simulated) if given.simulated else take_real_heads(given)
    known = {record["scan"] for record in done}
    for head in () if given.show else heads:
        if head.name in known:
            continue
        record = measure_head(head, instrument)
        done.append(record)
        with given.json.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{len(done)}: {head.name} {head.kind} {sum(record['cpu_s'].values()):.0f} CPU-s", flush=True)
    show_all([pair for record in done for pair in read_pairs(record)])


@dataclass(frozen=True)
class ScannedHead:
    """A head to scan VISITS times: a name of its own, whose it is, and how it is scanned."""

    name: str
    person: str
    contrast: str
    kind: str
    scan: Callable[[], list[Volume]]


def take_real_heads(given: argparse.Namespace) -> Iterator[ScannedHead]:
    """The real scans that are asked for, in a drawn order, so that a run that is stopped has seen all kinds of them."""
    numbered = list(enumerate(list_real_scans(given.real)))[:: given.every]
    drawn = [numbered[n] for n in np.random.default_rng(SEED).permutation(len(numbered))]
    wanted = [one for one in drawn if not given.datasets or one[1].dataset in given.datasets]
    for number, scan in wanted[: given.limit]:
        kind = choose_kind(number)
        visits = partial(rescan_head, scan, kind == SAME_SCANNER, np.random.default_rng([SEED, number]))
        yield ScannedHead(str(scan.path.relative_to(given.real)), scan.person, scan.contrast, kind, visits)


def simulate_people(count: int) -> Iterator[ScannedHead]:
    """Simulated people, each in one contrast."""
    for number in range(count):
        contrast, kind = CONTRASTS[number % len(CONTRASTS)], choose_kind(number)
        visits = partial(scan_person, contrast, kind == SAME_SCANNER, np.random.default_rng([SEED, 1, number]))
        name = f"simulated-{number:03}"
        yield ScannedHead(name, name, contrast, kind, visits)


def choose_kind(number: int) -> str:
    """Same or other scanner, so that even and odd numbers have both."""
    return OTHER_SCANNER if number // 2 % 2 else SAME_SCANNER


def read_records(path: Path) -> list[dict[str, Any]]:
    """The heads that are done. A line that a killed run left unfinished is passed over."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def measure_head(head: ScannedHead, instrument: CalibratedDetector) -> dict[str, Any]:
    """Scan a head VISITS times, and let the product score all pairs; the figures, and CPU-seconds of each part."""
    contrast, same = head.contrast, head.kind == SAME_SCANNER
    visits = head.scan()
    began = time.process_time()
    sides = [
        PairScan(one, find_region(one, contrast), None, "MR", contrast, f"scanner-{0 if same else n}")
        for n, one in enumerate(visits)
    ]
    found = time.process_time()
    rescans = [simulated_rescans.measure_rescans(side, same, CONFIG.spacing_mm, instrument.detector) for side in sides]
    measured = time.process_time()
    pairs = [score_pair(sides, rescans, instrument, *places) for places in combinations(range(VISITS), 2)]
    return {
        "scan": head.name,
        "person": head.person,
        "contrast": contrast,
        "kind": head.kind,
        "brains": [side.region is not None for side in sides],
        "rescans": [[[_to_json(figure) for figure in one] for one in several] for several in rescans],
        "pairs": pairs,
        "cpu_s": {"brain": found - began, "rescans": measured - found, "pairs": time.process_time() - measured},
    }


def rescan_head(source: RealScan, same: bool, rng: np.random.Generator) -> list[Volume]:
    """Scan what a scan shows VISITS times, as `simulated_rescans.simulate_scan_pair` does twice."""
    body = rescan.extract_body(source.read())
    machines = rescan.draw_rescan_scanners(body.spacing_mm, rng)
    protocols = [
        (
            replace(machines[n], noise=body.noise * rng.uniform(*simulated_rescans.NOISE_FRACTION_RANGE)),
            rescan.draw_contrast_levels(rng),
        )
        for n in rng.choice(len(machines), VISITS, replace=False)
    ]
    return [
        rescan.acquire_rescan(body, machine, rng, contrast=contrast).volume
        for machine, contrast in (protocols[:1] * VISITS if same else protocols)
    ]


def scan_person(contrast: str, same: bool, rng: np.random.Generator) -> list[Volume]:
    """Scan the anatomy of a simulated person VISITS times, on one machine of a fleet or on several."""
    machines = scanner.draw_scanners(rng, scanner.SCANNER_COUNT, (contrast,))
    person = anatomy.simulate_anatomy(rng, float(rng.choice(DIFFERENCES)))
    chosen = rng.choice(len(machines), VISITS, replace=False)
    return [scanner.acquire_scan(person, machines[chosen[0] if same else n], rng).volume for n in chosen]


def score_pair(
    sides: Sequence[PairScan],
    rescans: Sequence[Sequence[MeasuredRescan]],
    instrument: CalibratedDetector,
    a: int,
    b: int,
) -> dict[str, Any]:
    """Score a pair as the only one of its patient; its figures, and the scans in the order they were measured in."""
    known = {id(side): one for side, one in zip(sides, rescans, strict=True)}
    instrument = replace(instrument, rescans=lambda side, *_: known[id(side)])
    pair, measured = pair_scoring.score_pair(sides[a], sides[b], instrument, CONFIG)
    score = pair_scoring.apply_multiple_testing([pair], CONFIG)[0]
    assert measured is not None
    _, turned = pair_measurement.put_in_fixed_order(sides[a], sides[b])
    return {
        "scans": [b, a] if turned else [a, b],
        "finding": [_to_json(measured[0].finding), _to_json(measured[0].growth)],
        "p": score.change_p,
        "reasons": [str(reason) for reason in score.reasons],
        "verdict": str(score.verdict),
        "quality": score.pair_quality,
        "parts": len(score.components),
    }


def _to_json(found: MapSummary) -> list[float]:
    return [found.figure, found.level, found.noise]


def _from_json(figure: float, level: float, noise: float) -> MapSummary:
    return MapSummary(figure, 1, level, noise, np.zeros(0))


def read_pairs(record: dict[str, Any]) -> Iterable[UnchangedPair]:
    """The pairs of a head, with p worked out from the figures by the product as it is now."""
    rescans = [[MeasuredRescan(*(_from_json(*figure) for figure in one)) for one in scan] for scan in record["rescans"]]
    for pair in record["pairs"]:
        references = simulated_rescans.build_own_references(*(rescans[n] for n in pair["scans"]))
        finding = [_from_json(*figure) for figure in pair["finding"]]
        p = {name: one.p(figure) for name, one, figure in zip(("evidence", "growth"), references, finding, strict=True)}
        z = {name: one.z(figure) for name, one, figure in zip(p, references, finding, strict=True)}
        p["pair"] = pair_scoring.combine_p_values(*p.values())
        cpu_s = sum(record["cpu_s"].values()) / len(record["pairs"])
        told = record["person"], record["contrast"], record["kind"], tuple(pair["reasons"]), pair["verdict"]
        yield UnchangedPair(*told, p, z, pair.get("parts", np.nan), cpu_s)


def show_all(pairs: Sequence[UnchangedPair]) -> None:
    """Print the rates of all pairs, then by contrast, scanner and half of the people."""
    show("all", pairs)
    by: tuple[Callable[[UnchangedPair], str], ...] = (lambda one: one.contrast, lambda one: one.kind)
    for key in (*by, lambda one: one.half):
        for name in sorted(set(map(key, pairs))):
            show(name, [one for one in pairs if key(one) == name])


def show(name: str, pairs: Sequence[UnchangedPair]) -> None:
    """Print what became of some pairs, and how often each p alarms, with quantiles that should be those of chance."""
    judged = [one for one in pairs if not one.reasons]
    reasons = sorted({reason for one in pairs for reason in one.reasons})
    why = ", ".join(f"{sum(reason in one.reasons for one in pairs)} {reason}" for reason in reasons)
    people = len({one.person for one in pairs})
    uncertain = sum(one.verdict == "uncertain" for one in judged)
    print(
        f"\n{name}: {len(pairs)} pairs of {people} people, not comparable {len(pairs) - len(judged)} ({why}), ", end=""
    )
    print(f"uncertain {uncertain}, {np.mean([one.cpu_s for one in pairs]):.1f} CPU-s a pair")
    if not judged:
        return
    parts = np.array([one.parts for one in judged], dtype=float)
    if not np.isnan(parts).any():
        low, high = bootstrap_share(parts, [one.person for one in judged])
        print(f"  parts listed: {parts.mean():.2f} a pair, by person {low:.2f}-{high:.2f}; most {parts.max():.0f}")
    for which in ("pair", "evidence", "growth"):
        p = np.array([one.p[which] for one in judged])
        alarms = int((p < NOMINAL).sum())
        low, high = bootstrap_share(p < NOMINAL, [one.person for one in judged])
        at = " ".join(f"{value:.2f}" for value in np.quantile(p, QUANTILES))
        line = f"  {which:9} p < .05: {alarms:3} of {len(p)} = {share(alarms, len(p))}, by person {low:.3f}-{high:.3f}"
        z = [one.z[which] for one in judged] if which != "pair" else []
        print(f"{line}; p at {' '.join(map(str, QUANTILES))}: {at}", end="")
        print(f"; z {np.mean(z):+.2f} +- {np.std(z):.2f}" if z else "")


def share(hits: int, n: int) -> str:
    """A share with its exact 95 % interval (Clopper and Pearson, 1934)."""
    from scipy.stats import binomtest

    interval = binomtest(hits, n).proportion_ci(method="exact")
    return f"{hits / n:.3f} ({interval.low:.3f}-{interval.high:.3f})"


def bootstrap_share(hits: NDArray[Any], people: Sequence[str]) -> tuple[float, float]:
    """95 % interval of a mean where people are drawn again, with all their pairs, since these are not independent."""
    _, whose = np.unique(people, return_inverse=True)
    counts, sums = np.bincount(whose), np.bincount(whose, weights=hits)
    drawn = np.random.default_rng(0).integers(len(counts), size=(BOOTSTRAPS, len(counts)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


if __name__ == "__main__":
    main()
