"""The writer: what it writes is read back, in an order that a crash can't make wrong, within all limits."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from mailhaul.proto.archive import directory, index_frames, messages, under_way
from mailhaul.proto.archive.contents import decode_index
from mailhaul.proto.archive.frames import Codec, FrameType
from mailhaul.proto.archive.framing import BLOCK_BYTES
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import MessageUnavailable, StoreError
from mailhaul.proto.records import ArchiveId, Folder, Piece, Skipped, StoredFile
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    ARCHIVE,
    OWNER,
    MemoryFile,
    MemorySink,
    archive_header,
    expected,
    frames_of,
    message,
    messages_of,
    open_any,
    read_archive,
    write_archive,
    write_mailbox,
)
from mailhaul.worker.packing.packer import Packer

NOISE = random.Random(1).randbytes(3 * BLOCK_BYTES)
MAILBOXES = {
    "alice": {
        "INBOX": [b"Subject: one\n\n" + NOISE[:500], b"Subject: two\n\n" + NOISE[: 2 * BLOCK_BYTES], b""],
        "Sent": [b"Subject: one\n\n" + NOISE[:500]],
        "Empty": [],
    },
    "bob": {"INBOX": [b"no blank line", NOISE]},
    "carol": {},
}


def begun() -> tuple[MemorySink, ArchiveWriter]:
    sink = MemorySink()
    return sink, ArchiveWriter(sink, archive_header())


@pytest.mark.parametrize("codec", Codec)
def test_what_is_written_is_read_back(codec: Codec) -> None:
    reader = open_sealed(MemoryFile(write_archive(MAILBOXES, codec=codec)))
    assert read_archive(reader) == (expected(MAILBOXES), [])
    assert reader.header == archive_header()
    assert [
        (mailbox.home.number, mailbox.user, mailbox.listed, mailbox.stored)
        for mailbox in reader.directory.mailboxes
    ] == [
        (0, "alice", 4, 4),
        (1, "bob", 2, 2),
        (2, "carol", 0, 0),
    ]


def test_an_archive_of_nothing_is_one() -> None:
    reader = open_sealed(MemoryFile(write_archive({})))
    assert read_archive(reader) == ({}, [])
    assert (reader.directory.data_bytes, list(reader.directory.blocks.data)) == (0, [])


def test_the_same_mail_makes_the_same_archive() -> None:
    assert write_archive(MAILBOXES) == write_archive(MAILBOXES)


def test_frames_are_numbered_and_belong_to_their_archive() -> None:
    found = frames_of(write_archive(MAILBOXES))
    assert [frame.header.sequence for frame in found] == list(range(len(found)))
    assert {one.header.archive for one in found} == {ARCHIVE}
    assert all(a.end == b.at for a, b in pairwise(found))


def test_the_order_of_writes() -> None:
    kinds = [
        frame.header.type.name
        for frame in frames_of(write_archive({"a": {"X": [b"h: x\n\nbody"], "Y": [b"y"]}, "b": {}}))
    ]
    # The copy of a mailbox's metadata follows a mailbox later.
    assert kinds == [
        "HEADER",
        *("MESSAGES", "SEARCH", "MESSAGES", "SEARCH", "BLOCK", "HEADER", "MAILBOX"),
        *("MAILBOX", "MAILBOX", "MAILBOX"),
        *("DIRECTORY", "FOOTER"),
    ]


def test_the_header_stands_again_before_every_sixteenth_mailbox() -> None:
    found = frames_of(write_archive({f"user{number}": {} for number in range(40)}))
    headers = [frame for frame in found if frame.header.type is FrameType.HEADER]
    assert {header.payload for header in headers} == {found[0].payload}
    following = [found[one.header.sequence + 1].header for one in headers[1:]]
    assert [(frame_header.type, frame_header.position >> 32) for frame_header in following] == [
        (FrameType.MAILBOX, number) for number in (0, 16, 32)
    ]


def test_after_each_checkpoint_the_mailboxes_before_it_can_be_read() -> None:
    sink, archive = begun()
    packer = Packer(archive)
    done = {}
    for user, folders in MAILBOXES.items():
        write_mailbox(archive, packer, user, folders)
        done[user] = folders
        found, damage = read_archive(open_any(bytes(sink.data[: sink.checkpoints[-1]])))
        assert found == expected(done)
        assert damage


def test_an_archive_cut_off_anywhere_gives_all_mailboxes_that_were_complete() -> None:
    """What a crash after each write leaves."""
    data = write_archive(MAILBOXES)
    found = frames_of(data)
    for one in found[1:]:
        complete = {
            frame.header.position >> 32 for frame in found if frame.end <= one.at and frame.header.type == 4
        }
        left = {user: MAILBOXES[user] for number, user in enumerate(MAILBOXES) if number in complete}
        for end in (one.at, one.at + 1, one.end - 1):
            messages, damage = read_archive(open_any(data[:end]))
            assert messages == expected(left)
            assert damage


class TestAppending:
    def test_offsets_count_the_data_not_the_file(self) -> None:
        _, archive = begun()
        assert [archive.append(NOISE[:size]) for size in (5, 0, 7)] == [0, 5, 5]
        assert archive.data_bytes == 12

    def test_small_pieces_lie_in_one_block(self) -> None:
        sink, archive = begun()
        sizes = [random.Random(size).randrange(BLOCK_BYTES // 2 + 1) for size in range(40)]
        ranges = [(archive.append(NOISE[:size]), size) for size in sizes]
        archive.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        for offset, size in ranges:
            if size:
                assert reader.block_at(offset) == reader.block_at(offset + size - 1)

    def test_a_large_piece_spans_blocks(self) -> None:
        sink, archive = begun()
        archive.append(memoryview(NOISE))
        totals = archive.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        assert b"".join(reader.block(number) for number in range(len(reader.directory.blocks.data))) == NOISE
        assert totals.data_bytes == len(NOISE)
        assert totals.archive_bytes == len(sink.data)


def test_remembered_segments_stand_in_index_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_frames, "_INDEX_ROWS", 3)
    sink, archive = begun()
    rows = [(bytes([number] * 16), number * 1000, number) for number in range(8)]
    for digest, offset, length in rows:
        archive.index.remember(digest, offset, length)
    archive.finish()
    data = bytes(sink.data)
    found = []
    for frame in frames_of(data, FrameType.INDEX):
        index = decode_index(frame.payload)
        for number, offset in enumerate(index.offsets):
            found.append((index.digests[16 * number : 16 * number + 16], offset, index.lengths[number]))
    assert found == rows
    frames = open_sealed(MemoryFile(data)).directory.index_frames
    assert list(frames) == [one.at for one in frames_of(data, FrameType.INDEX)]
    assert len(frames) == 3


def test_a_large_folder_takes_several_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST_MESSAGES", 10)
    mailboxes = {
        "alice": {"INBOX": [b"%d" % number for number in range(35)], "Sent": [b"x"]},
        "bob": {"INBOX": [b"y"] * 11},
    }
    data = write_archive(mailboxes)
    assert [frame.header.position for frame in frames_of(data, FrameType.MESSAGES)] == [
        0,
        1,
        2,
        3,
        4,
        1 << 32,
        (1 << 32) + 1,
    ]
    assert read_archive(open_sealed(MemoryFile(data))) == (expected(mailboxes), [])


def test_a_large_directory_takes_several_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_PART_BYTES", 100)
    mailboxes = {f"user{number}": {"INBOX": [b"h: %d\n\nbody" % number]} for number in range(7)}
    data = write_archive(mailboxes)
    assert len(frames_of(data, FrameType.DIRECTORY)) > 4
    assert read_archive(open_sealed(MemoryFile(data))) == (expected(mailboxes), [])


class TestLimits:
    """What a hostile mailbox can do to the archive: fill its own part, never spoil that of others."""

    def test_too_many_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(under_way, "_MOST_MAILBOX_BYTES", 10_000)
        sink, archive = begun()
        file = StoredFile(b"x" * 200, False, None, OWNER, 0, 0, bytes(16), ())
        taken = 0

        def fill() -> None:
            nonlocal taken
            for _ in range(1000):
                archive.add_file(file)
                taken += 1

        with pytest.raises(MessageUnavailable) as caught:
            fill()
        assert caught.value.reason == "too-many"
        archive.add_file(replace(file, path=b"x"))
        archive.end_mailbox("alice", b"", 0, 0, ())
        archive.add_file(file)
        archive.end_mailbox("bob", b"", 0, 0, ())
        archive.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        alice, bob = (reader.mailbox(number) for number in range(2))
        assert len(alice.files) == taken + 1 > 30
        assert len(bob.files) == 1

    def test_too_many_folders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(under_way, "_MOST_MAILBOX_BYTES", 10_000)
        sink, archive = begun()
        taken = 0

        def fill() -> None:
            nonlocal taken
            for uid in range(1, 1000):
                archive.add_message(message(uid, b"", (), bytes(16)))
                archive.end_folder(Folder(name=f"Folder {uid}", path=b"%d" % uid))
                taken += 1

        with pytest.raises(StoreError):
            fill()
        archive.end_mailbox("alice", b"", taken, 0, ())
        write_mailbox(archive, Packer(archive), "bob", {"INBOX": [b"bob's"]})
        archive.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        alice, bob = reader.directory.mailboxes
        assert [
            len(list(messages_of(reader, alice, folder)))
            for folder in reader.mailbox(alice.home.number).folders
        ] == [1] * taken
        assert taken > 30
        assert [
            len(list(messages_of(reader, bob, entry))) for entry in reader.mailbox(bob.home.number).folders
        ] == [1]

    def test_what_is_too_much_to_list_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(under_way, "_MOST_SKIPPED_BYTES", 10_000)
        sink, archive = begun()
        skipped = tuple(Skipped(f"/p/g/u/INBOX/{number}", "permission", "x" * 50) for number in range(1000))
        listed = archive.end_mailbox("alice", b"", 1000, 0, skipped).skipped
        archive.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        assert reader.mailbox(reader.directory.mailboxes[0].home.number).skipped == listed
        assert listed[:-1] == skipped[: len(listed) - 1]
        assert listed[-1] == Skipped(
            listed[-1].path, "permission", f"and {1000 - len(listed)} more, not listed"
        )
        assert 10 < len(listed) < 100

    def test_all_that_fits_is_listed(self) -> None:
        _, archive = begun()
        skipped = tuple(Skipped(f"/p/g/u/INBOX/{number}", "vanished") for number in range(1000))
        assert archive.end_mailbox("alice", b"", 1000, 0, skipped).skipped == skipped

    def test_a_frame_is_never_larger_than_readers_accept(self) -> None:
        _, archive = begun()
        archive.end_folder(Folder(name="x", path=b""))
        with pytest.raises(OverflowError):
            archive.end_mailbox("alice", bytes(8 << 20), 0, 0, ())


def test_messages_of_a_folder_that_was_never_ended_go_to_nobody() -> None:
    """The store may fail in the middle of a folder; the next mailbox must not get what was read of it."""
    sink, archive = begun()
    archive.add_message(message(1, b"", (), bytes(16), base=b"alice's"))
    archive.end_mailbox("alice", b"", 0, 0, ())
    archive.add_message(message(1, b"", (), bytes(16), base=b"bob's"))
    archive.end_folder(Folder(name="INBOX", path=b""))
    archive.end_mailbox("bob", b"", 1, 0, ())
    archive.finish()
    reader = open_sealed(MemoryFile(bytes(sink.data)))
    alice, bob = reader.directory.mailboxes
    assert reader.mailbox(alice.home.number).folders == ()
    (inbox,) = reader.mailbox(bob.home.number).folders
    assert [one.base for one in messages_of(reader, bob, inbox)] == [b"bob's"]


def test_a_folder_that_comes_again_goes_on() -> None:
    """Mail that came while other folders were read; the record that comes later counts."""
    sink, archive = begun()
    for uids, name, uidnext in (((1, 2), "INBOX", 3), ((1,), "Sent", 2), ((3,), "INBOX", 4)):
        for uid in uids:
            archive.add_message(message(uid, b"", (), bytes(16)))
        archive.end_folder(Folder(name=name, path=name.encode(), uidnext=uidnext))
    archive.end_mailbox("alice", b"", 4, 0, ())
    archive.finish()
    reader = open_sealed(MemoryFile(bytes(sink.data)))
    (alice,) = reader.directory.mailboxes
    inbox, sent = reader.mailbox(alice.home.number).folders
    assert [one.uid for one in messages_of(reader, alice, inbox)] == [1, 2, 3]
    assert [one.uid for one in messages_of(reader, alice, sent)] == [1]
    assert (inbox.messages, len(inbox.frames), inbox.folder.uidnext) == (3, 2, 4)


def test_a_piece_may_lie_in_another_archive() -> None:
    sink, archive = begun()
    elsewhere = (Piece(ArchiveId(b"another archive!"), 77, 10),)
    archive.add_message(message(1, b"", elsewhere, bytes(16)))
    archive.end_folder(Folder(name="INBOX", path=b""))
    archive.end_mailbox("alice", b"", 1, 0, ())
    archive.finish()
    reader = open_sealed(MemoryFile(bytes(sink.data)))
    (alice,) = reader.directory.mailboxes
    assert [
        one.pieces for one in messages_of(reader, alice, reader.mailbox(alice.home.number).folders[0])
    ] == [elsewhere]
