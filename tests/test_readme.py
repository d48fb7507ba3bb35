"""Every command of the README is run, in order, in one study; so the README cannot lie."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pydicom
import pytest

from tests.benchmarks import privacy
from tests.commands import ROOT

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else ""
BLOCK = re.compile(r"^```(?:console|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = ("siamese-med", "make", "python")
ONLY_CHECKED = {
    "make demo": "takes five minutes",
    "make test": "would run this test",
    "make test-long": "takes ten minutes",
    "make install": "ran before it",
}
"""Commands that are only checked to be targets of the Makefile, and why."""

SMALLER = {
    "siamese-med demo": "--patients 8 --visits 2 --config quick.toml",
    "siamese-med run": "--config quick.toml",
    "siamese-med train": "--config quick.toml",
}
"""What is added to a command so that it takes seconds; it is the same command on less data or with fewer steps."""
GOES_ON = "siamese-med serve demo.toml"
STUDY_FILE = re.compile(r"`demo.toml`:\n\n```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)

PRIVATE = ROOT.parent / "shared" / "corpus" / "private_phi"
SCRIPT, PASSWD = "</script><script>alert(1)</script>", "../../etc/passwd"

QUICK = """
[train]
epochs = 2
steps_per_epoch = 2
patients_per_batch = 3
change_steps = 4
change_patches = 1
change_sources = 4

[score]
spacing_mm = 4.0
simulated_rescans = 4
"""


@dataclass(frozen=True)
class Command:
    """One line of a console block: what is typed, the variables set before it, and the promised exit code."""

    text: str
    variables: tuple[str, ...]
    code: int

    @property
    def script(self) -> str:
        """What bash is given: variables first, and the smaller size where there is one."""
        extra = next((more for start, more in SMALLER.items() if f"{self.text} ".startswith(f"{start} ")), "")
        return "\n".join((*self.variables, f"{self.text} {extra}".rstrip()))


def commands() -> list[Command]:
    """Every `siamese-med`, `make` or `python` line of the console and bash blocks, in order.

    `NAME=value` lines count for the commands after them; `# exit code 4` at a line's end promises that code.
    """
    found: list[Command] = []
    variables: tuple[str, ...] = ()
    for block in BLOCK.findall(README):
        lines = block.replace("\\\n", " ").splitlines()
        for line in [line.removeprefix("$ ").strip() for line in lines if line.startswith("$ ") or "$ " not in block]:
            code = re.search(r"# exit code (\d)", line)
            typed = line.split("  #")[0].strip()
            if re.match(r"[A-Z_]+=", typed):
                variables += (typed,)
            elif typed.split(" ")[0] in OURS:
                found.append(Command(typed, variables, int(code[1]) if code else 0))
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all commands, with a `siamese-med` on the path even where the package is not installed."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "quick.toml").write_text(QUICK)
    shim = folder / "bin" / "siamese-med"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m siamese_med.cli "$@"\n')
    shim.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def server(study: Path) -> Iterator[str]:
    """A Prefect server that stays up, as a department has one: no command has to wait for its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    import flows  # its settings, which keep the server from calling home

    options = ["--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    command = [sys.executable, "-m", "prefect", "server", "start", *options]
    with (study / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | flows.SETTINGS, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/api/health", process)
            yield f"http://127.0.0.1:{port}/api"
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Return when the server answers; fail when it has ended or two minutes have passed."""
    for _ in range(240):
        assert process.poll() is None, "the server ended before it answered"
        try:
            with urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not answer within two minutes")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What goes on until the test ends."""
    with ExitStack() as things:
        yield things


@contextmanager
def serving(study: Path, environment: dict[str, str]) -> Iterator[None]:
    """The command that goes on, from when it says where runs are shown."""
    with (study / "serve.log").open("w") as log:
        process = subprocess.Popen(GOES_ON.split(), cwd=study, env=environment, stdout=log, stderr=log)
        try:
            for _ in range(300):
                if "runs are shown at http://127.0.0.1:4200;" in (said := (study / "serve.log").read_text()):
                    break
                assert process.poll() is None, said
                time.sleep(1)
            yield
        finally:
            process.terminate()
            assert process.wait(timeout=60) in (0, 143)


def test_the_readme_shows_commands() -> None:
    shown = " ".join(command.text for command in commands())
    for verb in (
        "run",
        "ingest",
        "prepare",
        "pair",
        "train",
        "score",
        "report",
        "compare",
        "identify",
        "demo",
        "reveal",
        "promote",
        "serve",
        "trigger",
    ):
        assert f"siamese-med {verb}" in shown, f"the README shows no `siamese-med {verb}`"


def test_every_command_of_the_readme_does_what_it_says_and_nobody_is_named(
    study: Path, server: str, home: Path, stack: ExitStack
) -> None:
    """One test, since a later command needs what an earlier one left, and so does the search for names in all of it."""
    path = f"{study / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": server}
    (study / "demo.toml").write_text("".join(STUDY_FILE.findall(README)))
    for command in commands():
        if command.text == GOES_ON:
            del own["PREFECT_API_URL"]  # from here on, who serves is found
            stack.enter_context(serving(study, os.environ | own))
            continue
        if command.text in ONLY_CHECKED:
            target = command.text.split()[1]
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
            continue
        folder = ROOT if command.text.startswith("make") or "-m tests." in command.text else study
        result = subprocess.run(
            ["bash", "-c", command.script],
            cwd=folder,
            env=os.environ | own,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert result.returncode == command.code, f"{command.text}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
    _track_hostile_patients(study, own)
    words = privacy.words_of(study / "hostile") | privacy.words_of(study / "demo" / "input")
    words |= {b"0171-555", SCRIPT.encode()}
    assert len(words) > 500
    written = [study / "h", study / "study", study / "demo" / "data", study / "demo" / "reports", home]
    assert not privacy.hits(words, written)


def _track_hostile_patients(study: Path, own: dict[str, str]) -> None:
    """The whole line on two of the demo's patients, one under hostile names, and on the corpus' private case."""
    export = study / "hostile"
    for folder in sorted((study / "demo" / "input" / "dicom").iterdir())[:2]:
        shutil.copytree(folder, export / folder.name)
    for path in sorted(path for path in min(export.iterdir()).rglob("*") if path.is_file()):
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = SCRIPT, PASSWD
        dataset.SeriesDescription = f"{dataset.SeriesDescription} {SCRIPT}"
        dataset.save_as(path)
    if PRIVATE.is_dir():
        shutil.copytree(PRIVATE, export / "private")
    model = next(iter((study / "demo" / "data" / "models").iterdir()))
    typed = f"siamese-med run hostile --data h --reports h/reports --model {model}"
    done = subprocess.run(["bash", "-c", typed], cwd=study, env=os.environ | own, capture_output=True, timeout=600)
    assert done.returncode in (0, 4), done.stderr.decode()
    (study / "h" / "said").write_bytes(done.stdout + done.stderr)
    assert len(list((study / "h" / "reports").glob("sub-*/report.html"))) == len(list(export.iterdir()))
