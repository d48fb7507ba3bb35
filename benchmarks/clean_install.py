"""Whether the wheel works in a new environment, outside the checkout: the core, what each extra says, and all of it.

    python -m benchmarks.clean_install FOLDER [--python python3.11] [--pinned] [--port 4217]

Builds the wheel and installs it into FOLDER/venv without extras. Runs a small demo there, compares two of its scans,
and asks for what each missing extra does. Then installs the extra `all`, serves the demo's study, and waits for a
scheduled run that completes. Prints how long both installations took, how large they are, what `pip check` says and
which versions differ from constraints.txt; with --pinned, pip obeys constraints.txt. An environment that lies in
FOLDER/venv is used as it is: put a CPU build of torch into it first, where PyPI has none. Takes ten minutes on two
cores and downloads what is not in pip's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.commands import ROOT
from tests.test_readme import QUICK

PATIENCE_S = 600
EVERY_MINUTE = '\n[run]\nnightly = "* * * * *"\n'
STUDY = 'input = "demo/input"\ndata = "demo/data"\nreports = "demo/reports"\nconfig = "quick.toml"\n'
FOR_EXTRAS = {
    "dask": ["ingest", "demo/input", "--config", "dask.toml"],
    "dicom": ["report", "--dicom", "objects", "--input", "demo/input"],
    "pacs": ["ingest", "dicomweb://localhost:1/dicom-web"],
    "pdf": ["report", "--pdf"],
    "postgresql": ["status", "--config", "postgresql.toml"],
    "prefect": ["serve", "nights.toml"],
}
"""A command that needs each extra."""


@dataclass(frozen=True)
class CleanEnvironment:
    """A virtual environment in a folder, and commands in it that see nothing of the user's settings."""

    folder: Path

    def make(self, python: str) -> None:
        """Make the environment, unless it is there, and empty what an earlier call left in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "venv").is_dir():
            subprocess.run([python, "-m", "venv", self.folder / "venv"], check=True)
        for name in ("home", "demo"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "quick.toml").write_text(QUICK + EVERY_MINUTE, encoding="utf-8")
        (self.folder / "nights.toml").write_text(STUDY, encoding="utf-8")
        (self.folder / "dask.toml").write_text('[run]\ndask = "tcp://localhost:1"\n', encoding="utf-8")
        database = '[ingest]\ndatabase = "postgresql+pg8000://localhost/catalogue"\n'
        (self.folder / "postgresql.toml").write_text(database, encoding="utf-8")

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of its commands."""
        own = {
            key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "SIAMESE_", "PYTHON"))
        }
        home = self.folder / "home"
        return {**own, "HOME": str(home), "PREFECT_HOME": str(home / "prefect")}

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `siamese-med` in the folder."""
        command = [str(self.folder / "venv" / "bin" / "siamese-med"), *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False)

    def pip(self, *arguments: str) -> str:
        """Run pip in the environment and return what it prints."""
        command = [str(self.folder / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        return subprocess.run([*command, *arguments], stdout=subprocess.PIPE, text=True, check=False).stdout

    def install(self, *what: str) -> None:
        """Install packages; say how long it took, how large all is, whether it fits together and what is not pinned."""
        began = time.monotonic()
        self.pip("install", "--quiet", *what)
        seconds = time.monotonic() - began
        (packages,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file() and not path.is_symlink())
        print(f"{what[0]}: installed in {seconds:.0f} s, {size / 1e9:.2f} GB; {self.pip('check').strip()}")
        frozen = self.pip("freeze").lower().split()
        pairs = [line.partition("==") for line in frozen if "==" in line]
        here = {re.sub(r"[-_.]+", "-", name) + f"=={version.split('+')[0]}" for name, _, version in pairs}
        pins = set((ROOT / "constraints.txt").read_text(encoding="utf-8").split())
        print(f"{len(here)} packages; not as pinned: {', '.join(sorted(here - pins)) or 'none'}", flush=True)


def main() -> None:
    """Install the core, try it, install all of it, and wait for a scheduled run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="python3.11")
    parser.add_argument("--pinned", action="store_true")
    parser.add_argument("--port", type=int, default=4217)
    given = parser.parse_args()
    clean = CleanEnvironment(given.folder.resolve())
    clean.make(given.python)
    pins = ["-c", str(ROOT / "constraints.txt")] if given.pinned else []
    clean.install(str(build_wheel(clean)), *pins)
    print(clean.call("--version").stdout.strip())
    try_core(clean)
    clean.install("siamese-med[all]", *pins)
    wait_for_schedule(clean, given.port)


def build_wheel(clean: CleanEnvironment) -> Path:
    """Build the wheel of the tracked files alone: no build folder, no data."""
    source, wheels = clean.folder / "source", clean.folder / "wheel"
    for folder in (source, wheels):
        shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    clean.pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(source))
    (wheel,) = wheels.glob("*.whl")
    return wheel


def try_core(clean: CleanEnvironment) -> None:
    """Run a small demo without any extra, compare two of its scans, and print what each missing extra says."""
    began = time.monotonic()
    done = clean.call("demo", "--patients", "8", "--visits", "2", "--config", "quick.toml")
    print(f"demo: exit code {done.returncode} after {time.monotonic() - began:.0f} s; {done.stderr.splitlines()[:1]}")
    scans = sorted((clean.folder / "demo" / "data" / "scans").rglob("*.nii.gz"))[:2]
    began = time.monotonic()
    compared = clean.call("compare", *map(str, scans), "--json")
    answer = {key: json.loads(compared.stdout).get(key) for key in ("comparable", "similarity", "change")}
    print(f"compare: exit code {compared.returncode} after {time.monotonic() - began:.0f} s; {answer}")
    for name, arguments in FOR_EXTRAS.items():
        refused = clean.call(*arguments)
        print(f"without {name}: exit code {refused.returncode}; {refused.stderr.strip()}", flush=True)


def wait_for_schedule(clean: CleanEnvironment, port: int) -> None:
    """Serve the demo's study and ask `status` until a scheduled run has ended well."""
    command = [str(clean.folder / "venv" / "bin" / "siamese-med"), "serve", "nights.toml", "--port", str(port)]
    began = time.monotonic()
    with (clean.folder / "serve.log").open("w") as log:
        serving = subprocess.Popen(command, cwd=clean.folder, env=clean.variables, stdout=log, stderr=log)
    try:
        while time.monotonic() - began < PATIENCE_S and serving.poll() is None:
            said = clean.call("status", "--data", "demo/data", "--reports", "demo/reports", "--json")
            runs = json.loads(said.stdout).get("runs", []) if said.stdout else []
            if any(run["run"].startswith("nightly ") and run["state"] == "Completed" for run in runs):
                print(f"schedule: a nightly run Completed {time.monotonic() - began:.0f} s after `serve` was started")
                return
            time.sleep(10)
        print(f"schedule: no run in {PATIENCE_S} s\n{(clean.folder / 'serve.log').read_text()}")
    finally:
        serving.terminate()
        serving.wait(timeout=60)


if __name__ == "__main__":
    main()
