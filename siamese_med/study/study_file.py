"""A study file: a small TOML file that says which study a run is about, and what the run is asked for.

    input = "/srv/export"          # a folder, a CSV manifest, or the address of a PACS
    data = "data"                  # paths are relative to the file's own folder
    reports = "/srv/reports"
    config = "study.toml"
    verify = true

Prefect's database holds nothing of a run but the name of such a file, because paths and addresses may name a patient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from siamese_med.errors import ConfigError
from siamese_med.runtime.files import write_text_file
from siamese_med.study import config, input_source
from siamese_med.study.input_source import Pull
from siamese_med.study.toml_text import format_toml_value

CALLED = "the study file"
"""Name of the file in errors: they name no path, since Prefect keeps their text."""


class StudyFile(BaseModel):
    """Contents of a study file; an unknown key is an error.

    Parameters
    ----------
    input
        A path, or the address of a PACS as `input_source.Pull` takes it; None where nothing is ingested.
    sent
        The folder that had been sent to the PACS, where that is known.
    data, reports
        The study's two folders.
    model
        The model to score with, and to train none; None for the study's current one.
    config
        The study's configuration; None for the defaults.
    dicom
        The folder for DICOM objects for the archive; None where none are asked for.
    verify
        Whether to read files again that seem unchanged.
    deface
        Whether `ingest` removes faces; without it, as the configuration or the last ingest of the study says.
    viewer, pdf, fhir
        See tables.ReportExtras.
    candidate
        Whether a model that `train` makes has to be promoted before it is used, as always in the longer runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: StrictStr | None = Field(None, repr=False)
    sent: Path | None = Field(None, repr=False)
    data: Path
    reports: Path
    model: Path | None = None
    config: Path | None = None
    dicom: Path | None = None
    verify: StrictBool = False
    deface: StrictBool = False
    viewer: StrictBool = False
    pdf: StrictBool = False
    fhir: StrictBool = False
    candidate: StrictBool = False

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a study file, and resolve its relative paths from the file's folder.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        StudyFile
            What it says.

        Raises
        ------
        ConfigError
            It is not TOML, has an unknown key, lacks one, or has a value of the wrong type. The message is one line and
            holds no value of the file.
        AddressError
            The address of a PACS cannot be used.
        """
        values = config.read_toml(path, CALLED)
        try:
            found = cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_first_problem(error)) from None
        folder = path.parent
        resolved = {name: folder / value for name in PATHS if (value := getattr(found, name)) is not None}
        found = found.model_copy(update=resolved)
        source = input_source.parse_path_or_address(found.input, folder, found.sent)
        return found.model_copy(update={"input": str(source)}) if isinstance(source, Path) else found

    @property
    def source(self) -> Path | Pull | None:
        """The input: a path, what to fetch from a PACS, or None."""
        return input_source.parse_path_or_address(self.input, Path(), self.sent)

    def as_toml(self) -> str:
        """Return it as TOML that `load` reads back; what is not set is left out. Raises as `format_toml_value` does.

        Returns
        -------
        str
            One line a key. Equal study files give equal text.

        Examples
        --------
        >>> print(StudyFile(data="data", reports="reports", verify=True).as_toml(), end="")
        data = "data"
        reports = "reports"
        verify = true
        """
        values = self.model_dump(mode="json")
        return "".join(f"{key} = {format_toml_value(values[key])}\n" for key in WRITTEN if values[key])

    def save(self, path: Path) -> None:
        """Write it atomically to a file that only its owner can read."""
        write_text_file(path, self.as_toml(), mode=0o600)


KEYS = tuple(StudyFile.model_fields)
"""Keys that a study file may hold."""

PATHS = ("data", "reports", "model", "config", "dicom", "sent")

WRITTEN = (*PATHS[:-1], "input", "sent", "verify", "deface", "viewer", "pdf", "fhir", "candidate")
"""The order in a file. A run that was asked for before is found by its file's text, so the order must stay."""


def _first_problem(error: ValidationError) -> str:
    """The first problem in words: an unknown key, else a missing one, else a value of another type."""
    found = {kind: sorted(str(one["loc"][0]) for one in error.errors() if one["type"] == kind) for kind in _WORDS}
    for kind, words in _WORDS.items():
        if found[kind]:
            return f"{CALLED} has {words} key '{found[kind][0]}': known are {', '.join(KEYS)}"
    problem = error.errors()[0]
    return f"{CALLED}: '{problem['loc'][0]}' {problem['msg'][0].lower()}{problem['msg'][1:]}"


_WORDS = {"extra_forbidden": "unknown", "missing": "no"}
