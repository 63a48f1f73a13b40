"""Writing an archive anew without what nobody needs: same id, same positions, one generation more.

Nothing is read but the archive itself; blocks that are needed as they are stay compressed as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...groups.paths import LogicalPath
from ...proto.archive.chains import check_chain
from ...proto.archive.contents import ArchiveHeader
from ...proto.archive.draft import Draft
from ...proto.archive.files import RandomAccess
from ...proto.archive.frames import Codec
from ...proto.archive.reader import ArchiveReader
from ...proto.archive.rewriting import Metadata, Rewritten, rewrite
from ...proto.erased import Erased, ErasedMailbox
from ...proto.errors import DamagedError, StagingError
from ...proto.keys.records import Sealing
from ...proto.ports import ArchiveSink
from ...proto.records import ArchiveId, Departed, Location, Skipped, Stretch
from ...proto.structs import Record
from ..archives.stretches import without
from .bounds import as_stretches, unpacked, widened
from .liveness import CLOSE_BYTES


class Remains(Record, kw_only=True):
    """What stays of an archive: the stretches of its data (their bounds, as ``LiveData`` has them); that it
    tells of these users; and the ``mailboxes`` and ``frames`` of messages that others refer to, or it
    itself. Where mailboxes were ``erased``, nothing else stays, to the byte, and nothing names them; None:
    what is not worth a block of its own behind it may stay."""

    archive: ArchiveId
    location: Location
    stretches: bytes
    users: frozenset[str]
    mailboxes: frozenset[int] = frozenset()
    frames: frozenset[int] = frozenset()
    erased: tuple[ErasedMailbox, ...] | None = None

    @property
    def metadata(self) -> Metadata:
        """What of its metadata stays."""
        return Metadata(users=self.users, mailboxes=self.mailboxes, frames=self.frames)


def compact(
    remains: Remains,
    archive: ArchiveReader,
    sink: ArchiveSink,
    *,
    codec: Codec,
    level: int,
    sealing: Sealing | None = None,
    on_bytes: Callable[[int], object],
) -> Rewritten:
    """Write what stays of an archive, and seal it; ``on_bytes`` is told how much was written. What is
    encrypted stays so, with the ``sealing``: else EncryptedError.

    Raises DamagedError if something of it is damaged: it is left to ``verify --fix`` then; and if an
    encrypted one is not made of the frames that were sealed: what is copied as it is stored is what the only
    copies will hold. Raises StagingError if it can't be written.
    """
    if archive.damage:
        raise DamagedError(f"{archive.file.name}: {archive.damage[0].detail}", reason="damaged")
    if archive.directory.seal is not None:
        check_chain(archive.file, archive.header.archive, archive.directory.seal)
    exact = remains.erased is not None
    wanted = unpacked(remains.stretches)
    try:
        if sink.begin() is not None:
            sink.restart()
        written = rewrite(
            archive,
            _Watched(sink, on_bytes),
            stretches=without(
                as_stretches(wanted if exact else widened(wanted, CLOSE_BYTES)), archive.directory.holes
            ),
            metadata=remains.metadata,
            fill=_refuse,
            codec=codec,
            level=level,
            sealing=sealing,
            exact=exact,
            is_told=TellsOf(archive.header, remains.erased or ()),
        )
        if written.unreadable:
            raise DamagedError(
                f"{archive.file.name}: the metadata of {len(written.unreadable)} mailboxes is damaged",
                reason="metadata",
            )
        sink.seal()
        return written
    finally:
        sink.abort()


class TellsOf:
    """Of whom an archive is to tell that they have departed or could not be opened: not of those of whom all
    was ``erased`` that its run, or the one that found them gone, has stored."""

    def __init__(self, header: ArchiveHeader, erased: Iterable[ErasedMailbox]) -> None:
        self._header = header
        self._erased = Erased(erased)

    def __call__(self, departed: Departed | Skipped) -> bool:
        if isinstance(departed, Departed):
            user, run = departed.user, departed.run or self._header.run
        else:
            user, run = LogicalPath.parse(departed.path).user or "", self._header.run
        return not self._erased.holds(self._header.partition, user, run)


def _refuse(stretch: Stretch) -> bytes | None:
    raise DamagedError(f"its data at {stretch.offset} is damaged", reason="block")


class NoSink:
    """An ArchiveSink that writes nowhere: to know how large an archive would be."""

    def begin(self) -> Draft | None:
        """See ArchiveSink."""
        return None

    @property
    def written(self) -> RandomAccess:
        """See ArchiveSink. Nothing."""
        raise StagingError("nothing was written before")

    def restart(self) -> None:
        """See ArchiveSink."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ArchiveSink."""

    def checkpoint(self) -> None:
        """See ArchiveSink."""

    def seal(self) -> str:
        """See ArchiveSink."""
        return ""

    def abort(self) -> None:
        """See ArchiveSink."""


class _Watched(NoSink):
    """Tells how much is written into another sink."""

    def __init__(self, sink: ArchiveSink, on_bytes: Callable[[int], object]) -> None:
        self._sink = sink
        self._on_bytes = on_bytes
        self._written_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ArchiveSink."""
        self._sink.write(data)
        self._written_bytes += len(data)
        self._on_bytes(self._written_bytes)

    def checkpoint(self) -> None:
        """See ArchiveSink."""
        self._sink.checkpoint()
