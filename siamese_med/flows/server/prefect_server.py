"""The Prefect server that records a run: the one the user names, the one that `serve` runs, or one for this run alone.

A server of this package listens on a socket that its starter has opened and keeps open, so no other program can take
the port while the starter lives. It proves its identity (see `credentials`) before anything is sent to it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from urllib.parse import urlsplit

from siamese_med.errors import ServerError
from siamese_med.flows.server import credentials
from siamese_med.flows.server.credentials import ServerAccess
from siamese_med.runtime import processes, progress
from siamese_med.runtime.user_folders import locate_state_folder

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = (LOOPBACK, "localhost", "::1")
ANY_PORT = 0
"""Lets the operating system choose a free port."""
DRAIN_TIMEOUT_S = 10.0
"""Seconds to wait for logs and events that are still to be sent."""
PROBE_TIMEOUT_S = 2.0
"""Seconds that a starting server has for each proof of its identity."""
MAX_START_ATTEMPTS = 3
"""Attempts to start a server: two servers that create the tables of one empty database can fail once."""


@contextmanager
def use_recording_server() -> Iterator[None]:
    """Connect Prefect to a server for the duration of the block.

    The server is the one the user names, else the one that `serve` runs, else one that is started for this block.
    """
    named, served = _named(), _served()
    if access := named or (served if served and credentials.is_own_server(served) else None):
        with _talking_to(access), translate_server_errors():
            yield
    else:
        with start_server(ANY_PORT):
            yield


@contextmanager
def translate_server_errors() -> Iterator[None]:
    """Turn failures of the connection to a Prefect server inside the block into readable errors.

    Raises
    ------
    ServerError
        If the server does not answer or expects another password.
    """
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        raise ServerError("Prefect's server does not answer: is it up, and PREFECT_API_URL right?") from error
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.UNAUTHORIZED:
            raise
        raise ServerError(
            "Prefect's server has another password: is it yours, and are PREFECT_API_URL and "
            "PREFECT_API_AUTH_STRING right?"
        ) from error


def find_known_server() -> ServerAccess | None:
    """Find the server that the user names for Prefect, else the one that `serve` runs, if any.

    Raises
    ------
    ServerError
        If the server at the address of `serve` does not prove its identity; nothing may be sent to it.
    """
    if named := _named():
        return named
    if (served := _served()) and not credentials.is_own_server(served):
        raise ServerError(
            f"the server at {served.address} is not yours, or does not respond: start `siamese-med serve` again"
        )
    return served


@contextmanager
def keep_server_up(port: int) -> Iterator[str]:
    """Run a server inside the block that other processes of this user find; the block gets its API address.

    Raises
    ------
    ServerError
        If such a server is running already.
    """
    (lock := _lock()).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    credentials.read_or_make_password()  # make or check it before anything starts
    with lock.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServerError("`siamese-med serve` is running already: name all studies in one call") from error
        held.truncate(0)
        os.fchmod(held.fileno(), 0o600)
        with start_server(port, credentials.password_file()) as access:
            held.write(json.dumps({"address": access.address, "auth": access.auth}))
            held.flush()
            try:
                yield access.address
            finally:
                held.truncate(0)


@contextmanager
def start_server(port: int, password: Path | None = None) -> Iterator[ServerAccess]:
    """Start a server on the loopback interface that ends with the block and with this process.

    The block gets its address and token. `password` is a file whose content opens the server as well.
    Raises ServerError if the port is in use or the server does not start.
    """
    from prefect.settings import get_current_settings

    limit_s = get_current_settings().server.ephemeral.startup_timeout_seconds
    with ExitStack() as stack, progress.show_wait_status("starting Prefect's server"):
        listener = stack.enter_context(_listening(port))
        origin = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        access = ServerAccess(f"{origin}/api", credentials.make_server_auth())
        command = [sys.executable, "-P", "-m", "siamese_med.flows.server.access_control", str(listener.fileno())]
        command += [str(password)] if password else []
        environment = _environment(origin, access)
        (log := _state() / "server.log").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for chance in reversed(range(MAX_START_ATTEMPTS)):
            output = stack.enter_context(log.open("wb"))
            server = stack.enter_context(processes.run_process_group(command, environment, output, [listener.fileno()]))
            if _answers(server, access, time.monotonic() + limit_s):
                up = stack.pop_all()
                break
            if not chance:
                raise ServerError(f"Prefect's server did not start: {log} says why")
    with up, _talking_to(access):
        try:
            yield access
        finally:
            _send_what_waits()


def _environment(origin: str, access: ServerAccess) -> dict[str, str]:
    """Environment of a server process; only this user can read it."""
    import prefect

    assert access.auth is not None
    shared = Path(prefect.__ui_static_subpath__).parent  # where Prefect writes its pages to, unless told otherwise
    pages = {} if os.access(shared, os.W_OK) else {"PREFECT_UI_STATIC_DIRECTORY": str(_state() / "ui")}
    doors = {"PREFECT_SERVER_API_AUTH_STRING": access.auth, "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": origin}
    return {**pages, **os.environ, **doors}


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        why = (
            "is in use by another program" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        )
        raise ServerError(f"port {port} {why}: choose another with --port") from error


def _send_what_waits() -> None:
    """Send pending logs and events, which threads of their own would send after the server has ended."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=DRAIN_TIMEOUT_S)


def _answers(server: Popen[bytes], access: ServerAccess, deadline: float) -> bool:
    """Wait until the server answers; false if it ends before that or takes too long."""
    while time.monotonic() < deadline and server.poll() is None:
        if credentials.is_own_server(access, PROBE_TIMEOUT_S):
            return True
        time.sleep(0.1)
    return False


@contextmanager
def _talking_to(access: ServerAccess) -> Iterator[None]:
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: access.address, PREFECT_API_AUTH_STRING: access.auth}):
        yield


def _named() -> ServerAccess | None:
    """The server that the user names for Prefect, unless it is that of `serve`, whose token is known."""
    from prefect.settings import get_current_settings

    api, served = get_current_settings().api, _served()
    if api.url is None or (served and _place(api.url) == _place(served.address)):
        return None
    auth = api.auth_string.get_secret_value() if api.auth_string else None
    if credentials.is_password(auth):
        raise ServerError(
            "PREFECT_API_URL names a `siamese-med serve` that is not running: start it, or unset the variable"
        )
    return ServerAccess(api.url, auth)


def _place(address: str) -> tuple[str | None, int | None]:
    """Host and port of an address; all names of the loopback interface become one."""
    parts = urlsplit(address)
    return (LOOPBACK if parts.hostname in LOOPBACK_NAMES else parts.hostname), parts.port


def _served() -> ServerAccess | None:
    """Access to the server of `serve` as written into its lock file; None if no process holds the lock."""
    if not (lock := _lock()).is_file():
        return None
    with lock.open() as text:
        try:
            fcntl.flock(text, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return ServerAccess(**json.loads(text.read()))
            except (ValueError, TypeError):
                return None  # it is starting, or was started by an older version
    return None


def _lock() -> Path:
    return _state() / "server.lock"


def _state() -> Path:
    return locate_state_folder()
