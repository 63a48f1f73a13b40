"""What can't be put together: messages, files and metadata by their paths, through all versions."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.mailboxes import FolderEntry
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Folder, Message, Piece, Progress, RunId, StoredFile, Stretch
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    ARCHIVE,
    OWNER,
    MemoryFile,
    MemoryOpened,
    MemorySink,
    archive_header,
    frames_of,
    message,
    messages_of,
    open_any,
    write_archive,
)
from mailhaul.tests.checking import kept_mailboxes, losses_of
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.verifying.examiner import Depth
from mailhaul.worker.verifying.losses import Loss, LossReport, find_losses

MAILBOXES = {
    "alice": {
        "INBOX": [b"h: %d\n\n" % n + random.Random(n).randbytes(90_000) for n in range(6)],
        "Sent": [b"x"],
    },
    "bob": {"INBOX": [b"h: b\n\nbob's"]},
}
DATA = write_archive(MAILBOXES)
SECOND = ArchiveId(b"second archive..")
NEXT_RUN = RunId("20260802T000000Z-0001")


def check(data: bytes, path: str = "/") -> LossReport:
    return losses_of(open_any(data), path, damaged=True)


def test_a_whole_archive_has_lost_nothing() -> None:
    size_bytes = sum(
        len(one) for folders in MAILBOXES.values() for messages in folders.values() for one in messages
    )
    whole = LossReport(messages=8, contents=8, size_bytes=size_bytes)
    assert losses_of(open_sealed(MemoryFile(DATA))) == check(DATA) == whole


def test_a_damaged_block_costs_each_message_in_it() -> None:
    block = frames_of(DATA, FrameType.BLOCK)[0]
    data = bytearray(DATA)
    data[block.at + 100] ^= 1
    report = check(bytes(data))
    assert report.messages == 8
    assert 0 < len(report.losses) == 8 - report.contents
    assert {loss.reason for loss in report.losses} == {"checksum"}
    assert all(one.path.startswith("/primary/user/alice/INBOX/") for one in report.losses)


def test_damaged_metadata_costs_a_folder_or_a_mailbox() -> None:
    data = bytearray(DATA)
    for frame in frames_of(DATA, FrameType.MAILBOX):
        if frame.header.position >> 32 == 1:
            data[frame.at + 80] ^= 1
    data[frames_of(DATA, FrameType.MESSAGES)[1].at + 80] ^= 1
    report = check(bytes(data))
    assert [(loss.path, loss.reason) for loss in report.losses] == [
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
def test_only_what_a_path_selects_is_looked_at(path: str, messages: int) -> None:
    assert check(DATA, path).messages == messages


def test_files_are_checked_too_and_progress_is_told() -> None:
    sink = MemorySink()
    archive = ArchiveWriter(sink, archive_header())
    packer = Packer(archive)
    for uid in range(1, 1101):
        size, digest, pieces = packer.store(MemoryOpened(b"x"))
        archive.add_message(message(uid, bytes(size), pieces, digest))
    archive.end_folder(Folder(name="INBOX", path=b""))
    size, digest, pieces = packer.store(MemoryOpened(b"INBOX\n"))
    archive.add_file(StoredFile(b"subscriptions", False, None, OWNER, 0, size, digest, pieces))
    archive.add_file(StoredFile(b"broken\n", False, None, OWNER, 0, size, bytes(16), pieces))
    archive.add_file(StoredFile(b"link", False, b"subscriptions", OWNER, 0, 0, bytes(16), ()))
    archive.end_mailbox("alice", b"", 1100, 1100, ())
    archive.finish()
    told: list[Progress] = []
    report = losses_of(open_any(bytes(sink.data)), "/", told.append)
    assert report.messages == 1100
    assert [(loss.path, loss.reason) for loss in report.losses] == [
        ("/primary/user/alice/broken%0A", "content")
    ]
    assert told == [Progress("memory", 1100, 1100)] * 2


# Several versions


Change = Callable[[list[Message]], list[Message]]


def following(first: ArchiveReader, change: Change) -> ArchiveReader:
    """A second archive with alice's mailbox after a change; all data stays in the first one."""
    sink = MemorySink()
    header = replace(first.header, archive=SECOND, run=NEXT_RUN)
    archive = ArchiveWriter(sink, header)
    entry = first.directory.mailboxes[0]
    messages = 0
    for folder in first.mailbox(entry.home.number).folders:
        kept = change(list(messages_of(first, entry, folder)))
        for one in kept:
            archive.add_message(one)
        messages += len(kept)
        archive.end_folder(folder.folder)
    archive.end_mailbox(entry.user, entry.place, messages, 1, ())
    archive.finish()
    return open_sealed(MemoryFile(bytes(sink.data)))


def losses(
    *archives: ArchiveReader, broken: dict[ArchiveId, tuple[Stretch, ...]], data: bool = False
) -> list[Loss]:
    known = {reader.header.archive: reader for reader in archives}

    def opened(archive: ArchiveId) -> ArchiveReader:
        if archive not in known:
            raise DamagedError("it is not there", reason="missing")
        return known[archive]

    mailboxes = [mailbox for mailbox in kept_mailboxes(*archives) if mailbox.user == "alice"]
    return list(find_losses(mailboxes, opened, broken, Depth(data=data), lambda _: None, "x").losses)


def test_the_same_loss_in_successive_versions_is_one() -> None:
    first = open_sealed(MemoryFile(DATA))
    both = following(first, lambda messages: messages[1:])
    found = losses(first, both, broken={ARCHIVE: (Stretch(10, 90_020),)})
    assert [(loss.path[-1], loss.first, loss.last, loss.current, loss.twin) for loss in found] == [
        ("1", first.header.run, first.header.run, False, None),
        ("2", first.header.run, NEXT_RUN, True, None),
    ]
    assert found[0].lacking[0] == (ARCHIVE, Stretch(10, found[0].lacking[0][1].length))
    assert {one.mailbox for one in found} == {("primary", "alice")}


def test_a_whole_copy_of_the_content_is_a_twin() -> None:
    first = open_sealed(MemoryFile(DATA))
    messages = list(messages_of(first, first.directory.mailboxes[0], first_folder(first)))
    elsewhere = ArchiveId(b"a third archive.")
    sink = MemorySink()
    third = ArchiveWriter(sink, replace(first.header, archive=elsewhere))
    packer = Packer(third)
    content = MAILBOXES["alice"]["INBOX"][0]
    _, _, pieces = packer.store(MemoryOpened(content))
    third.finish()
    other = open_sealed(MemoryFile(bytes(sink.data)))
    second = following(
        first, lambda found: [replace(one, pieces=pieces) if one.uid == 1 else one for one in found]
    )
    broken = {ARCHIVE: (Stretch(0, 90_000),)}
    known = {ARCHIVE: first, SECOND: second, elsewhere: other}
    mailboxes = kept_mailboxes(first, second)[:1]
    (loss,) = find_losses(mailboxes, known.__getitem__, broken, Depth(data=True), lambda _: None, "x").losses
    assert (loss.path[-1], loss.twin, loss.current, loss.digest) == ("1", SECOND, False, messages[0].digest)


def first_folder(archive: ArchiveReader) -> FolderEntry:
    return archive.mailbox(0).folders[0]


def test_metadata_that_is_lost_has_its_nearest_moment() -> None:
    first = open_sealed(MemoryFile(DATA))
    second = following(first, lambda messages: messages)
    gone = open_sealed(MemoryFile(DATA))
    gone.directory = replace(gone.directory, mailboxes=())
    mailboxes = kept_mailboxes(first, second)[:1]
    known = {ARCHIVE: gone, SECOND: second}
    (loss,) = find_losses(mailboxes, known.__getitem__, {}, Depth(), lambda _: None, "x").losses
    assert (loss.path, loss.reason, loss.twin, loss.near) == (
        "/primary/user/alice",
        "metadata",
        SECOND,
        NEXT_RUN,
    )


def test_pieces_beyond_the_data_in_holes_or_in_no_archive_are_told() -> None:
    first = open_sealed(MemoryFile(DATA))
    nowhere = ArchiveId(bytes(16))

    def changed(messages: list[Message]) -> list[Message]:
        if len(messages) == 1:
            return messages
        beyond = replace(messages[0], pieces=(Piece(ARCHIVE, first.directory.data_bytes - 1, 2),))
        missing = replace(messages[1], pieces=(Piece(nowhere, 0, 1),))
        return [beyond, missing, *messages[2:]]

    found = losses(following(first, changed), first, broken={}, data=False)
    assert [(loss.path[-1], loss.reason, loss.archive) for loss in found] == [
        ("1", "metadata", ARCHIVE),
        ("2", "missing", nowhere),
    ]


def test_a_frame_to_which_two_versions_refer_is_looked_at_once() -> None:
    first = open_sealed(MemoryFile(DATA))
    sink = MemorySink()
    archive = ArchiveWriter(sink, replace(first.header, archive=SECOND, run=NEXT_RUN))
    archive.refer_mailbox(first.directory.mailboxes[0])
    archive.finish()
    second = open_sealed(MemoryFile(bytes(sink.data)))
    known = {ARCHIVE: first, SECOND: second}
    mailboxes = kept_mailboxes(first, second)[:1]
    report = find_losses(mailboxes, known.__getitem__, {}, Depth(data=True), lambda _: None, "x")
    assert (report.messages, report.contents, report.losses) == (14, 7, ())


def test_a_sample_of_contents_is_read() -> None:
    first = open_sealed(MemoryFile(DATA))
    counts = [
        find_losses(
            kept_mailboxes(first),
            lambda _: first,
            {},
            Depth(data=True, share=0.5, seed=n),
            lambda _: None,
            "x",
        ).contents
        for n in range(20)
    ]
    assert 0 < sum(counts) < 160
    assert len(set(counts)) > 1


def test_any_path_may_be_asked_for() -> None:
    asked = LogicalPath.parse("/primary/user/alice/INBOX/;NAME=3.M3P1.mail1")
    first = open_sealed(MemoryFile(DATA))
    report = find_losses(
        kept_mailboxes(first)[:1], lambda _: first, {}, Depth(path=asked, data=True), lambda _: None, "x"
    )
    assert (report.messages, report.contents) == (1, 1)
