"""The starter model: a trained model that comes with siamese-med, for studies that have none of their own.

It is an ordinary model folder (`model_folder`) in the installed package. Nothing is ever written into it: what a study
computes with it lies below the study's data folder.
"""

from __future__ import annotations

from pathlib import Path

from siamese_med.errors import ModelError
from siamese_med.study.model_info import MODEL_FILE

STARTER_FOLDER = Path(__file__).parents[1] / "starter"
"""Folder of the starter model in the package; its name, `starter`, is also what records and commands call it."""
STARTER_NAME = "starter"
"""The name of the starter model in a study's `current_model.json`, and for `siamese-med promote`."""


def find_starter_model() -> Path:
    """Return the folder of the starter model.

    Raises
    ------
    ModelError
        This installation lacks it.
    """
    if not is_starter_installed():
        raise ModelError(
            f"this installation lacks the starter model ({STARTER_FOLDER}): install siamese-med again, "
            "train a model with `siamese-med train`, or name one with --model"
        )
    return STARTER_FOLDER


def is_starter_installed() -> bool:
    """Return whether this installation holds the starter model."""
    return (STARTER_FOLDER / MODEL_FILE).is_file()


def is_starter_model(folder: Path) -> bool:
    """Return whether a model folder is that of the starter model, by whatever path it was named."""
    return folder.resolve() == STARTER_FOLDER.resolve()
