"""The Prefect server that records a run: the one that is named, the one that `serve` keeps up, or one for this run.

A server of ours listens on a socket that its starter has opened and keeps, so that no other program can take the port
while the starter lives; and it proves itself, see `keys`, before anything is sent to it.
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

from platformdirs import user_state_path

from siamese_med.errors import ServerError
from siamese_med.flows.server import credentials
from siamese_med.flows.server.credentials import ServerAccess
from siamese_med.runtime import processes, progress

LOOPBACK = "127.0.0.1"
LOOPBACK_NAMES = (LOOPBACK, "localhost", "::1")
ANY_PORT = 0
DRAIN_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 2.0
MAX_START_ATTEMPTS = 3
"""Two servers that make their tables in one empty database stand in each other's way, once."""


@contextmanager
def use_recording_server() -> Iterator[None]:
    """Have Prefect talk to a server for as long as the block takes."""
    named, served = _named(), _served()
    if access := named or (served if served and credentials.is_own_server(served) else None):
        with _talking_to(access), translate_server_errors():
            yield
    else:
        with start_server(ANY_PORT):
            yield


@contextmanager
def translate_server_errors() -> Iterator[None]:
    """Say it as ServerError where the server that the block talks to does not answer, or wants another password."""
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        raise ServerError("Prefect's server does not answer: is it up, and PREFECT_API_URL right?") from error
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.UNAUTHORIZED:
            raise
        raise ServerError(
            "Prefect's server wants another password: is it yours, and are PREFECT_API_URL and "
            "PREFECT_API_AUTH_STRING right?"
        ) from error


def find_known_server() -> ServerAccess | None:
    """The server that the user has named for Prefect, else the one that `serve` keeps up, if any.

    Raises ServerError where that of `serve` does not prove itself: nothing may be sent to whoever answers there.
    """
    if named := _named():
        return named
    if (served := _served()) and not credentials.is_own_server(served):
        raise ServerError(f"the server at {served.address} is not yours, or it hangs: start `siamese-med serve` again")
    return served


@contextmanager
def keep_server_up(port: int) -> Iterator[str]:
    """Keep a server up that others of this user find; raises ServerError where one is kept already."""
    (lock := _lock()).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    credentials.read_or_make_password()  # made, or refused, before anything starts
    with lock.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServerError("`siamese-med serve` is at work already: name all studies in one call") from error
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
    """A server on loopback that ends with the block and with this process; raises ServerError where it cannot start.

    It is opened with the access that is given, and with what is in the file `password`, if that is named.
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
    """What the process of a server of ours sees; nobody but this user can read it there."""
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
    """Logs and events travel by threads of their own, which would find the server gone."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=DRAIN_TIMEOUT_S)


def _answers(server: Popen[bytes], access: ServerAccess, deadline: float) -> bool:
    """Wait until the server answers; false where it ends before, or takes too long."""
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
    """The server that the user has named for Prefect, unless it is that of `serve`, which is known better."""
    from prefect.settings import get_current_settings

    api, served = get_current_settings().api, _served()
    if api.url is None or (served and _place(api.url) == _place(served.address)):
        return None
    auth = api.auth_string.get_secret_value() if api.auth_string else None
    if credentials.is_password(auth):
        raise ServerError("PREFECT_API_URL names a `siamese-med serve` that is not at work: start it, or unset this")
    return ServerAccess(api.url, auth)


def _place(address: str) -> tuple[str | None, int | None]:
    """Host and port of an address; the names of loopback are one."""
    parts = urlsplit(address)
    return (LOOPBACK if parts.hostname in LOOPBACK_NAMES else parts.hostname), parts.port


def _served() -> ServerAccess | None:
    """What the holder of the lock has written; None where nobody holds it."""
    if not (lock := _lock()).is_file():
        return None
    with lock.open() as text:
        try:
            fcntl.flock(text, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return ServerAccess(**json.loads(text.read()))
            except (ValueError, TypeError):
                return None  # it starts up, or was started by an older version
    return None


def _lock() -> Path:
    return _state() / "server.lock"


def _state() -> Path:
    return user_state_path("siamese-med")
