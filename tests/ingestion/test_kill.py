"""Kill -9 at random moments of a small export; `benchmarks.kill` does it thirty times on 2,000 files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import kill, large_export, processes

SERIES, SLICES, SIZE, SEED = 10, 15, 32, 3


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> kill.Bench:
    """About 150 files with some trouble among them."""
    folder = tmp_path_factory.mktemp("kill")
    large_export.write(folder / "export", SERIES, SLICES, SIZE, SEED, trouble=0.3)
    return kill.Bench(folder / "export", processes.settings(folder, workers=2), folder)


@pytest.mark.long
@pytest.mark.slow
def test_whoever_is_killed_the_next_run_completes(bench: kill.Bench) -> None:
    rounds = list(kill.rounds(bench, len(kill.VICTIMS), SEED, repeats=1))
    assert [one.victim for one in rounds] == list(kill.VICTIMS)
    assert [one.problems for one in rounds] == [()] * len(rounds)


def test_differences_are_seen(tmp_path: Path) -> None:
    sides = []
    for name, rows, voxels in (("one", [1, 2], b"same"), ("other", [2, 3], b"else")):
        data = tmp_path / name
        (data / "scans").mkdir(parents=True)
        (data / "scans" / "a.nii.gz").write_bytes(voxels)
        with closing(sqlite3.connect(data / "catalogue.sqlite")) as connection, connection:
            connection.execute("CREATE TABLE file (id)")
            connection.executemany("INSERT INTO file VALUES (?)", [(row,) for row in rows])
        sides.append(kill.contents(data))
    assert kill.differences(*sides) == [
        "1 missing, such as file: (3,)",
        "1 too much, such as file: (1,)",
        "1 different, such as scans/a.nii.gz",
    ]
