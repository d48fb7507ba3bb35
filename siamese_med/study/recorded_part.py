"""Building blocks for the JSON files of a model folder: bounded values and frozen parts.

A model folder may come from elsewhere. Nothing in it is trusted: numbers are finite and bounded, lists have a length
that fits in memory, and no name is a path.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

MAX_TEXT_CHARS = 500
"""Characters of one text in these files."""
MAX_NAMED_VALUES = 1000
"""Entries of one JSON object: packages, detectors, sections and keys of the configuration."""
MAX_FLAW_STEPS = 6
"""Steps into a JSON file by which the place of a flaw is told."""

Text = Annotated[str, Field(strict=True, max_length=MAX_TEXT_CHARS)]
Sha256 = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(strict=True, ge=0)]
FiniteFloat = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0)]
PositiveFloat = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
UnitFloat = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1)]
"""A probability, a share or an AUC."""


class RecordedPart(BaseModel):
    """A frozen part of a JSON file of a model folder; keys that are not known here are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def limit_keys(cls, recorded: Any) -> Any:
        """Check that an object does not have more than MAX_NAMED_VALUES keys."""
        if isinstance(recorded, dict) and len(recorded) > MAX_NAMED_VALUES:
            raise ValueError(f"it has more than {MAX_NAMED_VALUES} keys")
        return recorded

    def to_json_object(self) -> dict[str, JsonValue]:
        """Return the part as it stands in the file: only what was recorded, without defaults.

        Returns
        -------
        dict
            Values that `json.dumps` takes. A part that was read from a file of this version gives equal JSON.
        """
        return self.model_dump(mode="json", exclude_unset=True)

    def compute_digest(self) -> str:
        """Return the SHA-256 (hex) of the part as JSON with sorted keys."""
        return hashlib.sha256(json.dumps(self.to_json_object(), sort_keys=True).encode()).hexdigest()


def describe_first_flaw(error: ValidationError) -> str:
    """Return the first problem of a JSON file in one line, by its place in the file."""
    first = error.errors(include_url=False, include_input=False)[0]
    message = first["msg"].removeprefix("Value error, ").splitlines()[0]
    where = ".".join(map(str, first["loc"][:MAX_FLAW_STEPS]))
    return f"'{where}' {message[0].lower()}{message[1:]}" if where else message
