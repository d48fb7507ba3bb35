"""The comparison of two demos sees a flipped byte, another score and a missing page, and forgives a clock alone."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from benchmarks import compare_demos, file_differences

MODEL = "data/models/supcon-1"
SCORES = "data/scores/supcon-1.parquet"
MAP = "data/scores/supcon-1/pair-0_change.nii.gz"
PAGE = "reports/sub-a/report.html"
METRICS = f"{MODEL}/metrics.json"
LOG = f"{MODEL}/training_log.csv"
PAGE_OF_MODEL = "reports/model.html"
CATALOGUE = "data/catalogue.sqlite"

Change = Callable[[Path], None]


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def execute(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / CATALOGUE)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def demos(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with one file of most kinds, and a copy of it."""
    before, after = tmp_path / "before", tmp_path / "after"
    write(before / "data/scans/sub-a/ses-01/sub-a_ses-01.nii.gz", gzip.compress(bytes(1000)))
    write(before / MAP, gzip.compress(bytes(range(256)) * 10))
    write(before / METRICS, json.dumps({"test": {"auc": 0.9}, "training": {"seconds": 1.5, "epochs": 4}}))
    write(before / LOG, "epoch,train_loss,seconds\n0,1.5,0.1\n1,1.2,0.1\n")
    write(before / PAGE, "<p>no change</p>\n")
    write(before / PAGE_OF_MODEL, "<p>4 epochs in 12 s, 1,024 pairs a second</p>\n")
    pd.DataFrame({"scan_a": ["a", "b"], "similarity": [0.5, 0.75]}).to_parquet(before / SCORES)
    np.save(before / "data/scores/supcon-1/pair-0.npy", np.zeros(4))
    execute(
        before,
        "CREATE TABLE scan (id, subject)",
        "CREATE TABLE path (key, sha256, inode)",
        "INSERT INTO scan VALUES ('sub-a_ses-01', 'sub-a')",
        "INSERT INTO path VALUES ('k', 'f00', 17)",
    )
    shutil.copytree(before, after)
    return before, after


def replace_text(name: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def run_sql(statement: str) -> Change:
    return lambda folder: execute(folder, statement)


def change_score(folder: Path) -> None:
    table = pd.read_parquet(folder / SCORES)
    table.loc[1, "similarity"] += 1e-12
    table.to_parquet(folder / SCORES)


def change_type(folder: Path) -> None:
    pd.read_parquet(folder / SCORES).astype({"similarity": "float32"}).to_parquet(folder / SCORES)


def write_metadata(folder: Path) -> None:
    table = parquet.read_table(folder / SCORES)
    parquet.write_table(table.replace_schema_metadata({"made": "anew"}), folder / SCORES)


def flip_voxel(folder: Path) -> None:
    voxels = bytearray(gzip.decompress((folder / MAP).read_bytes()))
    voxels[100] ^= 1
    (folder / MAP).write_bytes(gzip.compress(bytes(voxels)))


def damage(name: str) -> Change:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def pack_otherwise(folder: Path) -> None:
    (folder / MAP).write_bytes(gzip.compress(gzip.decompress((folder / MAP).read_bytes()), 1, mtime=1))


def test_a_copy_is_equal(demos: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_demos.main([*map(str, demos)]) == 0
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines() if line.startswith("all")] == [
        ["all", "9", "9", "0", "0", "0", "0"]
    ]
    assert "DIFFERENT" not in printed


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (flip_voxel, f"{MAP}: unpacked: 2560 bytes became 2560, the first difference at byte 100"),
        (damage(MAP), f"{MAP}: one cannot be read"),
        (replace_text(METRICS, "}", ""), f"{METRICS}: one cannot be read (JSONDecodeError)"),
        (change_score, f"{SCORES}: column similarity: 1 cells, first in row 1: 0.75 became 0.75000"),
        (write_metadata, f"{SCORES}: equal frames in other bytes"),
        (change_type, f"{SCORES}: column similarity: double became float"),
        (lambda folder: (folder / PAGE).unlink(), f"{PAGE}: only before"),
        (lambda folder: write(folder / "reports/new.html", ""), "reports/new.html: only after"),
        (replace_text(PAGE, "no change", "changed"), f"{PAGE}: line 1: '<p>no change</p>' became '<p>changed</p>'"),
        (replace_text(PAGE, "\n", ""), f"{PAGE}: other line ends"),
        (replace_text(PAGE_OF_MODEL, "4 epochs", "5 epochs"), f"{PAGE_OF_MODEL}: line 1"),
        (replace_text(METRICS, "0.9", "0.8"), f"{METRICS}: test.auc: 0.9 became 0.8"),
        (replace_text(METRICS, ", ", ","), f"{METRICS}: equal values, written otherwise"),
        (replace_text(LOG, "1.2", "1.3"), f"{LOG}: table: 2 rows became 2, 1 of the old ones are not there"),
        (run_sql("UPDATE scan SET subject = 'sub-b'"), f"{CATALOGUE}: scan: 1 rows became 1"),
        (run_sql("UPDATE path SET sha256 = 'bad'"), f"{CATALOGUE}: path: 1 rows became 1"),
        (run_sql("INSERT INTO scan SELECT * FROM scan"), f"{CATALOGUE}: scan: 1 rows became 2"),
        (run_sql("ALTER TABLE scan ADD COLUMN mask"), f"{CATALOGUE}: scan: 1 rows became 1"),
        (run_sql("DROP TABLE path"), f"{CATALOGUE}: table path is only in one"),
        (lambda folder: np.save(folder / "data/scores/supcon-1/pair-0.npy", np.ones(4)), "array : 4 of 4 values"),
    ],
)
def test_a_difference_is_named(
    demos: tuple[Path, Path], change: Change, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(demos[1])
    assert compare_demos.main([*map(str, demos)]) == 1
    printed = capsys.readouterr().out
    assert f"DIFFERENT {told}" in printed or told in printed
    assert printed.count("DIFFERENT ") == 1
    assert printed.endswith("NOT EQUAL\n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (pack_otherwise, "change maps: compression left out in 1: "),
        (replace_text(METRICS, "1.5", "2.5"), "model: training.seconds left out in 1: a clock"),
        (replace_text(LOG, "1.5,0.1", "1.5,0.2"), "model: seconds left out in 1: a clock"),
        (replace_text(PAGE_OF_MODEL, "in 12 s, 1,024", "in 13 s, 998.5"), "left out in 1: a clock"),
        (run_sql("UPDATE path SET inode = 18"), "catalogue: path.inode left out in 1: where an input file lies"),
    ],
)
def test_a_clock_a_place_and_the_packing_may_differ_and_are_listed(
    demos: tuple[Path, Path], change: Change, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(demos[1])
    assert compare_demos.main([*map(str, demos)]) == 0
    assert told in capsys.readouterr().out


def test_names_that_were_changed_on_purpose_are_followed(demos: tuple[Path, Path]) -> None:
    after = demos[1]
    (after / MODEL).rename(after / "data/models/supcon-2")
    (after / "data/scores/supcon-1").rename(after / "data/scores/supcon-2")
    (after / SCORES).rename(after / "data/scores/supcon-2.parquet")
    renamed = pd.read_parquet(after / "data/scores/supcon-2.parquet").rename(columns={"scan_a": "first"})
    renamed.to_parquet(after / "data/scores/supcon-2.parquet")
    replace_text(PAGE, "no change", "none")(after)
    run_sql("ALTER TABLE scan RENAME COLUMN subject TO patient")(after)
    names = ["supcon-1=supcon-2", "scan_a=first", "subject=patient", "no change=none"]
    for count in range(len(names) + 1):
        options = [word for name in names[:count] for word in ("--renamed", name)]
        assert compare_demos.main([*map(str, demos), *options]) == (count < len(names))


def test_only_whole_words_and_the_starts_of_file_names_are_renamed() -> None:
    assert file_differences.rename("change_z, change", {"change": "altered"}) == "change_z, altered"
    names = {"m-1": "m-2", "change": "altered"}
    assert file_differences.rename_path("a/m-1_owners.parquet", names) == "a/m-2_owners.parquet"
    assert file_differences.rename_path("a/m-12/p_change.nii.gz", names) == "a/m-12/p_change.nii.gz"


def test_folders_of_two_secrets_or_without_a_catalogue_are_refused(
    demos: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (demos[1] / "data/scans/sub-a").rename(demos[1] / "data/scans/sub-z")
    assert compare_demos.main([*map(str, demos)]) == 2
    assert "SIAMESE_MED_SECRET_FILE" in capsys.readouterr().err
    (demos[1] / CATALOGUE).unlink()
    assert compare_demos.main([*map(str, demos)]) == 2
    assert "no finished demo" in capsys.readouterr().err
