"""Where a user's settings and state lie, and what is said where there is no home folder."""

from __future__ import annotations

import platformdirs
import pytest

from siamese_med.errors import UsageError
from siamese_med.runtime import user_folders


def test_the_folders_are_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere/config")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere/state")
    assert str(user_folders.locate_config_folder()) == "/somewhere/config/siamese-med"
    assert str(user_folders.locate_state_folder()) == "/somewhere/state/siamese-med"


@pytest.mark.parametrize("locate", [user_folders.locate_config_folder, user_folders.locate_state_folder])
def test_without_a_home_one_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch, locate: object) -> None:
    def fail(*_words: object, **_more: object) -> None:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(platformdirs, "user_config_dir", fail)
    monkeypatch.setattr(platformdirs, "user_state_path", fail)
    with pytest.raises(UsageError, match="no home folder: set HOME"):
        locate()  # type: ignore[operator]
