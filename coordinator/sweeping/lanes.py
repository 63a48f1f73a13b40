"""How the work at destinations is laid out: lanes, in each of which one worker is busy at a time, and batches
of files that become durable, and are recorded, together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from ...worker.destinations.settings import Destination, S3Destination, TapeDestination

_STREAMS = 4
_BATCH_BYTES = 4 << 30
_BATCH_FILES = 256
_TAPE_BATCH_BYTES = 64 << 30
"""A commit to tape is a synchronous filemark: the drive stops for it."""


class Sized(Protocol):
    """What has a size."""

    @property
    def size_bytes(self) -> int: ...


SizedT = TypeVar("SizedT", bound=Sized)


def lanes_of(destination: Destination, streams: int | None) -> tuple[str, ...]:
    """The lanes to a destination: so many ``streams``; of tapes one for each drive. None for what suits its
    kind: object storage gets the parts of a file side by side anyway, and each stream to it takes 90 MB."""
    if isinstance(destination, TapeDestination):
        streams = max(1, len(destination.devices))
    elif streams is None:
        streams = 1 if isinstance(destination, S3Destination) else _STREAMS
    return tuple(f"{destination.name}/{number}" for number in range(streams))


def batches(files: Iterable[SizedT], destination: Destination, streams: int) -> Iterator[tuple[SizedT, ...]]:
    """Files in the same order, as many together as are worth one commit, and so that all streams get some."""
    waiting = list(files)
    is_tape = isinstance(destination, TapeDestination)
    share = sum(one.size_bytes for one in waiting) / streams
    most_bytes = min(_TAPE_BATCH_BYTES if is_tape else _BATCH_BYTES, share)
    batch: list[SizedT] = []
    size_bytes = 0
    for one in waiting:
        batch.append(one)
        size_bytes += one.size_bytes
        if size_bytes >= most_bytes or (len(batch) == _BATCH_FILES and not is_tape):
            yield tuple(batch)
            batch, size_bytes = [], 0
    if batch:
        yield tuple(batch)
