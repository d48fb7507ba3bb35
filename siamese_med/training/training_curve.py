"""Training curve as a picture in the model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from siamese_med.runtime import files
from siamese_med.training.identity_training import TrainingEpoch


def write_curve(path: Path, log: Sequence[TrainingEpoch]) -> None:
    """Draw the losses and the validation AUC over the epochs and save them as an image.

    Parameters
    ----------
    path
        Image file; its extension decides the format.
    log
        One entry for each epoch, at least one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    loss, auc = figure.subplots(1, 2)
    epochs = [epoch.epoch + 1 for epoch in log]
    loss.plot(epochs, [epoch.train_loss for epoch in log], label="training")
    loss.plot(epochs, [epoch.validation_loss for epoch in log], label="validation")
    loss.set(xlabel="epoch", ylabel="loss")
    loss.legend(frameon=False)
    auc.plot(epochs, [epoch.validation_auc for epoch in log], color="tab:green")
    auc.set(
        xlabel="epoch", ylabel="AUC on validation patients", ylim=(min(0.5, *[e.validation_auc for e in log]), 1.01)
    )
    with files.replace_atomically(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
