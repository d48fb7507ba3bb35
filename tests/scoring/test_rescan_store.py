"""Each scan is rescanned once for all its pairs, and stored rescans are used if, and only if, they are still true."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from siamese_med.imaging import volume
from siamese_med.runtime import parallel
from siamese_med.scoring import score_table
from siamese_med.scoring.change import pair_scoring, simulated_rescans
from siamese_med.scoring.change.change_map import TAIL_THRESHOLDS, MapSummary
from siamese_med.scoring.change.noise_floor import NoChangeReference, NoiseFloor, NoiseStratum
from siamese_med.scoring.change.pair_registration import ChangeDetector
from siamese_med.scoring.change.pair_scoring import CalibratedDetector
from siamese_med.scoring.change.scan_side import PairScan, ScanReader
from siamese_med.scoring.change.simulated_rescans import MeasuredRescan
from siamese_med.scoring.score_table import PairJob, ScoringSetup
from siamese_med.simulation.anatomy import Anatomy
from siamese_med.simulation.scanner import Acquisition
from siamese_med.study.config import ScoreConfig
from siamese_med.study.prepared_scans import PreparedScan

VISITS = 3
SPACING_MM = 8.0


@dataclass
class Counted:
    """Takes the place of the measurement of rescans: draws figures, and notes each scan; it dies before `killed_at`."""

    scans: list[tuple[str, bool]] = field(default_factory=list)
    killed_at: int | None = None

    def __call__(self, source: PairScan, same_scanner: bool, *_: Any) -> list[MeasuredRescan]:
        if len(self.scans) == self.killed_at:
            raise KeyboardInterrupt
        self.scans.append((source.scan.content_digest(), same_scanner))
        rng = np.random.default_rng([int(source.content_digest(), 16), same_scanner])
        figures = [MapSummary(*rng.random(1), 1, *rng.random(2), rng.random(len(TAIL_THRESHOLDS))) for _ in range(4)]
        return [MeasuredRescan(*figures[:2]), MeasuredRescan(*figures[2:])]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Every scan noted whose rescans are measured; the figures are not real, which saves time."""
    made = Counted()
    monkeypatch.setattr(simulated_rescans, "measure_rescans", made)
    return made


@pytest.fixture
def jobs(tmp_path: Path, person: Anatomy, acquired: Callable[..., Acquisition], plain: ChangeDetector) -> list[PairJob]:
    """The three pairs of a patient with three visits, on one scanner, for a model that knows no unchanged pairs."""
    nothing = CalibratedDetector(plain, NoiseFloor({}), NoiseFloor({}))
    config = ScoreConfig(spacing_mm=SPACING_MM)
    setup = ScoringSetup(ScanReader(tmp_path), tmp_path / "scores", nothing, "an instrument", config)
    scans = [_prepare(tmp_path, n, acquired(person, n, pixel_mm=8.0, slice_mm=8.0)) for n in range(VISITS)]
    return [PairJob(setup, *pair, True, "sub-1") for pair in combinations(scans, 2)]


def _prepare(data: Path, number: int, scan: Acquisition) -> PreparedScan:
    volume.write_volume(data / f"{number}.nii.gz", scan.volume)
    np.save(data / f"{number}.npy", np.random.default_rng(number).random((12, 12, 12)).astype(np.float16))
    told = {"modality": "MR", "contrast": "T2w", "scanner": "scanner-1", "flags": (), "brain": None, "mask": None}
    place = {"path": f"{number}.nii.gz", "volume": f"{number}.npy", "matrix": np.eye(4).tolist(), "ok": True}
    return PreparedScan(
        id=f"scan-{number}", subject="sub-1", session=f"ses-{number}", content=f"content {number}", **told, **place
    )


def _stored(jobs: list[PairJob]) -> list[Path]:
    return sorted(jobs[0].setup.folder.glob("rescans-*.json"))


def _forget_pairs(jobs: list[PairJob]) -> None:
    for path in jobs[0].setup.folder.glob("pair-*.json"):
        path.unlink()


def _ask_store(jobs: list[PairJob]) -> list[Any]:
    """What the store says of all scans, to the last digit."""
    found = []
    for job in score_table.list_rescan_jobs(jobs):
        setup = job.setup
        source = setup.reader.read_side(job.scan)
        asked = setup.rescans.measure_rescans(source, job.same_scanner, SPACING_MM, setup.instrument.detector)
        found += [{**vars(figure), "tail": list(figure.tail)} for one in asked for figure in one]
    return found


def _with_instrument(job: PairJob, **changes: Any) -> PairJob:
    return replace(job, setup=replace(job.setup, **changes))


def test_three_pairs_of_three_scans_rescan_each_scan_once(jobs: list[PairJob], counted: Counted) -> None:
    pairs = score_table.run_pair_jobs(jobs)
    assert len(counted.scans) == len(set(counted.scans)) == len(_stored(jobs)) == VISITS
    assert {same_scanner for _, same_scanner in counted.scans} == {True}
    assert [pair.score.reference and pair.score.reference.n for pair in pairs] == [4, 4, 4]
    assert len({pair.score.change_p for pair in pairs}) == VISITS


@pytest.mark.long
def test_a_pair_gets_the_digits_that_it_gets_alone_in_either_order(
    jobs: list[PairJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_rescans, "RESCANS_PER_SCAN", 2)
    first, second, _ = jobs
    score_table.run_pair_jobs([first])
    (pair,) = score_table.run_pair_jobs([second])
    setup = second.setup
    later, earlier = map(setup.reader.read_side, (second.later, second.earlier))
    back, _ = pair_scoring.score_pair(later, earlier, setup.instrument, setup.config)  # as `compare` does
    names = ("change_z", "change_p", "growth_p", "volume_ml", "reference")
    assert [getattr(back.score, name) for name in names] == [getattr(pair.score, name) for name in names]
    assert back.detection_curve == pair.detection_curve


def test_a_later_visit_uses_the_rescans_of_earlier_ones(jobs: list[PairJob], counted: Counted) -> None:
    first, *later = jobs
    score_table.run_pair_jobs([first])
    assert len(counted.scans) == 2
    before = score_table.run_pair_jobs(later)
    assert len(counted.scans) == VISITS
    _forget_pairs(jobs)
    assert score_table.run_pair_jobs(later) == before  # what was stored has every digit
    assert len(counted.scans) == VISITS


def test_what_a_killed_run_has_measured_is_not_measured_again(jobs: list[PairJob], counted: Counted) -> None:
    counted.killed_at = 2
    with pytest.raises(KeyboardInterrupt):
        score_table.run_pair_jobs(jobs)
    assert len(_stored(jobs)) == 2
    counted.killed_at = None
    score_table.run_pair_jobs(jobs)
    assert len(counted.scans) == len(set(counted.scans)) == VISITS


@pytest.mark.parametrize("damage", ["cut off", "one digit", "no mapping", "of another scan", "removed"])
def test_a_damaged_file_is_measured_again(jobs: list[PairJob], counted: Counted, damage: str) -> None:
    before = _ask_store(jobs)
    kept = _stored(jobs)
    good = kept[0].read_text()
    stored = json.loads(good)
    stored["rescans"][0][0]["figure"] *= 1.01
    bad = {
        "cut off": good[: len(good) // 2],
        "one digit": json.dumps(stored),
        "no mapping": "[1]",
        "of another scan": kept[1].read_text(),
        "removed": None,
    }[damage]
    kept[0].unlink()
    if bad is not None:
        kept[0].write_text(bad)
    assert _ask_store(jobs) == before
    assert len(counted.scans) == VISITS + 1
    assert kept[0].read_text() == good


@pytest.mark.parametrize("damage", ["cut off", "no mapping", "no columns", "no map", "no slices"])
def test_a_damaged_pair_is_measured_again(jobs: list[PairJob], counted: Counted, damage: str) -> None:
    before = score_table.run_pair_jobs(jobs[:1])
    folder, name = jobs[0].setup.folder, jobs[0].name
    stored = folder / f"{name}.json"
    good = stored.read_bytes()
    if damage in ("no map", "no slices"):
        (folder / f"{name}{'_change.nii.gz' if damage == 'no map' else '.npz'}").unlink()
    else:
        bad = {"cut off": good[: len(good) // 2], "no mapping": b"[1]", "no columns": b'{"content": "x"}'}[damage]
        stored.write_bytes(bad)
    assert score_table.run_pair_jobs(jobs[:1]) == before
    assert stored.read_bytes() == good
    assert len(counted.scans) == 2  # the rescans are still there
    assert (folder / f"{name}.npz").is_file()
    assert (folder / f"{name}_change.nii.gz").is_file()


@pytest.mark.parametrize(
    "changes", [{"instrument_digest": "another"}, {"config": ScoreConfig(spacing_mm=SPACING_MM, smoothing_mm=3.0)}]
)
def test_rescans_of_another_instrument_are_measured_again(
    jobs: list[PairJob], counted: Counted, changes: dict[str, Any]
) -> None:
    _ask_store(jobs)
    _ask_store([_with_instrument(job, **changes) for job in jobs])
    assert len(counted.scans) == 2 * VISITS
    assert len(_stored(jobs)) == VISITS  # in the place of those that nobody will ask for


def test_rescans_of_another_version_of_the_method_are_measured_again(
    jobs: list[PairJob], counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask_store(jobs)
    monkeypatch.setattr(score_table, "SCORE_METHOD_VERSION", 0)
    _ask_store(jobs)
    assert len(counted.scans) == 2 * VISITS


def test_rescans_of_another_region_are_other_rescans(jobs: list[PairJob], counted: Counted) -> None:
    setup = jobs[0].setup
    whole = setup.reader.read_side(jobs[0].earlier)
    half = volume.Volume((whole.scan.voxels > whole.scan.voxels.mean()).astype(np.float32), whole.scan.affine)
    for source in (whole, replace(whole, region=half), whole):
        setup.rescans.measure_rescans(source, True, SPACING_MM, setup.instrument.detector)
    assert len(counted.scans) == len(_stored(jobs)) == 2


def test_two_kinds_of_scanner_are_two_kinds_of_rescans(jobs: list[PairJob], counted: Counted) -> None:
    first, second, _ = jobs
    elsewhere = replace(second, later=replace(second.later, scanner="scanner-2"))
    listed = score_table.list_rescan_jobs([first, elsewhere, first])
    expected = [("scan-0", True), ("scan-1", True), ("scan-0", False), ("scan-2", False)]
    assert [(job.scan.id, job.same_scanner) for job in listed] == expected
    for job in listed:
        score_table.measure_and_store_rescans(job)
    assert len(_stored(jobs)) == len(set(counted.scans)) == 4


def test_nothing_is_rescanned_ahead_for_pairs_that_do_not_need_it(jobs: list[PairJob]) -> None:
    known = NoChangeReference("rescans", [0.0, 0.1, 0.2], [0.0, 0.1, 0.2], [0.0] * 61, 1.0, 0.0)
    floor = NoiseFloor({NoiseStratum("MR T2w", "same scanner"): known})
    covered = replace(jobs[0].setup.instrument, floor=floor, growth=floor)
    assert not score_table.list_rescan_jobs([_with_instrument(job, instrument=covered) for job in jobs])
    assert not score_table.list_rescan_jobs([replace(job, same_patient=False) for job in jobs])
    mixed = [replace(job, later=replace(job.later, contrast="T1w")) for job in jobs]
    assert not score_table.list_rescan_jobs(mixed)
    lacking = replace(covered, growth=NoiseFloor({}))
    assert len(score_table.list_rescan_jobs([_with_instrument(job, instrument=lacking) for job in jobs])) == VISITS


def test_a_pair_much_noisier_than_the_models_reference_stores_its_rescans_too(
    jobs: list[PairJob], counted: Counted
) -> None:
    quiet = NoChangeReference("rescans", [0.0, 0.1, 0.2], [0.0, 0.1, 0.2], [0.0] * 61, 1e-6, 0.0)
    floor = NoiseFloor({NoiseStratum("MR T2w", "same scanner"): quiet})
    covered = replace(jobs[0].setup.instrument, floor=floor, growth=floor)
    pairs = score_table.run_pair_jobs([_with_instrument(job, instrument=covered) for job in jobs])
    assert len(counted.scans) == len(_stored(jobs)) == VISITS
    assert {pair.score.reference and pair.score.reference.source for pair in pairs} == {"own"}


def test_rescans_are_drawn_otherwise_for_each_scan(jobs: list[PairJob], monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans of one patient would else be rescanned by the same scanners in the same poses: half as much to go by."""
    drawn: list[float] = []
    monkeypatch.setattr(simulated_rescans, "RESCANS_PER_SCAN", 2)
    monkeypatch.setattr(
        simulated_rescans, "simulate_rescan", lambda scan, _body, _same, rng: drawn.append(rng.random()) or (scan, scan)
    )
    setup = jobs[0].setup
    for scan in (jobs[0].earlier, jobs[0].later, jobs[0].earlier):
        simulated_rescans.measure_rescans(setup.reader.read_side(scan), True, SPACING_MM, setup.instrument.detector)
    assert len(set(drawn)) == 4
    assert drawn[:2] == drawn[4:]


@pytest.mark.long
def test_rescans_are_the_same_to_the_last_digit_with_several_threads(jobs: list[PairJob]) -> None:
    setup, source = jobs[0].setup, jobs[0].setup.reader.read_side(jobs[0].earlier)
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            with parallel.use_threads_for_jobs():
                made = simulated_rescans.measure_rescans(source, True, SPACING_MM, setup.instrument.detector)
        finally:
            torch.set_num_threads(before)
        found.append([{**vars(figure), "tail": list(figure.tail)} for one in made for figure in one])
    assert len(found[0]) == 2 * simulated_rescans.RESCANS_PER_SCAN
    assert found[0] == found[1]
