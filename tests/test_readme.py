"""Every command of the README and of the pages for users is run, in order, in one study (`make test-long`).

`tests/test_documentation.py` checks the same commands in seconds, without running them.
"""

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
from itertools import takewhile
from pathlib import Path
from urllib.request import urlopen

import pydicom
import pytest

from benchmarks import privacy
from siamese_med.flows import PREFECT_ENVIRONMENT
from tests import documentation
from tests.commands import ROOT
from tests.documentation import TASK_PAGES, Command

pytestmark = [pytest.mark.slow, pytest.mark.long]

INSTEAD = {"make demo": "siamese-med demo"}
"""What a target of the Makefile does once the environment is there."""

NOT_RUN = {
    "make test": "would run this test",
    "siamese-med demo --patients": "is the same as `make demo`, which was run",
    'siamese-med ingest "dicomweb': "needs a PACS; tests/ingestion/test_pacs_pull.py pulls from one",
    "python -m monai.bundle verify_metadata": "downloads a schema; tests/end_to_end/test_monai_bundle.py brings one",
    "siamese-med answers": "needs a file that a browser saves; tests/reporting/test_reader_answers.py has one",
    "siamese-med serve study.toml": "writes into the user's configuration; `serve demo.toml --systemd` is run",
}
"""Beginnings of commands that are only parsed, and why."""

SMALLER = {
    "siamese-med run demo/input/dicom/": "--config starter.toml",
    "siamese-med demo ": "--patients 8 --visits 2 --config quick.toml",
    "siamese-med run ": "--config quick.toml",
    "siamese-med train ": "--config quick.toml",
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

[promote]
starter_model = false
"""


STARTER = """
[score]
spacing_mm = 4.0
"""
"""For the tutorial, whose single patient needs the starter model."""


def script(command: Command) -> str:
    """What bash is given: variables first, and the smaller size where there is one."""
    text = INSTEAD.get(command.text, command.text)
    extra = next((more for start, more in SMALLER.items() if f"{text} ".startswith(start)), "")
    return "\n".join((*command.variables, f"{text} {extra}".rstrip()))


def steps() -> list[Command]:
    """The commands of all pages that are run, in order, and the Python of its page as one more."""
    found: list[Command] = []
    for page in TASK_PAGES:
        found += [one for one in documentation.commands(page) if not one.text.startswith(tuple(NOT_RUN))]
        if page.stem == "python":  # the training loops after it are run by tests/training/test_longitudinal_dataset.py
            blocks = takewhile(lambda block: "LongitudinalDataset" not in block, documentation.blocks(page, "python"))
            found += [Command(page, f"python -c {shlex.quote(block)}") for block in blocks]
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all commands, with a `siamese-med` on the path even where the package is not installed."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "quick.toml").write_text(QUICK)
    (folder / "starter.toml").write_text(STARTER)
    shim = folder / "bin" / "siamese-med"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m siamese_med "$@"\n')
    shim.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def server(study: Path) -> Iterator[str]:
    """A Prefect server that stays up, as a department has one: no command has to wait for its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    options = ["--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    command = [sys.executable, "-m", "prefect", "server", "start", *options]
    with (study / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | PREFECT_ENVIRONMENT, stdout=log, stderr=log)
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


def test_what_is_not_run_is_still_shown() -> None:
    shown = [command.text for page in TASK_PAGES for command in documentation.commands(page)]
    assert [start for start in NOT_RUN if not any(text.startswith(start) for text in shown)] == []


def test_every_command_of_the_documentation_does_what_it_says_and_nobody_is_named(
    study: Path, server: str, home: Path, stack: ExitStack
) -> None:
    """One test, since a later command needs what an earlier one left, and so does the search for names in all of it."""
    path = f"{study / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": server}
    pages = "".join(page.read_text(encoding="utf-8") for page in TASK_PAGES)
    (study / "demo.toml").write_text("".join(STUDY_FILE.findall(pages)))
    for command in steps():
        if command.text == GOES_ON:
            del own["PREFECT_API_URL"]  # from here on, who serves is found
            stack.enter_context(serving(study, os.environ | own))
            continue
        result = subprocess.run(
            ["bash", "-c", script(command)],
            cwd=study,
            env=os.environ | own,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert result.returncode == command.code, f"{command}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
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
