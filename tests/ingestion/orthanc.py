"""A real Orthanc with DICOMweb on a free loopback port, in a folder of its own, that surely ends."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

START_UP_S = 60
PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins", "/usr/local/share/orthanc/plugins")


def needed() -> tuple[str, Path]:
    """The program and its DICOMweb plugin; skips the test where one is not installed."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    found = [path for folder in PLUGIN_FOLDERS for path in Path(folder).glob("libOrthancDicomWeb.so*")]
    if program is None or not found:
        pytest.skip("needs Orthanc and its DICOMweb plugin (Debian packages orthanc and orthanc-dicomweb)")
    return program, found[0]


@dataclass(frozen=True)
class Orthanc:
    """A running server; `auth` is a user and password where it asks for them."""

    port: int
    auth: tuple[str, str] | None = None

    def address(self, query: str = "", path: str = "dicom-web") -> str:
        """What the command line is given."""
        return f"dicomweb://127.0.0.1:{self.port}/{path}{'?' * bool(query)}{query}"

    def push(self, paths: Iterable[Path]) -> list[str]:
        """Store files; returns what the server says of each: Success or AlreadyStored."""
        return [str(self._ask("post", "/instances", data=path.read_bytes())["Status"]) for path in paths]

    def forget(self, level: str) -> None:
        """Delete every resource of a level: `patients`, `instances`, ..."""
        for one in self._ask("get", f"/{level}"):
            self._ask("delete", f"/{level}/{one}")

    def _ask(self, verb: str, path: str, **arguments: Any) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}"
        answer = requests.request(verb, url, auth=self.auth, timeout=30, **arguments)
        answer.raise_for_status()
        return answer.json()

    def answers(self) -> bool:
        """Whether the server is up."""
        try:
            self._ask("get", "/system")
        except requests.RequestException:
            return False
        return True


@contextmanager
def running(folder: Path, auth: tuple[str, str] | None = None, **settings: Any) -> Iterator[Orthanc]:
    """Start Orthanc, wait until it answers, and end it, whatever happens."""
    program, plugin = needed()
    server = Orthanc(free_port(), auth)
    config = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": server.port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": auth is not None,
        "RegisteredUsers": dict([auth]) if auth else {},
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait(server, process, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_UP_S
    while not server.answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
