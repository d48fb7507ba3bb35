"""siamese-med tracks change in a patient's medical images; the same six verbs as on the command line, without Prefect.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from siamese_med.address import Pull as Pull
    from siamese_med.config import Config as Config
    from siamese_med.config import load as load_config  # noqa: F401
    from siamese_med.records import Study as Study
    from siamese_med.stages import build_pairs as build_pairs
    from siamese_med.stages import compare as compare
    from siamese_med.stages import current_model as current_model
    from siamese_med.stages import identify as identify
    from siamese_med.stages import ingest as ingest
    from siamese_med.stages import prepare as prepare
    from siamese_med.stages import report as report
    from siamese_med.stages import scans as scans
    from siamese_med.stages import score as score
    from siamese_med.stages import simulate as simulate
    from siamese_med.stages import train as train

_HOMES = {
    "Config": ("siamese_med.config", "Config"),
    "Pull": ("siamese_med.address", "Pull"),
    "Study": ("siamese_med.records", "Study"),
    "load_config": ("siamese_med.config", "load"),
    "simulate": ("siamese_med.stages", "simulate"),
    "ingest": ("siamese_med.stages", "ingest"),
    "scans": ("siamese_med.stages", "scans"),
    "prepare": ("siamese_med.stages", "prepare"),
    "build_pairs": ("siamese_med.stages", "build_pairs"),
    "train": ("siamese_med.stages", "train"),
    "current_model": ("siamese_med.stages", "current_model"),
    "score": ("siamese_med.stages", "score"),
    "report": ("siamese_med.stages", "report"),
    "compare": ("siamese_med.stages", "compare"),
    "identify": ("siamese_med.stages", "identify"),
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    if name not in _HOMES:
        raise AttributeError(f"module 'siamese_med' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__"])


def _installed_version() -> str:
    """Read the version from the installed package's metadata; only pyproject.toml states it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("siamese-med")
    except PackageNotFoundError:  # used from a checkout that was never installed
        return "0+unknown"
