"""Verifying: whatever was done to an archive is told, and by its right name."""

from __future__ import annotations

import random

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType
from mailhaul.proto.archive.reader import ArchiveReader, Contents
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import UnsupportedError
from mailhaul.proto.records import ArchiveId, Folder, Progress, StoredFile
from mailhaul.tests.archives import (
    OWNER,
    MemoryFile,
    MemoryOpened,
    MemorySink,
    archive_header,
    encoded,
    frames_of,
    message,
    open_any,
    remapped,
    write_archive,
)
from mailhaul.worker.packing import Packer
from mailhaul.worker.verify import VerifyReport, verify_frames, verify_messages

MAILBOXES = {
    "alice": {
        "INBOX": [b"h: %d\n\n" % n + random.Random(n).randbytes(90_000) for n in range(6)],
        "Sent": [b"x"],
    },
    "bob": {"INBOX": [b"h: b\n\nbob's"]},
}
DATA = write_archive(MAILBOXES)
FRAMES = frames_of(DATA)


def check(data: bytes) -> VerifyReport:
    return verify_frames(MemoryFile(data))


def check_messages(data: bytes, path: str = "/") -> VerifyReport:
    reader = open_any(data)

    def opened(_: ArchiveId) -> ArchiveReader:
        return reader

    return verify_messages(reader, Contents(opened), LogicalPath.parse(path), lambda _: None)


def test_a_whole_archive_is_whole() -> None:
    assert check(DATA) == VerifyReport(file="memory", frames=len(FRAMES))
    size_bytes = sum(
        len(one) for folders in MAILBOXES.values() for messages in folders.values() for one in messages
    )
    assert check_messages(DATA) == VerifyReport(file="memory", messages=8, size_bytes=size_bytes)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda one: f"{one.header.sequence}-{one.header.type.name}")
def test_a_flipped_bit_in_any_frame_is_told(frame: object) -> None:
    assert isinstance(frame, type(FRAMES[0]))
    for at in (frame.at, frame.at + HEADER_BYTES - 1, frame.at + HEADER_BYTES, frame.end - 1):
        data = bytearray(DATA)
        data[at] ^= 0x10
        damaged = check(bytes(data)).damaged
        assert any(f"memory at {frame.at}" in one.path for one in damaged)


def test_an_archive_that_ends_too_early_is_told_even_where_a_frame_ends() -> None:
    for one in FRAMES:
        assert check(DATA[: one.at]).damaged
    assert check(DATA[:-1]).damaged
    assert check(DATA + b"x").damaged


def test_frames_that_are_missing_doubled_or_swapped_are_told() -> None:
    parts = [DATA[one.at : one.end] for one in FRAMES]
    for number in range(len(parts) - 1):
        assert check(b"".join(parts[:number] + parts[number + 1 :])).damaged
        assert check(b"".join(parts[: number + 1] + parts[number:])).damaged
        swapped = [*parts[:number], parts[number + 1], parts[number], *parts[number + 2 :]]
        assert check(b"".join(swapped)).damaged


def test_a_frame_of_another_archive_in_its_place_is_told() -> None:
    other = write_archive(MAILBOXES, archive=ArchiveId(bytes(16)))
    block = frames_of(other, FrameType.BLOCK)[0]
    assert check(DATA[: block.at] + other[block.at : block.end] + DATA[block.end :]).damaged


def test_what_is_no_archive_is_told() -> None:
    for data in (b"", b"x" * 10_000):
        (told,) = check(data).damaged
        assert told.reason == "archive"


def test_what_a_later_version_wrote_is_told_as_such() -> None:
    newer = encoded(FRAMES[0].header, remapped(FRAMES[0].payload, read_version=2)) + DATA[FRAMES[0].end :]
    with pytest.raises(UnsupportedError):
        check(newer)


def test_a_damaged_block_is_told_with_each_message_in_it() -> None:
    block = frames_of(DATA, FrameType.BLOCK)[0]
    data = bytearray(DATA)
    data[block.at + 100] ^= 1
    report = check_messages(bytes(data))
    assert report.messages == 8
    assert report.damaged
    assert {one.reason for one in report.damaged} == {"checksum"}
    assert all(one.path.startswith("/primary/user/alice/INBOX/") for one in report.damaged)


def test_damaged_metadata_is_told_with_its_folder_or_mailbox() -> None:
    data = bytearray(DATA)
    for one in frames_of(DATA, FrameType.MAILBOX):
        if one.header.position >> 32 == 1:
            data[one.at + 80] ^= 1
    data[frames_of(DATA, FrameType.MESSAGES)[1].at + 80] ^= 1
    report = check_messages(bytes(data))
    assert [(one.path, one.reason) for one in report.damaged] == [
        ("/primary/user/alice/Sent", "metadata"),
        ("/primary/user/bob", "metadata"),
    ]
    assert report.messages == 6


@pytest.mark.parametrize(
    ("path", "messages"),
    [
        ("/", 8),
        ("/primary/user/alice", 7),
        ("/primary/user/alice/INBOX", 6),
        ("/primary/user/alice/INBOX/3", 1),
        ("/primary/user/alice/INBOX/99", 0),
        ("/primary/user/carol", 0),
    ],
)
def test_only_what_a_path_selects_is_read(path: str, messages: int) -> None:
    assert check_messages(DATA, path).messages == messages


def test_files_are_checked_too_and_progress_is_told() -> None:
    sink = MemorySink()
    archive = ArchiveWriter(sink, archive_header())
    packer = Packer(archive)
    for uid in range(1, 301):
        size, digest, pieces = packer.store(MemoryOpened(b"x"))
        archive.add_message(message(uid, bytes(size), pieces, digest))
    archive.end_folder(Folder(name="INBOX", path=b""))
    size, digest, pieces = packer.store(MemoryOpened(b"INBOX\n"))
    archive.add_file(StoredFile(b"subscriptions", False, None, OWNER, 0, size, digest, pieces))
    archive.add_file(StoredFile(b"broken\n", False, None, OWNER, 0, size, bytes(16), pieces))
    archive.add_file(StoredFile(b"link", False, b"subscriptions", OWNER, 0, 0, bytes(16), ()))
    archive.end_mailbox("alice", b"", 300, 300, ())
    archive.finish()
    reader = open_any(bytes(sink.data))
    told: list[Progress] = []
    report = verify_messages(reader, Contents(lambda _: reader), LogicalPath(), told.append)
    assert (report.messages, report.size_bytes) == (300, 300 + 2 * size)
    assert [(one.path, one.reason) for one in report.damaged] == [
        ("/primary/user/alice/broken%0A", "content")
    ]
    assert told == [Progress("memory", 256, 256)]
