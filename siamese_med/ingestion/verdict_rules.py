"""What a verdict on a content depends on beside the content: limits of the config, decoders, this program's version.

A verdict that may be another one by other rules is remembered with the rules' digest, and stands only while they hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import metadata, util
from math import prod

from siamese_med.ingestion.reasons import MACHINE_REASONS, get_outcome
from siamese_med.ingestion.scan_checks import scan_checks
from siamese_med.plugins import identify_plugin
from siamese_med.study.config import IngestConfig
from siamese_med.study.vocabulary import ScanFlag

LIMIT_CONFIG_KEYS = {"min_slices", "max_gigabytes", "volume_of_4d"}
DECODER_PACKAGES = {
    "pydicom": "pydicom", "gdcm": "python-gdcm", "openjpeg": "pylibjpeg-openjpeg", "libjpeg": "pylibjpeg-libjpeg",
    "rle": "pylibjpeg-rle", "jpeg_ls": "pyjpegls", "PIL": "pillow",
}  # fmt: skip
"""Modules that decode compressed pixels, where they are installed, and the packages that bring them."""

REPEAT_FLAGS = {ScanFlag.FIRST_OF_REPEATS, ScanFlag.MEAN_OF_REPEATS}
"""Flags of scans that another `volume_of_4d` would make otherwise."""

VOXEL_BYTES = 4


def compute_rules_digest(config: IngestConfig) -> str:
    """Twelve hex digits of the rules that hold now."""
    rules = (config.model_dump_json(include=LIMIT_CONFIG_KEYS), _software())
    checks = tuple(identify_plugin(plugin) for plugin in scan_checks(config))
    return hashlib.sha256(repr((*rules, checks) if checks else rules).encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _software() -> tuple[str, ...]:
    """This program and the decoders that are there, with their versions."""
    found = [_version("siamese-med")]
    for module, package in DECODER_PACKAGES.items():
        with suppress(ImportError, ValueError):
            if util.find_spec(module) is not None:
                found.append(f"{module} {_version(package)}")
    return tuple(found)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def is_machine_reason(reason: str) -> bool:
    """Whether a reason word is a trouble of the machine, which says nothing of the content."""
    return reason in MACHINE_REASONS


def refusal_depends_on_rules(reason: str) -> bool:
    """Whether a file that is no part of a scan might be one by other rules."""
    return get_outcome(reason) == "quarantined" or reason == "repeat"


def scan_depends_on_rules(flags: Collection[str], shape: Sequence[int], config: IngestConfig) -> bool:
    """Whether a scan might not be made, or be made otherwise: of repeats, beyond a limit, or for the user's checks."""
    beyond = min(shape, default=0) < config.min_slices or prod(shape) * VOXEL_BYTES > config.max_gigabytes * 1e9
    return beyond or not REPEAT_FLAGS.isdisjoint(flags) or bool(config.reasons)
