"""Freed memory is kept and used again: in a process of its own, since it is settled for a whole process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.commands import ROOT

FAULTS = """
import resource, sys
from siamese_med.runtime import memory
if sys.argv[1] == "kept":
    assert memory.keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(8):
    block = b"x" * 2**26
    del block
print(faults() - before)
"""
PAGES = 2**26 // 4096
"""Of one of the eight blocks."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_block_that_was_freed_is_taken_again_without_new_pages() -> None:
    command = [sys.executable, "-c", FAULTS]
    given, kept = (
        int(subprocess.run([*command, how], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for how in ("given back", "kept")
    )
    assert kept < 2 * PAGES  # those of the first
    assert given > 7 * PAGES  # else this process would not show it
