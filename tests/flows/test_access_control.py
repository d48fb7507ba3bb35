"""Who may talk to the server of `serve`: this user, by the password or as a process of `serve`, and nobody else."""

from __future__ import annotations

import base64
import errno
import fcntl
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from siamese_med.errors import ServerError
from siamese_med.flows.server import access_control, credentials, prefect_server
from tests.recorded import User
from tests.reporting import browser
from tests.reporting.devtools import Chromium, opened

BY_HAND = '[run]\nnightly = ""\nretrain = ""\n'
EVIL = "http://evil.example"


@dataclass
class Own:
    """A user whose `serve` is up, with a study that has nothing in it yet."""

    user: User
    folder: Path
    port: int

    @property
    def state(self) -> Path:
        return self.user.home / ".local" / "state" / "siamese-med"

    @property
    def password(self) -> str:
        return (self.state / "password").read_text().strip()

    @property
    def exported(self) -> dict[str, str]:
        """What `serve` says to export for Prefect's own commands."""
        return {"PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api", "PREFECT_API_AUTH_STRING": self.password}

    def ask(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, str]:
        """What the server answers to these headers and no others."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        sent = {"Host": f"127.0.0.1:{self.port}", **headers, "Content-Length": str(len(body or ""))}
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders((body or "").encode())
        with connection.getresponse() as answer:
            return answer.status, answer.read().decode()

    def runs(self) -> int:
        return len(self.user.query("select id from flow_run"))


def basic(auth: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}


def study(folder: Path, name: str = "mine") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(BY_HAND)
    (file := folder / f"{name}.toml").write_text('data = "data"\nreports = "reports"\nconfig = "config.toml"\n')
    return file


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    folder = tmp_path_factory.mktemp("doors")
    made = Own(User(folder / "home"), folder, free_port())
    (folder / "home" / "prefect").mkdir()
    (folder / "home" / "prefect" / "prefect.db").touch(mode=0o644)  # as older versions left it
    with made.user.serving(study(folder / "secret-study"), port=made.port, cwd=folder):
        registered(made.user)
        yield made
    made.user.kill_all()


def registered(user: User) -> None:
    """Wait until `serve` has said to its server what there is to run."""
    deadline = time.monotonic() + 300
    while len(user.query("select id from deployment")) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 401),
        ({"Authorization": "Basic "}, 401),
        ({"Authorization": "Basic ?"}, 401),
        (basic("siamese-med:"), 401),
        (basic("admin:pass"), 401),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Host": "evil.example@127.0.0.1:{port}"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": EVIL}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),  # another program on this machine
        ({"Origin": "http://localhost:{port}"}, 403),
    ],
)
def test_what_is_not_this_users_makes_no_run(own: Own, headers: dict[str, str], code: int) -> None:
    (deployment,) = own.user.query("select id from deployment where name = 'mine' limit 1")[0]
    known = {} if code == 401 else basic(own.password)  # who knows the password is refused for the rest
    sent = {name: value.format(port=own.port) for name, value in {**known, **headers}.items()}
    before = own.runs()
    path = f"/api/deployments/{deployment}/create_flow_run"
    for kind in ("application/json", "text/plain"):  # the latter is sent without asking first
        assert own.ask("POST", path, {**sent, "Content-Type": kind}, "{}")[0] == code
    assert own.ask("POST", "/api/deployments/filter", sent, "{}")[0] == code
    assert own.runs() == before


def test_a_page_elsewhere_is_not_even_told_that_it_may_ask(own: Own) -> None:
    asked = {"Origin": EVIL, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=300)
    connection.request("OPTIONS", "/api/flow_runs/filter", headers=asked)
    with connection.getresponse() as answer:
        assert answer.status == 403
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "localhost:8080", "localhost"])
def test_the_password_opens_the_server_from_this_machine_or_through_a_tunnel(own: Own, host: str) -> None:
    sent = {"Host": host.format(port=own.port), "Origin": f"http://{host.format(port=own.port)}"}
    code, said = own.ask("POST", "/api/deployments/filter", {**basic(own.password), **sent}, "{}")
    assert code == 200
    assert {one["name"] for one in json.loads(said)} == {"mine"}


@pytest.mark.parametrize(
    ("token", "origin", "opens"), [("right", None, True), ("wrong", None, False), ("right", EVIL, False)]
)
def test_events_are_heard_with_the_password_alone(own: Own, token: str, origin: Any, opens: bool) -> None:
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    def greeted() -> bool:
        address = f"ws://127.0.0.1:{own.port}/api/events/out"
        with connect(address, origin=origin, subprotocols=["prefect"]) as socket_:  # type: ignore[list-item]
            secret = own.password if token == "right" else "siamese-med:guessed"
            socket_.send(json.dumps({"type": "auth", "token": secret}))
            return bool(json.loads(socket_.recv(timeout=300))["type"] == "auth_success")

    if opens:
        assert greeted()
    else:
        with pytest.raises((ConnectionClosed, InvalidStatus)):
            greeted()


def test_the_own_command_line_needs_no_password(own: Own) -> None:
    here = f"http://127.0.0.1:{own.port}/api"
    assert own.user.ask("status", cwd=own.folder)["server"] == here
    for extra in ({"PREFECT_API_URL": f"http://localhost:{own.port}/api"}, own.exported):
        assert User(own.user.home, own.user.mark, extra).ask_here("status", cwd=own.folder)["server"] == here


@pytest.mark.long
def test_a_run_of_serve_reports_its_end(own: Own) -> None:
    done = own.user.call("trigger", "nightly", "--wait", "--json", cwd=own.folder)
    assert json.loads(done.stdout)["error"].startswith("the run ended as Failed")  # it has no model, and says so itself


def test_prefects_own_commands_work_as_serve_says(own: Own) -> None:
    (line,) = [one for one in (own.folder / "serve.log").read_text().splitlines() if "export" in one]
    before = own.runs()
    command = f"{line.partition(': ')[2]}\n{sys.executable} -m prefect deployment run nightly/mine"
    done = subprocess.run(
        ["sh", "-ec", command], env=own.user.environment, cwd=own.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert own.runs() == before + 1


def test_the_password_is_nowhere_that_others_can_read(own: Own) -> None:
    auth = json.loads((own.state / "server.lock").read_text())["auth"]
    secrets = [own.password, own.password.partition(":")[2], auth, auth.partition(":")[2]]
    commands = " ".join(own.user.processes().values())
    assert "siamese_med.flows.server.access_control" in commands
    assert not [secret for secret in secrets if secret in commands]
    said = [own.folder / "serve.log", own.state / "server.log", *(own.user.home / "prefect").rglob("*")]
    for file in [path for path in said if path.is_file()]:
        assert not [secret for secret in secrets if secret.encode() in file.read_bytes()], file
    closed = [own.state / "password", own.state / "server.lock", *(own.user.home / "prefect").glob("prefect.db*")]
    assert len(closed) >= 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in closed} == {0o600}


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_the_pages_ask_for_the_password_once(own: Own, tmp_path: Path) -> None:
    chromium, address = Chromium(tmp_path / "profile"), f"http://127.0.0.1:{own.port}/deployments"
    try:
        with opened(chromium, address) as tab:
            awaited(tab, "document.querySelector('input[type=password]') !== null")
            tab.evaluate("document.querySelector('input').focus()")
            chromium.ask("Input.insertText", tab._session, text=own.password)
            tab.evaluate("document.querySelector('form button, button[type=submit]').click()")
            awaited(tab, "document.body.innerText.includes('mine')")
        with opened(chromium, address) as tab:
            awaited(tab, "document.body.innerText.includes('mine')")
    finally:
        chromium.close()


def awaited(tab: Any, condition: str) -> None:
    deadline = time.monotonic() + 300
    while not tab.evaluate(condition):
        assert time.monotonic() < deadline, tab.evaluate("document.body.innerText")
        time.sleep(0.1)


@pytest.mark.long
def test_a_second_user_on_the_port_is_told_so_and_touches_nothing(own: Own, tmp_path: Path) -> None:
    other = User(tmp_path / "home")
    ours = own.user.query("select name, paused from deployment order by name")
    done = other.call("serve", study(tmp_path, "theirs"), "--port", str(own.port), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"siamese-med: port {own.port} is in use by another program: choose another with --port"
    ]
    assert own.user.query("select name, paused from deployment order by name") == ours
    assert other.query("select name from deployment") == []
    assert other.left() == {}


@pytest.mark.long
def test_two_users_serve_side_by_side(own: Own, tmp_path: Path) -> None:
    other = Own(User(tmp_path / "home"), tmp_path, free_port())
    with other.user.serving(study(tmp_path, "theirs"), port=other.port, cwd=tmp_path):
        registered(other.user)
        assert other.ask("POST", "/api/deployments/filter", basic(own.password), "{}")[0] == 401
        assert own.ask("POST", "/api/deployments/filter", basic(other.password), "{}")[0] == 401
        assert other.user.ask("status", cwd=tmp_path)["server"] == f"http://127.0.0.1:{other.port}/api"
    other.user.kill_all()


@pytest.mark.long
def test_who_names_another_users_server_is_told_so_in_one_line(own: Own, tmp_path: Path) -> None:
    """As after `export PREFECT_API_URL=...` on a machine where somebody else serves on that port now."""
    other = User(tmp_path / "home", extra={"PREFECT_API_URL": own.exported["PREFECT_API_URL"]})
    before = own.runs()
    trigger, ingest = ["trigger", "nightly"], ["ingest", str(study(tmp_path / "input").parent)]
    for done in (other.call_here(*trigger, cwd=tmp_path), other.call(*ingest, cwd=tmp_path)):
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert "has another password" in done.stderr
    assert own.runs() == before


@contextmanager
def stranger(port: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Another user's server: its port, and all that anybody says to it. It agrees to everything."""
    heard: list[str] = []

    class Agreeable(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            heard.append(f"{self.requestline}\n{self.headers}{body.decode()}")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"true")

        do_POST = do_PATCH = do_GET  # noqa: N815 - so the base class calls them

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    made = ThreadingHTTPServer(("127.0.0.1", port), Agreeable)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made.server_address[1], heard
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize("exported", [False, True])
def test_a_stranger_in_our_place_is_told_nothing(tmp_path: Path, exported: bool) -> None:
    """`serve` is at work, but on another machine with the same home, or its server is not the one that answers."""
    mine = Own(User(tmp_path / "home"), tmp_path, 0)
    mine.state.mkdir(parents=True)
    (mine.state / "password").touch(mode=0o600)
    (mine.state / "password").write_text("siamese-med:" + "p" * 52)
    auth = "siamese-med:" + "t" * 52
    with stranger() as (port, heard), (mine.state / "server.lock").open("w") as held:
        mine.port = port
        json.dump({"address": f"http://127.0.0.1:{port}/api", "auth": auth}, held)
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        user = User(mine.user.home, extra=mine.exported if exported else {})
        assert user.ask_here("status", cwd=tmp_path)["server"] is None
        done = user.call_here("trigger", "nightly", cwd=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "is not yours" in done.stderr
    assert {one.split()[1].partition("?")[0] for one in heard} == {credentials.PROOF_PATH}
    assert not [one for one in heard if "ppp" in one or "ttt" in one or "authorization" in one.lower()]


def test_a_stranger_on_the_port_of_a_serve_that_has_ended_is_told_nothing(tmp_path: Path) -> None:
    mine = Own(User(tmp_path / "home"), tmp_path, 0)
    mine.state.mkdir(parents=True)
    (mine.state / "password").touch(mode=0o600)
    (mine.state / "password").write_text("siamese-med:" + "p" * 52)
    with stranger() as (port, heard):
        mine.port = port
        stale = {"address": f"http://127.0.0.1:{port}/api", "auth": "siamese-med:" + "t" * 52}
        (mine.state / "server.lock").write_text(json.dumps(stale))
        for extra in ({}, mine.exported):
            user = User(mine.user.home, extra=extra)
            assert user.ask_here("status", cwd=tmp_path)["server"] is None
            done = user.call_here("trigger", "nightly", cwd=tmp_path)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert heard == []


def test_a_password_that_others_can_read_is_refused(tmp_path: Path) -> None:
    user = User(tmp_path / "home")
    (path := user.home / ".local" / "state" / "siamese-med" / "password").parent.mkdir(parents=True)
    path.write_text("siamese-med:" + "p" * 52)
    path.chmod(0o644)
    done = user.call_here("serve", study(tmp_path), "--port", str(free_port()), cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "others can read the password" in done.stderr


@pytest.mark.long
def test_a_server_for_one_run_is_locked_too() -> None:
    with prefect_server.start_server(prefect_server.ANY_PORT) as access:
        assert access.auth is not None
        one_run = Own(User(Path.home()), Path.home(), int(access.address.split(":")[2].split("/")[0]))
        assert one_run.ask("POST", "/api/flows/filter", {}, "{}")[0] == 401
        assert one_run.ask("POST", "/api/flows/filter", basic(access.auth), "{}")[0] == 200
        assert one_run.ask("POST", "/api/flows/filter", {**basic(access.auth), "Host": "evil.example"}, "{}")[0] == 403


def test_a_port_that_is_not_ours_to_take_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", denied)
    with pytest.raises(ServerError, match=r"port 80 cannot be used \(Permission denied\): choose another"):
        prefect_server.start_server(80).__enter__()


@pytest.mark.parametrize("headers", [[], [(b"host", b"127.0.0.1")] * 2, [(b"Host", b"127.0.0.1:1:2")]])
def test_a_request_names_one_host(headers: list[tuple[bytes, bytes]]) -> None:
    assert access_control.find_refusal_reason(headers)


def test_nobody_takes_the_port_while_serve_lives(own: Own) -> None:
    """The last test of this server, since it ends it."""
    (pid,) = [
        pid for pid, command in own.user.processes().items() if "siamese_med.flows.server.access_control" in command
    ]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 200
    while pid in own.user.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", own.port))
