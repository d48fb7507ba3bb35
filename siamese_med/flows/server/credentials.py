"""Credentials of the user's own Prefect server: a token for its processes, and a password for browsers.

The token is new for every server and known only to this user's processes, so what was sent to an ended server is of no
use to anybody. The password is made once and stays the same, because browsers store it.
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

from siamese_med.errors import ServerError
from siamese_med.runtime import files
from siamese_med.runtime.user_folders import locate_state_folder

SERVER_USER = "siamese-med"
"""User name for HTTP basic authentication."""
TOKEN_BYTES = 32
"""Random bytes of a token, a password and a challenge."""
PROOF_PATH = "/siamese-med/proof"
"""Path at which a server proves its identity."""
MAX_CHALLENGE_DIGITS = 128
"""Longest challenge that is answered, in hexadecimal digits."""
PROOF_TIMEOUT_S = 20.0
"""Seconds that a server has for its proof; many, because the machine may be busy."""


@dataclass(frozen=True)
class ServerAccess:
    """Access to a Prefect server.

    Parameters
    ----------
    address
        URL of its API.
    auth
        The `user:password` that it expects, or None; left out of the object's text.
    """

    address: str
    auth: str | None = field(default=None, repr=False)


def make_server_auth() -> str:
    """Make a random `user:password` for one server."""
    return f"{SERVER_USER}:{_random()}"


def password_file() -> Path:
    """Return the path of this user's password for the server's pages."""
    return locate_state_folder() / "password"


def read_or_make_password() -> str:
    """Read this user's `user:password` for the pages, or make it on first use.

    Raises
    ------
    ServerError
        If other users can read the file, or the password is too short.
    """
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
    """Return whether this is the user's password for the pages.

    The comparison takes constant time. A password that does not exist yet is not made.

    Parameters
    ----------
    auth
        A `user:password`, or None.
    """
    return (
        auth is not None
        and password_file().is_file()
        and hmac.compare_digest(auth.encode(), read_or_make_password().encode())
    )


def compute_proof(auth: str, port: int, challenge: str) -> str:
    """Compute the answer to a challenge that only a server with this secret can give: HMAC-SHA-256 (RFC 2104).

    Parameters
    ----------
    auth
        The secret, which is not sent.
    port
        Port of the server, so that a proof is of no use to a server on another port.
    challenge
        Random digits of the client.

    Examples
    --------
    >>> compute_proof("user:secret", 4200, "00") == compute_proof("user:secret", 4201, "00")
    False
    """
    return hmac.digest(auth.encode(), f"{port} {challenge}".encode(), "sha256").hex()


def is_own_server(access: ServerAccess, patience_s: float = PROOF_TIMEOUT_S) -> bool:
    """Return whether the server at an address was started with `access.auth`.

    Nothing secret is sent, so a foreign server learns nothing.

    Parameters
    ----------
    access
        Address and secret.
    patience_s
        Seconds to wait for an answer.
    """
    import httpx

    assert access.auth is not None
    address, challenge = urlsplit(access.address), secrets.token_hex(TOKEN_BYTES)
    asked = f"{address.scheme}://{address.netloc}{PROOF_PATH}?{challenge}"
    try:
        # no proxy: the server is on this machine
        with httpx.Client(trust_env=False, timeout=patience_s, follow_redirects=False) as client:
            answer = client.get(asked).text
    except httpx.HTTPError:
        return False
    return hmac.compare_digest(answer.encode(), compute_proof(access.auth, address.port or 80, challenge).encode())


def _random() -> str:
    return base64.b32encode(secrets.token_bytes(TOKEN_BYTES)).decode().rstrip("=").lower()
