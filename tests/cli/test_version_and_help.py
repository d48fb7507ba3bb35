"""`--version`, `-h` and `siamese_med.__version__`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

import siamese_med
from siamese_med.cli.main import app
from tests.architecture.test_public_names import HEAVY
from tests.cli.test_main import COMMANDS
from tests.commands import ROOT
from tests.commands import siamese_med as call

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_version_is_that_of_pyproject() -> None:
    assert siamese_med.__version__ == DECLARED


def test_version_is_one_line_on_standard_output(tmp_path: Path) -> None:
    done = call("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"siamese-med {DECLARED}\n", "")
    assert list(tmp_path.iterdir()) == []


def test_version_is_read_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    assert siamese_med.__version__ == "0+unknown"


def test_version_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['siamese-med', '--version']\n"
        "from siamese_med.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"siamese-med {DECLARED}\n\n"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_h_is_help(command: str) -> None:
    short, long = (CliRunner().invoke(app, [*command.split(), option]) for option in ("-h", "--help"))
    assert (short.exit_code, short.output) == (0, long.output)
    assert "Usage:" in short.output
