"""How big a folder is, mostly from the names of its messages: an estimate, by which work is divided.

Servers put the size of a message into its name (``S=4711``). Anybody else may put anything there, and mail
that was compressed in place has the size that it had, so names are not believed unseen.
"""

from __future__ import annotations

import os
import re

from ..packing import hot_path
from ..packing.entries import FILE
from .directories import opened, split

_SIZE = re.compile(rb",S=(\d{1,15})(?=[,:]|$)")

_LARGE_BYTES = 1 << 20
"""What is said to be as large as this is looked at: such messages are few, and most of the bytes."""

_EVERY = 32
"""Of the others each so many-th is looked at."""

_MOST_OFF = 2
"""If the names of these are wrong by more than this factor, all messages are looked at."""


def measure(mailbox: int, path: bytes) -> tuple[int, int]:
    """Messages and bytes in one directory of an open mailbox; what can't be read counts as nothing."""
    try:
        with opened(mailbox, split(path)) as fd:
            messages, size_bytes = _measured(fd, _EVERY)
            return (messages, size_bytes) if size_bytes is not None else (messages, _measured(fd, 1)[1] or 0)
    except OSError:
        return 0, 0


def _measured(fd: int, every: int) -> tuple[int, int | None]:
    """Messages and bytes in an open directory, where each so many-th is looked at; no bytes if names can't be
    believed. Raises OSError."""
    messages = believed_bytes = seen_bytes = named_bytes = sample_bytes = 0
    left = 1  # until the next sample
    for name, kind, _ in hot_path.entries_in(fd):
        if kind != FILE or name.startswith(b"."):
            continue
        messages += 1
        named = _SIZE.search(name)
        is_sample = False
        if named is not None:
            told_bytes = int(named[1])
            left -= 1
            is_sample = not left
            if is_sample:
                left = every
            elif told_bytes < _LARGE_BYTES:
                believed_bytes += told_bytes
                continue
        try:
            size_bytes = os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
        seen_bytes += size_bytes
        if is_sample:
            named_bytes += told_bytes
            sample_bytes += size_bytes
    least, most = sorted((named_bytes, sample_bytes))
    if every > 1 and most > _MOST_OFF * least:
        return messages, None
    return messages, believed_bytes + seen_bytes
