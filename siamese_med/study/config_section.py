"""Common properties of all sections of the configuration: frozen values, their digests, former and retired keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError


class ConfigSection(BaseModel):
    """A frozen part of the configuration; an unknown key is an error, and so is TOML's nan or inf."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    ONLY_WHERE_SET: ClassVar[frozenset[str]] = frozenset()
    """Keys that are written down only where they differ from their default: digests and models from before they were
    added stay as they are."""
    FORMER_KEYS: ClassVar[Mapping[str, str]] = {}
    """Former names of keys, which are still accepted, and their names now. Digests are made under the first name that a
    key had, so a new name renews nothing."""

    RETIRED_KEYS: ClassVar[Mapping[str, str]] = {}
    """Keys that are not used any more, and what takes their place. Their values are left out."""

    @model_validator(mode="before")
    @classmethod
    def accept_former_keys(cls, values: Any) -> Any:
        """Take a value under the former name of its key; raises ValueError where it stands under both."""
        if not isinstance(values, dict):
            return values
        if twice := [former for former, key in cls.FORMER_KEYS.items() if former in values and key in values]:
            raise ValueError(f"'{twice[0]}' is now called '{cls.FORMER_KEYS[twice[0]]}', and both are there")
        return cls.with_present_names(values)

    @field_validator("*", mode="before")
    @classmethod
    def refuse_switches_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is wanted; they would count as 1 and 0."""
        wanted = cls.model_fields[str(info.field_name)].annotation
        given = value if isinstance(value, (list, tuple)) else [value]
        if any(isinstance(one, bool) for one in given) and _is_of_numbers(wanted):
            raise PydanticCustomError("number_type", "Input should be a number, not true or false")
        return value

    @classmethod
    def with_present_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings by the names that their keys have now, without those of RETIRED_KEYS."""
        kept = {key: value for key, value in values.items() if key not in cls.RETIRED_KEYS}
        return {cls.FORMER_KEYS.get(key, key): value for key, value in kept.items()}

    @classmethod
    def with_first_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings by the first name that each key had, as digests are made of them."""
        first = {key: former for former, key in cls.FORMER_KEYS.items()}
        return {first.get(key, key): value for key, value in values.items()}

    @model_serializer(mode="wrap")
    def leave_out_unset(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        """All values, without those of ONLY_WHERE_SET that have their default."""
        fields = type(self).model_fields
        unset = {key for key in self.ONLY_WHERE_SET if getattr(self, key) == fields[key].get_default()}
        return {key: value for key, value in write(self).items() if key not in unset}

    def fingerprint(self) -> str:
        """Twelve hex digits that change whenever a value of this section does."""
        return self.digest()

    def digest(self, exclude: set[str] | None = None) -> str:
        """Twelve hex digits of all values but the excluded ones."""
        values = self.with_first_names(self.model_dump(mode="json", exclude=exclude))
        canonical = json.dumps(values, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _is_of_numbers(wanted: Any) -> bool:
    """Whether values of a type are numbers, or lists of numbers."""
    if get_origin(wanted) is Annotated:
        return _is_of_numbers(get_args(wanted)[0])
    return wanted in (int, float) or (get_origin(wanted) is not dict and any(map(_is_of_numbers, get_args(wanted))))
