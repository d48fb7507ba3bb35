"""Catalogue and Prefect on a PostgreSQL of this machine's own: two ingests at once, and the whole line."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests import results
from tests.flows.conftest import CONFIG, Tiny
from tests.recorded import User

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))
pytestmark = pytest.mark.skipif(BIN is None, reason="needs Debian's postgresql")


def call(name: str, *arguments: str) -> None:
    """A program of PostgreSQL's, which refuses to be run by root."""
    assert BIN is not None
    who = "postgres" if os.geteuid() == 0 else None
    subprocess.run([BIN / name, *arguments], user=who, cwd="/", capture_output=True, check=True, timeout=300)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a new server on loopback, with databases `catalogue` and `prefect`."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # where its user may enter
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = str(folder / "data")
    call("initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    call("pg_ctl", "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        for name in ("catalogue", "prefect"):
            call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", name)
        yield f"postgres@127.0.0.1:{port}"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def config_of(tmp_path: Path, url: str) -> Path:
    """The config of the small study, with its catalogue on the server."""
    config = tmp_path / "config.toml"
    config.write_text(f'{CONFIG}\n[ingest]\ndatabase = "{url}"\n')
    return config


def ingest_halves_at_once(tiny: Tiny, tmp_path: Path, user: User, *options: str | Path) -> None:
    """Two processes ingest one half of the patients each, into one data folder and one catalogue."""
    export = tiny.made.copy_export(tmp_path / "export")
    manifest = pd.read_csv(export / "manifest.csv")
    places = ["--data", tmp_path / "data", "--reports", tmp_path / "reports"]
    at_once = []
    for half in range(2):
        of_half = manifest.subject.str[1:].astype(int) % 2 == half  # all visits of a patient come together
        manifest[of_half].to_csv(export / f"half-{half}.csv", index=False)
        log = tmp_path / f"half-{half}.txt"
        at_once.append(user.start("ingest", export / f"half-{half}.csv", *places, *options, cwd=tmp_path, log=log))
    codes = [process.wait(600) for process in at_once]
    assert codes == [0, 0], [(tmp_path / f"half-{half}.txt").read_text() for half in range(2)]


def assert_as_undisturbed(place: Path, tmp_path: Path, url: str) -> None:
    """Scans and files are those that one ingest finds, and there are no others."""
    found, expected = (results.of_catalogue(one) for one in (url, f"sqlite:///{place}/data/catalogue.sqlite"))
    assert {name: len(rows) for name, rows in found.items()} == {name: len(rows) for name, rows in expected.items()}
    assert found["scan"] == expected["scan"]
    assert found["file"] == expected["file"]
    scans = "data/scans/**/*.nii.gz"
    contents = [{path.name: path.read_bytes() for path in one.glob(scans)} for one in (tmp_path, place)]
    assert contents[0] == contents[1]
    assert not (tmp_path / "data" / "catalogue.sqlite").exists()


@pytest.mark.long
def test_two_ingests_at_once_lose_nothing_and_double_nothing(tiny: Tiny, tmp_path: Path, postgres: str) -> None:
    url = f"postgresql+pg8000://{postgres}/catalogue"
    ingest_halves_at_once(tiny, tmp_path, tiny.user, "--config", config_of(tmp_path, url), "--no-prefect")
    assert_as_undisturbed(tiny.made.trained, tmp_path, url)


@pytest.mark.long
def test_the_whole_line_with_prefect_on_postgresql_too(tiny: Tiny, tmp_path: Path, postgres: str) -> None:
    call("createdb", "-h", "127.0.0.1", "-p", postgres.rpartition(":")[2], "-U", "postgres", "whole")
    url = f"postgresql+pg8000://{postgres}/whole"
    config = config_of(tmp_path, url)
    user = User(
        tmp_path / "home", extra={"PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{postgres}/prefect"}
    )
    ingest_halves_at_once(tiny, tmp_path, user, "--config", config)
    done = user.call(*tiny.run(tiny.trained(tmp_path), config, tmp_path / "export"), cwd=tmp_path)
    assert done.returncode in (0, 4), done.stderr
    assert_as_undisturbed(tiny.whole, tmp_path, url)
    runs = subprocess.run(
        [BIN / "psql", "-h", "127.0.0.1", "-p", postgres.rpartition(":")[2], "-U", "postgres", "-At", "-c",
         "select name, state_type from flow_run", "prefect"], capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert sorted(line.split(" ")[0] for line in runs) == ["ingest", "ingest", "track-changes"]
    assert all(line.endswith("|COMPLETED") for line in runs)
    assert not (tmp_path / "home" / "prefect" / "prefect.db").exists()
