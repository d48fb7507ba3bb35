"""Two scans without a catalogue: what becomes of the file of the change map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siamese_med.errors import UsageError
from siamese_med.imaging.volume import Volume
from siamese_med.pipeline import single_scans
from siamese_med.pipeline.single_scans import ComparedScans
from siamese_med.study.tables import Study


def compare(monkeypatch: pytest.MonkeyPatch, folder: Path, change_map: Volume | None, name: str = "map.nii") -> Any:
    monkeypatch.setattr(single_scans, "load_model_for_query", lambda *_: None)
    monkeypatch.setattr("siamese_med.pipeline.single_scans.single_scan.read_single_scan", lambda *_: None)
    monkeypatch.setattr(single_scans, "compare_read_scans", lambda *_: ComparedScans({}, change_map))  # type: ignore[typeddict-item]
    study = Study(folder / "data", folder / "reports")
    return single_scans.compare(folder / "a.nii", folder / "b.nii", folder, study, folder / name)


def test_an_older_map_does_not_stay_where_none_can_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = tmp_path / "map.nii"
    assert compare(monkeypatch, tmp_path, Volume(np.ones((4, 4, 4)), np.eye(4)))["map"] == str(kept)
    assert kept.is_file()
    assert compare(monkeypatch, tmp_path, None)["map"] is None
    assert not kept.exists()


def test_a_scan_is_never_the_file_of_the_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "b.nii").write_text("scan")
    with pytest.raises(UsageError, match="is one of the two scans"):
        compare(monkeypatch, tmp_path, None, "b.nii")
    assert (tmp_path / "b.nii").read_text() == "scan"
