"""Reading what is whole in a damaged archive: nothing else is lost, and nobody gets what is not theirs."""

from __future__ import annotations

import random
import zlib

import pytest

from mailhaul.proto.archive import directory, scanning
from mailhaul.proto.archive import messages as messages_module
from mailhaul.proto.archive.contents import READ_VERSION
from mailhaul.proto.archive.frames import HEADER_BYTES, Codec, FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.scanning import FoundFrame, Gap, damage_of, scan
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.records import ArchiveId, Departed
from mailhaul.tests.archives import (
    Frame,
    MemoryFile,
    MemorySink,
    archive_header,
    encoded,
    expected,
    frames_of,
    open_any,
    place_of,
    read_archive,
    remapped,
    terms_in,
    write_archive,
)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


MAILBOXES = {
    "alice": {
        "INBOX": [b"h: %d\n\n" % n + noise(n, 90_000) for n in range(6)],
        "Sent": [b"alice's only\n\none"],
    },
    "bob": {"INBOX": [b"bob's only\n\none"]},
    "carol": {"INBOX": [b"carol's only\n\none" + noise(9, 600_000)], "Sent": [b"x"]},
}
DATA = write_archive(MAILBOXES)
FRAMES = frames_of(DATA)
ALL = expected(MAILBOXES)


def of_kind(kind: FrameType) -> list[Frame]:
    return [frame for frame in FRAMES if frame.header.type is kind]


def without(*gone: Frame) -> bytes:
    return b"".join(DATA[frame.at : frame.end] for frame in FRAMES if frame not in gone)


def later(frame: Frame, **fields: int) -> bytes:
    """A frame as a later version may write it."""
    places = {"type": (4, 1), "codec": (5, 1), "flags": (6, 2), "key": (64, 4)}
    header = bytearray(DATA[frame.at : frame.at + HEADER_BYTES])
    for name, value in fields.items():
        at, size = places[name]
        header[at : at + size] = value.to_bytes(size, "little")
    header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
    return bytes(header) + DATA[frame.at + HEADER_BYTES : frame.end]


class TestScanning:
    def test_a_whole_archive_is_frames_without_gaps(self) -> None:
        found = list(scan(MemoryFile(DATA)))
        assert [one.at for one in found] == [frame.at for frame in FRAMES]
        assert [damage_of(MemoryFile(DATA), one) for one in found] == [None] * len(found)

    def test_what_is_between_frames_is_a_gap(self) -> None:
        block = of_kind(FrameType.BLOCK)[0]
        data = b"ab" + DATA[: block.at] + b"c" * 5000 + DATA[block.at :] + b"def"
        gaps = [gap for gap in scan(MemoryFile(data)) if isinstance(gap, Gap)]
        assert gaps == [Gap(0, 2), Gap(2 + block.at, 5000), Gap(len(data) - 3, 3)]
        assert damage_of(MemoryFile(data), gaps[0]) is not None

    def test_a_header_across_the_border_of_a_window_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scanning, "_WINDOW", 100)
        block = of_kind(FrameType.BLOCK)[0]
        for size in range(90, 210, 7):
            data = DATA[: block.at] + bytes(size) + DATA[block.at : block.end]
            assert [one.at for one in scan(MemoryFile(data))][-1] == block.at + size

    @pytest.mark.parametrize("change", [-3, -1, 1, 200])
    def test_bytes_lost_or_added_in_a_payload_cost_that_frame_only(self, change: int) -> None:
        for frame in FRAMES:
            middle = frame.at + HEADER_BYTES + 9
            data = DATA[:middle] + (bytes(change) if change > 0 else b"") + DATA[middle - min(change, 0) :]
            whole = [
                found
                for found in scan(MemoryFile(data))
                if isinstance(found, FoundFrame) and not found.damage
            ]
            assert len(whole) == len(FRAMES) - 1

    def test_frames_in_the_mail_are_not_taken_for_frames(self) -> None:
        """A user sends an archive by mail; stored bytes of a message may look like frames of ours."""
        nested = write_archive({"root": {"INBOX": [b"planted"]}}, archive=ArchiveId(b"another archive!"))
        mail = {
            "eve": {"INBOX": [b"h: x\n\n" + nested + noise(1, 100_000)]},
            "bob": {"INBOX": [b"h: b\n\nb"]},
        }
        data = write_archive(mail, codec=Codec.NONE)
        assert nested in data
        block = frames_of(data, FrameType.BLOCK)[0]
        for start, end in (
            (block.at, block.at + 1),
            (block.at, block.at + HEADER_BYTES),
            (block.at, block.at + 76),
        ):
            damaged = data[:start] + bytes(end - start) + data[end:]
            found, damage = read_archive(open_any(damaged))
            assert found == {("eve", "INBOX"): [], ("bob", "INBOX"): mail["bob"]["INBOX"]}
            for truncated in (damaged[:-1], damaged[:-40]):
                found, damage = read_archive(open_any(truncated))
                assert found == {("eve", "INBOX"): [], ("bob", "INBOX"): mail["bob"]["INBOX"]}
                assert damage

    def test_whose_archive_it_is_can_be_told_from_the_end(self) -> None:
        damaged = bytes(HEADER_BYTES) + DATA[HEADER_BYTES:]
        assert {
            frame.header.archive for frame in scan(MemoryFile(damaged)) if isinstance(frame, FoundFrame)
        } == {FRAMES[0].header.archive}

    def test_or_from_anything(self) -> None:
        damaged = bytes(HEADER_BYTES) + DATA[HEADER_BYTES:-10]
        assert (
            len([frame for frame in scan(MemoryFile(damaged)) if isinstance(frame, FoundFrame)])
            == len(FRAMES) - 1
        )

    @pytest.mark.parametrize("data", [b"", b"x", bytes(5000), b"\x9dMH\n" * 500])
    def test_a_file_without_frames_is_damage(self, data: bytes) -> None:
        with pytest.raises(DamagedError):
            list(scan(MemoryFile(data)))

    def test_a_disk_that_does_not_read_costs_what_lies_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for frame in FRAMES:
            for broken in (
                range(frame.at, frame.at + 1),
                range(frame.at + HEADER_BYTES, frame.at + HEADER_BYTES + 1),
            ):
                found = scan(MemoryFile(DATA, broken))
                whole = {each.at for each in found if isinstance(each, FoundFrame) and not each.damage}
                # What shares a page of the disk with it may be lost too.
                assert whole >= {
                    each.at for each in FRAMES if not frame.at - 4096 < each.at < frame.at + 8192
                }


class TestSalvaging:
    def test_of_a_whole_archive_nothing_is_lost(self) -> None:
        reader = salvage(MemoryFile(DATA))
        assert read_archive(reader) == (ALL, [])
        sealed = open_sealed(MemoryFile(DATA)).directory
        assert reader.directory.mailboxes == sealed.mailboxes
        assert reader.directory.places == sealed.places
        assert list(reader.directory.blocks.data) == list(sealed.blocks.data)
        assert list(reader.directory.blocks.file) == list(sealed.blocks.file)
        assert reader.directory.index_frames == sealed.index_frames

    @pytest.mark.parametrize("kind", [FrameType.HEADER, FrameType.DIRECTORY, FrameType.FOOTER])
    def test_without_one_of_the_frames_that_open_an_archive_no_mail_is_lost(self, kind: FrameType) -> None:
        found, damage = read_archive(open_any(without(*of_kind(kind))))
        assert found == ALL
        assert damage

    def test_without_both_that_tell_whose_it_is_a_checkpoint_tells(self) -> None:
        first = of_kind(FrameType.HEADER)[0]
        found, damage = read_archive(salvage(MemoryFile(without(first, *of_kind(FrameType.DIRECTORY)))))
        assert found == ALL
        assert damage

    def test_without_any_that_tells_whose_it_is_nothing_can_be_done(self) -> None:
        data = without(*of_kind(FrameType.HEADER), *of_kind(FrameType.DIRECTORY))
        with pytest.raises(DamagedError):
            salvage(MemoryFile(data))

    def test_without_a_block_the_others_keep_their_places(self) -> None:
        for block in of_kind(FrameType.BLOCK):
            found, damage = read_archive(open_any(without(block)))
            lost = sum(map(len, ALL.values())) - sum(map(len, found.values()))
            # A message may begin in one block and end in the next.
            assert 1 <= lost <= 5
            assert all(message in ALL[key] for key, messages in found.items() for message in messages)
            assert len(damage) >= lost

    def test_without_messages_the_other_folders_keep_theirs(self) -> None:
        """The folders' frames are known by their numbers, not by how many come before them."""
        for frame in of_kind(FrameType.MESSAGES):
            found, damage = read_archive(open_any(without(frame)))
            assert all(messages in ([], ALL[key]) for key, messages in found.items())
            assert list(found.values()).count([]) == 1
            assert damage

    def test_without_terms_nothing_is_lost(self) -> None:
        for number, frame in enumerate(of_kind(FrameType.SEARCH)):
            reader = open_any(without(frame))
            assert read_archive(reader)[0] == ALL
            told = [
                (entry, number)
                for entry in reader.directory.mailboxes
                for number in range(len(place_of(reader, entry).messages))
            ]
            with pytest.raises(DamagedError):
                terms_in(reader, *told[number])
            assert all(terms_in(reader, *one) for one in told if one != told[number])

    def test_what_came_and_went_is_known_without_the_directory(self) -> None:
        sealed, found = open_sealed(MemoryFile(DATA)).directory, salvage(MemoryFile(DATA[:-400])).directory
        assert found.mailboxes == sealed.mailboxes

    def test_a_directory_can_not_name_endless_mailboxes_as_unopened(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(directory, "MOST_UNOPENED", 3)
        frame = of_kind(FrameType.DIRECTORY)[0]
        payload = remapped(frame.payload, unopened=[["x", "mailbox", ""]] * 2)
        data = DATA[: frame.at] + encoded(frame.header, payload) * 2 + DATA[frame.end : -1]
        reader = salvage(MemoryFile(data))
        assert len(reader.directory.unopened) == 2
        assert any("as unopened" in damage.detail for damage in reader.damage)

    def test_without_a_mailbox_nobody_else_gets_its_messages(self) -> None:
        for number in range(3):
            gone = [frame for frame in of_kind(FrameType.MAILBOX) if frame.header.position >> 32 == number]
            first = [one for one in of_kind(FrameType.MESSAGES) if one.header.position >> 32 == number + 1][
                :1
            ]
            for data in (without(*gone), without(*gone, *first)):
                found, damage = read_archive(open_any(data))
                assert {user for user, _ in found} == {user for user, _ in ALL} - {list(MAILBOXES)[number]}
                assert all(set(messages) <= set(ALL[key]) for key, messages in found.items())
                assert any(f"metadata of mailbox {number} is gone" in one for one in damage)

    def test_the_copy_of_a_mailbox_is_as_good(self) -> None:
        for frame in of_kind(FrameType.MAILBOX):
            found, _ = read_archive(open_any(without(frame)))
            assert found == ALL

    def test_frames_that_come_twice_or_in_another_order_do_no_harm(self) -> None:
        body = [
            frame
            for frame in FRAMES
            if frame.header.type in (FrameType.BLOCK, FrameType.MESSAGES, FrameType.MAILBOX)
        ]
        head, tail = DATA[: body[0].at], DATA[body[-1].end :]
        for seed in range(10):
            shuffled = body + random.Random(seed).sample(body, 5)
            random.Random(seed).shuffle(shuffled)
            data = head + b"".join(DATA[one.at : one.end] for one in shuffled) + tail
            found, damage = read_archive(open_any(data))
            assert found == ALL
            assert damage

    def test_a_directory_that_is_whole_and_wrong_costs_nothing(self) -> None:
        """Frames were moved: header, directory and footer are where they should be, nothing else is."""
        body = [frame for frame in FRAMES[1:-2] if frame.header.type is not FrameType.SEARCH]
        for seed in range(10):
            shuffled = list(body)
            random.Random(seed).shuffle(shuffled)
            terms = [one for one in FRAMES[1:-2] if one.header.type is FrameType.SEARCH]
            order = [FRAMES[0], *shuffled, *terms, *FRAMES[-2:]]
            reader = open_sealed(MemoryFile(b"".join(DATA[one.at : one.end] for one in order)))
            assert read_archive(reader) == (ALL, [])
            assert all(
                terms_in(reader, entry, number)
                for entry in reader.directory.mailboxes
                for number in range(len(place_of(reader, entry).messages))
            )

    def test_a_whole_block_is_preferred_to_a_damaged_one(self) -> None:
        block = of_kind(FrameType.BLOCK)[0]
        broken = bytearray(DATA[block.at : block.end])
        broken[-1] ^= 1
        found, _ = read_archive(open_any(DATA[: block.at] + bytes(broken) + DATA[block.at :]))
        assert found == ALL

    def test_frames_of_other_archives_are_left_out(self) -> None:
        other = write_archive({"eve": {"INBOX": [b"eve's"]}}, archive=ArchiveId(b"another archive!"))
        found, _ = read_archive(open_any(DATA + other))
        assert found == ALL
        middle = of_kind(FrameType.MAILBOX)[0].at
        found, _ = read_archive(open_any(DATA[:middle] + other + DATA[middle:]))
        assert found == ALL

    def test_a_large_mailbox_loses_only_the_stretch_that_is_gone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(messages_module, "MOST_MESSAGES", 2)
        texts = [b"%d" % number for number in range(9)]
        data = write_archive({"alice": {"INBOX": texts}})
        for number, frame in enumerate(frames_of(data, FrameType.MESSAGES)):
            found, damage = read_archive(open_any(data[: frame.at] + data[frame.end :]))
            assert found == {("alice", "INBOX"): texts[: 2 * number] + texts[2 * number + 2 :]}
            assert damage

    def test_a_newer_version_is_refused_as_such(self) -> None:
        newer = (
            encoded(FRAMES[0].header, remapped(FRAMES[0].payload, read_version=READ_VERSION + 1))
            + DATA[FRAMES[0].end : -5]
        )
        with pytest.raises(UnsupportedError):
            salvage(MemoryFile(newer))

    @pytest.mark.parametrize("fields", [{"codec": 9}, {"flags": 1}, {"key": 3}, {"type": 77}])
    def test_a_frame_that_needs_a_later_version_costs_what_it_says(self, fields: dict[str, int]) -> None:
        """Before and after another one is damaged, so that the archive is read in both ways."""
        for frame in of_kind(FrameType.MESSAGES):
            data = DATA[: frame.at] + later(frame, **fields) + DATA[frame.end :]
            for archive in (data, data[:-1]):
                found, damage = read_archive(open_any(archive))
                assert list(found.values()).count([]) == 1
                assert all(messages in ([], ALL[key]) for key, messages in found.items())
                assert damage

    def test_who_has_departed_is_known_from_either_place(self) -> None:
        gone = tuple(Departed(f"user{number}", "removed", "x" * 200) for number in range(12_000))
        sink = MemorySink()
        writer = ArchiveWriter(sink, archive_header(), departed=gone)
        writer.finish()
        data = bytes(sink.data)
        told = frames_of(data, FrameType.DEPARTED)
        assert len(told) > 4, "in several parts, each twice"
        for frame in told:
            broken = bytearray(data)
            broken[frame.end - 1] ^= 1
            for archive in (bytes(broken), bytes(broken[:-1])):
                assert open_any(archive).departures() == gone
        broken[told[len(told) // 2 - 1].end - 1] ^= 1  # the last part once more: both are gone
        with pytest.raises(DamagedError):
            open_any(bytes(broken)).departures()

    @pytest.mark.parametrize("kind", [128, 200, 255])
    def test_a_frame_of_an_optional_type_is_passed_over(self, kind: int) -> None:
        for frame in FRAMES[1:-2]:
            extra = later(frame, type=kind, codec=77, flags=0x8001, key=5)
            data = DATA[: frame.at] + extra + DATA[frame.at : -1]
            reader = salvage(MemoryFile(data))
            assert read_archive(reader)[0] == ALL
            assert [skip.reason for skip in reader.damage] == ["archive", "frame"]

    @pytest.mark.parametrize("count", [5, 1 << 20, (1 << 32) - 1])
    def test_a_mailbox_can_not_claim_more_frames_than_there_is_room_for(self, count: int) -> None:
        frame = of_kind(FrameType.MAILBOX)[0]
        crafted = encoded(frame.header, frame.payload, position=count)
        data = DATA[: frame.at] + crafted + DATA[frame.end : -1]
        found, damage = read_archive(salvage(MemoryFile(data)))
        assert damage
        assert all(messages in ([], ALL[key]) for key, messages in found.items())

    @pytest.mark.parametrize("position", [1, (1 << 62) - 1, 1 << 62, (1 << 64) - 1])
    def test_a_block_can_lie_about_its_place(self, position: int) -> None:
        frame = of_kind(FrameType.BLOCK)[0]
        crafted = encoded(frame.header, frame.payload, position=position)
        found, damage = read_archive(salvage(MemoryFile(DATA[: frame.at] + crafted + DATA[frame.end : -1])))
        assert damage
        assert all(set(messages) <= set(ALL[key]) for key, messages in found.items())

    @pytest.mark.parametrize(
        "kind", [FrameType.HEADER, FrameType.MAILBOX, FrameType.DIRECTORY, FrameType.MESSAGES]
    )
    @pytest.mark.parametrize("payload", [b"", b"nonsense", b"\x80", b"\x81\xa6header\xa1x"])
    def test_nonsense_in_a_frame_does_not_stop_the_rest(self, kind: FrameType, payload: bytes) -> None:
        frame = of_kind(kind)[0]
        data = DATA[: frame.at] + encoded(frame.header, payload) + DATA[frame.end : -1]
        found, damage = read_archive(salvage(MemoryFile(data)))
        assert damage
        lost = sum(map(len, ALL.values())) - sum(map(len, found.values()))
        assert lost == (6 if kind is FrameType.MESSAGES else 0)

    def test_a_header_of_another_archive_is_not_believed(self) -> None:
        frame = FRAMES[0]
        lying = encoded(frame.header, remapped(frame.payload, archive=bytes(16), partition="elsewhere"))
        reader = salvage(MemoryFile(lying + DATA[frame.end : -1]))
        assert reader.header.partition == "primary"
