"""Reuse of memory that this process has freed: for work that takes and frees large arrays again and again."""

from __future__ import annotations

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from glibc's malloc.h."""
LARGEST_KEPT_BYTES = 1 << 30
"""Larger blocks go back to the system when they are freed."""


@cache
def keep_freed_memory() -> bool:
    """Have this process use freed blocks of up to 1 GiB again, instead of giving them back to the system.

    Each block that is taken anew costs a page fault for every 4 KiB of it: a fifth of the CPU time of the change
    network. The peak of memory grows by some 15 %, and stays until the process ends. All threads share one heap, since
    the heaps of threads are too small for such blocks. Results stay the same.

    Returns
    -------
    Whether it was done: the C library has to be glibc.

    References
    ----------
    mallopt(3).

    Examples
    --------
    >>> keep_freed_memory() == keep_freed_memory()
    True
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    settings = {M_MMAP_THRESHOLD: LARGEST_KEPT_BYTES, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
