"""What opens a Prefect server of ours: a token that it is started with, and the user's password for browsers.

The token is new for every server and known to this user's processes alone, so nobody can use what was sent to a server
that has ended since. The password is made once and stays, since a browser keeps it.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_state_path

from siamese_med.errors import ServerError
from siamese_med.runtime import files

SERVER_USER = "siamese-med"
TOKEN_BYTES = 32
PROOF_PATH = "/siamese-med/proof"
MAX_CHALLENGE_DIGITS = 128
PROOF_TIMEOUT_S = 20.0
"""How long a server may take to prove that it is ours: long, since the machine may be busy."""


@dataclass(frozen=True)
class ServerAccess:
    """The address of a server's API, and Prefect's `user:password` for it, where it wants one."""

    address: str
    auth: str | None = field(default=None, repr=False)


def make_server_auth() -> str:
    """What one server of ours, and nobody else, is opened with."""
    return f"{SERVER_USER}:{_random()}"


def password_file() -> Path:
    """Where this user's password for the pages lies."""
    return user_state_path("siamese-med") / "password"


def read_or_make_password() -> str:
    """This user's `user:password` for the pages, made on first use; raises ServerError where others can read it."""
    path = password_file()
    if not path.exists():
        files.create_private_file(path, f"{SERVER_USER}:{_random()}\n".encode())
    found = path.stat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ServerError(f"others can read the password in {path}: remove the file, and a new password is made")
    if len(text := path.read_text(encoding="ascii", errors="replace").strip()) < TOKEN_BYTES:
        raise ServerError(f"the password in {path} is too short: remove the file, and a new password is made")
    return text


def is_password(auth: str | None) -> bool:
    """Whether this is the user's password for the pages; makes none."""
    return (
        auth is not None
        and password_file().is_file()
        and hmac.compare_digest(auth.encode(), read_or_make_password().encode())
    )


def compute_proof(auth: str, port: int, challenge: str) -> str:
    """What only a server that was started with `auth`, on this port, can answer to a challenge."""
    return hmac.digest(auth.encode(), f"{port} {challenge}".encode(), "sha256").hex()


def is_own_server(access: ServerAccess, patience_s: float = PROOF_TIMEOUT_S) -> bool:
    """Whether the server that answers at an address is the one that was started with `access.auth`.

    Nothing secret is sent, so any other server learns nothing.
    """
    import httpx

    assert access.auth is not None
    address, challenge = urlsplit(access.address), secrets.token_hex(TOKEN_BYTES)
    asked = f"{address.scheme}://{address.netloc}{PROOF_PATH}?{challenge}"
    try:
        # A proxy is not asked for the way to this machine.
        with httpx.Client(trust_env=False, timeout=patience_s, follow_redirects=False) as client:
            answer = client.get(asked).text
    except httpx.HTTPError:
        return False
    return hmac.compare_digest(answer.encode(), compute_proof(access.auth, address.port or 80, challenge).encode())


def _random() -> str:
    return base64.b32encode(secrets.token_bytes(TOKEN_BYTES)).decode().rstrip("=").lower()
