"""Rules that an outcome depends on besides the content: limits of the configuration, decoders, the program's version.

An outcome that other rules might change is stored with the digest of the rules, and stands only while they are the
same.
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
from siamese_med.study.vocabulary import ContrastSource, ScanFlag

LIMIT_CONFIG_KEYS = {"min_slices", "max_gigabytes", "volume_of_4d", "deface"}
"""Keys of `ingest` in the configuration that can change an outcome."""

DECODER_PACKAGES = {
    "pydicom": "pydicom", "gdcm": "python-gdcm", "openjpeg": "pylibjpeg-openjpeg", "libjpeg": "pylibjpeg-libjpeg",
    "rle": "pylibjpeg-rle", "jpeg_ls": "pyjpegls", "PIL": "pillow",
}  # fmt: skip
"""Packages with decoders for compressed pixels, by the module that they bring."""

REPEAT_FLAGS = {ScanFlag.FIRST_OF_REPEATS, ScanFlag.MEAN_OF_REPEATS}
"""Flags of scans that another `volume_of_4d` would make otherwise."""

VOXEL_BYTES = 4
"""Bytes a voxel that are compared with `max_gigabytes`."""


def compute_rules_digest(config: IngestConfig) -> str:
    """Compute a digest of the present rules.

    Returns
    -------
    str
        Twelve hexadecimal digits of a SHA-256 over limits, decoders and versions.
    """
    rules = (config.model_dump_json(include=LIMIT_CONFIG_KEYS), _software())
    checks = tuple(identify_plugin(plugin) for plugin in scan_checks(config))
    return hashlib.sha256(repr((*rules, checks) if checks else rules).encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _software() -> tuple[str, ...]:
    """Return this program and the installed decoders, with their versions."""
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
    """Tell whether a reason word is a temporary error of the machine, which says nothing about the content.

    Examples
    --------
    >>> is_machine_reason("no_disk_space"), is_machine_reason("missing_slice")
    (True, False)
    """
    return reason in MACHINE_REASONS


def refusal_depends_on_rules(reason: str) -> bool:
    """Tell whether a file that is part of no scan might be part of one under other rules.

    Examples
    --------
    >>> refusal_depends_on_rules("too_large"), refusal_depends_on_rules("localizer")
    (True, False)
    """
    return get_outcome(reason) == "quarantined" or reason == "repeat"


def scan_depends_on_rules(
    flags: Collection[str], shape: Sequence[int], config: IngestConfig, contrast_source: str
) -> bool:
    """Tell whether a scan might not be made, or be made differently, under other rules.

    Parameters
    ----------
    flags
        Flags of the scan; those in `REPEAT_FLAGS` depend on `volume_of_4d`, `defaced` on `deface`.
    shape
        Numbers of voxels.
    config
        The limits; a scan beyond one of them was made under other limits.
    contrast_source
        How the contrast is known: another version may read it from an image that tells this one nothing, or better.
    """
    beyond = min(shape, default=0) < config.min_slices or prod(shape) * VOXEL_BYTES > config.max_gigabytes * 1e9
    read = contrast_source in (ContrastSource.IMAGE, ContrastSource.NONE)
    faces = bool(config.deface) != (ScanFlag.DEFACED in flags)
    return beyond or read or faces or not REPEAT_FLAGS.isdisjoint(flags) or bool(config.reasons)
