"""Making a model the current one because a person wants it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siamese_med.study.tables import Study
    from siamese_med.training.current_model_record import CurrentModel


def promote(study: Study, model: Path | str, renew: bool = False) -> CurrentModel:
    """Make a model the current one, without comparing it with the one in use; `score` and `report` then use it.

    Parameters
    ----------
    study
        The study.
    model
        A model of this study, its folder or its id; or `starter`.
    renew
        Whether the fixed validation patients are chosen anew at the next comparison.

    Returns
    -------
    CurrentModel
        The record as it is now: `model`, `since` and `why`.

    Raises
    ------
    MissingFileError
        The study has no such model.

    Examples
    --------
    >>> import tempfile
    >>> from siamese_med.study.tables import Study
    >>> promote(Study(tempfile.mkdtemp()), "starter").model
    'starter'
    """
    from siamese_med.training import model_registry

    return model_registry.set_current_model(study, Path(model).name, "promoted by hand", renew)
