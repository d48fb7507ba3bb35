"""Whether `pip install .` works without constraints.txt: installed in a new environment, checked, used, served.

    python -m benchmarks.clean_install FOLDER [--python python3.11] [--port 4217]

Prints how long the installation took and how large it is, what `pip check` says, which versions differ from
constraints.txt, how a small demo ended, and after how many seconds the schedule made a run that completed. Takes about
six minutes on two cores and downloads what is not in pip's cache.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from tests.commands import ROOT
from tests.test_readme import QUICK

PATIENCE_S = 300
EVERY_MINUTE = '\n[run]\nnightly = "* * * * *"\n'


def main() -> None:
    """Install, check, run a small demo, and wait for a scheduled run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="python3.11")
    parser.add_argument("--port", type=int, default=4217)
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    environment = install(folder, given.python)
    for name in ("home", "demo"):  # of an earlier call, whose runs would pass for those of this one
        shutil.rmtree(folder / name, ignore_errors=True)
    home = {"HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "home" / "prefect")}
    own = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "SIAMESE_", "PYTHON"))}
    (folder / "quick.toml").write_text(QUICK + EVERY_MINUTE, encoding="utf-8")
    tool = str(environment / "bin" / "siamese-med")
    demo = [tool, "demo", "--patients", "8", "--visits", "2", "--config", "quick.toml", "--quiet"]
    done = subprocess.run(demo, cwd=folder, env=own | home, check=False)
    print(f"demo: exit code {done.returncode}", flush=True)
    wait_for_schedule(tool, folder, own | home, given.port)


def install(folder: Path, python: str) -> Path:
    """Make the environment, say what is in it, and return its folder."""
    environment, source = folder / "venv", folder / "source"
    subprocess.run([python, "-m", "venv", environment], check=True)
    shutil.rmtree(source, ignore_errors=True)  # of tracked files alone: no build folder, no data
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    began = time.monotonic()
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", str(source)], stderr=subprocess.DEVNULL, check=True)
    size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"installed in {time.monotonic() - began:.0f} s, {size / 1e9:.1f} GB")
    check = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    print(f"pip check: {check.stdout.strip()}")
    frozen = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout.lower().split()
    here = {re.sub(r"[-_.]+", "-", name) + f"=={version.split('+')[0]}" for name, version in pairs(frozen)}
    pins = set((ROOT / "constraints.txt").read_text(encoding="utf-8").split())
    print(f"not as pinned: {', '.join(sorted(here - pins))}", flush=True)
    return environment


def pairs(frozen: list[str]) -> list[tuple[str, str]]:
    """Names and versions out of what `pip freeze` prints; what was installed from a folder has none."""
    return [(name, version) for name, equals, version in (line.partition("==") for line in frozen) if equals]


def wait_for_schedule(tool: str, folder: Path, environment: dict[str, str], port: int) -> None:
    """Serve the demo's study and ask `status` until a scheduled run has ended well."""
    study = 'input = "demo/input"\ndata = "demo/data"\nreports = "demo/reports"\nconfig = "quick.toml"\n'
    (folder / "nights.toml").write_text(study, encoding="utf-8")
    command = [tool, "serve", "nights.toml", "--port", str(port)]
    began = time.monotonic()
    with (folder / "serve.log").open("w") as log:
        serving = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    ask = [tool, "status", "--data", "demo/data", "--reports", "demo/reports", "--json"]
    try:
        while time.monotonic() - began < PATIENCE_S and serving.poll() is None:
            said = subprocess.run(ask, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            runs = json.loads(said.stdout).get("runs", []) if said.stdout else []
            if any(run["run"].startswith("nightly ") and run["state"] == "Completed" for run in runs):
                print(f"schedule: a nightly run Completed {time.monotonic() - began:.0f} s after `serve` was started")
                return
            time.sleep(10)
        print(f"schedule: no run in {PATIENCE_S} s\n{(folder / 'serve.log').read_text()}")
    finally:
        serving.terminate()
        serving.wait(timeout=60)


if __name__ == "__main__":
    main()
