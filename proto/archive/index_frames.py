"""The INDEX frames of an archive: the digests of its segments, from which the next run starts."""

from __future__ import annotations

from collections.abc import Iterable

from ..structs import Mutable, field
from . import contents
from .frames import FrameType
from .framing import FrameWriter
from .shared_data import SharedData

_INDEX_ROWS = 1 << 16
_SHARED_INDEX_ROWS = 1 << 10


class IndexFrames:
    """Gathers the rows of each owner (see FrameCodec) and writes them as frames of its own; those of the
    owner ``b""`` are of segments that any mailbox may refer to. With ``apart`` mailboxes are erasable one by
    one. ``written`` is where the frames written so far lie."""

    def __init__(self, out: FrameWriter, shared: SharedData, *, apart: bool) -> None:
        self._out = out
        self._shared = shared
        self._apart = apart
        self._under_way: dict[bytes, _Rows] = {}
        self.written: list[int] = []

    def go_on(self, written: Iterable[int]) -> None:
        """Begin behind these frames."""
        self.written.extend(written)

    def remember(self, digest: bytes, offset: int, length: int, owner: bytes = b"") -> None:
        """Note a segment: of the mailbox whose secret has the id ``owner``, or one that any may refer to."""
        rows = self._under_way.setdefault(owner, _Rows())
        rows.digests += digest
        rows.offsets.append(offset)
        rows.lengths.append(length)
        if len(rows.offsets) >= _INDEX_ROWS:
            self._shared.settle()
            self._write(owner)

    def end_mailbox(self) -> None:
        """Write what was noted; all shared data is settled. The rows of what any mailbox may refer to go on
        with the next one as long as they are few: a frame for what each has in common with others would be
        small."""
        for owner in sorted(self._under_way):
            few = len(self._under_way[owner].offsets) < _SHARED_INDEX_ROWS
            if owner or not (self._apart and few):
                self._write(owner)

    def finish(self) -> None:
        """Write all that was noted; all shared data is settled."""
        for owner in sorted(self._under_way):
            self._write(owner)

    def _write(self, owner: bytes) -> None:
        rows = self._under_way.pop(owner)
        offsets = list(map(self._shared.settled, rows.offsets))
        payload = contents.encode_index(contents.IndexRow(bytes(rows.digests), offsets, rows.lengths))
        self.written.append(self._out.metadata(FrameType.INDEX, payload, owner=owner).at)


class _Rows(Mutable):
    """What the next INDEX frame of an owner is to hold."""

    digests: bytearray = field(default_factory=bytearray)
    offsets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
