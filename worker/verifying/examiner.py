"""Whether a content can be had: whether its pieces are there, and what they come to has its checksum."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping

from ...groups.paths import LogicalPath
from ...proto.archive.assembly import Contents
from ...proto.archive.reader import ArchiveReader
from ...proto.errors import DamagedError, PlaceError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Message, Progress, Skipped, StoredFile, Stretch
from ...proto.structs import Record, field
from ..archives.availability import Availabilities, Lack

_PROGRESS_MESSAGES = 1024
_PARTS = 1 << 20  # of which a share takes some


class Depth(Record, kw_only=True):
    """How closely to look: only where the pieces lie; or, with ``data``, at each different content, too, or
    at a ``share`` of them."""

    path: LogicalPath = field(default_factory=LogicalPath)
    data: bool = False
    share: float | None = None
    seed: int = 0


class Examiner:
    """Tells of a content whether it can be had; and the counts of what was looked at."""

    def __init__(
        self,
        open_archive: Callable[[ArchiveId], ArchiveReader],
        broken: Mapping[ArchiveId, tuple[Stretch, ...]],
        depth: Depth,
        progress: ProgressSink = lambda _: None,
        label: str = "",
    ) -> None:
        self.open_archive = open_archive
        self.depth = depth
        self._broken = broken
        self._there = Availabilities(open_archive, broken)
        self._data = Contents(open_archive)
        self._progress = progress
        self._label = label
        self._told = 0
        self._unread: dict[str, Skipped] = {}
        self.messages = self.covered_bytes = self.contents = self.size_bytes = 0

    def has_all(self, stretches: Mapping[ArchiveId, array[int]]) -> bool:
        """Whether all these stretches (begin, end, begin, end and so on) are there, as far as is known."""
        return all(self._there.has_all(archive, found) for archive, found in stretches.items())

    def lack(self, stored: Message | StoredFile, whole: set[int]) -> Lack | None:
        """Why a content can't be had; ``whole`` are those that were read before. Of one that can't be read
        where it lies now nobody knows."""
        lack = self._there.lack(stored.pieces)
        if lack is not None or not self.depth.data:
            return lack
        # The hash is keyed anew in each process, so that nobody can make two contents that look the same.
        key = hash((stored.digest, stored.pieces))
        if key in whole or not self._is_chosen(key):
            return None
        try:
            for _ in self._data.message(stored):
                pass
        except DamagedError as error:
            return Lack(error, ())
        except PlaceError as error:
            self.note_unread(error)
            return None
        whole.add(key)
        self.contents += isinstance(stored, Message)
        self.size_bytes += stored.size
        return None

    def note_unread(self, error: PlaceError) -> None:
        """Something lies where it can't be read now."""
        name = str(error.facts.get("name", error.facts.get("place", "")))
        self._unread.setdefault(error.message, Skipped(name, error.code, error.message))

    @property
    def unread(self) -> tuple[Skipped, ...]:
        """What could not be read where it lies, and why: each reason once."""
        return tuple(self._unread.values())

    def _is_chosen(self, key: int) -> bool:
        """Whether a content is in the sample; wherever it comes, the answer is the same."""
        share = self.depth.share
        return share is None or hash((key, self.depth.seed)) % _PARTS < share * _PARTS

    def passed(self, count: int, size_bytes: int) -> None:
        """So many messages were looked at, or are known from before."""
        self.messages += count
        self.covered_bytes += size_bytes
        if self.messages - self._told >= _PROGRESS_MESSAGES:
            self.tell()

    def tell(self) -> None:
        """Tell how far it has come."""
        self._told = self.messages
        self._progress(Progress(self._label, self.messages, self.covered_bytes))
