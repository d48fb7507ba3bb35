"""Arguments and options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

InputArgument = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="A folder (DICOM, NIfTI, BIDS, mixed), a CSV manifest, or dicomweb://HOST/PATH[?QUERY] "
        "(dicomwebs:// with TLS).",
    ),
]
SentOption = Annotated[
    Path | None, typer.Option(help="The folder that was sent to the PACS, to check that all of it came back.")
]
ScanArgument = Annotated[Path, typer.Argument(help="A NIfTI file or the folder of a DICOM series.")]
DataOption = Annotated[Path, typer.Option(help="Folder of the study's catalogue, scans, pairs, models and scores.")]
ReportsOption = Annotated[Path, typer.Option(help="Folder for the pages.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A TOML file over the defaults; see `config`.")]
ModelOption = Annotated[Path | None, typer.Option(help="A model's folder.")]
UsedModelOption = Annotated[
    Path | None, typer.Option("--model", help="A model's folder; default: the current model, or the starter model.")
]
NoPrefectOption = Annotated[bool, typer.Option("--no-prefect", help="Call the library directly; nothing is recorded.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        import siamese_med

        sys.stdout.write(f"siamese-med {siamese_med.__version__}\n")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
]


def general_options(version: VersionOption = False) -> None:
    """Accept the options that precede the name of a command."""
    del version  # answered while the command line is parsed


DEFAULT_DATA, DEFAULT_REPORTS = Path("data"), Path("reports")
"""Folders of a study, in the working folder."""
