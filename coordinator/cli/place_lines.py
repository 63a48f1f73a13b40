"""What ``mailhaul status`` says of places beside how many copies count there: what they lock, what they have
yet to remove, what nobody knows there, and what they lack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..history import CopyStanding
from ..sweeping.record import LastSweep
from ..sweeping.strays import Strays
from .output import counted, moment, number, size


def place_lines(
    standing: CopyStanding, sweeps: Iterable[LastSweep], strays: Iterable[Strays]
) -> Iterator[str]:
    """Only what there is to say, one line for each."""
    for place in standing.places:
        if place.locked and place.state == "kept":
            until = moment(place.locked_until)
            yield f"locked at {place.place}: {number(place.locked)}, the first of them until {until}"
    for left in standing.leftovers:
        last = f", the last of them locked until {moment(left.locked_until)}" if left.locked_until else ""
        copies = counted(left.copies, "copy", "copies")
        yield f"to be removed at {left.place}: {copies} ({size(left.size_bytes)}{last})"
    for sweep in sweeps:
        if sweep.refused:
            yield f"{sweep.destination} removes nothing: {sweep.refused}"
        if sweep.out_of_reach:
            many = counted(sweep.out_of_reach, "archive")
            yield f"{sweep.destination} lacks {many} that somebody has to bring first"
    for look in strays:
        if look.found:
            since = moment(min(stray.since for stray in look.found))
            many = counted(len(look.found), "archive")
            yield (
                f"at {look.destination}: {many} that the catalog does not know ({size(look.size_bytes)}), "
                f"since {since}"
            )
