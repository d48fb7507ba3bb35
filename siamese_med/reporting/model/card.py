"""The model card: README.md of a model folder."""

from __future__ import annotations

from pathlib import Path

from siamese_med.reporting import formatting
from siamese_med.reporting.model import metrics_file, statements
from siamese_med.runtime import files
from siamese_med.study.model_info import ModelInfo
from siamese_med.study.model_metrics import ModelMetrics

CARD_TEMPLATE_FOLDER = Path(__file__).parent / "templates"
"""Folder of card.md.j2."""


def write_model_card(folder: Path, info: ModelInfo, metrics: ModelMetrics) -> None:
    """Write the model card as Markdown; it says the same as the model page.

    The template is `templates/card.md.j2`.

    Parameters
    ----------
    folder
        The model folder; its README.md is replaced.
    info, metrics
        What model.json and metrics.json of the folder hold.

    References
    ----------
    Mitchell et al., Model Cards for Model Reporting, FAT* 2019, https://doi.org/10.1145/3287560.3287596.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(CARD_TEMPLATE_FOLDER),
        autoescape=False,  # Markdown, of values that training made itself
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(formatting, name) for name in ("count", "fixed", "percent")})
    measured = metrics_file.read_model_figures(info, metrics)
    text = environment.get_template("card.md.j2").render(
        about=info,
        measured=measured,
        claim=statements.compose_model_headline(measured),
        claims=statements,
        figure_names=metrics_file.FIGURE_NAMES,
        strata_names=metrics_file.STRATUM_NAMES,
        reference=info.change_reference,
        config_digest=info.config.compute_digest(),
    )
    files.write_text_file(folder / "README.md", text)
