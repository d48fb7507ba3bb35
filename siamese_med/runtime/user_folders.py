"""The folders of a user, where programs of this platform keep settings and state."""

from __future__ import annotations

from pathlib import Path

from siamese_med.errors import UsageError

APP_NAME = "siamese-med"


def locate_config_folder() -> Path:
    """Return the folder of the user's settings, such as `~/.config/siamese-med`; it may not exist yet.

    Raises
    ------
    UsageError
        The user has no home folder, as an unknown user id in a container.
    """
    import platformdirs

    try:
        return Path(platformdirs.user_config_dir(APP_NAME, appauthor=False))
    except RuntimeError as error:
        raise UsageError(
            "no home folder: set HOME to a folder of yours, or SIAMESE_MED_SECRET_FILE to a file with the secret"
        ) from error


def locate_state_folder() -> Path:
    """Return the folder of what programs of the user know of one another, such as `~/.local/state/siamese-med`.

    Raises
    ------
    UsageError
        The user has no home folder.
    """
    import platformdirs

    try:
        return platformdirs.user_state_path(APP_NAME)
    except RuntimeError as error:
        raise UsageError("no home folder: set HOME to a folder of yours, or use --no-prefect") from error
