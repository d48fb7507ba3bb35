"""Signals end a command at once, whatever it does: its exit code, one line, and no process left."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from siamese_med.ingestion.catalogue import catalogue
from tests.recorded import User

LIMIT_S = 90.0
STARTS_S = 90.0
"""How long a command may take, on a busy machine, until it is where it is to be interrupted."""
INTERRUPTED = "siamese-med: interrupted; the same command goes on where it stopped\n"
HOLDS_THE_GIL = """
import itertools, siamese_med.study.config
def load(*_):
    print("up", flush=True)
    sum(itertools.repeat(0))  # for ever, and without a moment for a signal handler or another thread
siamese_med.study.config.load_config = load
from siamese_med.cli.main import main
main()
"""
ORPHANS = """
import subprocess, sys, time
from siamese_med.runtime.supervisor import run_under_supervisor
run_under_supervisor()
leave = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
for _ in range(4):
    subprocess.run([sys.executable, "-c", leave], start_new_session=True)
print("up", flush=True)
time.sleep(600)
"""
SLOW_TO_IMPORT = "import time\nprint('up', flush=True)\ntime.sleep(600)\n"


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    made = User(tmp_path / "home")
    yield made
    made.kill_all()


@contextmanager
def started(
    user: User, *command: str | Path, cwd: Path, ignoring: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A Python program in a session of its own, as a terminal or a scheduler starts it."""

    def ignore() -> None:
        if ignoring:
            signal.signal(ignoring, signal.SIG_IGN)

    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=user.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=ignore,
    ) as process:
        try:
            yield process
        finally:
            user.kill_all()


def wait_until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + STARTS_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def line(stream: IO[str] | None) -> str:
    """The next line, empty where none comes in time."""
    assert stream is not None
    return stream.readline() if select.select([stream], [], [], STARTS_S)[0] else ""


def ended(user: User, process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of who must end by now, with all its processes."""
    output, errors = process.communicate(timeout=LIMIT_S)
    assert user.processes() == {}
    return process.returncode, output, errors


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda sent: sent.name)
def test_a_long_call_into_c_ends(user: User, tmp_path: Path, sent: signal.Signals) -> None:
    with started(user, "-c", HOLDS_THE_GIL, "config", cwd=tmp_path) as process:
        assert line(process.stdout) == "up\n"
        process.send_signal(sent)
        assert ended(user, process) == (128 + sent, "", INTERRUPTED)


def test_orphans_in_sessions_of_their_own_end(user: User, tmp_path: Path) -> None:
    with started(user, "-c", ORPHANS, cwd=tmp_path) as process:
        assert line(process.stdout) == "up\n"
        wait_until(lambda: len(user.processes()) == 2 + 4)
        process.send_signal(signal.SIGTERM)
        assert ended(user, process) == (143, "", INTERRUPTED)


def test_imports_end(user: User, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(SLOW_TO_IMPORT)
    user.extra["PYTHONPATH"] = f"{tmp_path}:{user.environment['PYTHONPATH']}"
    with started(user, "-m", "siamese_med", "config", cwd=tmp_path) as process:
        assert line(process.stdout) == "up\n"
        process.send_signal(signal.SIGINT)
        assert ended(user, process) == (130, "", INTERRUPTED)


@pytest.mark.slow
def test_workers_end_with_what_started_them_on_ctrl_c(user: User, tmp_path: Path) -> None:
    command = ("-m", "siamese_med", "demo", "--no-prefect", "--quiet", "--patients", "64")
    with tempfile.TemporaryDirectory() as scratch:
        user.extra["TMPDIR"] = scratch
        with started(user, *command, cwd=tmp_path) as process:
            wait_until(lambda: list(tmp_path.glob("demo/input/dicom/*/*/*/*")))
            assert len(user.processes()) > 4  # supervisor, worker, fork server, keeper of semaphores, two that simulate
            os.killpg(process.pid, signal.SIGINT)
            assert ended(user, process) == (130, "", INTERRUPTED)
        assert list(Path(scratch).iterdir()) == []


@contextmanager
def waiting(user: User, cwd: Path, *more: str, ignoring: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """An ingest that waits for another run to end."""
    (cwd / "input").mkdir()
    (cwd / "input" / "a.txt").write_text("no scan")
    (lock := cwd / "data" / catalogue.INGEST_LOCK_FILE).parent.mkdir()
    command = ("-m", "siamese_med", "ingest", "input", "--no-prefect", *more)
    with lock.open("w") as held, started(user, *command, cwd=cwd, ignoring=ignoring) as process:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "waiting for it to finish" in line(process.stderr)
        yield process


def test_who_waits_for_a_lock_ends_and_answers_a_program_too(user: User, tmp_path: Path) -> None:
    with waiting(user, tmp_path, "--json") as process:
        process.send_signal(signal.SIGTERM)
        code, output, errors = ended(user, process)
    assert (code, errors) == (143, INTERRUPTED)
    assert json.loads(output) == {"error": INTERRUPTED.removeprefix("siamese-med: ").rstrip(), "exit_code": 143}


def test_a_signal_that_is_ignored_stays_ignored(user: User, tmp_path: Path) -> None:
    with waiting(user, tmp_path, ignoring=signal.SIGHUP) as process:
        os.killpg(process.pid, signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert ended(user, process) == (143, "", INTERRUPTED)


def test_the_process_that_works_passes_a_signal_on(user: User, tmp_path: Path) -> None:
    with waiting(user, tmp_path) as process:
        (worker,) = children(process.pid)
        os.kill(worker, signal.SIGTERM)
        assert ended(user, process) == (143, "", INTERRUPTED)


def test_who_is_killed_from_outside_is_said_to_be(user: User, tmp_path: Path) -> None:
    with waiting(user, tmp_path) as process:
        (worker,) = children(process.pid)
        os.kill(worker, signal.SIGKILL)
        code, output, errors = ended(user, process)
    assert (code, output) == (137, "")
    assert "ended by SIGKILL, perhaps because memory ran out" in errors
    assert errors.count("\n") == 1


def test_the_supervisor_does_not_outlive_its_kill(user: User, tmp_path: Path) -> None:
    with waiting(user, tmp_path) as process:
        process.kill()
        process.wait()
        assert user.left() == {}


def test_a_closed_standard_input_is_no_obstacle(user: User, tmp_path: Path) -> None:
    """Nothing else may be opened in its place; the shell closes it."""
    command = 'exec "$0" -m siamese_med config <&- | head -n 1'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable],
        cwd=tmp_path, env=user.environment, capture_output=True, text=True, check=False, timeout=STARTS_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
