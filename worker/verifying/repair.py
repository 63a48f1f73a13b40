"""Writing a damaged archive anew: all of it that is whole, and of what is lost what can be had elsewhere
(``fillings``). The id and all positions stay, so nothing that refers to it has to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...proto.archive.reader import ArchiveReader
from ...proto.archive.rewriting import ALL, Rewritten, rewrite
from ...proto.keys.records import Sealing
from ...proto.ports import ArchiveSink
from ...proto.records import ArchiveId, Departed, Losses, Stretch
from ...proto.structs import Record
from ..archives.availability import Availability
from ..archives.stretches import common, merged, without
from .fillings import Filler, Filling


class RepairReport(Record, kw_only=True):
    """What became of an archive that was written anew: facts for the catalog (``lost`` are the holes that
    nobody wanted, and the metadata that is gone); how many bytes of its data were ``filled`` from elsewhere;
    how many of its frames of messages are gone, ``lost_frames``; and the ``users`` whose metadata is."""

    size_bytes: int
    generation: int
    references: tuple[ArchiveId, ...]
    holes: tuple[Stretch, ...]
    lost: Losses
    lost_frames: int
    filled_bytes: int
    users: tuple[str, ...]


def repair(
    source: ArchiveReader,
    sink: ArchiveSink,
    *,
    broken: Iterable[Stretch],
    dead: Sequence[Stretch],
    fillings: Sequence[Filling],
    departed: Sequence[Departed] = (),
    sealing: Sealing | None = None,
) -> RepairReport:
    """Write what is whole of an archive, and the fillings, into a sink, and seal it. ``broken`` is what can't
    be read of its data, ``dead`` what need not be in it any more; ``departed`` are mailboxes that are known
    to be gone by it; what is encrypted stays so, with the ``sealing``. Raises StagingError,
    EncryptedError."""
    whole = [Stretch(0, source.directory.data_bytes)]
    gaps = (*Availability(source.directory, broken).gaps, *source.behind)
    filled = common(gaps, (Stretch(filling.offset, filling.length) for filling in fillings))
    wanted = merged((*without(whole, dead), *common(source.behind, filled)))
    if sink.begin() is not None:
        sink.restart()
    try:
        written = rewrite(
            source,
            sink,
            stretches=_apart(wanted, filled),
            metadata=ALL,
            departed=departed,
            fill=Filler(fillings),
            sealing=sealing,
            losses=lambda holes, frames, end: Losses(
                tuple(merged((*without(holes, dead), *without(source.behind, [Stretch(0, end)])))),
                tuple(merged((*frames, *source.directory.lost.frames))),
            ),
        )
        sink.seal()
    except BaseException:
        sink.abort()
        raise
    return _report(written, filled)


def _report(written: Rewritten, filled: Sequence[Stretch]) -> RepairReport:
    return RepairReport(
        size_bytes=written.archive_bytes,
        generation=written.generation,
        references=written.references,
        holes=written.holes,
        lost=written.lost,
        lost_frames=written.lost_frames,
        filled_bytes=_bytes(filled) - _bytes(common(filled, written.holes)),
        users=written.unreadable,
    )


def _apart(stretches: Sequence[Stretch], filled: Sequence[Stretch]) -> list[Stretch]:
    """The same stretches, cut where fillings begin and end: each part is filled as a whole, or not at all."""
    return sorted((*common(stretches, filled), *without(stretches, filled)))


def _bytes(stretches: Iterable[Stretch]) -> int:
    return sum(stretch.length for stretch in stretches)
