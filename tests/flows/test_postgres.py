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
    subprocess.run([BIN / name, *arguments], user=who, cwd="/", capture_output=True, check=True, timeout=120)


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


def test_two_ingests_at_once_lose_nothing_and_double_nothing(tiny: Tiny, tmp_path: Path, postgres: str) -> None:
    url = f"postgresql+pg8000://{postgres}/catalogue"
    config = tmp_path / "config.toml"
    config.write_text(f'{CONFIG}\n[ingest]\ndatabase = "{url}"\n')
    user = User(
        tmp_path / "home", extra={"PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{postgres}/prefect"}
    )
    manifest = pd.read_csv(tiny.export / "manifest.csv")
    places = ["--data", tmp_path / "data", "--reports", tmp_path / "reports", "--config", config]
    halves = [tiny.export / f"half-{half}.csv" for half in range(2)]
    try:
        for half, file in enumerate(halves):
            of_half = manifest.subject.str[1:].astype(int) % 2 == half  # all visits of a patient come together
            manifest[of_half].to_csv(file, index=False)
        at_once = [
            user.start("ingest", file, *places, cwd=tmp_path, log=tmp_path / f"{file.stem}.txt") for file in halves
        ]
        codes = [process.wait(300) for process in at_once]
    finally:
        for file in halves:
            file.unlink()
    assert codes == [0, 0], [(tmp_path / f"{file.stem}.txt").read_text() for file in halves]
    done = user.call(*tiny.run(tiny.trained(tmp_path), config), cwd=tmp_path)
    assert done.returncode in (0, 4), done.stderr
    found, expected = (results.of_catalogue(one) for one in (url, f"sqlite:///{tiny.whole}/data/catalogue.sqlite"))
    assert {name: len(rows) for name, rows in found.items()} == {name: len(rows) for name, rows in expected.items()}
    assert found["scan"] == expected["scan"]
    assert found["file"] == expected["file"]
    scans = "data/scans/**/*.nii.gz"
    contents = [{path.name: path.read_bytes() for path in place.glob(scans)} for place in (tmp_path, tiny.whole)]
    assert contents[0] == contents[1]
    runs = subprocess.run(
        [BIN / "psql", "-h", "127.0.0.1", "-p", postgres.rpartition(":")[2], "-U", "postgres", "-At", "-c",
         "select name, state_type from flow_run", "prefect"], capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert sorted(line.split(" ")[0] for line in runs) == ["ingest", "ingest", "track-changes"]
    assert all(line.endswith("|COMPLETED") for line in runs)
    assert not (tmp_path / "home" / "prefect" / "prefect.db").exists()
    assert not (tmp_path / "data" / "catalogue.sqlite").exists()
