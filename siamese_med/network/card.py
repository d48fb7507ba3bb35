"""What goes into a model folder for people: the training curve and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siamese_med import appraisal, claims, files, wording
from siamese_med.network.training import Epoch

TEMPLATES = Path(__file__).parent / "templates"


def write(folder: Path, about: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write the model card, README.md: what the model page says, in Markdown. `about` is what model.json holds."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,  # Markdown, of values that training made itself
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(wording, name) for name in ("count", "fixed", "percent")})
    measured = appraisal.read(about, metrics)
    text = environment.get_template("card.md.j2").render(
        about=about,
        measured=measured,
        claim=claims.headline(measured),
        claims=claims,
        figure_names=appraisal.FIGURES,
        strata_names=appraisal.STRATA,
        reference=about["change_reference"],
        config_digest=appraisal.config_digest(about),
    )
    files.write_text(folder / "README.md", text)


def write_curve(path: Path, log: Sequence[Epoch]) -> None:
    """Draw loss and validation AUC over the epochs."""
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
    with files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
