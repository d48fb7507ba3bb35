"""A model folder with NaN where a figure should be gives no pages, and one line that says which file it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from siamese_med.errors import ModelError
from tests.reporting.conftest import Inputs


def nan_in_table(path: Path) -> None:
    table = pd.read_parquet(path)
    place = table.index[table["split"] == "test"][0]
    pd.DataFrame(table).assign(distance=table["distance"].where(table.index != place)).to_parquet(path)


def nan_in_gallery(path: Path) -> None:
    with np.load(path) as file:
        held = {name: file[name].copy() for name in file.files}
    held["a"] = held["a"].astype(np.float32)
    held["a"].flat[0] = np.nan
    np.savez(path, **held)


def no_file(path: Path) -> None:
    path.write_bytes(b"not what training left")


def nan_in_json(path: Path) -> None:
    path.write_text(path.read_text().replace("{", '{"more": [NaN],', 1))


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("reference.parquet", nan_in_table),
        ("reference.parquet", no_file),
        ("gallery.npz", nan_in_gallery),
        ("gallery.npz", no_file),
        ("metrics.json", nan_in_json),
        ("metrics.json", no_file),
        ("model.json", nan_in_json),
    ],
)
def test_a_figure_that_is_none_gives_no_page(
    written: Inputs, tmp_path: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    shutil.copytree(written.model, tmp_path / "model")
    spoil(tmp_path / "model" / name)
    with pytest.raises(ModelError, match="NaN") as caught:
        replace(written, model=tmp_path / "model", reports=tmp_path / "reports").write()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "reports").exists()
