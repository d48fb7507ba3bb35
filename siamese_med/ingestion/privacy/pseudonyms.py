"""The secret behind all pseudonyms, and the pseudonyms made from it.

A pseudonym is an HMAC-SHA256 under a secret that lies outside the repository: who has the secret can recompute it,
nobody else can, and it is the same in every run.
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

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

SECRET_FILE_VARIABLE = "SIAMESE_MED_SECRET_FILE"
MIN_SECRET_BYTES = 16
MAX_DATE_SHIFT_DAYS = 3650


@dataclass(frozen=True)
class Pseudonyms:
    """Labels and day shifts under one secret; the same input gives the same label for ever."""

    secret: bytes

    def subject(self, issuer: str, patient: str) -> str:
        """`sub-` and 26 base32 characters, 130 bits."""
        return f"sub-{self.label('subject', issuer, patient)}"

    def label(self, purpose: str, *parts: object, length: int = 26) -> str:
        """Up to 32 lower-case base32 characters of the HMAC of the parts, apart for each purpose."""
        return base64.b32encode(self._digest(purpose, *parts)[:20]).decode().lower()[:length]

    def shifted(self, day: date | None, subject: str) -> str | None:
        """The ISO date moved by the subject's own number of whole days, at most ten years either way."""
        if day is None:
            return None
        return (day + self._shift(subject)).isoformat()

    def unshifted(self, day: str | None, subject: str) -> date | None:
        """The true day behind a shifted ISO date."""
        return date.fromisoformat(day) - self._shift(subject) if day else None

    def _shift(self, subject: str) -> timedelta:
        number = int.from_bytes(self._digest("date shift", subject)[:8], "big")
        return timedelta(days=number % (2 * MAX_DATE_SHIFT_DAYS + 1) - MAX_DATE_SHIFT_DAYS)

    def seal(self, content: bytes, *context: str) -> str:
        """Base64 of the content under AES-SIV, bound to its context: the same content gives the same text for ever."""
        return base64.b64encode(self._cipher().encrypt(content, [part.encode() for part in context])).decode()

    def unseal(self, sealed: str, *context: str) -> bytes:
        """What was sealed under this context; raises CatalogueError where a bit of either is not as it was."""
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
    """Load the secret: the file that config or environment names, else the user's own, made on first use.

    Raises SecretError where a named file (or, without `make`, the user's own) is missing, too short, or readable by
    others.
    """
    named = secret_file or _from_environment()
    if named is not None:
        return Pseudonyms(_read_secret(named))
    default = get_default_secret_file()
    if make and not default.exists():
        _make_secret(default)
    return Pseudonyms(_read_secret(default))


def get_default_secret_file() -> Path:
    """Where the secret lies when nothing names another place."""
    import platformdirs

    return Path(platformdirs.user_config_dir("siamese-med", appauthor=False)) / "secret"


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
    """Create the secret whole or not at all, so that two first runs at once agree on one."""
    try:
        files.create_private_file(path, secrets.token_bytes(32))
    except OSError as error:
        if files.is_disk_full_error(error):
            raise files.make_no_space_error(path.parent) from error
        raise SecretError(
            f"no secret can be made at {path}: name a file with {SECRET_FILE_VARIABLE} or in the config"
        ) from error
    sys.stderr.write(f"made the pseudonym secret at {path}: keep a copy, without it all pseudonyms change\n")
