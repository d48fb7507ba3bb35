"""Every error that siamese-med raises on purpose.

    SiameseMedError               exit 1   our fault
    ├── UsageError                exit 2   the call has to change
    │   ├── ConfigError                    unknown key, value out of range, unreadable file
    │   ├── MissingFileError               a path that is not there
    │   ├── AddressError                   a PACS address that is malformed, refused or leads nowhere
    │   ├── CatalogueError                 a catalogue of another layout, or one that was tampered with
    │   ├── ModelError                     not a model folder, or one of another format version
    │   ├── PluginError                    a plug-in that is missing, not trusted, or breaks its contract
    │   ├── SecretError                    the pseudonym secret is missing or unsafe
    │   └── ServerError                    no Prefect server answers, or one does already
    ├── InputError                exit 3   nothing in the input can be used
    │   ├── EmptyInputError                a folder without a file, a manifest without a row
    │   ├── ManifestError                  a CSV manifest that lacks a column or names no scan
    │   ├── NothingUsableError             files, but not one scan among them
    │   ├── TransferError                  a PACS that does not answer, or not to the end
    │   └── NotEnoughDataError             too few patients or pairs for what was asked
    ├── MachineError              exit 6   the machine fails, not the input: the same command may work later
    │   ├── NoSpaceError                   a disk is full
    │   └── DatabaseFailedError            the catalogue's database is locked, or its disk or server fails
    ├── RanksError                exit 1   a process of a training ended before its work was done
    └── LeakageError              exit 1   a patient in two splits

A message is one line: what was found, what was expected, what to do. It never names a patient, a date or a tag value.
"""

from __future__ import annotations

from collections.abc import Mapping


class SiameseMedError(Exception):
    """Base of all errors of this package; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(SiameseMedError):
    """The command, the config or a named file has to change."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file with an unknown key, a bad value or bad syntax."""


class MissingFileError(UsageError):
    """A path that was named does not exist."""


class AddressError(UsageError):
    """The address of a PACS is malformed, refuses us, or leads to something else."""


class CatalogueError(UsageError):
    """A catalogue that this version cannot use, or whose content was changed by someone else."""


class ModelError(UsageError):
    """A folder that is not a model, or a model of another format version."""


class PluginError(UsageError):
    """A plug-in is not there, may not be imported for a model, or does not do what its kind promises."""


class SecretError(UsageError):
    """The secret behind the pseudonyms cannot be read, or others can read it."""


class ServerError(UsageError):
    """Prefect's server does not start, does not answer, or is there already."""


class InputError(SiameseMedError):
    """The input exists, and nothing in it can be used."""

    exit_code = 3


class EmptyInputError(InputError):
    """A folder without a file, a manifest without a row, a catalogue without a scan."""


class ManifestError(InputError):
    """A CSV manifest that lacks a column or whose paths lead nowhere."""


class NothingUsableError(InputError):
    """Every file of the input was looked at, and no scan came of it; `facts` say what became of them."""

    def __init__(self, message: str, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.facts: Mapping[str, object] = facts or {}


class TransferError(InputError):
    """A PACS does not answer, or stops in the middle; `facts` say what had been transferred."""

    def __init__(self, message: str, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.facts: Mapping[str, object] = facts or {}


class NotEnoughDataError(InputError):
    """Too few patients, visits or pairs for the stage that was asked for."""


class MachineError(SiameseMedError):
    """The machine fails, not the input: once that is repaired, the same command goes on; `facts` as far as known."""

    exit_code = 6

    def __init__(self, message: str, facts: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.facts: Mapping[str, object] = facts or {}


class NoSpaceError(MachineError):
    """A disk is full, or a quota or a limit on the size of files is used up."""


class DatabaseFailedError(MachineError):
    """The catalogue's database is locked, or its disk or server fails."""


class RanksError(SiameseMedError):
    """A process of a training over several failed or was ended."""


class LeakageError(SiameseMedError):
    """One patient in two splits: every figure would be wrong, so nothing goes on."""
