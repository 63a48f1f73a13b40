"""An archive written anew: what stays keeps its place, what goes becomes a hole, damage stays told."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import framing, messages, rewriting
from mailhaul.proto.archive.contents import LAST, WRITE_VERSION
from mailhaul.proto.archive.frames import Codec, FrameType
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.rewriting import ALL as ALL_OF_IT
from mailhaul.proto.archive.rewriting import Fill, Rewritten, rewrite
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.records import ArchiveId, Departed, Losses, RunId, Skipped, Stretch
from mailhaul.tests.archives import (
    Frame,
    MemoryFile,
    MemorySink,
    archive_header,
    expected,
    frames_of,
    messages_of,
    metadata_of,
    open_any,
    read_archive,
    recrafted,
    remapped,
    terms_in,
    write_mailbox,
)
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.verifying.verify import verify_frames


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


MAILBOXES = {
    "alice": {
        "INBOX": [b"Subject: %d\n\n" % n + noise(n, 700) for n in range(12)],
        "Sent": [b"", b"h: x\n\nx"],
    },
    "bob": {"INBOX": [b"Subject: bob's\n\n" + b"words " * 900]},
    "carol": {"INBOX": [b"Subject: %d\n\n" % n + noise(50 + n, 900) for n in range(5)], "Empty": []},
}
ALL = expected(MAILBOXES)
EVERYBODY = frozenset(MAILBOXES)
DEPARTED = (Departed("alice", "left-group", "staff"), Departed("dora", "removed"))
UNOPENED = (Skipped("/primary/user/eve", "mailbox", "permission denied"),)


def written() -> bytes:
    """With small blocks and frames, so that a small archive has many of them."""
    with patch.object(framing, "BLOCK_BYTES", 1500), patch.object(messages, "MOST_MESSAGES", 5):
        sink = MemorySink()
        writer = ArchiveWriter(sink, archive_header(), Codec.LZ4, departed=DEPARTED)
        packer = Packer(writer)
        for user, folders in MAILBOXES.items():
            write_mailbox(writer, packer, user, folders)
        writer.finish(UNOPENED)
    return bytes(sink.data)


DATA = written()
SOURCE = open_sealed(MemoryFile(DATA))
PLAIN = b"".join(SOURCE.block(number) for number in range(len(SOURCE.directory.blocks.data)))
WHOLE = Stretch(0, len(PLAIN))


def rewritten(
    source: ArchiveReader,
    stretches: list[Stretch],
    users: frozenset[str] = EVERYBODY,
    fill: Fill | None = None,
) -> tuple[bytes, Rewritten]:
    sink = MemorySink()
    with patch.object(framing, "BLOCK_BYTES", 1500):
        totals = rewrite(source, sink, stretches=stretches, metadata=metadata_of(source, users), fill=fill)
    return bytes(sink.data), totals


def opened(data: bytes) -> ArchiveReader:
    """It is whole in every way that can be checked."""
    assert not verify_frames(MemoryFile(data)).damaged
    return open_sealed(MemoryFile(data))


def held(reader: ArchiveReader) -> dict[int, int]:
    """Every byte of the data that can be read, by its offset."""
    found: dict[int, int] = {}
    table = reader.directory.blocks.data
    for number, begin in enumerate(table):
        block = reader.block(number)
        assert begin + len(block) == reader.directory.block_end(number)
        found.update(zip(range(begin, begin + len(block)), block, strict=True))
    return found


def offsets(stretches: list[Stretch]) -> set[int]:
    return {at for stretch in stretches for at in range(stretch.offset, stretch.offset + stretch.length)}


def segments(reader: ArchiveReader, *, lost: bool = False) -> set[tuple[int, int, bytes]]:
    return {
        (offset, length, row.digests[16 * number : 16 * number + 16])
        for row in reader.index(lost=lost)
        for number, (offset, length) in enumerate(zip(row.offsets, row.lengths, strict=True))
    }


@st.composite
def some_stretches(draw: st.DrawFn) -> list[Stretch]:
    """Ascending, some of them side by side, some of a whole block."""
    cuts = draw(
        st.lists(st.integers(0, len(PLAIN)) | st.sampled_from(SOURCE.directory.blocks.data), max_size=24)
    )
    borders = sorted({*cuts, 0, len(PLAIN)})
    wanted = draw(st.lists(st.booleans(), min_size=len(borders), max_size=len(borders)))
    return [
        Stretch(begin, end - begin)
        for begin, end, take in zip(borders, borders[1:], wanted, strict=False)
        if take
    ]


@pytest.mark.parametrize("smallest", [1, 256])
@given(stretches=some_stretches())
def test_what_stays_keeps_its_place_and_what_goes_is_a_hole(smallest: int, stretches: list[Stretch]) -> None:
    with patch.object(rewriting, "_SMALLEST_HOLE", smallest):
        data, totals = rewritten(SOURCE, stretches)
    reader = opened(data)
    found, wanted = held(reader), offsets(stretches)
    assert wanted <= found.keys()
    assert all(PLAIN[at] == byte for at, byte in found.items())
    if smallest == 1:
        assert found.keys() == wanted
    assert offsets(list(reader.directory.holes)) == set(range(len(PLAIN))) - found.keys()
    assert reader.directory.data_bytes == totals.data_bytes == len(PLAIN)
    assert (totals.holes, totals.archive_bytes) == (reader.directory.holes, len(data))
    for begin, length in reader.directory.holes:
        for at in {begin, begin + length - 1}:
            with pytest.raises(DamagedError) as caught:
                reader.block_at(at)
            assert caught.value.facts["reason"] == "hole"
    assert segments(reader) == {
        segment for segment in segments(SOURCE) if {*range(segment[0], segment[0] + segment[1])} <= wanted
    }


@given(stretches=some_stretches(), more=some_stretches())
def test_again_from_what_is_left(stretches: list[Stretch], more: list[Stretch]) -> None:
    first, _ = rewritten(SOURCE, stretches)
    second, totals = rewritten(opened(first), more)
    reader = opened(second)
    assert totals.generation == reader.header.generation == 2
    both = offsets(stretches) & offsets(more)
    found = held(reader)
    assert both <= found.keys() <= held(opened(first)).keys()
    assert all(PLAIN[at] == byte for at, byte in found.items())


def test_with_everything_in_it_nothing_but_the_generation_is_new() -> None:
    data, totals = rewritten(SOURCE, [WHOLE])
    reader = opened(data)
    assert read_archive(reader) == (ALL, [])
    assert reader.header.generation == totals.generation == 1
    assert (reader.header.archive, totals.unreadable, totals.holes) == (SOURCE.header.archive, (), ())
    assert segments(reader) == segments(SOURCE)
    assert (reader.departures(), reader.directory.unopened) == (DEPARTED, UNOPENED)
    # Blocks and messages are copied as they are stored.
    for kind in (FrameType.BLOCK, FrameType.MESSAGES, FrameType.SEARCH):
        assert checksums(data, kind) == checksums(DATA, kind)


def test_what_somebody_else_knows_to_have_departed_is_told_too() -> None:
    """Both frames that tell it are damaged; also when they are whole, and the other knows more."""
    broken = bytearray(DATA)
    for frame in frames_of(DATA, FrameType.DEPARTED):
        broken[frame.end - 1] ^= 1
    known = (DEPARTED[1], Departed("zoe", "removed", "", RunId("20260701T000000Z-0001")))
    for data, told in ((DATA, {*DEPARTED, *known}), (bytes(broken), set(known))):
        sink = MemorySink()
        rewrite(open_any(data), sink, stretches=[WHOLE], metadata=rewriting.ALL, departed=known)
        assert set(opened(bytes(sink.data)).departures()) == told


def test_what_only_a_later_version_may_write_is_left_alone() -> None:
    later = remapped(frames_of(DATA)[0].payload, write_version=WRITE_VERSION + 1)

    def change(frame: Frame) -> bytes | None:
        if frame.header.type is FrameType.HEADER:
            return later
        return remapped(frame.payload, header=later) if frame.header.type is FrameType.DIRECTORY else None

    newer = recrafted(DATA, change)
    sink = MemorySink()
    assert read_archive(opened(newer)) == (ALL, [])
    with pytest.raises(UnsupportedError, match="later version"):
        rewrite(opened(newer), sink, stretches=[WHOLE], metadata=rewriting.ALL)
    assert not sink.data


def checksums(data: bytes, kind: FrameType) -> list[bytes]:
    return [frame.header.checksum for frame in frames_of(data, kind)]


def test_blocks_that_stay_are_not_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [SOURCE.block(number) for number in (1, 4)]
    whole = [
        Stretch(SOURCE.directory.blocks.data[n], end(n) - SOURCE.directory.blocks.data[n]) for n in (1, 4)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(ArchiveReader, "block", lambda *_: pytest.fail("decompressed"))
        data, _ = rewritten(SOURCE, whole)
    assert [opened(data).block(number) for number in (0, 1)] == expected


def end(number: int) -> int:
    return SOURCE.directory.block_end(number)


def test_only_some_users() -> None:
    data, totals = rewritten(SOURCE, [WHOLE], frozenset({"bob", "dora", "nobody"}))
    reader = opened(data)
    assert read_archive(reader) == ({key: mail for key, mail in ALL.items() if key[0] == "bob"}, [])
    assert reader.departures() == DEPARTED
    assert totals.archive_bytes < len(DATA)


def test_nothing_at_all_is_an_archive_too() -> None:
    reader = opened(rewritten(SOURCE, [], frozenset())[0])
    assert reader.directory.holes == (WHOLE,)
    assert (read_archive(reader), held(reader)) == (({}, []), {})


def test_what_other_archives_refer_to_is_known_again() -> None:
    """By position: the messages of an archive that is gone are read through another one's metadata."""
    entry = SOURCE.entry("carol")
    assert entry is not None
    wanted = sorted(
        {
            Stretch(piece.offset, piece.length)
            for folder in SOURCE.mailbox(entry.home.number).folders
            for message in messages_of(SOURCE, entry, folder)
            for piece in message.pieces
        }
    )
    data, _ = rewritten(SOURCE, wanted, frozenset({"carol"}))
    assert read_archive(opened(data)) == ({key: mail for key, mail in ALL.items() if key[0] == "carol"}, [])


@pytest.mark.parametrize("stretches", [[Stretch(5, 5), Stretch(9, 1)], [Stretch(5, 5), Stretch(0, 1)]])
def test_stretches_must_be_in_order(stretches: list[Stretch]) -> None:
    with pytest.raises(ValueError, match="order"):
        rewritten(SOURCE, stretches)


def test_what_is_said_to_lie_beyond_the_data_is_ignored() -> None:
    """Metadata may claim anything; where the data ends is known."""
    data, totals = rewritten(SOURCE, [WHOLE, Stretch(len(PLAIN), 1 << 62)])
    assert (totals.holes, totals.data_bytes) == ((), len(PLAIN))
    assert read_archive(opened(data)) == (ALL, [])


class TestDamage:
    @staticmethod
    def broken(*kinds: FrameType, number: int = 0) -> bytes:
        data = bytearray(DATA)
        for kind in kinds:
            data[frames_of(DATA, kind)[number].end - 1] ^= 1
        return bytes(data)

    @pytest.mark.parametrize("number", range(4))
    def test_a_damaged_block_becomes_a_hole(self, number: int) -> None:
        source = open_sealed(MemoryFile(self.broken(FrameType.BLOCK, number=number)))
        data, totals = rewritten(source, [WHOLE])
        reader = opened(data)
        begin = SOURCE.directory.blocks.data[number]
        assert totals.holes == (Stretch(begin, end(number) - begin),)
        found, damage = read_archive(reader)
        assert found == read_archive(source)[0] != ALL
        assert len(damage) == len(read_archive(source)[1])
        assert segments(reader, lost=True) == segments(SOURCE)
        assert segments(reader) < segments(SOURCE)

    @pytest.mark.parametrize("number", range(4))
    def test_it_can_be_filled(self, number: int) -> None:
        source = open_sealed(MemoryFile(self.broken(FrameType.BLOCK, number=number)))
        asked = []

        def fill(part: Stretch) -> bytes:
            asked.append(part)
            return PLAIN[part.offset : part.offset + part.length]

        data, totals = rewritten(source, [WHOLE], fill=fill)
        begin = SOURCE.directory.blocks.data[number]
        assert asked == [Stretch(begin, end(number) - begin)]
        assert (totals.holes, read_archive(opened(data))) == ((), (ALL, []))

    def test_and_so_can_a_hole_that_was_left_before(self) -> None:
        source = open_sealed(MemoryFile(self.broken(FrameType.BLOCK, number=2)))
        holed, _ = rewritten(source, [WHOLE])
        wanted = list(pieces_of(WHOLE, 100))
        data, totals = rewritten(
            opened(holed), wanted, fill=lambda part: PLAIN[part.offset : part.offset + part.length]
        )
        assert (totals.holes, read_archive(opened(data))) == ((), (ALL, []))

    def test_in_part(self) -> None:
        """Each wanted stretch is asked for by itself: one may be had from elsewhere, another not."""
        source = open_sealed(MemoryFile(self.broken(FrameType.BLOCK, number=2)))
        begin = SOURCE.directory.blocks.data[2]
        wanted = list(pieces_of(WHOLE, begin + 100))
        data, totals = rewritten(
            source,
            wanted,
            fill=lambda part: PLAIN[part.offset : part.offset + part.length] if part.length == 100 else None,
        )
        assert totals.holes == (Stretch(begin + 100, end(2) - begin - 100),)
        assert held(opened(data)).keys() == set(range(len(PLAIN))) - offsets(list(totals.holes))

    def test_a_filling_of_another_length_is_refused(self) -> None:
        source = open_sealed(MemoryFile(self.broken(FrameType.BLOCK)))
        with pytest.raises(ValueError, match="bytes for"):
            rewritten(source, [WHOLE], fill=lambda _: b"x")

    def test_lost_messages_stay_told(self) -> None:
        for number, frame in enumerate(frames_of(DATA, FrameType.MESSAGES)):
            source = open_sealed(MemoryFile(self.broken(FrameType.MESSAGES, number=number)))
            data, totals = rewritten(source, [WHOLE])
            found, damage = read_archive(opened(data))
            assert found == read_archive(source)[0] != ALL
            assert any("are lost" in one for one in damage)
            assert totals.unreadable == ()
            copied = MemorySink()
            onward = ArchiveWriter(copied, archive_header(ArchiveId(b"one that copies ")))
            mailbox = opened(data).mailbox(frame.header.position >> 32)
            pointers = [frame_pointer for folder in mailbox.folders for frame_pointer in folder.frames]
            lost = [one for one in pointers if one.position == frame.header.position]
            assert lost
            for pointer in lost:
                with pytest.raises(DamagedError, match="lost when the archive was written anew"):
                    onward.copy_messages(opened(data), pointer)
            assert checksums(data, FrameType.MESSAGES)[number] != frame.header.checksum

    def test_lost_terms_cost_nothing_else(self) -> None:
        source = open_sealed(MemoryFile(self.broken(FrameType.SEARCH)))
        reader = opened(rewritten(source, [WHOLE])[0])
        assert read_archive(reader) == (ALL, [])
        entry = reader.directory.mailboxes[0]
        with pytest.raises(DamagedError) as caught:
            terms_in(reader, entry, 0)
        assert caught.value.facts["reason"] == "terms"
        assert terms_in(reader, entry, 1) == terms_in(SOURCE, SOURCE.directory.mailboxes[0], 1)

    def test_what_is_lost_is_named_and_stays_so(self) -> None:
        gone: list[tuple[Sequence[Stretch], Sequence[Stretch]]] = []

        def losses(holes: Sequence[Stretch], lost: Sequence[Stretch], end: int) -> Losses:
            assert end == len(PLAIN)
            gone.append((holes, lost))
            return Losses(tuple(holes), tuple(lost))

        last = len(SOURCE.directory.mailboxes)
        behind = Stretch(last << 32, LAST - (last << 32))
        for frame in frames_of(DATA, FrameType.MESSAGES):
            damaged = bytearray(DATA)
            damaged[frame.end - 1] ^= 1
            sink = MemorySink()
            rewrite(
                open_sealed(MemoryFile(bytes(damaged))),
                sink,
                stretches=[WHOLE],
                metadata=ALL_OF_IT,
                losses=losses,
            )
            told = opened(bytes(sink.data))
            assert gone.pop() == ((), (Stretch(frame.header.position, 1), behind))
            assert told.directory.lost.frames == (Stretch(frame.header.position, 1), behind)
            onward, _ = rewritten(told, [WHOLE])
            assert opened(onward).directory.lost == told.directory.lost
            without_end = salvage(MemoryFile(onward[:-40]))
            assert (without_end.directory.lost, without_end.cut) == (told.directory.lost, False)

    def test_a_mailbox_of_which_both_frames_are_damaged_is_left_out(self) -> None:
        broken = bytearray(DATA)
        for frame in frames_of(DATA, FrameType.MAILBOX):
            if frame.header.position >> 32 == 1:
                broken[frame.end - 1] ^= 1
        data, totals = rewritten(open_sealed(MemoryFile(bytes(broken))), [WHOLE])
        assert totals.unreadable == ("bob",)
        assert read_archive(opened(data)) == ({key: mail for key, mail in ALL.items() if key[0] != "bob"}, [])

    def test_a_salvaged_archive_becomes_whole_again(self) -> None:
        for frame in frames_of(DATA):
            if frame.header.type is FrameType.HEADER:
                continue
            source = salvage(MemoryFile(DATA[: frame.at] + DATA[frame.end :]))
            data, _ = rewritten(source, [WHOLE])
            reader = opened(data)
            assert reader.directory.data_bytes == len(PLAIN)
            assert read_archive(reader)[0] == read_archive(source)[0]

    def test_without_its_end_the_data_beyond_is_a_hole(self) -> None:
        last = frames_of(DATA, FrameType.BLOCK)[-1]
        source = salvage(MemoryFile(DATA[: last.at]))
        data, totals = rewritten(source, [WHOLE])
        assert totals.holes == (Stretch(last.header.position, len(PLAIN) - last.header.position),)
        assert opened(data).directory.data_bytes == len(PLAIN)

    def test_without_its_end_it_takes_no_longer_whatever_is_wanted(self) -> None:
        source = salvage(MemoryFile(DATA[: frames_of(DATA, FrameType.DIRECTORY)[0].at]))
        _, totals = rewritten(source, [WHOLE, Stretch(len(PLAIN), 1 << 62)])
        assert totals.holes == (Stretch(len(PLAIN), 1 << 62),)

    def test_what_is_cut_off_of_it_can_be_read_up_to_there(self) -> None:
        """A compacted archive without its directory: what no block covers is a hole."""
        stretches = list(pieces_of(WHOLE, 400))[::2]
        whole, totals = rewritten(SOURCE, stretches)
        directory_at = frames_of(whole, FrameType.DIRECTORY)[0].at
        reader = salvage(MemoryFile(whole[:directory_at]))
        assert (
            reader.directory.holes == totals.holes or totals.holes[-1].offset >= reader.directory.data_bytes
        )
        assert held(reader) == held(opened(whole))


def pieces_of(stretch: Stretch, size: int) -> Iterator[Stretch]:
    stop = stretch.offset + stretch.length
    for offset in range(stretch.offset, stop, size):
        yield Stretch(offset, min(size, stop - offset))
