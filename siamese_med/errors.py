"""The errors that siamese-med raises on purpose, and the exit codes of the command line for them.

    SiameseMedError               exit 1   a defect of siamese-med
    ├── UsageError                exit 2   the call has to change
    │   ├── ConfigError                    unknown key, value out of range, unreadable file
    │   ├── MissingFileError               a path that is not there
    │   ├── AddressError                   a PACS address that is malformed, refused or leads nowhere
    │   ├── CatalogueError                 a catalogue of another layout, or one that was changed from outside
    │   ├── ModelError                     not a model folder, or one of another format version
    │   ├── MissingExtraError              a package that one option needs is not installed
    │   ├── PluginError                    a plug-in that is missing, not trusted, or breaks its contract
    │   ├── SecretError                    the pseudonym secret is missing or unsafe
    │   └── ServerError                    no Prefect server answers, or one is running already
    ├── InputError                exit 3   nothing in the input can be used
    │   ├── EmptyInputError                a folder without a file, a manifest without a row
    │   ├── ManifestError                  a CSV manifest that lacks a column or names no scan
    │   ├── NothingUsableError             files, but no usable scan among them
    │   ├── TransferError                  a PACS that does not answer, or stops in the middle
    │   └── NotEnoughDataError             too few patients or pairs for what was asked
    ├── MachineError              exit 6   the machine fails, not the input: the same command may work later
    │   ├── NoSpaceError                   a disk is full
    │   ├── NotWritableError               a folder that may not be written to
    │   └── DatabaseFailedError            the catalogue's database is locked, or its disk or server fails
    ├── RanksError                exit 1   a process of a training ended before its work was done
    └── LeakageError              exit 1   a patient in two splits

A message is one line: what was found, what was expected, what to do. It never names a patient, a date or a tag value.
"""

from __future__ import annotations

from collections.abc import Mapping


class SiameseMedError(Exception):
    """Base class of all errors of this package.

    `exit_code` is the exit code of the command line for this error.

    Examples
    --------
    >>> ConfigError("unknown key").exit_code, EmptyInputError("no file").exit_code
    (2, 3)
    """

    exit_code = 1


class UsageError(SiameseMedError):
    """The command, the config or a file named in it has to be changed."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file with an unknown key, a bad value or bad syntax."""


class MissingFileError(UsageError):
    """A path in the command or the config does not exist."""


class AddressError(UsageError):
    """The address of a PACS is malformed, refuses access, or belongs to another kind of server."""


class CatalogueError(UsageError):
    """A catalogue that this version cannot use, or whose content was changed from outside."""


class ModelError(UsageError):
    """A folder that is not a model, or a model of another format version."""


class MissingExtraError(UsageError):
    """A package is not installed that not everyone needs, but that this command needs."""


class PluginError(UsageError):
    """A plug-in is not there, may not be imported for a model, or does not do what its kind promises."""


class SecretError(UsageError):
    """The secret that pseudonyms are made with is missing, cannot be read, or can be read by other users."""


class ServerError(UsageError):
    """Prefect's server does not start, does not answer, or is running already."""


class InputError(SiameseMedError):
    """The input exists, but nothing in it can be used."""

    exit_code = 3


class EmptyInputError(InputError):
    """A folder without a file, a manifest without a row, a catalogue without a scan."""


class ManifestError(InputError):
    """A CSV manifest that lacks a column, or whose paths do not exist."""


class NothingUsableError(InputError):
    """No file of the input gave a scan; `facts` (the account of ingest) say what became of the files."""

    def __init__(self, message: str, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.facts: Mapping[str, object] = facts or {}


class TransferError(InputError):
    """A PACS does not answer, or stops in the middle; `facts` say what had been transferred until then."""

    def __init__(self, message: str, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.facts: Mapping[str, object] = facts or {}


class NotEnoughDataError(InputError):
    """Too few patients, visits or pairs for the requested stage."""


class MachineError(SiameseMedError):
    """The machine fails, not the input: once that is repaired, the same command continues.

    `facts` are the results until the failure, as far as they are known.
    """

    exit_code = 6

    def __init__(self, message: str, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.facts: Mapping[str, object] = facts or {}


class NoSpaceError(MachineError):
    """A disk is full, or a quota or a limit on the size of files is used up."""


class NotWritableError(MachineError):
    """A folder belongs to somebody else, or its disk is read-only, or a file is in its place."""


class DatabaseFailedError(MachineError):
    """The catalogue's database is locked, or its disk or server fails."""


class RanksError(SiameseMedError):
    """One of several training processes failed or was ended (a rank is the number of such a process)."""


class LeakageError(SiameseMedError):
    """A patient is in two splits (data leakage): every figure would be wrong, so the stage stops."""
