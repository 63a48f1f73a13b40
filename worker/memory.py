"""How a worker process asks the allocator to behave: freed memory is kept for the next message.

A worker reads messages of some hundred KiB one after the other. With its own settings glibc gives such
buffers back to the kernel each time and takes the page faults anew (measured: a tenth of all CPU time).
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 128 << 20
_KEY_OBJECTS = range(0, 128, 16)
"""Sizes of objects that keys lie in: what the interpreter adds comes on top."""
_SMALL_OBJECT = 478
"""The largest of those that the interpreter has an allocator of its own for."""
_MOST_FREED = 4096


def keep_freed_memory() -> None:
    """Tune glibc's allocator for this process; without effect where there is another one."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def overwrite_freed_memory() -> None:
    """Keys that no object holds any more should not stay in memory that was freed: what the interpreter keeps
    of that for small objects is overwritten, the rest given back where whole pages are free (4 ms). As far as
    that goes: where very much is free, or a library has kept a copy, some may stay until the process ends."""
    gc.collect()
    for size in (*_KEY_OBJECTS, _SMALL_OBJECT):
        _ = [bytes(size) for _ in range(_MOST_FREED)]
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
