"""A network and a dictionary transform of MONAI, and a loss of another package, by configuration alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from siamese_med.network.model_folder import find_weights_file
from tests import studies
from tests.commands import siamese_med
from tests.studies import Made

pytestmark = pytest.mark.long  # it trains and scores a study of its own

PARTS = """
[train]
encoder = "monai"
loss = "pytorch_metric_learning.losses:CircleLoss"
loss_args = { m = 0.4, gamma = 80 }
transform = "monai.transforms:RandGibbsNoised"
transform_args = { keys = "image", prob = 0.5, alpha = [0.0, 0.5] }

[train.encoder_args]
network = "DenseNet121"
arguments = { init_features = 8, growth_rate = 4, block_config = [2, 2], out_channels = 16 }
"""


@pytest.fixture(scope="module")
def tracked(made_study: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A study that was trained, scored and reported with these parts, and what its model says of itself."""
    folder = made_study.copy(tmp_path_factory.mktemp("monai"), scored=False)
    former = set((folder / "data" / "models").iterdir())
    own, rest = PARTS.split("[train.encoder_args]")
    (folder / "config.toml").write_text(
        studies.CONFIG_TOML.replace("[train]\n", own) + f"[train.encoder_args]{rest}", encoding="utf-8"
    )
    for verb in ("train", "score", "report"):
        done = siamese_med(verb, "--config", "config.toml", cwd=folder)
        assert done.returncode == 0, done.stderr
    (model,) = (path for path in (folder / "data" / "models").iterdir() if path not in former and path.is_dir())
    described: dict[str, Any] = json.loads((model / "model.json").read_text(encoding="utf-8"))
    return folder, described


def test_the_model_has_the_network_and_records_the_others(tracked: tuple[Path, dict[str, Any]]) -> None:
    folder, about = tracked
    assert about["config"]["train"]["encoder_args"]["network"] == "DenseNet121"
    assert {one["kind"]: one["name"] for one in about["plugins"]} == {
        "loss": "pytorch_metric_learning.losses:CircleLoss",
        "transform": "monai.transforms:RandGibbsNoised",
    }
    weights = find_weights_file(folder / "data" / "models" / about["id"]).read_bytes()
    assert b"encoder.network.features.denseblock1" in weights


def test_its_scores_and_pages_are_there(tracked: tuple[Path, dict[str, Any]]) -> None:
    folder, about = tracked
    scores = pd.read_parquet(folder / "data" / "scores" / f"{about['id']}.parquet")
    assert scores.similarity.notna().any()
    assert len(list(folder.glob("reports/sub-*/report.html"))) == studies.PATIENTS
