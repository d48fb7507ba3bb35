"""Checks for extras of the installation: packages that serve one option each, and that not everyone installs.

The extras themselves are listed in pyproject.toml, below `[project.optional-dependencies]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType

from siamese_med.errors import MissingExtraError


@dataclass(frozen=True)
class Extra:
    """Purpose of an extra, and the packages of it that siamese-med imports.

    Parameters
    ----------
    purpose
        What cannot be done without it, as the subject of a sentence.
    packages
        Names that Python imports.
    """

    purpose: str
    packages: tuple[str, ...]


EXTRAS: Mapping[str, Extra] = MappingProxyType(
    {
        "dask": Extra("work on a Dask cluster (run.dask)", ("prefect", "prefect_dask")),
        "dicom": Extra("writing DICOM objects (--dicom)", ("highdicom", "weasyprint")),
        "pacs": Extra("reading from a PACS", ("dicomweb_client", "requests", "retrying")),
        "pdf": Extra("writing PDF (--pdf)", ("weasyprint",)),
        "postgresql": Extra("a catalogue on PostgreSQL (ingest.database)", ("pg8000",)),
        "prefect": Extra("recording and scheduling runs with Prefect", ("prefect",)),
    }
)
"""The extras of an installation by name; `all` installs all of them."""


def is_extra_installed(name: str) -> bool:
    """Return whether all packages of an extra can be found; none is imported.

    Parameters
    ----------
    name
        Key of EXTRAS.
    """
    return all(find_spec(package) is not None for package in EXTRAS[name].packages)


def make_install_command(name: str) -> str:
    """Return the command that installs an extra.

    Examples
    --------
    >>> make_install_command("pdf")
    "pip install 'siamese-med[pdf]'"
    """
    return f"pip install 'siamese-med[{name}]'"


def require_extra(name: str) -> None:
    """Check that an extra is installed, before work begins that would fail without it.

    Parameters
    ----------
    name
        Key of EXTRAS.

    Raises
    ------
    MissingExtraError
        If a package of it is missing; the message has the command that installs it.
    """
    if not is_extra_installed(name):
        raise MissingExtraError(
            f"{EXTRAS[name].purpose} needs a package that is not installed: {make_install_command(name)}"
        )
