"""A user with a very small study (tests/studies.py) and a Prefect home of their own, who runs the real command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import studies
from tests.commands import ROOT
from tests.recorded import User
from tests.studies import Made

CONFIG = studies.CONFIG_TOML
LOOPBACK = ("'127.0.0.1'", "127.0.0.1", "'localhost'", "localhost", "'::1'", "/", "'/", "b'", "None")
LISTENER = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(os.environ["CONNECTS"], "a") as file:
            file.write(f"{event} {arguments[1] if event != 'socket.getaddrinfo' else arguments[0]}\\n")
sys.addaudithook(note)
"""


@dataclass(frozen=True)
class Tiny:
    """An export of eight patients with two visits each, its config, and what an undisturbed run made of it.

    In every Python process of its user somebody listens, and writes down whom it connects to.
    """

    folder: Path
    user: User
    made: Made

    @property
    def export(self) -> Path:
        """The shared export, which nobody changes; `made.copy_export` gives one to change."""
        return self.made.export

    @property
    def connects(self) -> Path:
        """Where the addresses are that were sought."""
        return self.folder / "connects.txt"

    def outside(self) -> set[str]:
        """Addresses beyond this machine that a process of the user sought."""
        sought = {line.partition(" ")[2].strip() for line in self.connects.read_text().splitlines()}
        assert sought, "the listener heard nothing at all"
        return {address for address in sought if not address.lstrip("(").startswith(LOOPBACK)}

    @property
    def whole(self) -> Path:
        """Where the undisturbed run's data and reports are; nobody changes them."""
        return self.made.whole

    def run(self, where: Path, config: Path | None = None, export: Path | None = None) -> list[str | Path]:
        """The command that makes everything of the export, or of a copy of it."""
        places = ["--data", where / "data", "--reports", where / "reports"]
        manifest = (export or self.export) / "manifest.csv"
        return ["run", manifest, *places, "--config", config or self.folder / "config.toml"]

    def trained(self, where: Path, *more: str) -> Path:
        """A place with the undisturbed run's model: what trains finds its work done. `more`: also these of its data."""
        for name in ("models", *more):
            shutil.copytree(self.whole / "data" / name, where / "data" / name)
        return where

    def study(self, where: Path, more: str = "") -> Path:
        """A study file for data and reports under `where`, with more lines of config."""
        where.mkdir(parents=True, exist_ok=True)
        (where / "config.toml").write_text(CONFIG + more)
        keys = {
            "input": self.export / "manifest.csv",
            "data": where / "data",
            "reports": where / "reports",
            "config": where / "config.toml",
        }
        file = where / "tiny.toml"
        file.write_text("".join(f"{key} = {json.dumps(str(path))}\n" for key, path in keys.items()))
        return file


@pytest.fixture(scope="session")
def tiny(made_study: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "hook").mkdir()
    (folder / "hook" / "sitecustomize.py").write_text(LISTENER)
    heard = {"PYTHONPATH": f"{folder / 'hook'}:{ROOT}", "CONNECTS": str(folder / "connects.txt")}
    (folder / "config.toml").write_text(CONFIG)
    tiny = Tiny(folder, User(folder / "home", extra=heard), made_study)
    yield tiny
    tiny.user.kill_all()
