"""Drafts: what of an archive that was not finished a writer can go on behind."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from unittest.mock import patch

import pytest

from mailhaul.proto.archive import directory, draft, frames, framing, messages
from mailhaul.proto.archive.codec import PLAIN
from mailhaul.proto.archive.contents import READ_VERSION, decode_header, encode_header
from mailhaul.proto.archive.draft import (
    Draft,
    Unfinished,
    WholeFrames,
    decode_draft,
    encode_draft,
    read_draft,
    whole_frames,
)
from mailhaul.proto.archive.frames import HEADER_BYTES, Codec, FrameType
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.records import ArchiveId
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    ARCHIVE,
    Frame,
    MemoryFile,
    MemorySink,
    archive_header,
    encoded,
    frames_of,
    read_archive,
    remapped,
    taken_up,
    unfinished_in,
    unpacked,
    write_archive,
    write_mailbox,
)
from mailhaul.worker.packing.packer import Packer


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


SHARED = b"Subject: shared\n\n" + noise(7, 2000)
MAILBOXES = {
    "alice": {"INBOX": [b"Subject: %d\n\n" % n + noise(n, 300) for n in range(12)], "Sent": [SHARED]},
    "bob": {},
    "carol": {"INBOX": [SHARED, b"carol's"], "Empty": []},
    "dora": {"INBOX": [SHARED, b"h: x\n\n" + b"dora's words " * 300]},
}
# Small blocks and frames, so that a small archive has many of them.
with patch.object(framing, "BLOCK_BYTES", 1500), patch.object(messages, "MOST_MESSAGES", 5):
    DATA = write_archive(MAILBOXES)
    OTHER = write_archive(MAILBOXES, archive=ArchiveId(bytes(16)))
FRAMES = frames_of(DATA)


def primaries() -> list[Frame]:
    """The first MAILBOX frame of each mailbox."""
    found = {frame.header.position: frame for frame in reversed(frames_of(DATA, FrameType.MAILBOX))}
    return sorted(found.values(), key=lambda one: one.at)


CUTS = [primary.end for primary in primaries()]


def draft_of(data: bytes) -> Unfinished | None:
    return unfinished_in(data)


def cut_of(data: bytes) -> int:
    """How much of it can be gone on with."""
    found = draft_of(data)
    return found.size_bytes if found else 0


def expected_cut(size: int) -> int:
    return max((cut for cut in CUTS if cut <= size), default=0)


def replaced(frame: Frame, payload: bytes | None = None, **changes: object) -> bytes:
    """The archive with one frame changed, its checksum right."""
    return DATA[: frame.at] + encoded(frame.header, payload or frame.payload, **changes) + DATA[frame.end :]


class TestReading:
    def test_it_ends_with_a_mailbox(self) -> None:
        for frame in FRAMES:
            for size in (frame.at, frame.at + 1, frame.at + HEADER_BYTES, frame.end - 1, frame.end):
                assert cut_of(DATA[:size]) == expected_cut(size)

    def test_it_tells_what_comes_before(self) -> None:
        whole = open_sealed(MemoryFile(DATA))
        for number, cut in enumerate(CUTS):
            found = draft_of(DATA[: cut + 5])
            assert found is not None
            assert found.frames == sum(frame.end <= cut for frame in FRAMES)
            assert found.archive.header == archive_header()
            told, all_of_it = found.archive.directory, whole.directory
            assert told.mailboxes == all_of_it.mailboxes[: number + 1]
            assert told.places[:-1] == all_of_it.places[:number]
            assert told.places[-1].frames == all_of_it.places[number].frames[:1]
            assert list(told.blocks.file) == [at for at in all_of_it.blocks.file if at < cut]
            assert list(told.blocks.data) == list(all_of_it.blocks.data)[: len(told.blocks.file)]
            assert told.index_frames == tuple(at for at in all_of_it.index_frames if at < cut)
            read, damage = read_archive(found.archive)
            assert ({user for user, _ in read}, damage) == (
                {user for user, folders in list(MAILBOXES.items())[: number + 1] if folders},
                [],
            )

    @pytest.mark.parametrize("data", [b"", b"no archive" * 100, bytes(10_000), DATA[:HEADER_BYTES]])
    def test_without_a_mailbox_there_is_none(self, data: bytes) -> None:
        assert draft_of(data) is None

    def test_nothing_behind_damage_counts(self) -> None:
        for frame in FRAMES:
            for at in (frame.at, frame.at + 40, frame.end - 1):
                broken = bytearray(DATA)
                broken[at] ^= 1
                assert cut_of(bytes(broken)) == expected_cut(frame.at)

    def test_nothing_behind_a_bad_place_of_the_disk_counts(self) -> None:
        for frame in FRAMES[1:]:
            found = read_draft(MemoryFile(DATA, range(frame.end - 1, frame.end)))
            assert (found.size_bytes if found else 0) == expected_cut(frame.at)

    def test_a_missing_or_doubled_frame_is_damage(self) -> None:
        for frame in FRAMES[1:]:
            assert cut_of(DATA[: frame.at] + DATA[frame.end :]) == expected_cut(frame.at)
            assert cut_of(DATA[: frame.end] + DATA[frame.at :]) == expected_cut(frame.end)

    def test_frames_of_another_archive_do_not_count(self) -> None:
        end = CUTS[1]
        assert cut_of(DATA[:end] + OTHER[end:]) == end

    def test_messages_without_their_terms_do_not_count(self) -> None:
        for frame in frames_of(DATA, FrameType.SEARCH):
            sequence = frame.header.sequence
            for kind in (FrameType.INDEX, FrameType.MESSAGES):
                assert cut_of(replaced(frame, type=kind)) == expected_cut(frame.at)
            following = FRAMES[sequence + 1]
            assert cut_of(replaced(following, type=FrameType.SEARCH)) == expected_cut(following.at)

    @pytest.mark.parametrize(
        "kind", [FrameType.BLOCK, FrameType.MESSAGES, FrameType.SEARCH, FrameType.MAILBOX]
    )
    def test_frames_at_wrong_positions_do_not_count(self, kind: FrameType) -> None:
        frame = frames_of(DATA, kind)[-1]
        assert cut_of(replaced(frame, position=frame.header.position + 1)) == expected_cut(frame.at)

    def test_a_mailbox_that_can_not_be_decoded_does_not_count(self) -> None:
        frame = primaries()[2]
        assert cut_of(replaced(frame, b"\x80")) == CUTS[1]

    @pytest.mark.parametrize("key", ["read_version", "write_version"])
    def test_what_a_later_version_began_is_left_to_it(self, key: str) -> None:
        assert draft_of(replaced(FRAMES[0], remapped(FRAMES[0].payload, **{key: READ_VERSION + 1}))) is None

    def test_a_later_feature_ends_it(self) -> None:
        frame = primaries()[1]
        header = bytearray(DATA[frame.at : frame.at + HEADER_BYTES])
        header[6] = 1
        header[-4:] = zlib.crc32(header[:-4]).to_bytes(4, "little")
        assert cut_of(DATA[: frame.at] + bytes(header) + DATA[frame.at + HEADER_BYTES :]) == CUTS[0]


class TestWholeFrames:
    def test_it_ends_with_a_frame(self) -> None:
        for number, frame in enumerate(FRAMES, 1):
            end = WholeFrames(archive=ARCHIVE, size_bytes=frame.end, frames=number)
            assert whole_frames(MemoryFile(DATA[: frame.end])) == end
            if frame is not FRAMES[-1]:
                assert whole_frames(MemoryFile(DATA[: frame.end + HEADER_BYTES])) == end

    def test_there_may_be_none(self) -> None:
        nothing = WholeFrames(archive=None, size_bytes=0, frames=0)
        assert whole_frames(MemoryFile(b"")) == whole_frames(MemoryFile(bytes(100))) == nothing
        assert whole_frames(MemoryFile(DATA[FRAMES[1].at :])) == nothing


class TestGoingOn:
    def test_it_comes_to_what_is_written_at_one_go(self) -> None:
        for cut in CUTS:
            assert gone_on(DATA[:cut]) == DATA

    def test_again_and_again(self) -> None:
        data = b""
        for number in range(len(MAILBOXES)):
            left = data + noise(number, 100)
            data = gone_on(left, mailboxes=number + 1)
            data = data[: CUTS[number]]
        assert gone_on(data) == DATA

    def test_a_draft_whose_last_mailbox_is_gone_by_now_is_damaged(self) -> None:
        found = draft_of(DATA[: CUTS[1]])
        assert found is not None
        gone = ArchiveReader(MemoryFile(bytes(CUTS[1])), found.archive.header, found.archive.directory)
        with pytest.raises(DamagedError):
            ArchiveWriter(MemorySink(), archive_header(), draft=replace(found, archive=gone))


def gone_on(left: bytes, mailboxes: int = len(MAILBOXES)) -> bytes:
    """The archive of the first so many mailboxes, by a writer that finds this."""
    sink = MemorySink(left)
    found = taken_up(sink)
    with (
        patch.object(framing, "BLOCK_BYTES", 1500),
        patch.object(messages, "MOST_MESSAGES", 5),
        patch("mailhaul.proto.archive.writer._SHARED_MESSAGES", 1),
    ):
        archive = ArchiveWriter(sink, archive_header(), draft=found)
        packer = Packer(archive)
        if found is not None:
            packer.recall(found.archive)
        done = {mailbox.user for mailbox in found.archive.directory.mailboxes} if found else set()
        for user in list(MAILBOXES)[:mailboxes]:
            if user not in done:
                write_mailbox(archive, packer, user, MAILBOXES[user])
        archive.finish()
    return bytes(sink.data)


class TestSending:
    """To a host that has not got the file."""

    @pytest.mark.parametrize("cut", CUTS)
    def test_it_comes_back(self, cut: int) -> None:
        there = sent_draft(cut)
        data = encode_draft(there)
        assert data is not None
        back = decode_draft(data, "draft", len(DATA[:cut]))
        assert (back.size_bytes, back.frames) == (there.size_bytes, there.frames)
        assert back.header == there.header
        assert same_directory(back) == same_directory(there)
        file = MemoryFile(DATA[:cut])
        assert read_archive(back.over(file).archive) == read_archive(there.over(file).archive)

    def test_a_large_one_comes_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(directory, "_PART_BYTES", 1)
        there = sent_draft(CUTS[-1])
        data = encode_draft(there)
        assert data is not None
        assert data.count(frames.MAGIC) > 4
        assert same_directory(decode_draft(data, "draft", len(DATA[: CUTS[-1]]))) == same_directory(there)

    def test_one_that_is_too_large_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        there = sent_draft(CUTS[-1])
        data = encode_draft(there)
        assert data is not None
        monkeypatch.setattr(draft, "MOST_DRAFT_BYTES", len(data))
        assert encode_draft(there) == data
        monkeypatch.setattr(draft, "MOST_DRAFT_BYTES", len(data) - 1)
        assert encode_draft(there) is None
        with pytest.raises(DamagedError, match="not possible"):
            decode_draft(data, "draft", len(DATA[: CUTS[-1]]))

    def test_damage_is_found(self) -> None:
        data = sent()
        for at in range(0, len(data), 7):
            broken = bytearray(data)
            broken[at] ^= 1
            with pytest.raises((DamagedError, UnsupportedError)):
                decode_draft(bytes(broken), "draft", len(DATA[: CUTS[1]]))
        for size in range(0, len(data), 11):
            with pytest.raises(DamagedError):
                decode_draft(data[:size], "draft", len(DATA[: CUTS[1]]))

    def test_that_of_another_file_is_refused(self) -> None:
        with pytest.raises(DamagedError):
            decode_draft(sent(), "draft", len(DATA[: CUTS[0]]))

    @pytest.mark.parametrize(
        "change",
        [
            lambda row: {"mailboxes": []},
            lambda row: {"places": []},
            lambda row: {"places": [[*row["places"][0][:1], [1 << 40, 72], *row["places"][0][2:]]]},
            lambda row: {"places": [[5, *row["places"][0][1:]], *row["places"][1:]]},
            lambda row: {"index": [1 << 40]},
            lambda row: {"index": list(range(100_000))},
            lambda row: {"blocks": 1 << 40},
            lambda row: {"data_bytes": 0},
            lambda row: {"header": b""},
            lambda row: {"header": b"\xc1"},
        ],
    )
    def test_a_lie_is_refused(self, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
        payload = frames_payload(sent())
        crafted = directory_frame(remapped(payload, **change(unpacked(payload))))
        with pytest.raises(DamagedError):
            decode_draft(crafted, "draft", len(DATA[: CUTS[1]]))

    def test_other_frames_are_refused(self) -> None:
        with pytest.raises(DamagedError):
            decode_draft(DATA[: CUTS[1]], "draft", len(DATA[: CUTS[1]]))

    def test_it_can_not_be_made_to_take_all_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Frames that are small as they are sent, and large as they are plain."""
        monkeypatch.setattr(directory, "MOST_PLAIN_BYTES", 3 * frames.LARGEST_FRAME)
        payload = remapped(frames_payload(sent()), padding=bytes(frames.LARGEST_FRAME - 2000), header=b"")
        frame = directory_frame(payload, Codec.ZSTD)
        with pytest.raises(DamagedError, match="not a directory"):
            decode_draft(frame * 10, "draft", len(DATA[: CUTS[1]]))

    def test_a_later_version_is_told(self) -> None:
        header = remapped(encode_header(archive_header()), read_version=READ_VERSION + 1)
        with pytest.raises(UnsupportedError):
            decode_header(header)
        crafted = directory_frame(remapped(frames_payload(sent()), header=header))
        with pytest.raises(UnsupportedError):
            decode_draft(crafted, "draft", len(DATA[: CUTS[1]]))


def sent_draft(cut: int) -> Draft:
    found = read_draft(MemoryFile(DATA[:cut]))
    assert found is not None
    return found


def sent() -> bytes:
    """A draft of two mailboxes in one frame."""
    data = encode_draft(sent_draft(CUTS[1]))
    assert data is not None
    return data


def same_directory(one: Draft) -> object:
    told = one.directory
    blocks = list(told.blocks.data), list(told.blocks.file)
    return told.mailboxes, blocks, told.data_bytes, told.index_frames


def frames_payload(data: bytes) -> bytes:
    header = frames.decode_header(data[:HEADER_BYTES], "")
    return PLAIN.unpack(header, data[HEADER_BYTES:], "")


def directory_frame(payload: bytes, codec: Codec = Codec.NONE) -> bytes:
    used, stored = frames.Compressor(codec).compress(payload)
    header = frames.encode_header(FrameType.DIRECTORY, used, stored, len(payload), ARCHIVE, 0)
    return header + bytes(stored)
