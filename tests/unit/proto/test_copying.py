"""Archives that take over what others have: as it is stored there, with nothing decoded on the way."""

from __future__ import annotations

import random
from dataclasses import replace
from unittest.mock import patch

import pytest

from mailhaul.proto.archive import framing, messages
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.contents import ArchiveHeader, MailboxEntry
from mailhaul.proto.archive.draft import read_draft
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.messages import MessageRows, Totals
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Departed, Folder, Listed, Piece, Skipped, StoredFile, Terms
from mailhaul.tests.archives import (
    OWNER,
    MemoryFile,
    MemorySink,
    archive_header,
    frames_of,
    message,
    write_archive,
    write_mailbox,
)
from mailhaul.worker.packing import Packer
from mailhaul.worker.verifying.verify import verify_frames

FIRST, SECOND, THIRD = (ArchiveId(bytes([number]) * 16) for number in (1, 2, 3))
MAILBOXES: dict[str, dict[str, list[bytes]]] = {
    "alice": {"INBOX": [b"Subject: %d\n\nbody %d" % (n, n) for n in range(12)], "Sent": [b"h: x\n\nx"]},
    "bob": {"INBOX": [b"Subject: bob's\n\n" + random.Random(1).randbytes(3000)]},
    "carol": {"Empty": []},
}


def small(mailboxes: dict[str, dict[str, list[bytes]]], archive: ArchiveId) -> bytes:
    with patch.object(framing, "BLOCK_BYTES", 900), patch.object(messages, "MOST_MESSAGES", 5):
        return write_archive(mailboxes, archive=archive)


DATA = small(MAILBOXES, FIRST)
SOURCE = open_sealed(MemoryFile(DATA))


def header(archive: ArchiveId) -> ArchiveHeader:
    return archive_header(archive)


def entry_of(reader: ArchiveReader, user: str) -> MailboxEntry:
    entry = reader.entry(user)
    assert entry is not None
    return entry


def content(reader: ArchiveReader, *others: ArchiveReader) -> dict[tuple[str, str], list[bytes]]:
    """All messages, wherever their pieces lie."""
    archives = {one.header.archive: one for one in (reader, *others)}
    data = Contents(archives.__getitem__)
    return {
        (entry.user, folder.folder.name): [
            b"".join(data.message(one)) for one in reader.messages(entry, folder)
        ]
        for entry in reader.directory.mailboxes
        for folder in reader.mailbox(entry).folders
    }


def taken_over(source: ArchiveReader, archive: ArchiveId) -> bytes:
    """An archive of a run in which nothing has changed."""
    sink = MemorySink()
    writer = ArchiveWriter(sink, header(archive))
    for entry in source.directory.mailboxes:
        writer.copy_mailbox(source, entry)
    writer.finish()
    return bytes(sink.data)


def stored(data: bytes, kind: FrameType) -> list[bytes]:
    return [one.header.checksum for one in frames_of(data, kind)]


class TestAWholeMailbox:
    def test_it_is_as_it_was(self) -> None:
        data = taken_over(SOURCE, SECOND)
        assert not verify_frames(MemoryFile(data)).damaged
        reader = open_sealed(MemoryFile(data))
        assert content(reader, SOURCE) == content(SOURCE)
        for mine, theirs in zip(reader.directory.mailboxes, SOURCE.directory.mailboxes, strict=True):
            mailbox, before = reader.mailbox(mine), SOURCE.mailbox(theirs)
            assert mailbox == replace(before, changed=False)
            assert [reader.terms(mine, n) for n in range(len(mine.message_frames))] == [
                SOURCE.terms(theirs, n) for n in range(len(theirs.message_frames))
            ]
        assert reader.directory.data_bytes == 0

    def test_its_messages_are_copied_as_they_are_stored(self) -> None:
        data = taken_over(SOURCE, SECOND)
        for kind in (FrameType.MESSAGES, FrameType.SEARCH):
            assert stored(data, kind) == stored(DATA, kind)
        # From the second copy on its own metadata is, too.
        again = taken_over(open_sealed(MemoryFile(data)), THIRD)
        assert (
            stored(again, FrameType.MAILBOX)
            == stored(data, FrameType.MAILBOX)
            != stored(DATA, FrameType.MAILBOX)
        )

    def test_it_refers_to_what_it_was_made_of_and_to_nothing_else(self) -> None:
        second = open_sealed(MemoryFile(taken_over(SOURCE, SECOND)))
        third = open_sealed(MemoryFile(taken_over(second, THIRD)))
        for reader in (second, third):
            assert [one.archives for one in reader.directory.mailboxes] == [(FIRST,), (FIRST,), ()]
            assert reader.directory.references == (FIRST,)
            assert content(reader, SOURCE) == content(SOURCE)
        assert [one.archives for one in SOURCE.directory.mailboxes] == [(), (), ()]

    def test_what_came_and_went_counts_once(self) -> None:
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(FIRST))
        writer.add_message(message(1, b"", (), bytes(16)))
        writer.end_folder(Folder(name="INBOX", path=b""), b"state")
        writer.end_mailbox("alice", b"a/Maildir", 3, 0, (), files_mark=b"files", added=1, vanished=2)
        writer.finish()
        first = open_sealed(MemoryFile(bytes(sink.data)))
        (entry,) = first.directory.mailboxes
        assert (entry.added, entry.vanished, entry.changed) == (1, 2, True)
        summary = entry.summary("primary", "user")
        assert summary == first.mailbox(entry).summary("primary", "user")
        second = open_sealed(MemoryFile(taken_over(first, SECOND)))
        (copied,) = second.directory.mailboxes
        told = replace(summary, added=0, vanished=0, changed=False)
        assert copied.summary("primary", "user") == second.mailbox(copied).summary("primary", "user") == told
        mailbox = second.mailbox(copied)
        assert (mailbox.folders[0].mark, mailbox.files_mark, copied.place) == (
            b"state",
            b"files",
            b"a/Maildir",
        )

    def test_the_copy_of_its_metadata_is_as_good(self) -> None:
        broken = bytearray(DATA)
        entry = SOURCE.directory.mailboxes[1]
        broken[entry.frames[0] + 80] ^= 1
        reader = open_sealed(MemoryFile(taken_over(open_sealed(MemoryFile(bytes(broken))), SECOND)))
        assert content(reader, SOURCE) == content(SOURCE)

    def test_without_its_terms_only_these_are_lost(self) -> None:
        broken = bytearray(DATA)
        broken[frames_of(DATA, FrameType.SEARCH)[1].end - 1] ^= 1
        reader = open_sealed(MemoryFile(taken_over(open_sealed(MemoryFile(bytes(broken))), SECOND)))
        assert content(reader, SOURCE) == content(SOURCE)
        alice = entry_of(reader, "alice")
        assert [terms_told(reader, alice, number) for number in range(4)] == [5, 0, 2, 1]

    def test_with_damaged_messages_it_can_be_begun_again(self) -> None:
        broken = bytearray(DATA)
        broken[frames_of(DATA, FrameType.MESSAGES)[1].end - 1] ^= 1
        source = open_sealed(MemoryFile(bytes(broken)))
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        with pytest.raises(DamagedError):
            writer.copy_mailbox(source, entry_of(source, "alice"))
        with pytest.raises(ValueError, match="whole"):
            writer.copy_mailbox(source, entry_of(source, "bob"))
        writer.drop_mailbox()
        write_mailbox(writer, Packer(writer), "alice", {"INBOX": [b"read again"]})
        writer.copy_mailbox(source, entry_of(source, "bob"))
        writer.finish()
        assert not verify_frames(MemoryFile(bytes(sink.data))).damaged
        for reader in (open_sealed(MemoryFile(bytes(sink.data))), salvage(MemoryFile(bytes(sink.data)))):
            found = content(reader, SOURCE)
            assert found == {
                ("alice", "INBOX"): [b"read again"],
                ("bob", "INBOX"): MAILBOXES["bob"]["INBOX"],
            }

    def test_a_mailbox_that_is_not_the_one_of_the_directory_is_damage(self) -> None:
        alice = entry_of(SOURCE, "alice")
        for lying in (replace(alice, user="mallory"), replace(alice, listed=99), replace(alice, number=1)):
            with pytest.raises(DamagedError):
                ArchiveWriter(MemorySink(), header(SECOND)).copy_mailbox(SOURCE, lying)


def terms_told(reader: ArchiveReader, entry: MailboxEntry, number: int) -> int:
    try:
        return len(reader.terms(entry, number))
    except DamagedError:
        return 0


class TestMessages:
    def test_they_go_where_the_folder_says(self) -> None:
        """A folder of old messages as they are stored, some decoded, some new."""
        alice = entry_of(SOURCE, "alice")
        inbox, sent = SOURCE.mailbox(alice).folders
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        packer = Packer(writer)
        old = list(SOURCE.messages(alice, inbox))
        writer.add_message(old[7], Terms(subject=b"decoded"))
        assert writer.copy_messages(SOURCE, alice, 0) == Totals(5, sum(one.size for one in old[:5]))
        assert writer.copy_messages(SOURCE, alice, 2) == Totals(2, sum(one.size for one in old[10:]))
        writer.end_folder(inbox.folder)
        writer.copy_messages(SOURCE, alice, sent.frames[0])
        writer.end_folder(sent.folder)
        writer.end_mailbox("alice", b"", 9, 0, ())
        write_mailbox(writer, packer, "dora", {"INBOX": [b"new"]})
        writer.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        copied = entry_of(reader, "alice")
        here = reader.mailbox(copied).folders
        assert list(reader.messages(copied, here[0])) == [old[7], *old[:5], *old[10:]]
        assert list(reader.messages(copied, here[1])) == list(SOURCE.messages(alice, sent))
        assert reader.terms(copied, 0) == [Terms(subject=b"decoded")]
        assert reader.terms(copied, 1) == SOURCE.terms(alice, 0)
        assert (copied.archives, entry_of(reader, "dora").archives) == ((FIRST,), ())
        assert reader.directory.references == writer.references == (FIRST,)

    @pytest.mark.parametrize("kind", ["damaged", "gone", "beyond"])
    def test_nothing_is_written_of_damaged_ones(self, kind: str) -> None:
        broken = bytearray(DATA)
        broken[frames_of(DATA, FrameType.MESSAGES)[0].end - 1] ^= kind == "damaged"
        source = open_sealed(MemoryFile(bytes(broken)))
        alice = entry_of(source, "alice")
        if kind == "gone":
            alice = replace(alice, message_frames=(-1, *alice.message_frames[1:]))
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        before = len(sink.data)
        with pytest.raises(DamagedError):
            writer.copy_messages(source, alice, 99 if kind == "beyond" else 0)
        assert len(sink.data) == before
        write_mailbox(writer, Packer(writer), "alice", {"INBOX": [b"read again"]})
        writer.finish()
        assert content(open_sealed(MemoryFile(bytes(sink.data)))) == {("alice", "INBOX"): [b"read again"]}


class TestReferences:
    def test_files_count_too(self) -> None:
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(FIRST))
        pieces = (Piece(SECOND, 0, 1), Piece(FIRST, 0, 1), Piece(THIRD, 5, 1))
        writer.add_file(StoredFile(b"x", False, None, OWNER, 0, 3, bytes(16), pieces))
        writer.end_mailbox("alice", b"", 0, 0, ())
        writer.end_mailbox("bob", b"", 0, 0, ())
        writer.finish()
        alice, bob = open_sealed(MemoryFile(bytes(sink.data))).directory.mailboxes
        assert (alice.archives, bob.archives) == ((SECOND, THIRD), ())

    def test_of_a_mailbox_that_was_dropped_none_count(self) -> None:
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(FIRST))
        writer.add_message(message(1, b"", (Piece(SECOND, 0, 1),), bytes(16)))
        writer.end_folder(Folder(name="INBOX", path=b""))
        writer.drop_mailbox()
        writer.end_mailbox("alice", b"", 0, 0, ())
        writer.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        assert (writer.references, reader.directory.references) == ((), ())
        assert reader.mailbox(entry_of(reader, "alice")).folders == ()

    def test_many_archives(self) -> None:
        """As many as there may be after years of nights: each message in another one."""
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(FIRST))
        archives = [ArchiveId(number.to_bytes(16, "big")) for number in range(40_000)]
        pieces = [tuple(Piece(one, 1, 1) for one in archives[n : n + 1000]) for n in range(0, 40_000, 1000)]
        for uid, one in enumerate(pieces, 1):
            writer.add_message(message(uid, b"x" * 1000, one, bytes(16)))
        writer.end_folder(Folder(name="INBOX", path=b""))
        writer.end_mailbox("alice", b"", len(pieces), 0, ())
        writer.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        (alice,) = reader.directory.mailboxes
        assert alice.archives == reader.directory.references == tuple(archives)
        (inbox,) = reader.mailbox(alice).folders
        assert len(inbox.frames) == 2
        assert [one.pieces for one in reader.messages(alice, inbox)] == pieces


def test_what_a_run_tells_of_other_mailboxes_comes_back() -> None:
    departed = (Departed("dora", "removed"), Departed("eve", "moved", "/secondary/user/eve"))
    unopened = (Skipped("/primary/user/mallory", "mailbox", "permission denied"),)
    sink = MemorySink()
    writer = ArchiveWriter(sink, header(FIRST))
    writer.finish(departed=departed, unopened=unopened)
    for reader in (open_sealed(MemoryFile(bytes(sink.data))), salvage(MemoryFile(bytes(sink.data)))):
        assert (reader.directory.departed, reader.directory.unopened) == (departed, unopened)


class TestGoingOn:
    def test_behind_what_was_copied(self) -> None:
        """A crash after any frame of an incremental archive: what comes of it is the same."""
        whole = incremental(b"")
        cuts = [one.end for one in frames_of(whole)]
        for cut in cuts[:-1]:
            assert incremental(whole[:cut]) == whole

    def test_a_draft_knows_what_came_and_went(self) -> None:
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        writer.copy_messages(SOURCE, entry_of(SOURCE, "bob"), 0)
        writer.end_folder(Folder(name="INBOX", path=b""))
        writer.end_mailbox("bob", b"", 1, 0, (), added=5, vanished=6)
        draft = read_draft(MemoryFile(bytes(sink.data)))
        assert draft is not None
        (bob,) = draft.archive.directory.mailboxes
        assert (bob.added, bob.vanished, bob.changed, bob.archives) == (5, 6, True, (FIRST,))
        assert ArchiveWriter(MemorySink(), header(SECOND), draft=draft).references == (FIRST,)

    def test_not_behind_one_that_is_written_anew(self) -> None:
        sink = MemorySink()
        writer = ArchiveWriter(sink, replace(header(SECOND), generation=1))
        writer.end_mailbox("bob", b"", 0, 0, ())
        assert read_draft(MemoryFile(bytes(sink.data))) is None


def incremental(left: bytes) -> bytes:
    sink = MemorySink(left)
    draft = sink.begin()
    writer = ArchiveWriter(sink, header(SECOND), draft=draft)
    done = {one.user for one in draft.archive.directory.mailboxes} if draft else set()
    for entry in SOURCE.directory.mailboxes:
        if entry.user not in done:
            writer.copy_mailbox(SOURCE, entry)
    if "dora" not in done:
        write_mailbox(writer, Packer(writer), "dora", {"INBOX": [b"Subject: new\n\nnew"]})
    writer.finish()
    return bytes(sink.data)


class TestRowsOfAFrame:
    """What is taken over of a frame that can't stay as it is."""

    def test_they_are_cut_to_frames_and_keep_their_terms(self) -> None:
        sink, alice = MemorySink(), entry_of(SOURCE, "alice")
        inbox = SOURCE.mailbox(alice).folders[0]
        before = list(SOURCE.messages(alice, inbox))
        frames = [(MessageRows(SOURCE.message_frame(alice, n)), SOURCE.terms(alice, n)) for n in inbox.frames]
        assert [len(rows) for rows, _ in frames] == [5, 5, 2]
        now = [replace(one, suffix=b":2,S", flags="S", place="cur") for one in before]
        called = [Listed(one.base, one.suffix, one.place, one.uid, one.flags, one.fields) for one in now]
        writer = ArchiveWriter(sink, header(SECOND))
        with patch.object(messages, "MOST_MESSAGES", 5):
            at = 0
            for rows, terms in frames:
                # Without the first of each frame: what is added then goes across their ends.
                end = at + len(rows)
                writer.add_rows(rows, 1, called[at + 1 : end], terms[1:])
                at = end
        writer.end_folder(inbox.folder)
        writer.end_mailbox("alice", b"", 9, 0, ())
        writer.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        entry = entry_of(reader, "alice")
        (folder,) = reader.mailbox(entry).folders
        kept = [*range(1, 5), *range(6, 10), 11]
        assert list(reader.messages(entry, folder)) == [now[number] for number in kept]
        assert [len(reader.terms(entry, n)) for n in folder.frames] == [5, 4]
        every = [one for _, terms in frames for one in terms]
        found = [one for n in folder.frames for one in reader.terms(entry, n)]
        assert found == [every[number] for number in kept]
        assert entry.archives == (FIRST,)
