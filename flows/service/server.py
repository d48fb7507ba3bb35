"""The Prefect server that records a run: the one that is named, the one that `serve` keeps up, or one for this run."""

from __future__ import annotations

import fcntl
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from platformdirs import user_state_path

from siamese_med import processes, progress
from siamese_med.errors import ServerError

LOOPBACK = "127.0.0.1"
SENDING_S = 10.0
CHANCES = 3
"""Two servers that make their tables in one empty database stand in each other's way, once."""


@contextmanager
def recording() -> Iterator[str]:
    """Have Prefect talk to a server for as long as the block takes; gives the address of its API."""
    if address := known():
        with _talking_to(address):
            yield address
        return
    with started(_free_port()) as address:
        yield address


def known() -> str | None:
    """The address of the server that the user has named for Prefect, else of the one that `serve` keeps up, if any."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url or _served()


@contextmanager
def kept(port: int) -> Iterator[str]:
    """Keep a server up that others of this user find by `known`; raises ServerError where one is kept already."""
    (lock := _lock()).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServerError("`siamese-med serve` is at work already: name all studies in one call") from error
        with started(port) as address:
            held.truncate(0)
            held.write(address)
            held.flush()
            try:
                yield address
            finally:
                held.truncate(0)


@contextmanager
def started(port: int) -> Iterator[str]:
    """A server on loopback that ends with the block and with this process; raises ServerError where it cannot start."""
    from prefect.settings import get_current_settings

    address, limit_s = f"http://{LOOPBACK}:{port}/api", get_current_settings().server.ephemeral.startup_timeout_seconds
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port)]
    (log := _state() / "server.log").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack, progress.waiting("starting Prefect's server"):
        for chance in reversed(range(CHANCES)):
            output = stack.enter_context(log.open("wb"))
            server = stack.enter_context(processes.group(command, output=output))
            if _answers(server, address, time.monotonic() + limit_s):
                up = stack.pop_all()
                break
            if not chance:
                raise ServerError(f"Prefect's server did not start: {log} says why; is the port free? (--port)")
    with up, _talking_to(address):
        try:
            yield address
        finally:
            _send_what_waits()


def _send_what_waits() -> None:
    """Logs and events travel by threads of their own, which would find the server gone."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=SENDING_S)


def _answers(server: Popen[bytes], address: str, deadline: float) -> bool:
    """Wait until the server answers; false where it ends before, or takes too long."""
    import httpx

    with httpx.Client(trust_env=False) as client:  # a proxy is not asked for the way to this machine
        while time.monotonic() < deadline and server.poll() is None:
            try:
                if client.get(f"{address}/health").is_success and server.poll() is None:
                    return True
            except httpx.TransportError:
                time.sleep(0.1)
    return False


@contextmanager
def _talking_to(address: str) -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address}):
        yield


def _served() -> str | None:
    """What the holder of the lock has written; None where nobody holds it."""
    if not (lock := _lock()).is_file():
        return None
    with lock.open() as text:
        try:
            fcntl.flock(text, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return text.read() or None
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _lock() -> Path:
    return _state() / "server.lock"


def _state() -> Path:
    return user_state_path("siamese-med")
