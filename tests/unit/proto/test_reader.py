"""The reader: what is not an archive, or not this one, is told so; damage is kept to where it is."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from mailhaul.proto.archive import contents, directory, frames, index_frames, messages, search
from mailhaul.proto.archive.contents import Footer
from mailhaul.proto.archive.files import LocalFile, ReadAhead, read_frame
from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType
from mailhaul.proto.archive.places import GONE, FramePlace
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.records import ArchiveId, Terms
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    Frame,
    MemoryFile,
    encoded,
    expected,
    frames_of,
    messages_of,
    open_any,
    place_of,
    position_of,
    read_archive,
    recrafted,
    remapped,
    replaced,
    terms_in,
    unpacked,
    write_archive,
)
from mailhaul.worker.verifying.verify import verify_frames

MAILBOXES = {
    "alice": {
        "INBOX": [b"h: %d\n\n" % n + random.Random(n).randbytes(300) for n in range(4)],
        "Sent": [b"a\n\nb"],
    },
    "bob": {"INBOX": [b"h: b\n\nbob's"]},
}
DATA = write_archive(MAILBOXES)
FRAMES = frames_of(DATA)
OTHER = write_archive({"eve": {"INBOX": [b"eve's"]}}, archive=ArchiveId(b"another archive!"))


def reason_of(call: Callable[[], object]) -> object:
    with pytest.raises(DamagedError) as caught:
        call()
    return caught.value.facts["reason"]


def flipped(at: int) -> bytes:
    data = bytearray(DATA)
    data[at] ^= 1
    return bytes(data)


def only(kind: FrameType) -> Frame:
    return frames_of(DATA, kind)[0]


class TestOpening:
    @pytest.mark.parametrize(
        "data", [b"", b"x", b"not an archive" * 100, DATA[:-1], DATA[1:], DATA + b"x", DATA[:500]]
    )
    def test_what_is_not_a_whole_archive_is_damage(self, data: bytes) -> None:
        with pytest.raises(DamagedError):
            open_sealed(MemoryFile(data))

    @pytest.mark.parametrize("place", [0, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 20])
    def test_the_header_is_read_where_the_directory_repeats_it(self, place: int) -> None:
        """One read less; that the first frame is whole, ``verify`` looks at."""
        data = flipped(only(FrameType.HEADER).at + place)
        assert read_archive(open_sealed(MemoryFile(data))) == (expected(MAILBOXES), [])
        assert verify_frames(MemoryFile(data)).damaged

    @pytest.mark.parametrize("kind", [FrameType.DIRECTORY, FrameType.FOOTER])
    @pytest.mark.parametrize("place", [0, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 20])
    def test_damage_to_what_opens_an_archive_is_seen(self, kind: FrameType, place: int) -> None:
        with pytest.raises(DamagedError):
            open_sealed(MemoryFile(flipped(only(kind).at + place)))

    def test_a_newer_version_is_refused_even_if_its_end_is_unlike_ours(self) -> None:
        newer = (
            encoded(FRAMES[0].header, remapped(FRAMES[0].payload, read_version=contents.READ_VERSION + 1))
            + b"something new" * 50
        )
        with pytest.raises(UnsupportedError):
            open_sealed(MemoryFile(newer))

    def test_a_newer_frame_is_refused_as_such(self) -> None:
        header = bytearray(DATA[:HEADER_BYTES])
        header[6] = 1  # encrypted
        header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
        with pytest.raises(UnsupportedError):
            open_any(bytes(header) + DATA[HEADER_BYTES:] + b"x")

    def test_header_and_footer_must_be_of_one_archive(self) -> None:
        footer = only(FrameType.FOOTER)
        foreign = encoded(footer.header, footer.payload, archive=ArchiveId(bytes(16)))
        assert reason_of(lambda: open_sealed(MemoryFile(DATA[: footer.at] + foreign))) == "foreign"
        header = remapped(FRAMES[0].payload, archive=bytes(16))
        crafted = recrafted(
            DATA,
            lambda frame: (
                remapped(frame.payload, header=header) if frame.header.type is FrameType.DIRECTORY else None
            ),
        )
        assert reason_of(lambda: open_sealed(MemoryFile(crafted))) == "footer"

    @pytest.mark.parametrize(
        "changes",
        [
            {"frames": 3},
            {"footer": 10},
            {"footer": (1 << 64) - 1},
            {"directory": 0},
            {"directory": (1 << 64) - 1},
        ],
    )
    def test_a_footer_that_lies_is_damage(self, changes: dict[str, int]) -> None:
        footer = only(FrameType.FOOTER)
        values = contents.decode_footer(footer.payload)
        lying = encoded(footer.header, contents.encode_footer(replace(values, **changes)))
        with pytest.raises(DamagedError):
            open_sealed(MemoryFile(DATA[: footer.at] + lying))

    def test_a_directory_can_not_name_more_than_there_is_room_for(self) -> None:
        many = [[n, [n + 1, 72], [], []] for n in range(500)]
        crafted = recrafted(
            DATA,
            lambda frame: (
                remapped(frame.payload, places=many) if frame.header.type is FrameType.DIRECTORY else None
            ),
        )
        assert reason_of(lambda: open_sealed(MemoryFile(crafted))) == "metadata"

    def test_parts_of_a_directory_are_not_gathered_beyond_that(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each frame may decode to a hundred times its size: none is read once too many are named."""
        row = unpacked(only(FrameType.DIRECTORY).payload)
        blocks = {
            "blocks": 50,
            "block_data": bytes(400),
            "block_file": bytes(400),
            "block_size": bytes(200),
            "mailboxes": [],
            "places": [],
        }
        part = encoded(only(FrameType.DIRECTORY).header, remapped(b"\x80", **{**row, **blocks}))
        header = DATA[: FRAMES[0].end]
        parts = [len(header) + number * len(part) for number in range(100)]
        data = header + part * 100
        last = encoded(only(FrameType.DIRECTORY).header, remapped(b"\x80", **{**row, "parts": parts}))
        footer = Footer(directory=len(data), footer=len(data) + len(last), frames=102)
        end = encoded(only(FrameType.FOOTER).header, contents.encode_footer(footer), sequence=101)
        decoded = 0
        decode = directory.decode

        def counted(payload: bytes) -> directory.DirectoryFrame:
            nonlocal decoded
            decoded += 1
            return decode(payload)

        monkeypatch.setattr(directory, "decode", counted)
        assert reason_of(lambda: open_sealed(MemoryFile(data + last + end))) == "metadata"
        assert 1 < decoded < 6

    @pytest.mark.parametrize("parts", [[0], [1 << 60], list(range(1000))])
    def test_parts_of_a_directory_that_are_not_there_are_damage(self, parts: list[int]) -> None:
        crafted = recrafted(
            DATA,
            lambda frame: (
                remapped(frame.payload, parts=parts) if frame.header.type is FrameType.DIRECTORY else None
            ),
        )
        with pytest.raises(DamagedError):
            open_sealed(MemoryFile(crafted))


class TestFrames:
    def test_a_frame_of_another_kind_is_refused(self) -> None:
        reader = open_sealed(MemoryFile(DATA))
        assert reason_of(lambda: reader.frame(FramePlace(0, 0), FrameType.BLOCK)) == "frame-type"

    @pytest.mark.parametrize("at", [-1, 1, len(DATA) - 1, len(DATA), 1 << 62])
    def test_a_place_where_none_begins_is_damage(self, at: int) -> None:
        with pytest.raises(DamagedError):
            open_sealed(MemoryFile(DATA)).frame(FramePlace(at, 0), FrameType.BLOCK)
        for size in (0, 72, 100, 1 << 62):
            with pytest.raises(DamagedError):
                read_frame(MemoryFile(DATA), FramePlace(at, size), FrameType.BLOCK)

    @pytest.mark.parametrize("more", [-72, -1, 1, 1 << 40])
    def test_a_frame_of_another_size_than_the_directory_tells_is_damage(self, more: int) -> None:
        frame = frames_of(DATA, FrameType.BLOCK)[0]
        place = FramePlace(frame.at, frame.end - frame.at)
        assert read_frame(MemoryFile(DATA), place, FrameType.BLOCK)[1] == frame.payload
        with pytest.raises(DamagedError):
            read_frame(MemoryFile(DATA), place._replace(size_bytes=place.size_bytes + more), FrameType.BLOCK)

    def test_a_frame_of_another_archive_is_refused(self) -> None:
        reader = open_sealed(MemoryFile(DATA))
        other = ArchiveReader(MemoryFile(OTHER), reader.header, reader.directory)
        assert reason_of(lambda: other.frame(FramePlace(0, 0), FrameType.HEADER)) == "foreign"

    def test_a_block_that_is_not_where_the_directory_says_is_refused(self) -> None:
        def change(frame: Frame) -> bytes | None:
            if frame.header.type is not FrameType.DIRECTORY:
                return None
            row = unpacked(frame.payload)
            return remapped(frame.payload, data_bytes=row["data_bytes"] + 1)

        assert reason_of(lambda: open_sealed(MemoryFile(recrafted(DATA, change))).block(1)) == "block"

    @pytest.mark.parametrize("offset", [-1, 10**9, 1 << 64])
    def test_data_that_is_not_there_is_damage(self, offset: int) -> None:
        assert reason_of(lambda: open_sealed(MemoryFile(DATA)).block_at(offset)) == "metadata"


class TestMailboxes:
    def test_the_copy_stands_in_for_the_first(self) -> None:
        first, copy = [one for one in frames_of(DATA, FrameType.MAILBOX) if one.header.position >> 32 == 0]
        assert first.payload == copy.payload
        for frame in (first, copy):
            assert read_archive(open_sealed(MemoryFile(flipped(frame.at + 90)))) == (expected(MAILBOXES), [])

    def test_without_both_only_its_own_mail_is_lost(self) -> None:
        data = bytearray(DATA)
        for frame in frames_of(DATA, FrameType.MAILBOX):
            if frame.header.position >> 32 == 0:
                data[frame.at + 90] ^= 1
        found, damage = read_archive(open_sealed(MemoryFile(bytes(data))))
        assert found == {("bob", "INBOX"): MAILBOXES["bob"]["INBOX"]}
        assert len(damage) == 1

    @pytest.mark.parametrize("changes", [{"user": "mallory"}, {"listed": 77}, {"folders": []}])
    def test_one_that_disagrees_with_the_directory_is_refused(self, changes: dict[str, Any]) -> None:
        crafted = recrafted(
            DATA,
            lambda frame: (
                remapped(frame.payload, **changes) if frame.header.type is FrameType.MAILBOX else None
            ),
        )
        found, damage = read_archive(open_sealed(MemoryFile(crafted)))
        assert found == {}
        assert len(damage) == 2

    def test_one_of_another_number_is_refused(self) -> None:
        def change(frame: Frame) -> bytes | None:
            if frame.header.type is not FrameType.DIRECTORY:
                return None
            (alice, bob) = unpacked(frame.payload)["places"]
            return remapped(frame.payload, places=[[0, *bob[1:]], [1, *alice[1:]]])

        reader = open_sealed(MemoryFile(recrafted(DATA, change)))
        for entry in reader.directory.mailboxes:
            with pytest.raises(DamagedError):
                reader.mailbox(entry.home.number)


class TestMessages:
    def reader(self, monkeypatch: pytest.MonkeyPatch, damaged: int) -> tuple[ArchiveReader, list[bytes]]:
        """Ten messages in five frames, one of which is damaged; and all their texts."""
        monkeypatch.setattr(messages, "MOST_MESSAGES", 2)
        texts = [b"%d" % number for number in range(10)]
        data = bytearray(write_archive({"alice": {"INBOX": texts}}))
        data[frames_of(bytes(data), FrameType.MESSAGES)[damaged].at + 80] ^= 1
        return open_sealed(MemoryFile(bytes(data))), texts

    @pytest.mark.parametrize("damaged", range(5))
    def test_a_damaged_frame_costs_only_its_own_messages(
        self, monkeypatch: pytest.MonkeyPatch, damaged: int
    ) -> None:
        reader, texts = self.reader(monkeypatch, damaged)
        found, damage = read_archive(reader)
        assert found == {("alice", "INBOX"): texts[: 2 * damaged] + texts[2 * damaged + 2 :]}
        assert len(damage) == 1
        assert "2 of 10 messages of folder 'INBOX' are lost" in damage[0]

    def test_frames_that_do_not_exist_are_damage(self) -> None:
        reader = open_sealed(MemoryFile(DATA))
        entry = reader.directory.mailboxes[0]
        folder = reader.mailbox(entry.home.number).folders[0]
        folder = replace(folder, frames=(*folder.frames, folder.frames[0]._replace(position=77)))
        assert reason_of(lambda: list(messages_of(reader, entry, folder))) == "metadata"

    @pytest.mark.parametrize("claimed", [6, 4096])
    def test_a_folder_that_lies_about_its_number_is_damage(self, claimed: int) -> None:
        reader = open_sealed(MemoryFile(DATA))
        entry = reader.directory.mailboxes[0]
        folder = reader.mailbox(entry.home.number).folders[0]
        folder = replace(folder, frames=(folder.frames[0]._replace(messages=claimed),))
        assert reason_of(lambda: list(messages_of(reader, entry, folder))) == "metadata"

    def test_messages_of_another_mailbox_are_refused(self) -> None:
        reader = open_sealed(MemoryFile(DATA))
        alice, bob = reader.directory.places
        wrong = replaced(reader, replace(alice, messages=bob.messages))
        (pointer,) = reader.mailbox(alice.number).folders[0].frames
        right = reader.message_frame(pointer.position)
        assert wrong.message_frame(pointer.position) == right, "it is looked for"
        nowhere = replaced(reader, replace(bob, messages=alice.messages))
        assert reason_of(lambda: nowhere.message_frame(bob.number << 32 | 1)) == "frame-type"


class TestTerms:
    def test_they_stand_beside_their_messages(self) -> None:
        reader = open_sealed(MemoryFile(DATA))
        alice, bob = reader.directory.mailboxes
        assert [term.subject for term in terms_in(reader, alice, 0)] == [b"h: 0", b"h: 1", b"h: 2", b"h: 3"]
        assert [terms.subject for terms in terms_in(reader, alice, 1)] == [b"a"]
        assert (
            search.decode(reader.search_frame(position_of(bob, 0)))
            == terms_in(reader, bob, 0)
            == [Terms(subject=b"h: b")]
        )

    @pytest.mark.parametrize("number", range(3))
    @pytest.mark.parametrize("place", [0, 20, 80])
    def test_damage_to_them_costs_nothing_else(self, number: int, place: int) -> None:
        frame = frames_of(DATA, FrameType.SEARCH)[number]
        reader = open_sealed(MemoryFile(flipped(frame.at + place)))
        assert read_archive(reader) == (expected(MAILBOXES), [])
        where = [
            (entry, frame)
            for entry in reader.directory.mailboxes
            for frame in range(len(place_of(reader, entry).messages))
        ]
        lost = []
        for told in where:
            try:
                assert terms_in(reader, *told)
            except DamagedError:
                lost.append(told)
        assert lost == [where[number]]

    def test_those_of_other_messages_are_refused(self) -> None:
        first, second, _ = frames_of(DATA, FrameType.SEARCH)
        wrong = encoded(first.header, first.payload, position=second.header.position)
        crafted = DATA[: first.at] + wrong + DATA[first.end :]
        reader = salvage(MemoryFile(crafted))
        alice = reader.directory.mailboxes[0]
        assert reason_of(lambda: terms_in(reader, alice, 0)) == "frame-type"

    def test_messages_that_are_gone_have_none(self) -> None:
        reader = open_sealed(MemoryFile(DATA))
        alice = reader.directory.mailboxes[0]
        place = place_of(reader, alice)
        gone = replaced(reader, replace(place, messages=(GONE, place.messages[1])))
        assert reason_of(lambda: terms_in(gone, alice, 0)) == "metadata"
        assert reason_of(lambda: terms_in(gone, alice, 2)) == "metadata"
        assert terms_in(gone, alice, 1) == terms_in(reader, alice, 1)


class TestStoredFrames:
    """Frames as they are stored, for copying: checked, never decompressed."""

    def test_they_are_what_lies_in_the_file(self) -> None:
        reader = open_sealed(MemoryFile(DATA))
        for number, one in enumerate(frames_of(DATA, FrameType.BLOCK)):
            header, stored = reader.stored_block(number)
            assert (header, stored) == (one.header, DATA[one.at + HEADER_BYTES : one.end])
        alice = reader.directory.mailboxes[0]
        frame, behind = frames_of(DATA, FrameType.MESSAGES)[1], frames_of(DATA, FrameType.SEARCH)[1]
        assert reader.stored_messages(position_of(alice, 1)) == (
            (frame.header, DATA[frame.at + HEADER_BYTES : frame.end]),
            (behind.header, DATA[behind.at + HEADER_BYTES : behind.end]),
        )
        assert reader.message_frame(position_of(alice, 1)) == frame.payload

    def test_damaged_ones_are_refused(self) -> None:
        block, stored = frames_of(DATA, FrameType.BLOCK)[0], frames_of(DATA, FrameType.MESSAGES)[0]
        reader = open_sealed(MemoryFile(flipped(block.end - 1)))
        assert reason_of(lambda: reader.stored_block(0)) == "checksum"
        other = open_sealed(MemoryFile(flipped(stored.end - 1)))
        assert (
            reason_of(lambda: other.stored_messages(position_of(other.directory.mailboxes[0], 0)))
            == "checksum"
        )


class TestIndex:
    def test_it_tells_of_every_segment(self) -> None:
        reader = open_sealed(MemoryFile(DATA))
        rows = list(reader.index())
        assert len(rows) == len(reader.directory.index_frames) == 1
        plain = b"".join(reader.block(number) for number in range(len(reader.directory.blocks.data)))
        for number, (offset, length) in enumerate(zip(rows[0].offsets, rows[0].lengths, strict=True)):
            digest = rows[0].digests[16 * number : 16 * number + 16]
            assert blake3(plain[offset : offset + length]).digest(length=16) == digest

    def test_a_damaged_frame_does_not_hide_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(index_frames, "_INDEX_ROWS", 1)
        data = write_archive(MAILBOXES)
        whole = list(open_sealed(MemoryFile(data)).index())
        broken = bytearray(data)
        broken[frames_of(data, FrameType.INDEX)[1].end - 1] ^= 1
        index = open_sealed(MemoryFile(bytes(broken))).index()
        assert list(islice(index, len(whole) - 1)) == [whole[0], *whole[2:]]
        assert reason_of(lambda: next(index)) == "checksum"

    def test_one_of_other_data_is_damage(self) -> None:
        crafted = recrafted(
            DATA,
            lambda frame: (
                contents.encode_index(contents.IndexRow(bytes(16), [10**6], [1]))
                if frame.header.type is FrameType.INDEX
                else None
            ),
        )
        assert reason_of(lambda: list(open_sealed(MemoryFile(crafted)).index())) == "metadata"


def test_a_directory_that_is_large_beyond_reason_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MOST_PLAIN_BYTES", only(FrameType.DIRECTORY).header.plain_bytes)
    open_sealed(MemoryFile(DATA))
    monkeypatch.setattr(directory, "MOST_PLAIN_BYTES", only(FrameType.DIRECTORY).header.plain_bytes - 1)
    assert reason_of(lambda: open_sealed(MemoryFile(DATA))) == "length"


class TestLocalFiles:
    def test_a_stretch_of_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        file = LocalFile(str(path), 2, 5)
        assert file.size == 5
        assert [
            file.read_at(*where) for where in [(0, 5), (3, 9), (5, 1), (99, 1), (-1, 2), (1 << 63, 1), (0, 0)]
        ] == [
            b"23456",
            b"56",
            *([b""] * 5),
        ]
        file.close()
        file.close()
        whole = LocalFile(str(path), 4)
        assert (whole.size, whole.read_at(0, 99)) == (6, b"456789")
        whole.close()

    def test_one_that_is_shorter_than_it_was_gives_less(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        file = LocalFile(str(path))
        os.truncate(path, 4)
        assert file.read_at(2, 8) == b"23"
        file.close()

    def test_what_can_not_be_read_is_damage(self, tmp_path: Path) -> None:
        file = LocalFile(str(tmp_path))
        assert reason_of(lambda: file.read_at(0, 10)) == "io-error"
        file.close()


class TestReadingAhead:
    class Counted(MemoryFile):
        reads = 0

        def read_at(self, offset: int, length: int) -> bytes:
            self.reads += 1
            return super().read_at(offset, length)

    CONTENT = random.Random(5).randbytes(100_000)

    def test_it_gives_what_is_there(self) -> None:
        file = ReadAhead(MemoryFile(self.CONTENT))
        rng = random.Random(6)
        for _ in range(500):
            offset, length = rng.randrange(-5, 100_100), rng.choice([0, 1, 72, 5000, 40_000])
            assert file.read_at(offset, length) == MemoryFile(self.CONTENT).read_at(offset, length)

    def test_reads_side_by_side_cost_one(self) -> None:
        counted = self.Counted(self.CONTENT)
        file = ReadAhead(counted)
        for offset in range(10, 20_000, 72):
            assert file.read_at(offset, 72) == self.CONTENT[offset : offset + 72]
        assert counted.reads == 1

    def test_what_can_not_be_read_costs_only_those_who_ask_for_it(self) -> None:
        file = ReadAhead(MemoryFile(self.CONTENT, range(5000, 5001)))
        assert file.read_at(4000, 1000) == self.CONTENT[4000:5000]
        assert reason_of(lambda: file.read_at(4500, 1000)) == "io-error"
        assert file.read_at(5001, 1000) == self.CONTENT[5001:6001]


def test_frames_module_knows_its_own_sizes() -> None:
    assert (HEADER_BYTES, contents.FOOTER_BYTES, frames.LARGEST_FRAME) == (72, 32, 8 << 20)
