"""Children end with their parent: when the block ends, when it is terminated, and when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from siamese_med.runtime import processes
from tests.commands import ROOT

FAMILY = """
import sys, time
from siamese_med.runtime import processes
with processes.run_process_group([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
    print(child.pid, flush=True)
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int, within_s: float = 40) -> bool:
    deadline = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_child_ends_with_its_parent_however_that_ends(how: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", FAMILY], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.send_signal(how)
    parent.communicate()
    assert ends(child)


def test_a_whole_group_ends_with_the_block_also_who_takes_no_notice() -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "GROUP_END_TIMEOUT_S", 0.2)
        with processes.run_process_group([sys.executable, "-c", stubborn], output=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
            assert os.getpgid(child.pid) == child.pid != os.getpgrp()
    assert not alive(child.pid)


def test_who_starts_after_its_parent_is_gone_ends_at_once() -> None:
    orphan = [sys.executable, "-P", processes.__file__, "1", sys.executable, "-c", "print('never')"]
    said = subprocess.run(orphan, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (-signal.SIGKILL, "")
