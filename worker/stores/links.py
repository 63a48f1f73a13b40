"""Symbolic links of a mailbox: kept as links, and only those that can't lead out of it.

A target is judged by its text alone: relative, first so many times ``..``, then names. As the directories
that hold kept links are real ones, and each kept link stays inside, none leads out by way of another.
"""

from __future__ import annotations

_LONGEST = 4095


def stays_inside(link: bytes, target: bytes, levels_above: int = 0) -> bool:
    """Whether a link at this path leads to something in the directory that the path is relative to, or in
    the one so many levels above that."""
    if not target or target.startswith(b"/") or b"\0" in target or len(target) > _LONGEST:
        return False
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    upward = next((at for at, name in enumerate(names) if name != b".."), len(names))
    return upward <= link.count(b"/") + levels_above and b".." not in names[upward:]
