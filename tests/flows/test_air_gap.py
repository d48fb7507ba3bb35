"""Without any way out of the machine everything works, and nobody even tries: a namespace with loopback alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.flows.conftest import Tiny

ALONE = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
SCRIPT = """
import json, os, sys
from pathlib import Path
from tests.recorded import User
folder, study, run = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
user = User(Path(os.environ["HOME"]), extra={name: os.environ[name] for name in ("PYTHONPATH", "CONNECTS")})
whole = user.call(*run, cwd=folder)
with user.serving(study, port=4200, cwd=folder):
    night = user.call("trigger", "nightly", "--wait", "--json", cwd=folder)
state = json.loads(night.stdout).get("state")
print(json.dumps([whole.returncode, night.returncode, state, whole.stderr, night.stdout + night.stderr]))
"""


def possible() -> bool:
    """Whether this machine lets us make a network of our own."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.long
@pytest.mark.skipif(not possible(), reason="needs unshare, ip, and leave to make a network namespace")
def test_run_and_serve_work_without_a_network_and_seek_none(tiny: Tiny, tmp_path: Path) -> None:
    study = tiny.study(tmp_path, '[run]\nnightly = ""\n')
    run = tiny.run(tiny.trained(tmp_path), tmp_path / "config.toml")
    words = [*ALONE, sys.executable, "-c", SCRIPT, *map(str, (tmp_path, study, *run))]
    done = subprocess.run(
        words, env=tiny.user.environment, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    whole, night, state, *said = json.loads(done.stdout)
    assert (whole in (0, 4), night in (0, 4)) == (True, True), said
    assert state in ("Completed", "DoneInPart"), said
    assert tiny.outside() == set()
