"""siamese-med tracks change in a patient's medical images; the same six verbs as on the command line, without Prefect.

Nothing heavy is imported until a name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from siamese_med import errors as errors
    from siamese_med.errors import SiameseMedError as SiameseMedError
    from siamese_med.pipeline.promotion import promote as promote
    from siamese_med.pipeline.single_scans import compare as compare
    from siamese_med.pipeline.single_scans import identify as identify
    from siamese_med.pipeline.stages import build_pairs as build_pairs
    from siamese_med.pipeline.stages import current_model as current_model
    from siamese_med.pipeline.stages import ingest as ingest
    from siamese_med.pipeline.stages import prepare as prepare
    from siamese_med.pipeline.stages import report as report
    from siamese_med.pipeline.stages import scans as scans
    from siamese_med.pipeline.stages import score as score
    from siamese_med.pipeline.stages import simulate as simulate
    from siamese_med.pipeline.stages import train as train
    from siamese_med.study.config import Config as Config
    from siamese_med.study.config import load_config  # noqa: F401
    from siamese_med.study.input_source import Pull as Pull
    from siamese_med.study.prepared_scans import PreparedStudy as PreparedStudy
    from siamese_med.study.tables import IngestAccount as IngestAccount
    from siamese_med.study.tables import IngestResult as IngestResult
    from siamese_med.study.tables import ReportExtras as ReportExtras
    from siamese_med.study.tables import ReportResult as ReportResult
    from siamese_med.study.tables import Study as Study
    from siamese_med.training.longitudinal_dataset import LongitudinalDataset as LongitudinalDataset
    from siamese_med.training.pair_sampler import PairSampler as PairSampler

_HOMES = {
    "Config": ("siamese_med.study.config", "Config"),
    "IngestAccount": ("siamese_med.study.tables", "IngestAccount"),
    "IngestResult": ("siamese_med.study.tables", "IngestResult"),
    "LongitudinalDataset": ("siamese_med.training.longitudinal_dataset", "LongitudinalDataset"),
    "PairSampler": ("siamese_med.training.pair_sampler", "PairSampler"),
    "PreparedStudy": ("siamese_med.study.prepared_scans", "PreparedStudy"),
    "Pull": ("siamese_med.study.input_source", "Pull"),
    "ReportExtras": ("siamese_med.study.tables", "ReportExtras"),
    "ReportResult": ("siamese_med.study.tables", "ReportResult"),
    "SiameseMedError": ("siamese_med.errors", "SiameseMedError"),
    "Study": ("siamese_med.study.tables", "Study"),
    "load_config": ("siamese_med.study.config", "load_config"),
    "simulate": ("siamese_med.pipeline.stages", "simulate"),
    "ingest": ("siamese_med.pipeline.stages", "ingest"),
    "scans": ("siamese_med.pipeline.stages", "scans"),
    "prepare": ("siamese_med.pipeline.stages", "prepare"),
    "build_pairs": ("siamese_med.pipeline.stages", "build_pairs"),
    "train": ("siamese_med.pipeline.stages", "train"),
    "current_model": ("siamese_med.pipeline.stages", "current_model"),
    "score": ("siamese_med.pipeline.stages", "score"),
    "report": ("siamese_med.pipeline.stages", "report"),
    "promote": ("siamese_med.pipeline.promotion", "promote"),
    "compare": ("siamese_med.pipeline.single_scans", "compare"),
    "identify": ("siamese_med.pipeline.single_scans", "identify"),
}

__all__ = [*_HOMES, "errors"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _installed_version()
    if name == "errors":
        return import_module("siamese_med.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'siamese_med' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _installed_version() -> str:
    """Read the version from the installed package's metadata; only pyproject.toml states it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("siamese-med")
    except PackageNotFoundError:  # used from a checkout that was never installed
        return "0+unknown"
