"""Archives that refer to what others tell of, or copy it as it is stored there."""

from __future__ import annotations

import random
from unittest.mock import patch

import pytest

from mailhaul.proto.archive import framing, messages, search
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.contents import ArchiveHeader, MailboxEntry
from mailhaul.proto.archive.draft import read_draft
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.places import GONE
from mailhaul.proto.archive.pointers import FramePointer
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.stored import StoredMailbox, read_mailbox
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Departed, Folder, Listed, Piece, Skipped, StoredFile, Terms
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    OWNER,
    MemoryFile,
    MemorySink,
    archive_header,
    frames_of,
    message,
    messages_of,
    place_of,
    position_of,
    replaced,
    taken_up,
    terms_in,
    unfinished_in,
    write_archive,
    write_mailbox,
)
from mailhaul.worker.packing.packer import Packer
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
    """All messages, wherever they and their metadata lie."""
    archives = {archive_reader.header.archive: archive_reader for archive_reader in (*others, reader)}
    data = Contents(archives.__getitem__)
    found = {}
    for entry in reader.directory.mailboxes:
        stored = StoredMailbox(archives.__getitem__, reader.header.archive, entry.user)
        for folder in stored.mailbox.folders:
            found[entry.user, folder.folder.name] = [
                b"".join(data.message(one)) for one in stored.messages(folder)
            ]
    return found


def unchanged(source: ArchiveReader, archive: ArchiveId) -> bytes:
    """An archive of a run in which nothing has changed."""
    sink = MemorySink()
    writer = ArchiveWriter(sink, header(archive))
    for entry in source.directory.mailboxes:
        writer.refer_mailbox(entry)
    writer.finish()
    return bytes(sink.data)


class TestAWholeMailbox:
    def test_it_is_as_it_was(self) -> None:
        data = unchanged(SOURCE, SECOND)
        assert not verify_frames(MemoryFile(data)).damaged
        reader = open_sealed(MemoryFile(data))
        assert content(reader, SOURCE) == content(SOURCE)
        for mine, theirs in zip(reader.directory.mailboxes, SOURCE.directory.mailboxes, strict=True):
            assert mine == replace(theirs, changed=False, archives=(FIRST,))
            assert mine.home.archive == FIRST
        assert (reader.directory.data_bytes, reader.directory.places) == (0, ())

    def test_nothing_of_it_is_written_but_a_row(self) -> None:
        kinds = {frame.header.type for frame in frames_of(unchanged(SOURCE, SECOND))}
        assert kinds == {FrameType.HEADER, FrameType.UNCHANGED, FrameType.DIRECTORY, FrameType.FOOTER}

    def test_it_never_refers_to_what_refers(self) -> None:
        """However many nights nothing has changed: all point to where it was written."""
        reader = SOURCE
        for number in range(2, 12):
            reader = open_sealed(MemoryFile(unchanged(reader, ArchiveId(bytes([number]) * 16))))
            assert {mailbox.home.archive for mailbox in reader.directory.mailboxes} == {FIRST}
            assert reader.directory.references == (FIRST,)
        assert content(reader, SOURCE) == content(SOURCE)

    def test_without_the_directory_it_is_known_still(self) -> None:
        data = unchanged(SOURCE, SECOND)
        (place,) = [frame for frame in frames_of(data) if frame.header.type is FrameType.DIRECTORY]
        found = salvage(MemoryFile(data[: place.at]))
        assert found.directory.mailboxes == open_sealed(MemoryFile(data)).directory.mailboxes
        assert content(found, SOURCE) == content(SOURCE)

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
        assert summary == first.mailbox(entry.home.number).summary("primary", "user")
        (again,) = open_sealed(MemoryFile(unchanged(first, SECOND))).directory.mailboxes
        assert again.summary("primary", "user") == replace(summary, added=0, vanished=0, changed=False)
        assert again.place == b"a/Maildir"

    def test_where_its_archive_is_not_at_hand_that_is_told(self) -> None:
        reader = open_sealed(MemoryFile(unchanged(SOURCE, SECOND)))

        def only(archive: ArchiveId) -> ArchiveReader:
            if archive != SECOND:
                raise DamagedError(f"archive {archive.hex()} is not at hand", reason="missing")
            return reader

        with pytest.raises(DamagedError, match=FIRST.hex()):
            StoredMailbox(only, SECOND, "alice")

    def test_one_that_is_not_what_the_directory_tells_of_is_damage(self) -> None:
        alice = entry_of(SOURCE, "alice")
        wrong = (
            replace(alice, user="mallory"),
            replace(alice, listed=99),
            replace(alice, stored=11),
            replace(alice, home=alice.home._replace(number=1)),
            replace(alice, home=alice.home._replace(number=99)),
        )
        for lying in wrong:
            with pytest.raises(DamagedError):
                read_mailbox(lambda _: SOURCE, lying)

    def test_in_the_middle_of_another_one_is_a_mistake(self) -> None:
        writer = ArchiveWriter(MemorySink(), header(SECOND))
        writer.end_folder(Folder(name="INBOX", path=b""))
        with pytest.raises(ValueError, match="whole"):
            writer.refer_mailbox(entry_of(SOURCE, "bob"))


def pointers_of(reader: ArchiveReader, user: str) -> list[FramePointer]:
    folders = reader.mailbox(entry_of(reader, user).home.number).folders
    return [frame for folder in folders for frame in folder.frames]


class TestMessages:
    @pytest.mark.parametrize("copied", [False, True])
    def test_they_go_where_the_folder_says(self, copied: bool) -> None:
        """A folder of old messages as they are told of elsewhere, some decoded, some new."""
        alice = entry_of(SOURCE, "alice")
        inbox, sent = SOURCE.mailbox(alice.home.number).folders
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        packer = Packer(writer)

        def put(pointer: FramePointer) -> None:
            if copied:
                writer.copy_messages(SOURCE, pointer)
            else:
                writer.refer(pointer)

        old = list(messages_of(SOURCE, alice, inbox))
        writer.add_message(old[7], Terms(subject=b"decoded"))
        put(inbox.frames[0])
        put(inbox.frames[2])
        writer.add_message(old[8], Terms(subject=b"behind"))
        writer.end_folder(inbox.folder)
        put(sent.frames[0])
        writer.end_folder(sent.folder)
        writer.end_mailbox("alice", b"", 10, 0, ())
        write_mailbox(writer, packer, "dora", {"INBOX": [b"new"]})
        writer.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        archives = {FIRST: SOURCE, SECOND: reader}
        stored = StoredMailbox(archives.__getitem__, SECOND, "alice")
        here = stored.mailbox.folders
        assert list(stored.messages(here[0])) == [old[7], *old[:5], *old[10:], old[8]]
        assert list(stored.messages(here[1])) == list(messages_of(SOURCE, alice, sent))
        terms = [term for rows in stored.frames(here[0]) for term in rows.terms()]
        first = terms_in(SOURCE, alice, 0)
        assert (terms[0].subject, terms[1:6], terms[-1].subject) == (b"decoded", first, b"behind")
        assert (entry_of(reader, "alice").archives, entry_of(reader, "dora").archives) == ((FIRST,), ())
        assert reader.directory.references == writer.references == (FIRST,)
        lies_in = {frame.archive for folder in here for frame in folder.frames}
        assert lies_in == ({SECOND} if copied else {FIRST, SECOND})

    @pytest.mark.parametrize("kind", ["damaged", "gone", "beyond", "another", "too many"])
    def test_nothing_is_written_of_damaged_ones(self, kind: str) -> None:
        broken = bytearray(DATA)
        broken[frames_of(DATA, FrameType.MESSAGES)[0].end - 1] ^= kind == "damaged"
        source = open_sealed(MemoryFile(bytes(broken)))
        pointer = pointers_of(source, "alice")[0]
        if kind == "gone":
            place = place_of(source, entry_of(source, "alice"))
            source = replaced(source, replace(place, messages=(GONE, *place.messages[1:])))
        if kind == "beyond":
            pointer = pointer._replace(position=99)
        if kind == "another":
            pointer = pointer._replace(position=99 << 32)
        if kind == "too many":
            pointer = pointer._replace(messages=6)
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        before = len(sink.data)
        with pytest.raises(DamagedError):
            writer.copy_messages(source, pointer)
        assert len(sink.data) == before
        writer.drop_mailbox()
        write_mailbox(writer, Packer(writer), "alice", {"INBOX": [b"read again"]})
        writer.finish()
        assert content(open_sealed(MemoryFile(bytes(sink.data)))) == {("alice", "INBOX"): [b"read again"]}

    def test_without_their_terms_only_these_are_lost(self) -> None:
        broken = bytearray(DATA)
        broken[frames_of(DATA, FrameType.SEARCH)[1].end - 1] ^= 1
        source = open_sealed(MemoryFile(bytes(broken)))
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        inbox = SOURCE.mailbox(0).folders[0]
        for pointer in inbox.frames:
            writer.copy_messages(source, pointer)
        writer.end_folder(inbox.folder)
        writer.end_mailbox("alice", b"", 12, 0, ())
        writer.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        assert content(reader, SOURCE)["alice", "INBOX"] == MAILBOXES["alice"]["INBOX"]
        alice = entry_of(reader, "alice")
        told = [len(search.decode(reader.search_frame(position_of(alice, number)))) for number in range(3)]
        assert told == [5, 0, 2]


class TestSharedFrames:
    """Small folders share a frame: each points to its rows."""

    def written(self) -> tuple[bytes, ArchiveReader]:
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(FIRST))
        folders = {f"Folder {n}": [b"%d: %d" % (n, one) for one in range(n)] for n in range(30)}
        write_mailbox(writer, Packer(writer), "alice", folders)
        writer.finish()
        return bytes(sink.data), open_sealed(MemoryFile(bytes(sink.data)))

    def test_each_has_its_own_rows(self) -> None:
        data, reader = self.written()
        assert len(frames_of(data, FrameType.MESSAGES)) == len(frames_of(data, FrameType.SEARCH)) == 1
        stored = StoredMailbox(lambda _: reader, FIRST, "alice")
        uid = 0
        for number, folder in enumerate(stored.mailbox.folders):
            found = list(stored.messages(folder))
            assert [one.uid for one in found] == list(range(uid + 1, uid + number + 1))
            for pointer in folder.frames:
                assert (pointer.low_uid, pointer.high_uid) == (found[0].uid, found[-1].uid)
                assert pointer.size_bytes == sum(one.size for one in found)
            (*rows,) = stored.frames(folder)
            terms = [term.subject for each in rows for term in each.terms()]
            assert terms == [b"%d: %d" % (number, one) for one in range(number)]
            uid += number
        assert content(reader) == {
            ("alice", f"Folder {n}"): [b"%d: %d" % (n, one) for one in range(n)] for n in range(30)
        }

    def test_a_part_of_a_frame_can_be_copied(self) -> None:
        _, reader = self.written()
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        folder = reader.mailbox(0).folders[7]
        writer.copy_messages(reader, folder.frames[0])
        writer.end_folder(folder.folder)
        writer.end_mailbox("alice", b"", 7, 0, ())
        writer.finish()
        copied = open_sealed(MemoryFile(bytes(sink.data)))
        assert content(copied, reader) == {("alice", "Folder 7"): [b"7: %d" % one for one in range(7)]}

    def test_a_frame_of_many_messages_is_not_shared(self) -> None:
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(FIRST))
        for name, count in (("large", 600), ("small", 1), ("smaller", 1)):
            for uid in range(1, count + 1):
                writer.add_message(message(uid, b"", (), bytes(16)))
            writer.end_folder(Folder(name=name, path=name.encode()))
        writer.end_mailbox("alice", b"", 602, 0, ())
        writer.finish()
        folders = open_sealed(MemoryFile(bytes(sink.data))).mailbox(0).folders
        assert [[frame.position for frame in folder.frames] for folder in folders] == [[0], [1], [1]]

    def test_the_archives_are_those_of_its_own_messages(self) -> None:
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(FIRST))
        for uid, archive in enumerate((SECOND, THIRD, FIRST), 1):
            writer.add_message(message(uid, b"x", (Piece(archive, 0, 1),), bytes(16)))
            writer.end_folder(Folder(name=f"{uid}", path=b"%d" % uid))
        writer.end_mailbox("alice", b"", 3, 0, ())
        writer.finish()
        folders = open_sealed(MemoryFile(bytes(sink.data))).mailbox(0).folders
        assert [folder.frames[0].data for folder in folders] == [(SECOND,), (THIRD,), (FIRST,)]


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
        assert reader.mailbox(0).folders == ()

    def test_many_archives(self) -> None:
        """As many as there may be after years of nights: each message in another one."""
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(FIRST))
        archives = [ArchiveId(number.to_bytes(16, "big")) for number in range(40_000)]
        pieces = [
            tuple(Piece(archive, 1, 1) for archive in archives[n : n + 1000]) for n in range(0, 40_000, 1000)
        ]
        for uid, one in enumerate(pieces, 1):
            writer.add_message(message(uid, b"x" * 1000, one, bytes(16)))
        writer.end_folder(Folder(name="INBOX", path=b""))
        writer.end_mailbox("alice", b"", len(pieces), 0, ())
        writer.finish()
        reader = open_sealed(MemoryFile(bytes(sink.data)))
        (alice,) = reader.directory.mailboxes
        assert alice.archives == reader.directory.references == tuple(archives)
        (inbox,) = reader.mailbox(alice.home.number).folders
        assert len(inbox.frames) == 2
        assert [one.pieces for one in messages_of(reader, alice, inbox)] == pieces


def test_what_a_run_tells_of_other_mailboxes_comes_back() -> None:
    departed = (Departed("dora", "removed"), Departed("eve", "moved", "/secondary/user/eve"))
    unopened = (Skipped("/primary/user/mallory", "mailbox", "permission denied"),)
    sink = MemorySink()
    writer = ArchiveWriter(sink, header(FIRST), departed=departed)
    writer.finish(unopened)
    for reader in (open_sealed(MemoryFile(bytes(sink.data))), salvage(MemoryFile(bytes(sink.data)))):
        assert (reader.departures(), reader.directory.unopened) == (departed, unopened)


class TestGoingOn:
    def test_behind_what_was_referred_to(self) -> None:
        """A crash after any frame of an incremental archive: what comes of it is the same."""
        whole = incremental(b"")
        cuts = [frame.end for frame in frames_of(whole)]
        for cut in cuts[:-1]:
            assert incremental(whole[:cut]) == whole

    def test_a_draft_knows_what_came_and_went(self) -> None:
        sink = MemorySink()
        writer = ArchiveWriter(sink, header(SECOND))
        writer.refer(pointers_of(SOURCE, "bob")[0])
        writer.end_folder(Folder(name="INBOX", path=b""))
        writer.end_mailbox("bob", b"", 1, 0, (), added=5, vanished=6)
        draft = unfinished_in(bytes(sink.data))
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
    draft = taken_up(sink)
    writer = ArchiveWriter(sink, header(SECOND), draft=draft)
    done = {mailbox.user for mailbox in draft.archive.directory.mailboxes} if draft else set()
    for user in ("alice", "bob"):
        if user not in done:
            for pointer in pointers_of(SOURCE, user):
                writer.refer(pointer)
            writer.end_folder(Folder(name="INBOX", path=b""))
            writer.end_mailbox(user, b"", 13 if user == "alice" else 1, 0, ())
    writer.refer_mailbox(entry_of(SOURCE, "carol"))
    if "dora" not in done:
        write_mailbox(writer, Packer(writer), "dora", {"INBOX": [b"Subject: new\n\nnew"]})
    writer.finish()
    return bytes(sink.data)


class TestRowsOfAFrame:
    """What is taken over of a frame that can't stay as it is."""

    def test_they_are_cut_to_frames_and_keep_their_terms(self) -> None:
        sink, alice = MemorySink(), entry_of(SOURCE, "alice")
        inbox = SOURCE.mailbox(alice.home.number).folders[0]
        before = list(messages_of(SOURCE, alice, inbox))
        frames = [
            (rows.by_columns(), rows.terms())
            for rows in StoredMailbox(lambda _: SOURCE, FIRST, "alice").frames(inbox)
        ]
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
        (folder,) = reader.mailbox(entry.home.number).folders
        kept = [*range(1, 5), *range(6, 10), 11]
        assert list(messages_of(reader, entry, folder)) == [now[number] for number in kept]
        assert [len(terms_in(reader, entry, frame.position)) for frame in folder.frames] == [5, 4]
        every = [term for _, terms in frames for term in terms]
        found = [one for each in folder.frames for one in terms_in(reader, entry, each.position)]
        assert found == [every[number] for number in kept]
        assert entry.archives == (FIRST,)
