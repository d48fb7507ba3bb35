"""Origin of the numbers of a page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """What made the numbers; the inputs' digests stand with the scans.

    `starter`: whether the model is the one that comes with siamese-med.
    """

    model: str
    starter: bool
    model_format: int | None
    recipe: str | None
    parameters: int | None
    weights_sha256: str | None
    template_sha256: str | None
    model_config_sha256: str
    report_config: str
    seeds: dict[str, int]
    versions: dict[str, str]
