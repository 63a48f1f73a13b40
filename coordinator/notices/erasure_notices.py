"""What people hear of erasures: that one should be done by now. Nobody who was erased is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..erasing.overdue import Overdue
from ..texts import counted, size
from .records import Notice

_LISTED = 10


def erasures(found: Iterable[Overdue]) -> Iterator[Notice]:
    """A notice for each erasure that should be done."""
    for one in found:
        erasure = one.progress.erasure
        copies = counted(len(one.copies), "copy", "copies")
        left = f"{copies} should be gone" if one.copies else "it is not done in the staging area"
        yield Notice(
            event="erasure-due",
            cause=f"erasure-due:{erasure}",
            subject=f"Erasure {erasure} is overdue: {left}",
            lines=(
                f"It was asked for on {one.asked:%Y-%m-%d}, and should be done since {one.since:%Y-%m-%d}.",
                *_lines(one),
                f"`mailhaul erase --certificate {erasure}` says what was done, and what holds the rest.",
            ),
            facts={
                "erasure": erasure,
                "asked": one.asked.isoformat(),
                "since": one.since.isoformat(),
                "copies": len(one.copies),
                "staged": not one.here,
            },
        )


def _lines(one: Overdue) -> Iterator[str]:
    if one.here:
        yield "`mailhaul erase --resume` ends it in the staging area: it was broken off, or archives can't be"
        yield "written anew yet."
        yield from (f"{each.path}: {each.detail or each.reason}" for each in one.progress.undone[:_LISTED])
    for copy in one.copies[:_LISTED]:
        what = f"{copy.name}, {size(copy.size_bytes)}" if copy.name else "all that may be there"
        why = f": {copy.why}" if copy.why else ""
        yield f"{copy.place}: {what}{why}"
    if len(one.copies) > _LISTED:
        yield f"and {len(one.copies) - _LISTED:,} more"
    if any(copy.until is not None for copy in one.copies):
        yield "Where a lock has ended, `mailhaul sweep` or `mailhaul erase --resume` removes the copy."
    if any(copy.until is None for copy in one.copies):
        yield "What can't be removed from here, somebody has to destroy, and say so: docs/erasure.md."
