"""model.json as a typed object: what is read is written again, and what no model has is refused in one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from siamese_med.errors import MissingFileError, ModelError
from siamese_med.runtime import files
from siamese_med.study import model_info
from siamese_med.study.model_info import NEEDED_KEYS, REPEATED_KEYS, ModelInfo, RecordedConfig, read_model_info
from tests import trained


def write(folder: Path, content: dict[str, Any]) -> Path:
    files.write_json_file(folder / model_info.MODEL_FILE, content)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_model_info(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_read_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    write(tmp_path, trained.model_json())
    files.write_json_file(tmp_path / "again.json", read_model_info(tmp_path).to_json_object())
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "model.json").read_bytes()


def test_what_was_not_recorded_is_not_written(tmp_path: Path) -> None:
    needed = {key: value for key, value in trained.model_json().items() if key in (*NEEDED_KEYS, "format")}
    info = read_model_info(write(tmp_path, needed))
    assert info.trained_on is None
    assert info.learned_from == info.modalities == ()
    assert set(info.to_json_object()) == {*needed, *REPEATED_KEYS}


def test_the_digests_are_those_of_the_file() -> None:
    """Tables and cached pairs that were made with a model by an earlier version are found by these."""
    content = trained.model_json()
    parts = [content[name] for name in ("weights_sha256", "change", "change_reference", "growth_reference")]
    info = trained.model_info()
    for digest, part in (
        (info.compute_digest(), content),
        (info.compute_instrument_digest(), parts),
        (info.config.compute_digest(), content["config"]),
    ):
        assert digest == hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def test_the_instrument_is_told_apart_by_what_measures_change_alone() -> None:
    known = trained.model_info().compute_instrument_digest()
    fewer = trained.noise_floor(pairs=12).to_json_object()
    assert trained.model_info(id="supcon-1", parameters=3).compute_instrument_digest() == known
    for change in ({"growth_reference": fewer}, {"change": {"detector": "network"}}, {"weights_sha256": "b8" * 32}):
        assert trained.model_info(**change).compute_instrument_digest() != known


@pytest.mark.parametrize("name", REPEATED_KEYS)
def test_a_value_that_stands_twice_must_be_the_same_twice(tmp_path: Path, name: str) -> None:
    assert name in refusal(write(tmp_path, trained.model_json(**{name: 0.02})))


def test_the_object_is_frozen() -> None:
    with pytest.raises(ValidationError):
        trained.model_info().id = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights_sha256": "../../etc"}, "weights_sha256"),
        ({"template_sha256": 7}, "template_sha256"),
        ({"learned_from": ["no digest"]}, "learned_from.0"),
        ({"learned_from": "a7" * 32}, "learned_from"),
        ({"modalities": ["x" * 501]}, "modalities.0"),
        ({"shape": [64, 64]}, "shape"),
        ({"shape": [10**9, 64, 64]}, "shape.0"),
        ({"box": [[8, 56], [0, 64]]}, "box"),
        ({"box": [[8, 56], [0, 64], [8, 65]]}, "the box must lie inside the shape"),
        ({"box": [[8, 8], [0, 64], [8, 64]]}, "the box must lie inside the shape"),
        ({"parameters": -1}, "parameters"),
        ({"created_by": {"torch": ["2"]}}, "created_by.torch"),
        ({"created_by": {str(number): "1" for number in range(1001)}}, "created_by"),
        ({"change": {"detector": "residual", "auc": {"residual": 1.1}}}, "change.auc.residual"),
        ({"change_reference": {"strata": [{}]}}, "change_reference.strata.0.contrast"),
        ({"config": {"train": 3}}, "config.train"),
        ({"config": {"of another version": []}}, "config.of another version"),
        ({"config": {"score": {"spacing_mm": -1.0}}}, "config.score.spacing_mm"),
        ({"config": {"x": {str(number): 1 for number in range(1001)}}}, "more than 1000 keys"),
    ],
)
def test_what_no_model_has_is_refused_by_its_place(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    said = refusal(write(tmp_path, trained.model_json(**changes)))
    assert words in said
    assert len(said) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_a_value_that_is_nested_without_end_is_refused(tmp_path: Path, depth: int) -> None:
    text = json.dumps(trained.model_json(config={"x": {"y": "here"}}))
    (tmp_path / "model.json").write_text(text.replace('"here"', "[" * depth + "]" * depth))
    assert len(refusal(tmp_path)) < 400 + len(str(tmp_path))


def test_a_folder_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_model_info(tmp_path / "nowhere")


def test_a_configuration_of_another_version_is_kept_and_listed_in_order() -> None:
    recorded = {"train": {"seed": 3, "new": [1, None]}, "ahead": {"b": 2, "a": None}, "score": {}}
    config = RecordedConfig.model_validate(recorded)
    assert config.to_json_object() == recorded
    assert list(config.list_settings().items()) == [
        ("ahead", {"a": None, "b": 2}),
        ("train", {"new": [1, None], "seed": 3}),
    ]
    with pytest.raises(ValueError, match="new"):
        config.parse_train_config()


def test_the_network_is_built_from_the_recorded_section() -> None:
    assert trained.model_info().config.parse_train_config().epochs == 14


def test_the_network_of_a_model_that_several_hosts_trained_can_be_built() -> None:
    config = RecordedConfig.model_validate({"train": {"hosts": 2, "width": 8}}).parse_train_config()
    assert (config.hosts, config.width) == (1, 8)


def test_a_real_description_is_valid() -> None:
    assert ModelInfo.model_validate(trained.model_info().to_json_object()) == trained.model_info()


def test_the_region_is_kept_and_a_model_that_did_not_record_it_is_read_as_before(tmp_path: Path) -> None:
    older = trained.model_info()
    assert older.region is None
    assert "region" not in older.to_json_object()
    recorded = {"ml": 167.0, "body_ml": 2700.0}
    newer = read_model_info(write(tmp_path, trained.model_json(region=recorded)))
    assert newer.region
    assert newer.region.is_small
    assert newer.to_json_object()["region"] == recorded
    assert newer.compute_instrument_digest() == older.compute_instrument_digest()
    assert "region" in refusal(write(tmp_path, trained.model_json(region={"ml": -1.0, "body_ml": 2700.0})))
