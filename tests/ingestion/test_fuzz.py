"""A few dozen mutants of simulated files, each among sound siblings; `benchmarks.fuzz` does thousands."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
from pydicom.uid import RLELossless, generate_uid

from benchmarks import fuzz
from tests.ingestion import exports

MUTANTS = 60
SEED = 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case a folder: plain and compressed slices, enhanced, mosaic, NIfTI; the same bytes in every run."""
    folder = tmp_path_factory.mktemp("corpus")
    numbers = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports, "new_uid", lambda: generate_uid(entropy_srcs=["corpus", str(next(numbers))]))
        _write_cases(folder)
    return folder


def _write_cases(folder: Path) -> None:
    exports.write(folder / "plain", exports.series())
    compressed = exports.series(seed=1)
    for dataset in compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    exports.write(folder / "rle", compressed)
    exports.write(folder / "enhanced", [exports.enhanced()])
    exports.write(folder / "mosaic", [exports.mosaic()])
    (folder / "nifti").mkdir()
    (folder / "nifti" / "scan.nii.gz").write_bytes(gzip.compress(exports.nifti().to_bytes(), mtime=0))


@pytest.fixture(scope="module")
def tally(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> fuzz.Tally:
    """What became of the mutants, in two batches and then all together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzz, "TASK_LIMIT_S", 300.0)  # for a slow machine; what hangs would take longer
        return fuzz.run(corpus, range(MUTANTS), SEED, MUTANTS // 2, tmp_path_factory.mktemp("kept"))


@pytest.mark.long
def test_no_mutant_crashes_hangs_or_floods(tally: fuzz.Tally) -> None:
    assert not tally.problems


@pytest.mark.long
def test_decoders_are_reached(tally: fuzz.Tally) -> None:
    """Some mutants are ingested, others are refused for many reasons, and most siblings are whole without them."""
    words = sum(tally.outcomes.values(), fuzz.Counter())
    assert words.total() == MUTANTS
    assert words["ingested"] > MUTANTS / 5
    assert len(words) > 6
    assert tally.siblings["ingested"] > tally.siblings.total() / 3


def test_a_mutant_is_the_same_every_time(corpus: Path, tmp_path: Path) -> None:
    cases = fuzz.copies.cases(corpus)
    once, again = (fuzz.make(7, cases, SEED, tmp_path / name) for name in ("once", "again"))
    assert once == again


@pytest.mark.long
def test_what_fails_is_found_and_kept(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "MAX_BYTES", 1000)
    found = fuzz.run(corpus, [5], SEED, 1, tmp_path / "kept", together=False)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["seed-1-index-5"]
    assert any("seed 1 index 5" in problem for problem in found.problems)
