"""Access control in front of Prefect's server: only this user, from this machine.

Run as a module, this is the server. Its arguments are the number of an inherited listening socket and, if the pages
may be opened with the user's password, the file of that password.

Prefect checks the password. It also answers to any host name, even one that a foreign page has pointed at this machine
(DNS rebinding), and to requests that a page of another origin sends. Both are refused here before Prefect sees them.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

from siamese_med.flows.server import credentials

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

LOOPBACK_HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
"""Host headers that are served, with any port: a tunnel from another machine ends at a port of its own."""
FRAME_DENY_HEADER = (b"x-frame-options", b"DENY")
"""Forbids other pages to embed those of the server."""
CHALLENGE_PATTERN = re.compile(rf"[0-9a-f]{{1,{credentials.MAX_CHALLENGE_DIGITS}}}")
"""Pattern of a challenge: hexadecimal digits."""
HTTP_FORBIDDEN = 403
WEBSOCKET_POLICY_VIOLATION = 1008
"""Close code "policy violation", RFC 6455, section 7.4.1."""


class AccessControl:
    """ASGI application that wraps Prefect's.

    Parameters
    ----------
    app
        Prefect's application.
    port
        Port on which it is served; part of the proof of identity.
    auth
        The `user:password` that Prefect expects.
    password
        Another `user:password` that opens the server, or None.
    """

    def __init__(self, app: App, port: int, auth: str, password: str | None) -> None:
        self._app, self._port, self._auth, self._password = app, port, auth, password

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, refuse it, or pass it on to Prefect."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif why := find_refusal_reason(scope["headers"]):
            await _refuse(scope, receive, send, why)
        elif scope["type"] == "websocket":
            await self._app(scope, self._translating(receive), send)
        elif scope["path"] == credentials.PROOF_PATH:
            await self._prove(scope, send)
        else:
            headers = [(name, self._translated(name, value)) for name, value in scope["headers"]]
            await self._app({**scope, "headers": headers}, receive, _unframed(send))

    async def _prove(self, scope: Message, send: Send) -> None:
        challenge = scope["query_string"].decode("latin-1")
        if CHALLENGE_PATTERN.fullmatch(challenge):
            await _answer(send, 200, credentials.compute_proof(self._auth, self._port, challenge))
        else:
            await _answer(send, 400, "no challenge")

    def _translated(self, name: bytes, value: bytes) -> bytes:
        """Replace the user's password with what Prefect expects; leave anything else for Prefect to refuse."""
        kind, _, text = value.partition(b" ")
        if name.lower() != b"authorization" or kind.lower() != b"basic":
            return value
        try:
            given = base64.b64decode(text, validate=True)
        except ValueError:
            return value
        return b"Basic " + base64.b64encode(self._auth.encode()) if self._opens(given) else value

    def _translating(self, receive: Receive) -> Receive:
        """Do the same for a websocket, whose first message carries the password."""
        waiting = True

        async def translated() -> Message:
            nonlocal waiting
            message = await receive()
            if not waiting or message["type"] != "websocket.receive":
                return message
            waiting = False
            try:
                said = json.loads(message.get("text") or message.get("bytes") or "")
                given = str(said["token"]).encode()
            except (ValueError, TypeError, KeyError):
                return message
            return {**message, "text": json.dumps({**said, "token": self._auth})} if self._opens(given) else message

        return translated

    def _opens(self, given: bytes) -> bool:
        return self._password is not None and hmac.compare_digest(given, self._password.encode())


def find_refusal_reason(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return why a request is refused, or None if it is allowed.

    A request is refused if it is addressed to another host than this one, or if a page of another origin sent it.

    Parameters
    ----------
    headers
        Names and values of the request's headers.

    Examples
    --------
    >>> find_refusal_reason([(b"host", b"localhost:4200")]) is None
    True
    >>> find_refusal_reason([(b"host", b"evil.example")])
    'this server answers to 127.0.0.1 and localhost only'
    """
    hosts, origins = ([value for key, value in headers if key.lower() == name] for name in (b"host", b"origin"))
    if len(hosts) != 1 or not LOOPBACK_HOST.fullmatch(hosts[0]):
        return "this server answers to 127.0.0.1 and localhost only"
    if any(origin.lower() != b"http://" + hosts[0].lower() for origin in origins):
        return "a page of another origin may not use this server"
    return None


async def _refuse(scope: Message, receive: Receive, send: Send, why: str) -> None:
    if scope["type"] == "http":
        await _answer(send, HTTP_FORBIDDEN, why)
    else:
        await receive()  # the request to connect
        await send({"type": "websocket.close", "code": WEBSOCKET_POLICY_VIOLATION, "reason": why})


async def _answer(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"), FRAME_DENY_HEADER]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def _unframed(send: Send) -> Send:
    """Add the header that forbids other pages to embed this one."""

    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), FRAME_DENY_HEADER]}
        await send(message)

    return marked


def main() -> None:
    """Serve Prefect behind this access control on an inherited listening socket, until the process is ended."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    _close_database()
    listener = socket.socket(fileno=int(sys.argv[1]))
    password = Path(sys.argv[2]).read_text(encoding="ascii").strip() if len(sys.argv) > 2 else None
    settings = get_current_settings().server
    assert settings.api.auth_string is not None
    auth = settings.api.auth_string.get_secret_value()
    config = uvicorn.Config(
        AccessControl(create_app(final=True), listener.getsockname()[1], auth, password),
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _close_database() -> None:
    """Make Prefect's SQLite database, which names the studies' files, readable by this user alone."""
    from prefect.settings import get_current_settings
    from sqlalchemy import make_url

    os.umask(0o077)
    connection = get_current_settings().server.database.connection_url
    url = make_url(connection.get_secret_value()) if connection else None
    if url and url.get_backend_name() == "sqlite" and url.database and Path(url.database).is_file():
        for made in Path(url.database).parent.glob(f"{Path(url.database).name}*"):  # its journals too
            made.chmod(0o600)


if __name__ == "__main__":
    main()
