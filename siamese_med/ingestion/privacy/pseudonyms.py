"""The secret behind all pseudonyms, and the pseudonyms made from it.

A pseudonym is an HMAC-SHA256 (RFC 2104) under a secret that is kept outside the repository. Holders of the secret can
recompute it, nobody else can, and it is the same in every run.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import stat
import sys
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from siamese_med.errors import CatalogueError, SecretError
from siamese_med.runtime import files
from siamese_med.runtime.user_folders import locate_config_folder
from siamese_med.study.vocabulary import UNKNOWN

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

SECRET_FILE_VARIABLE = "SIAMESE_MED_SECRET_FILE"
"""Environment variable that names the file with the secret."""

MIN_SECRET_BYTES = 16
"""Shortest secret that is accepted, in bytes: 128 bits."""

MAX_DATE_SHIFT_DAYS = 3650
"""Days by which a subject's dates are shifted at most: ten years, into the past, so that no date lies in the future."""


@dataclass(frozen=True)
class Pseudonyms:
    """Labels, date shifts and encryption under one secret; equal input gives equal output, for ever.

    Examples
    --------
    >>> secret = Pseudonyms(b"0123456789abcdef")
    >>> len(secret.subject("hospital", "4711"))
    30
    >>> day = date(2024, 1, 31)
    >>> secret.unshifted(secret.shifted(day, "sub-a"), "sub-a") == day
    True
    """

    secret: bytes
    dates_in_past: bool = True
    """Whether dates are shifted into the past alone; catalogues made before that rule keep their own."""

    def subject(self, issuer: str, patient: str) -> str:
        """Return the pseudonym of a patient: `sub-` and 26 base32 characters (130 bits).

        `issuer` separates equal identifiers of two sources; it is part of the HMAC.
        """
        return f"sub-{self.label('subject', issuer, patient)}"

    def label(self, purpose: str, *parts: object, length: int = 26) -> str:
        """Return an HMAC of the parts as text.

        Parameters
        ----------
        purpose
            Separates labels of different use: equal parts give unrelated labels for two purposes.
        *parts
            Anything with an unambiguous `str`.
        length
            Characters of the label, at most 32.

        Returns
        -------
        str
            Lower-case base32, 5 bits per character.
        """
        return base64.b32encode(self._digest(purpose, *parts)[:20]).decode().lower()[:length]

    def describe(self, purpose: str, parts: tuple[str, ...]) -> str:
        """Return a short pseudonym of a scanner or protocol, such as `scanner-abcdefghij`; `unknown` without parts."""
        return f"{purpose}-{self.label(purpose, *parts, length=10)}" if any(parts) else UNKNOWN

    def shifted(self, day: date | None, subject: str) -> str | None:
        """Shift a date by the subject's own number of whole days, so that intervals of one subject stay exact.

        Returns
        -------
        str or None
            ISO 8601 date, 1 to `MAX_DATE_SHIFT_DAYS` days earlier (later, too, unless `dates_in_past`); None for None.
        """
        if day is None:
            return None
        return (day + self._shift(subject)).isoformat()

    def unshifted(self, day: str | None, subject: str) -> date | None:
        """Return the true date behind a shifted ISO 8601 date; None for None. The inverse of `shifted`."""
        return date.fromisoformat(day) - self._shift(subject) if day else None

    def _shift(self, subject: str) -> timedelta:
        number = int.from_bytes(self._digest("date shift", subject)[:8], "big")
        if self.dates_in_past:
            return timedelta(days=-1 - number % MAX_DATE_SHIFT_DAYS)
        return timedelta(days=number % (2 * MAX_DATE_SHIFT_DAYS + 1) - MAX_DATE_SHIFT_DAYS)

    def seal(self, content: bytes, *context: str) -> str:
        """Encrypt content with AES-SIV (RFC 5297), bound to its context.

        The encryption is deterministic: equal content and context give equal text.

        Returns
        -------
        str
            Base64.
        """
        return base64.b64encode(self._cipher().encrypt(content, [part.encode() for part in context])).decode()

    def unseal(self, sealed: str, *context: str) -> bytes:
        """Decrypt what was sealed under this context.

        Raises
        ------
        CatalogueError
            The text or the context was changed.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher().decrypt(base64.b64decode(sealed), [part.encode() for part in context])
        except (InvalidTag, ValueError) as error:
            raise CatalogueError("a sealed identifier was changed or damaged: restore the catalogue") from error

    def _cipher(self) -> AESSIV:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return AESSIV(self._digest("seal", 1) + self._digest("seal", 2))

    def _digest(self, purpose: str, *parts: object) -> bytes:
        message = "".join(f"{len(text)}:{text}" for text in map(str, (purpose, *parts)))
        return hmac.digest(self.secret, message.encode("utf-8", "surrogateescape"), "sha256")


def load_pseudonyms(secret_file: Path | None, make: bool = True) -> Pseudonyms:
    """Load the secret.

    Parameters
    ----------
    secret_file
        The file that the configuration names. None: the file in SIAMESE_MED_SECRET_FILE, else the user's own.
    make
        Whether to create the user's own secret where it is missing.

    Raises
    ------
    SecretError
        The file is missing, shorter than `MIN_SECRET_BYTES`, unreadable, or readable by others.
    """
    named = secret_file or _from_environment()
    if named is not None:
        return Pseudonyms(_read_secret(named))
    default = get_default_secret_file()
    if make and not default.exists():
        _make_secret(default)
    return Pseudonyms(_read_secret(default))


def get_default_secret_file() -> Path:
    """Return where the user's own secret lies: `siamese-med/secret` in the platform's configuration folder."""
    return locate_config_folder() / "secret"


def _from_environment() -> Path | None:
    value = os.environ.get(SECRET_FILE_VARIABLE)
    return Path(value) if value else None


def _read_secret(path: Path) -> bytes:
    if not path.is_file():
        raise SecretError(f"no secret file at {path}: name an existing one, or none to have one made")
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SecretError(f"others can read the secret at {path}: run `chmod 600` on it")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SecretError(f"the secret at {path} cannot be read: check its owner") from error
    if len(content) < MIN_SECRET_BYTES:
        raise SecretError(f"the secret at {path} is shorter than {MIN_SECRET_BYTES} bytes: name another file")
    return content


def _make_secret(path: Path) -> None:
    """Create the secret completely or not at all, so that two simultaneous first runs agree on one."""
    try:
        files.create_private_file(path, secrets.token_bytes(32))
    except OSError as error:
        if files.is_disk_full_error(error):
            raise files.make_no_space_error(path.parent) from error
        raise SecretError(
            f"no secret can be made at {path}: name a file with {SECRET_FILE_VARIABLE} or in the config"
        ) from error
    sys.stderr.write(f"made the pseudonym secret at {path}: keep a copy, without it all pseudonyms change\n")
