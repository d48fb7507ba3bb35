"""What goes into a model folder for people: the training curve and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siamese_med import files
from siamese_med.network.training import Epoch

CARD = """# Model {id}

Research use only. A Siamese 3D network of siamese-med: it tells whether two scans are of one person, and holds the
no-change reference against which change is read. Recipe `{recipe}`, {parameters} parameters, seed {seed}.

## Intended use

Scans of the modality, contrast and body part it was trained on, aligned to `template.nii.gz` in this folder.
Similarity warns of wrong patients; change is a registered residual read against {reference_n} pairs without change
({reference_source}). Neither is a diagnosis.

## Figures on test patients

{patients} test patients, {same} same and {different} different pairs; 95 % intervals by a bootstrap over patients.

| method | AUC | EER | TAR at FAR 1 % | rank-1 |
|---|---|---|---|---|
{rows}

Best by AUC: **{best}**. Expected calibration error of the similarity: {ece:.3f}. Threshold {threshold:.3f} for a
false-match rate of {fmr:.0%}, chosen on validation patients; on test patients the rate was {fmr_test:.1%}.

## Limits

Trained on {train_scans} scans of {train_patients} patients. Contrasts, scanners and organs that were not among them are
outside what is known. Where a baseline is as good as the network, the network's score has no claim of its own.
"""


def write(folder: Path, about: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write the model card, README.md."""
    rows = [
        f"| {method} | "
        + " | ".join(_figure(figures[name]) for name in ("auc", "eer", "tar_at_far_1pct", "rank1"))
        + " |"
        for method, figures in metrics["test"].items()
    ]
    text = CARD.format(
        id=about["id"],
        recipe=about["recipe"],
        parameters=about["parameters"],
        seed=metrics["seed"],
        reference_n=about["change_reference"]["n"],
        reference_source=about["change_reference"]["source"],
        patients=metrics["patients"]["test"],
        **metrics["pairs_test"],
        rows="\n".join(rows),
        best=metrics["best"],
        ece=metrics["calibration"]["ece"]["value"],
        threshold=about["threshold"],
        fmr=about["false_match_rate"],
        fmr_test=metrics["false_match_rate_test"]["value"],
        train_scans=metrics["scans"]["train"],
        train_patients=metrics["patients"]["train"],
    )
    files.write_text(folder / "README.md", text)


def _figure(interval: dict[str, float | None]) -> str:
    if interval["value"] is None:
        return "too few pairs"
    return f"{interval['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


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
