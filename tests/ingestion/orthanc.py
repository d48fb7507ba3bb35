"""A real Orthanc with DICOMweb on a free loopback port, in a folder of its own, that surely ends."""

from __future__ import annotations

import json
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

START_UP_S = 300
LITTLE = 2000
"""Bytes of a series that come over a bad connection: less than one file."""

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

    def count(self, level: str) -> int:
        """How many resources of a level there are."""
        return len(self._ask("get", f"/{level}"))

    def read_back(self, sop: str) -> tuple[bytes, str]:
        """The file of the only instance with a SOPInstanceUID, and the StudyInstanceUID it is filed under."""
        (found,) = self._ask("post", "/tools/lookup", data=sop)
        study = self._ask("get", f"{found['Path']}/study")["MainDicomTags"]["StudyInstanceUID"]
        return self._request("get", f"{found['Path']}/file").content, str(study)

    def forget(self, level: str) -> None:
        """Delete every resource of a level: `patients`, `instances`, ..."""
        for one in self._ask("get", f"/{level}"):
            self._ask("delete", f"/{level}/{one}")

    def lose(self, sop: str) -> None:
        """Delete one instance."""
        (found,) = self._ask("post", "/tools/lookup", data=sop)
        self._ask("delete", found["Path"])

    def _ask(self, verb: str, path: str, **arguments: Any) -> Any:
        return self._request(verb, path, **arguments).json()

    def _request(self, verb: str, path: str, **arguments: Any) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        auth = tuple(word.encode() for word in self.auth) if self.auth else None
        answer = requests.request(verb, url, auth=auth, timeout=300, **arguments)
        answer.raise_for_status()
        return answer

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


class Road(socketserver.ThreadingTCPServer):
    """A bad connection to a server: of one series, after `good` others, little arrives before the connection is cut,
    or, where it `stalls`, before nothing more comes; the first `lost` requests are closed without a word."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, server: Orthanc, good: int, stalls: bool, lost: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.to, self.left, self.stalls, self.lost = server, good, stalls, lost
        self.ended = threading.Event()

    def orthanc(self) -> Orthanc:
        """The same server at the end of this road."""
        return Orthanc(int(self.server_address[1]), self.to.auth)


class _Passage(socketserver.StreamRequestHandler):
    server: Road

    def handle(self) -> None:
        head = b""
        while line := self.rfile.readline():
            head += line if not line.lower().startswith(b"connection:") else b"Connection: close\r\n"
            if line == b"\r\n":
                break
        if self.server.lost > 0:
            self.server.lost -= 1
            return
        path = head.split(b" ")[1] if head else b""
        series = b"/series/" in path and b"/instances" not in path
        bad = series and self.server.left == 0
        self.server.left -= series
        left = LITTLE if bad else 10**12
        with socket.create_connection(("127.0.0.1", self.server.to.port)) as there:
            there.sendall(head)
            closing = b"\r\nConnection: close\r\n"
            while left > 0 and (data := there.recv(min(left, 65536))):
                self.wfile.write(data.replace(b"\r\n", closing, 1))
                left, closing = left - len(data), b"\r\n"
        if bad and self.server.stalls:
            self.server.ended.wait()


@contextmanager
def bad_road(server: Orthanc, good: int = 0, stalls: bool = False, lost: int = 0) -> Iterator[Orthanc]:
    """Give the server as it is reached over a bad connection."""
    with Road(server, good, stalls, lost) as road:
        threading.Thread(target=road.serve_forever, daemon=True).start()
        try:
            yield road.orthanc()
        finally:
            road.ended.set()
            road.shutdown()
