"""Plug-ins that a configuration may name: the kinds, the built-in ones, and those of installed packages.

No plug-in is imported here, so a configuration is checked without running anybody's code; `plugins` imports them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib import metadata
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue
from pydantic_core import PydanticCustomError


class PluginKind(StrEnum):
    """Kind of a plug-in: the part that it can replace or add.

    Examples
    --------
    >>> PluginKind.ENCODER.group
    'siamese_med.encoders'
    """

    ENCODER = "encoder"
    LOSS = "loss"
    DETECTOR = "detector"
    REGISTRATION = "registration"
    TRANSFORM = "transform"
    REASON = "reason"

    @property
    def group(self) -> str:
        """The entry-point group in which an installed package declares plug-ins of this kind."""
        return f"siamese_med.{'losses' if self is PluginKind.LOSS else f'{self.value}s'}"


AUTO = "auto"
"""Of `score.detector`: the built-in detector that sees planted changes in validation patients best."""

BUILT_IN: Mapping[PluginKind, Mapping[str, str]] = MappingProxyType(
    {
        PluginKind.ENCODER: {
            "compact": "siamese_med.network.encoder:CompactEncoder",
            "resnet10": "siamese_med.network.encoder:build_resnet10",
            "resnet18": "siamese_med.network.encoder:build_resnet18",
            "densenet121": "siamese_med.network.encoder:build_densenet121",
            "monai": "siamese_med.network.monai_encoder:MonaiEncoder",
            "bundle": "siamese_med.network.bundle_encoder:build_bundle_encoder",
        },
        PluginKind.LOSS: {
            "supcon": "siamese_med.network.losses:SupervisedContrastiveLoss",
            "bce": "siamese_med.network.losses:PairCrossEntropyLoss",
            "contrastive": "siamese_med.network.losses:PairContrastiveLoss",
            "triplet": "siamese_med.network.losses:MinedTripletLoss",
        },
        PluginKind.DETECTOR: {
            "residual": "siamese_med.scoring.change.residual_detector:detect_with_residual",
            "pretrained": "siamese_med.scoring.change.pretrained_detector:PretrainedDetector",
            "network": "siamese_med.network.change_inference:NetworkDetector",
        },
        PluginKind.REGISTRATION: {"correlation_ratio": "siamese_med.imaging.registration:register_scans"},
        PluginKind.TRANSFORM: {},
        PluginKind.REASON: {},
    }
)
"""The short names that need no package, and the object behind each."""

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""`package.module:object`."""


class PluginRecord(BaseModel):
    """Record in a model folder of a plug-in that the model was made with.

    name: as in the configuration. target: `package.module:object`. package, version: the distribution that brings the
    module; empty where it is not installed as one. source: first 12 hex digits of the SHA-256 of the module's file.
    arguments: as in the configuration.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: PluginKind
    name: str
    target: str
    package: str = ""
    version: str = ""
    source: str = ""
    arguments: dict[str, JsonValue] = {}


def installed_plugins(kind: PluginKind) -> tuple[metadata.EntryPoint, ...]:
    """List the plug-ins of a kind that installed packages declare as entry points, in the order of their names."""
    return tuple(sorted(metadata.entry_points(group=kind.group), key=lambda one: (one.name, one.value)))


def is_dotted(name: str) -> bool:
    """Tell whether a plug-in is named as `package.module:object`.

    Examples
    --------
    >>> is_dotted("my_pkg.nets:UNet"), is_dotted("compact")
    (True, False)
    """
    return DOTTED.fullmatch(name) is not None


def is_built_in(kind: PluginKind, name: str) -> bool:
    """Tell whether a name is that of a built-in plug-in.

    Examples
    --------
    >>> is_built_in(PluginKind.ENCODER, "resnet10"), is_built_in(PluginKind.LOSS, "resnet10")
    (True, False)
    """
    return name in BUILT_IN[kind] or (kind is PluginKind.DETECTOR and name == AUTO)


def name_problem(kind: PluginKind, name: str) -> str:
    """Return what is wrong with the name of a plug-in, and what to write instead; empty where it can be looked up."""
    if is_built_in(kind, name) or is_dotted(name) or any(one.name == name for one in installed_plugins(kind)):
        return ""
    known = [*([AUTO] if kind is PluginKind.DETECTOR else []), *BUILT_IN[kind]]
    known += [one.name for one in installed_plugins(kind) if one.name not in known]
    choice = f"one of {', '.join(known)}, or " if known else ""
    return f"names no {kind.value} ('{name}'): give {choice}'package.module:object'"


def check_plugin_name(kind: PluginKind) -> AfterValidator:
    """Return a pydantic validator for a field that names a plug-in of this kind. Nothing is imported."""
    return AfterValidator(_checked(kind))


def _checked(kind: PluginKind) -> Callable[[str], str]:
    def check(name: str) -> str:
        if problem := name_problem(kind, name):
            raise PydanticCustomError("plugin_name", "{problem}", {"problem": problem})
        return name

    return check


EncoderName = Annotated[str, check_plugin_name(PluginKind.ENCODER)]
LossName = Annotated[str, check_plugin_name(PluginKind.LOSS)]
DetectorName = Annotated[str, check_plugin_name(PluginKind.DETECTOR)]
RegistrationName = Annotated[str, check_plugin_name(PluginKind.REGISTRATION)]
TransformName = Annotated[str, check_plugin_name(PluginKind.TRANSFORM)]
ReasonName = Annotated[str, check_plugin_name(PluginKind.REASON)]
Arguments = dict[str, JsonValue]
"""Of a plug-in, as the configuration gives them; `$name` in a value stands for something that siamese-med knows."""
