"""What people hear of erasures: that one should be done by now. Nobody who was erased is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..erasing.overdue import Overdue
from ..texts import counted, size
from .records import Notice

_LISTED = 10


def erasures(found: Iterable[Overdue]) -> Iterator[Notice]:
    """A notice for each erasure that should be done."""
    for late in found:
        erasure = late.progress.erasure
        copies = counted(len(late.copies), "copy", "copies")
        left = f"{copies} should be gone" if late.copies else "it is not done in the staging area"
        yield Notice(
            event="erasure-due",
            cause=f"erasure-due:{erasure}",
            subject=f"Erasure {erasure} is overdue: {left}",
            lines=(
                f"It was asked for on {late.asked:%Y-%m-%d}, and should be done since {late.since:%Y-%m-%d}.",
                *_lines(late),
                f"`mailhaul erase --certificate {erasure}` says what was done, and what holds the rest.",
            ),
            facts={
                "erasure": erasure,
                "asked": late.asked.isoformat(),
                "since": late.since.isoformat(),
                "copies": len(late.copies),
                "staged": not late.here,
            },
        )


def _lines(late: Overdue) -> Iterator[str]:
    if late.here:
        yield "`mailhaul erase --resume` ends it in the staging area: it was broken off, or archives can't be"
        yield "written anew yet."
        yield from (
            f"{archive.path}: {archive.detail or archive.reason}"
            for archive in late.progress.undone[:_LISTED]
        )
    for copy in late.copies[:_LISTED]:
        what = f"{copy.name}, {size(copy.size_bytes)}" if copy.name else "all that may be there"
        why = f": {copy.why}" if copy.why else ""
        yield f"{copy.place}: {what}{why}"
    if len(late.copies) > _LISTED:
        yield f"and {len(late.copies) - _LISTED:,} more"
    if any(copy.until is not None for copy in late.copies):
        yield "Where a lock has ended, `mailhaul sweep` or `mailhaul erase --resume` removes the copy."
    if any(copy.until is None for copy in late.copies):
        yield "What can't be removed from here, somebody has to destroy, and say so: docs/erasure.md."
