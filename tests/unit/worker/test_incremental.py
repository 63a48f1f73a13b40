"""What an incremental run takes over, writes and tells, over a store in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.messages import MessageRows
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.errors import MessageUnavailable, StagingError, StoreError
from mailhaul.proto.ports import FolderReader, KnownMailbox, MailboxReader
from mailhaul.proto.records import (
    STAGING,
    ArchiveId,
    BackupMode,
    Departed,
    FileStat,
    Folder,
    Listed,
    Location,
    MailboxSize,
    Parents,
    Referred,
    RunId,
    Skipped,
    Stretch,
    UnitReport,
)
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    MemoryFile,
    MemorySink,
    frames_of,
)
from mailhaul.tests.maildirs import file, message
from mailhaul.tests.memory_chains import Chain
from mailhaul.worker.archives.names import archive_name, generation_name, name_of
from mailhaul.worker.archives.places import Places
from mailhaul.worker.archives.sealed import report_of
from mailhaul.worker.comparing import known
from mailhaul.worker.stores.listed_records import ListedRecords
from mailhaul.worker.stores.memory import Mail, MemoryFolder, MemoryMailbox, MemoryStore

NOISE = random.Random(2).randbytes(50_000)
SENT = b".Sent"
FIRST, SECOND = ArchiveId(b"1" * 16), ArchiveId(b"2" * 16)


class Store:
    """A store in memory whose mailboxes can be made to misbehave: ``spoil`` gets each one that is opened."""

    def __init__(self) -> None:
        self.mail: Mail = {}
        self.opened: list[str] = []
        self.spoil: Callable[[MailboxReader], MailboxReader] = lambda mailbox: mailbox
        self._number = 0

    def users(self) -> Iterator[str]:
        return iter(sorted(self.mail))

    def left_out(self) -> tuple[Skipped, ...]:
        return ()

    def measure(self, user: str) -> MailboxSize:
        return MemoryStore(self.mail).measure(user)

    @contextmanager
    def open_mailbox(
        self,
        user: str,
        known: KnownMailbox | None = None,
        wanted: Callable[[str], bool] = lambda _folder: True,
    ) -> Iterator[MailboxReader]:
        self.opened.append(user)
        with MemoryStore(self.mail).open_mailbox(user, known, wanted) as mailbox:
            yield self.spoil(mailbox)

    def folder(self, user: str, path: bytes = b"") -> MemoryFolder:
        mailbox = self.mail.setdefault(user, MemoryMailbox())
        if path not in mailbox.folders:
            name = path[1:].decode() or "INBOX"
            mailbox.folders[path] = MemoryFolder(Folder(name=name, path=path, uidnext=1))
        return mailbox.folders[path]

    def deliver(self, user: str, path: bytes = b"", count: int = 1, size: int = 500) -> bytes:
        for _ in range(count):
            self._number += 1
            base = b"%d.M1P1.mx" % self._number
            content = b"From: sender%d\nSubject: %d\n\n" % (self._number, self._number)
            content += NOISE[self._number : self._number + size]
            folder = self.folder(user, path)
            one = message(base, content, uid=self._number, date_ns=10**18 + self._number)
            folder.messages[base] = one, content
        return base


class Spoiled(SimpleNamespace):
    """Something with some of its attributes replaced."""

    def __init__(self, original: object, **changes: Any) -> None:
        super().__init__(**changes)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def __len__(self) -> int:
        return len(self._original)  # type: ignore[arg-type]


@pytest.fixture
def store() -> Store:
    store = Store()
    for user in ("anna", "bert", "cleo", "dora"):
        store.deliver(user, count=5)
        store.deliver(user, SENT, count=3)
    return store


@pytest.fixture
def chain(store: Store) -> Chain:
    chain = Chain()
    chain.run(store, store.users())
    return chain


def night(chain: Chain, store: Store, **options: Any) -> UnitReport:
    return chain.run(store, store.users(), **options)


def bases(chain: Chain, user: str, path: bytes = b"") -> set[bytes]:
    return set(chain.mailbox(user)[path][1])


class Counting(MemorySink):
    """A sink that tells whether it was begun, and ended."""

    begun = sealed = aborted = False

    def begin(self) -> Any:
        self.begun = True
        return super().begin()

    def seal(self) -> str:
        self.sealed = True
        return super().seal()

    def abort(self) -> None:
        self.aborted = True


class TestNothingToWrite:
    def test_the_sink_is_not_touched(self, store: Store, chain: Chain) -> None:
        sink = Counting()
        report = night(chain, store, sink=sink)
        assert (report.archive, report.name, report.archive_bytes, report.references) == (None, "", 0, ())
        assert (sink.begun, sink.sealed, sink.aborted) == (False, False, True)
        assert report.messages == sum(mailbox.stored for mailbox in report.mailboxes) == 32
        assert report.size_bytes == chain.moments[0].report.size_bytes
        first = chain.moments[0].report.mailboxes
        assert report.mailboxes == tuple(replace(summary, added=0, changed=False) for summary in first)

    def test_no_folder_is_looked_at(self, store: Store, chain: Chain) -> None:
        """The mark of all of a mailbox is enough; not for who wants each message compared."""

        def closed(mailbox: MailboxReader) -> Any:
            return Spoiled(mailbox, folders=lambda: pytest.fail("folders were asked for"))

        store.spoil = closed
        report = chain.run(store, store.users())
        assert (report.archive, report.messages, report.skipped) == (None, 32, ())
        assert [(summary.stored, summary.changed) for summary in report.mailboxes] == [(8, False)] * 4
        store.deliver("anna")
        store.spoil = lambda mailbox: mailbox
        assert chain.run(store, store.users()).read == 1
        for mode in (BackupMode(thorough=True), BackupMode(full=True)):
            asked: list[object] = []
            store.spoil = lambda mailbox, asked=asked: Spoiled(  # type: ignore[misc]
                mailbox, folders=lambda: asked.append(mailbox) or mailbox.folders()
            )
            chain.run(store, store.users(), mode=mode)
            assert len(asked) == 4

    def test_other_marks_alone_are_nothing(self, store: Store, chain: Chain) -> None:
        """As when the store was copied to another disk: names are compared, and the sink stays as it is."""
        for mailbox in store.mail.values():
            for path, folder in mailbox.folders.items():
                mailbox.folders[path] = MemoryFolder(folder.folder, folder.messages)
        sink = Counting()
        report = night(chain, store, sink=sink)
        assert (report.archive, report.read, sink.begun) == (None, 0, False)

    def test_fresh_marks_are_kept_with_the_next_archive(self, store: Store, chain: Chain) -> None:
        for path, folder in list(store.mail["bert"].folders.items()):
            store.mail["bert"].folders[path] = MemoryFolder(folder.folder, folder.messages)
        store.deliver("cleo")
        report = night(chain, store)
        assert [summary.user for summary in report.mailboxes if summary.changed] == ["cleo"]
        looked = []

        def spoil(mailbox: MailboxReader) -> MailboxReader:
            looked.extend([folder.unchanged for folder in mailbox.folders()])
            return mailbox

        store.spoil = spoil
        assert night(chain, store).archive is None
        assert all(looked)

    def test_a_file_that_was_only_touched(self, store: Store, chain: Chain) -> None:
        key, content = (False, b"subscriptions"), b"Sent\n"
        store.mail["anna"].files[key] = file(b"subscriptions", content), content
        assert night(chain, store).mailboxes[0].changed
        sink = Counting()
        touched = replace(file(b"subscriptions", content), owner=store.mail["anna"].files[key][0].owner)
        store.mail["anna"].files[key] = replace(touched, digest=b"x" * 16), content  # another mark
        report = night(chain, store, sink=sink)
        assert (report.archive, sink.begun) == (None, False)

    def test_no_users_at_all(self, chain: Chain, store: Store) -> None:
        assert chain.run(store, ()).archive is None

    def test_departures_alone_are_worth_an_archive(self, chain: Chain, store: Store) -> None:
        gone = Departed("anna", "left-group", "now in groups staff")
        report = chain.run(store, (), departed=(gone,))
        assert report.departed == (gone,)
        assert report.archive is not None
        reader = chain.reader(report.archive)
        assert (reader.departures(), reader.directory.mailboxes) == ((gone,), ())

    def test_departures_that_were_told_before_are_not_worth_one(self, chain: Chain, store: Store) -> None:
        earlier = Departed("zoe", "removed", "", RunId("20260101T000000Z-0001"))
        assert chain.run(store, (), carried=(earlier,)).archive is None
        gone = Departed("anna", "left-group", "now in groups staff")
        report = chain.run(store, (), departed=(gone,), carried=(earlier,))
        assert report.archive is not None
        assert chain.reader(report.archive).departures() == (gone, earlier)
        assert (report.departed, report.carried) == ((gone,), (earlier,))


class TestWhatIsWritten:
    def test_unchanged_mailboxes_are_told_of_too(self, store: Store, chain: Chain) -> None:
        store.deliver("cleo")
        report = night(chain, store)
        assert report.archive is not None
        reader = chain.reader(report.archive)
        changed = {mailbox.user: mailbox.changed for mailbox in reader.directory.mailboxes}
        assert changed == {"anna": False, "bert": False, "cleo": True, "dora": False}
        for user in store.mail:
            assert bases(chain, user) == set(store.folder(user).messages)

    def test_only_what_changed_is_written(self, store: Store, chain: Chain) -> None:
        """Of the mailboxes that have not changed nothing, and nothing of the folders of that which has."""
        store.deliver("cleo", SENT)
        report = night(chain, store)
        first, second = (moment.report.archive for moment in chain.moments)
        (frame,) = _messages(chain.moments[1].data)
        assert (len(MessageRows(frame.payload)), report.read) == (4, 1)
        cleo = StoredMailbox(chain.reader, chain.newest["cleo"], "cleo")
        lies_in = {
            folder.folder.path: {at.archive for at in folder.frames} for folder in cleo.mailbox.folders
        }
        assert lies_in == {b"": {first}, SENT: {second}}
        for user in ("anna", "bert", "dora"):
            assert StoredMailbox(chain.reader, chain.newest[user], user).entry.home.archive == first

    def test_a_large_folder_is_not_written_anew_for_one_message(self, store: Store) -> None:
        store.deliver("anna", count=9000, size=20)
        chain = Chain()
        chain.run(store, ("anna",))
        store.deliver("anna", size=20)
        victim = min(store.folder("anna").messages)
        del store.folder("anna").messages[victim]
        report = chain.run(store, ("anna",))
        first, second = (moment.newest["anna"] for moment in chain.moments)
        anna = StoredMailbox(chain.reader, chain.newest["anna"], "anna")
        lies_in = [at.archive for folder in anna.mailbox.folders for at in folder.frames if at.messages > 100]
        assert lies_in.count(first) >= 2
        assert lies_in.count(second) <= 1
        assert (report.read, report.mailboxes[0].added, report.mailboxes[0].vanished) == (1, 1, 1)
        assert bases(chain, "anna") == set(store.folder("anna").messages)

    def test_daily_mail_does_not_stay_a_frame_a_day(self, store: Store) -> None:
        chain = Chain()
        chain.run(store, ("anna",))
        for _ in range(60):
            store.deliver("anna")
            chain.run(store, ("anna",))
        reader = chain.reader(chain.newest["anna"])
        entry = reader.entry("anna")
        assert entry is not None
        inbox = reader.mailbox(entry.home.number).folders[0]
        assert inbox.messages == 65
        assert len(inbox.frames) <= 6
        assert bases(chain, "anna") == set(store.folder("anna").messages)

    def test_segments_of_other_archives_are_not_stored_again(self, store: Store, chain: Chain) -> None:
        large = b"Subject: twice\n\n" + NOISE
        for night_number in range(2):
            base = b"%d.large" % night_number
            store.folder("dora").messages[base] = message(base, large, uid=100 + night_number), large
            report = night(chain, store)
            assert report.read == 1
        assert report.new_bytes < 1000
        assert chain.mailbox("dora")[b""][1][b"1.large"][1] == large

    def test_terms_are_taken_over(self, store: Store, chain: Chain) -> None:
        first = min(store.folder("anna").messages)
        one, content = store.folder("anna").messages[first]
        store.folder("anna").messages[first] = replace(one, suffix=b":2,FS"), content
        store.deliver("anna")
        night(chain, store)
        stored = StoredMailbox(chain.reader, chain.newest["anna"], "anna")
        inbox = stored.mailbox.folders[0]
        senders = [term.sender for rows in stored.frames(inbox) for term in rows.terms()]
        messages = list(stored.messages(inbox))
        assert senders == [b"sender%d" % one.uid for one in messages]
        assert messages[0].flags == "FS"

    def test_a_lost_answer_gives_the_same_report(self, store: Store, chain: Chain) -> None:
        store.deliver("anna")
        store.mail["strange"] = MemoryMailbox()
        users = [*store.users(), "nobody"]
        report = chain.run(store, users, departed=(Departed("gone", "removed"),))
        assert [skip.path for skip in report.unopened] == ["/primary/user/nobody"]
        again = report_of(open_sealed(MemoryFile(chain.moments[-1].data)), chain.reader)
        assert set(again.mailboxes) == set(report.mailboxes)
        told = replace(report, read=0, seconds=0.0, cpu_seconds=0.0, peak_memory_bytes=0)
        assert again == replace(told, mailboxes=again.mailboxes)
        assert again.references == (chain.moments[0].report.archive,)


def _messages(data: bytes) -> list[Any]:
    return frames_of(data, FrameType.MESSAGES)


class TestTruth:
    def test_a_store_that_lists_less_than_it_announces(self, store: Store, chain: Chain) -> None:
        def short(mailbox: MailboxReader) -> Any:
            def folders() -> Iterator[Any]:
                for folder in mailbox.folders():
                    every = list(folder.messages())
                    listing = ListedRecords(every[:-1])
                    yield Spoiled(folder, listing=lambda listing=listing: listing, unchanged=False, mark=b"")

            return Spoiled(mailbox, folders=folders, mark=lambda: b"")

        store.spoil = short
        report = chain.run(store, ("anna",))
        assert [(skip.path, skip.reason) for skip in report.skipped] == [
            ("/primary/user/anna/INBOX", "unaccounted"),
            ("/primary/user/anna/Sent", "unaccounted"),
        ]
        anna = report.mailboxes[0]
        assert (anna.listed, anna.stored, anna.skipped, anna.vanished) == (8, 6, 2, 2)
        store.spoil = lambda mailbox: mailbox
        assert chain.run(store, ("anna",)).read == 2

    def test_what_can_not_be_read_is_tried_again(self, store: Store, chain: Chain) -> None:
        new = store.deliver("anna")

        def unreadable(mailbox: MailboxReader) -> Any:
            def folders() -> Iterator[Any]:
                for folder in mailbox.folders():

                    def refuse(listed: Listed, reader: FolderReader = folder) -> Any:
                        if listed.base == new:
                            raise MessageUnavailable("Input/output error", reason="io-error")
                        return reader.open_message(listed)

                    yield Spoiled(folder, open_message=refuse)

            return Spoiled(mailbox, folders=folders)

        store.spoil = unreadable
        for _ in range(2):
            report = night(chain, store)
            uid = store.folder("anna").messages[new][0].uid
            told = [(skip.path, skip.reason) for skip in report.skipped]
            assert told == [(f"/primary/user/anna/INBOX/{uid}", "io-error")]
            assert (report.mailboxes[0].listed, report.mailboxes[0].stored) == (9, 8)
        assert report.archive is None, "the same as before, to the last word"
        store.spoil = lambda mailbox: mailbox
        report = night(chain, store)
        assert (report.read, report.skipped) == (1, ())
        assert new in bases(chain, "anna")

    def test_a_folder_that_can_not_be_entered_stays_as_it_was(self, store: Store, chain: Chain) -> None:
        told = Skipped(".Sent", "permission", "Permission denied")

        def locked(mailbox: MailboxReader) -> Any:
            return Spoiled(
                mailbox,
                folders=lambda: (folder for folder in mailbox.folders() if folder.folder.path != SENT),
                skipped=lambda: (told,),
            )

        store.spoil = locked
        report = chain.run(store, ("anna",))
        assert report.skipped == (replace(told, path="/primary/user/anna/.Sent"),)
        anna = report.mailboxes[0]
        assert (anna.stored, anna.vanished, anna.changed) == (8, 0, True)
        assert bases(chain, "anna", SENT) == set(store.folder("anna", SENT).messages)
        store.spoil = lambda mailbox: mailbox
        report = chain.run(store, ("anna",))
        assert (report.skipped, report.read) == ((), 0)

    def test_a_mailbox_that_fails_half_way_keeps_what_was_known(self, store: Store, chain: Chain) -> None:
        new = store.deliver("anna")

        def failing(mailbox: MailboxReader) -> Any:
            def folders() -> Iterator[Any]:
                yield next(iter(mailbox.folders()))
                raise StoreError("the disk is gone")

            return Spoiled(mailbox, folders=folders)

        store.spoil = failing
        report = chain.run(store, ("anna",))
        assert report.skipped == (Skipped("/primary/user/anna", "mailbox", "the disk is gone"),)
        assert new in bases(chain, "anna")
        assert bases(chain, "anna", SENT) == set(store.folder("anna", SENT).messages)
        assert report.mailboxes[0].vanished == 0

    def test_mail_that_moves_while_the_mailbox_is_read(self, store: Store, chain: Chain) -> None:
        """Out of a folder that is read later into one that was read before: the second look finds it."""
        store.deliver("anna", SENT)
        moved = b"6.M1P1.mx"
        assert moved in store.folder("anna", SENT).messages

        def moving(mailbox: MailboxReader) -> Any:
            def folders() -> Iterator[Any]:
                for number, reader in enumerate(mailbox.folders()):
                    yield reader
                    if number == 0:
                        messages = store.folder("anna", SENT).messages
                        store.folder("anna").messages[moved] = messages.pop(moved)

            return Spoiled(mailbox, folders=folders)

        store.spoil = moving
        report = chain.run(store, ("anna",))
        assert moved in bases(chain, "anna")
        assert moved not in bases(chain, "anna", SENT)
        assert (report.mailboxes[0].added, report.mailboxes[0].vanished) == (2, 1)
        store.spoil = lambda mailbox: mailbox
        assert chain.run(store, ("anna",)).archive is None

    def test_messages_that_vanish_before_they_are_looked_at(self, store: Store, chain: Chain) -> None:
        """In a thorough run: skipped, told, and gone."""

        def vanishing(mailbox: MailboxReader) -> Any:
            def gone(listed: Listed) -> FileStat:
                raise MessageUnavailable("it is gone", reason="vanished")

            return Spoiled(
                mailbox, folders=lambda: (Spoiled(folder, stat=gone) for folder in mailbox.folders())
            )

        store.spoil = vanishing
        report = chain.run(store, ("anna",), mode=BackupMode(thorough=True))
        assert {skip.reason for skip in report.skipped} == {"vanished"}
        anna = report.mailboxes[0]
        assert (anna.listed, anna.stored, anna.skipped, anna.vanished) == (8, 0, 8, 8)


class TestResume:
    def ends(self, data: bytes) -> list[int]:
        found: dict[int, int] = {}
        for frame in frames_of(data, FrameType.MAILBOX):
            found.setdefault(frame.header.position, frame.end)
        return sorted(found.values())

    def test_behind_what_an_earlier_attempt_left(self, store: Store, chain: Chain) -> None:
        """Cut anywhere, the archive comes out the same; what was completed is not read again."""
        for user in ("bert", "dora"):
            store.deliver(user)
        whole = night(chain, store)
        data = chain.forget().data
        for number, end in enumerate(self.ends(data), 1):
            for cut in (end - 1, end, end + 30):
                sink = MemorySink(data[:cut])
                again = night(chain, store, sink=sink)
                assert bytes(sink.data) == data
                assert set(again.mailboxes) == set(whole.mailboxes)
                assert again.references == whole.references
                complete = number if cut >= end else number - 1
                assert again.read == 2 - complete
                chain.forget()

    def test_a_disk_that_fails_between_two_mailboxes(self, store: Store, chain: Chain) -> None:
        store.deliver("bert")
        store.deliver("dora")

        class Full(MemorySink):
            def write(self, data: bytes | bytearray | memoryview) -> None:
                if len(self.checkpoints) == 1:
                    raise StagingError("full")
                super().write(data)

        sink = Full()
        with pytest.raises(StagingError):
            night(chain, store, sink=sink)
        after = MemorySink(bytes(sink.data))
        night(chain, store, sink=after)
        for user in store.mail:
            assert bases(chain, user) == set(store.folder(user).messages)

    def test_a_change_that_is_gone_again(self, store: Store, chain: Chain) -> None:
        """The earlier attempt has stored it; what it completed counts."""
        store.deliver("anna")
        store.deliver("dora")
        night(chain, store)
        data = chain.forget().data
        store.folder("anna").messages.popitem()
        report = night(chain, store, sink=MemorySink(data[: self.ends(data)[0]]))
        assert len(bases(chain, "anna")) == 6
        assert {mailbox.user: mailbox.added for mailbox in report.mailboxes}["anna"] == 1


class TestDamage:
    def test_of_a_mailbox_that_is_to_be_referred_to(self, store: Store, chain: Chain) -> None:
        """A frame of messages of a mailbox that has not changed, which is known to be lost: all of it is read
        as if nothing were known."""
        first = chain.moments[0].report.archive
        assert first is not None
        whole = chain.archives[first]
        for delivered, victim in enumerate(_messages(whole)[:4], 1):
            data = bytearray(whole)
            data[victim.end - 3] ^= 0xFF
            chain.archives[first] = bytes(data)
            chain.lost_frames[first] = (Stretch(victim.header.position, 1),)
            store.deliver("dora")
            report = night(chain, store)
            assert report.skipped == ()
            assert report.read == 8 + delivered, "those of the damaged mailbox, and the new ones"
            for user in store.mail:
                assert bases(chain, user) == set(store.folder(user).messages)
            chain.forget()

    def test_of_part_of_a_mailbox_that_changes(self, store: Store, chain: Chain) -> None:
        first = chain.moments[0].report.archive
        assert first is not None
        (inbox, *_) = _messages(chain.archives[first])
        data = bytearray(chain.archives[first])
        data[inbox.end - 3] ^= 0xFF
        chain.archives[first] = bytes(data)
        store.deliver("anna")
        report = chain.run(store, ("anna",))
        assert report.read == 6 + 3, "of the other folder, which shares the frame, too"
        assert bases(chain, "anna") == set(store.folder("anna").messages)
        assert report.new_bytes < 6 * 600

    def test_lost_data_of_other_files(self, store: Store, chain: Chain) -> None:
        content = b"require fileinto;\n" * 20
        store.mail["anna"].files[False, b"sieve"] = file(b"sieve", content), content
        archive = night(chain, store).archive
        assert archive is not None
        chain.lost[archive] = (Stretch(0, 1 << 40),)
        report = night(chain, store)
        assert report.new_bytes == len(content)
        assert not any(mailbox.changed for mailbox in report.mailboxes)
        del chain.archives[archive]
        assert chain.files("anna")[False, b"sieve"][1] == content
        assert night(chain, store).archive is None

    def test_more_parents_than_may_be_open(
        self, store: Store, chain: Chain, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(known, "_MOST_OPEN", 1)
        for user in ("anna", "bert", "cleo"):
            store.deliver(user)
            chain.run(store, (user,))
        store.deliver("dora", SENT)
        report = night(chain, store)
        assert report.read == 1
        assert [mailbox.user for mailbox in report.mailboxes if mailbox.changed] == ["dora"]
        for user in store.mail:
            assert bases(chain, user) == set(store.folder(user).messages)


class TestNamesOfOthers:
    """An archive tells what the files of those are called that it refers to."""

    def test_of_each_night_and_of_those_before(self, store: Store, chain: Chain) -> None:
        for _ in range(3):
            store.deliver("anna")
            night(chain, store)
        reports = [moment.report for moment in chain.moments]
        whole = open_sealed(MemoryFile(chain.archives[reports[-1].archive or FIRST])).directory
        assert {one.archive for one in whole.referred} == set(whole.references) != set()
        runs = {report.archive: report.run for report in reports}
        for referred in whole.referred:
            run = runs[referred.archive]
            assert referred == Referred(
                archive=referred.archive, run=run, size_bytes=len(chain.archives[referred.archive])
            ), "of the same partition and group"

    def test_one_that_is_lost_keeps_its_name(self, store: Store, chain: Chain) -> None:
        """Its parents tell of it."""
        for _ in range(2):
            store.deliver("anna")
            night(chain, store)
        first, *_, last = [moment.report for moment in chain.moments]
        assert first.archive is not None
        assert last.archive is not None
        told = open_sealed(MemoryFile(chain.archives[last.archive])).referred(first.archive)
        del chain.archives[first.archive]
        opened = known.OpenParents(chain.parents(tuple(store.mail)), chain.open_copy)
        opened.reader(last.archive)
        assert opened.referred(first.archive) == told
        assert told.run == first.run

    def test_where_the_parents_can_not_tell_the_name_that_it_has_does(self) -> None:
        named = archive_name("primary", "user", "20261121T000001Z-0001", 0, FIRST)
        there = {FIRST: (Location(STAGING, generation_name(named, 3)),)}
        opened = known.OpenParents(Parents(locations=there), Places(()).open)
        told = opened.referred(FIRST)
        assert name_of(told) == named
        assert (told.run, told.size_bytes) == ("20261121T000001Z-0001", 0)
        assert opened.referred(SECOND) == Referred(archive=SECOND)
        assert name_of(opened.referred(SECOND)) == ""
