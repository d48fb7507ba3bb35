"""Settings under the names that they had before are accepted, said in one line, and renew nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siamese_med.errors import ConfigError
from siamese_med.study import config
from siamese_med.study.config import SECTIONS, Config, load_config
from siamese_med.study.config_section import ConfigSection

FORMER = [(name, old, new) for name, section in SECTIONS.items() for old, new in section.FORMER_KEYS.items()]
FINGERPRINTS = {
    "prepare": "8cdbd5fd71ce",
    "pair": "62986753f5ff",
    "train": "b69c2289b306",
    "promote": "5f58889a8e7a",
    "score": "aeaa80384059",
}
"""Of the defaults: by the version before keys were renamed (commit d648ceb). The keys of prepare and score are others
since pairs are registered directly; theirs are of that version."""


def another(section: type[ConfigSection], key: str) -> object:
    """A value that is not the default."""
    default = section.model_fields[key].get_default()
    return "bce" if isinstance(default, str) else default + 1 if isinstance(default, int) else default / 2


@pytest.mark.parametrize(("name", "old", "new"), FORMER)
def test_a_former_key_sets_what_the_new_one_sets(
    name: str, old: str, new: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = another(SECTIONS[name], new)
    made = []
    for key in (old, new):
        file = tmp_path / f"{key}.toml"
        file.write_text(f"[{name}]\n{key} = {json.dumps(value)}\n")
        made.append(load_config(file))
    assert made[0] == made[1] != Config()
    assert capsys.readouterr().err == f"{tmp_path / old}.toml: {name}.{old} is now {name}.{new}: please rename\n"


def test_a_retired_key_is_left_out_and_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[score]\nmin_pair_quality = 0.5\n")
    assert load_config(file) == Config()
    said = f"{file}: score.min_pair_quality is not used any more: see score.min_pose_quality, another figure"
    assert capsys.readouterr().err.startswith(said)


def test_both_names_of_a_key_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[train]\nrecipe = "bce"\nloss = "supcon"\n')
    with pytest.raises(ConfigError, match="'recipe' is now called 'loss', and both are there"):
        load_config(file)


def test_every_section_is_known_by_its_name() -> None:
    assert {name: type(getattr(Config(), name)) for name in Config.model_fields} == dict(SECTIONS)


@pytest.mark.parametrize(("name", "before"), FINGERPRINTS.items())
def test_a_new_name_renews_nothing(name: str, before: str) -> None:
    assert SECTIONS[name]().fingerprint() == before


def test_new_names_are_what_is_printed() -> None:
    printed = config.Config().model_dump(mode="json")
    assert not [(name, old) for name, old, new in FORMER if old in printed[name] or new not in printed[name]]
