"""Incremental runs over Maildirs on disk: every round is restored and compared with the store as it was, file
by file; and what has not changed is neither listed nor read again."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.groups.selection import EVERYTHING, FolderRules, Selection
from mailhaul.proto.records import (
    STAGING,
    ArchiveId,
    BackupMode,
    Departed,
    Location,
    Parents,
    Partition,
    RunId,
    Stretch,
    Unit,
    UnitReport,
)
from mailhaul.tests.archives import in_files, messages_of
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.memory_chains import Chain
from mailhaul.tests.receiving import Place, make_place, receiver_thread, token
from mailhaul.tests.trees import Entry, differences, snapshot
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.archives.opened import opened_archives
from mailhaul.worker.choice import Choice
from mailhaul.worker.packing.settings import ArchiveSettings
from mailhaul.worker.restore import restore
from mailhaul.worker.stores import opened
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_target import MaildirTarget
from mailhaul.worker.tasks.backup import BackupTask, run_backup

NOISE = random.Random(8).randbytes(20_000)


class Server:
    """A mail store on disk, changed as its server would change it."""

    def __init__(self, root: Path, users: tuple[str, ...] = ("anna", "bert")) -> None:
        self.root = root
        self.users = users
        self.maildirs = {user: Maildir(root / user) for user in users}
        self._number = 0
        self._uidvalidity = 1000
        for user in users:
            self.make_folder(user, "")

    def folder(self, user: str, folder: str) -> Path:
        return self.maildirs[user].root / folder

    def make_folder(self, user: str, folder: str) -> None:
        self.maildirs[user].folder(folder)
        if folder:
            (self.folder(user, folder) / "maildirfolder").touch(0o600)
        self._uidvalidity += 1
        guid = f"{self._uidvalidity:032x}"
        self.maildirs[user].uidlist(header=f"3 V{self._uidvalidity} N1 G{guid}", folder=folder)

    def deliver(self, user: str, folder: str = "", content: bytes = b"", *, number: bool = True) -> str:
        self._number += 1
        name = f"{1_700_000_000 + self._number}.M{self._number}P1.mx1"
        content = content or b"Subject: %d\n\n" % self._number + NOISE[: 300 + 37 * self._number % 4000]
        path = self.folder(user, folder) / "new" / name
        path.write_bytes(content)
        path.chmod(0o600)
        if number:
            self.number(user, folder)
        return name

    def number(self, user: str, folder: str = "") -> None:
        """Give UIDs to messages that have none."""
        path = self.folder(user, folder) / "dovecot-uidlist"
        header, *lines = path.read_text().splitlines()
        known = {line.rpartition(":")[2] for line in lines}
        version, validity, following, guid = header.split()
        uid = int(following[1:])
        there = set(self.names(user, folder))
        lines = [line for line in lines if line.rpartition(":")[2] in there]
        for base in sorted(there - known):
            lines.append(f"{uid} :{base}")
            uid += 1
        text = "\n".join([f"{version} {validity} N{uid} {guid}", *lines, ""])
        new = path.with_name("uidlist.new")
        new.write_text(text)
        new.chmod(0o600)
        new.rename(path)

    def names(self, user: str, folder: str = "") -> list[str]:
        """The lasting names of the messages."""
        return sorted(path.name.partition(":")[0] for path in self.files(user, folder))

    def files(self, user: str, folder: str = "") -> list[Path]:
        below = self.folder(user, folder)
        return sorted([*(below / "new").iterdir(), *(below / "cur").iterdir()])

    def flag(self, user: str, folder: str, name: str, flags: str) -> None:
        (path,) = (file for file in self.files(user, folder) if file.name.partition(":")[0] == name)
        path.rename(self.folder(user, folder) / "cur" / f"{name}:2,{flags}")

    def expunge(self, user: str, folder: str, name: str) -> None:
        for path in self.files(user, folder):
            if path.name.partition(":")[0] == name:
                path.unlink()
        self.number(user, folder)

    def move(self, user: str, source: str, target: str, name: str) -> None:
        (path,) = (file for file in self.files(user, source) if file.name.partition(":")[0] == name)
        path.rename(self.folder(user, target) / "cur" / path.name)
        self.number(user, source)
        self.number(user, target)


class Backups:
    """Nightly runs over a server's store, and what it looked like at each of them."""

    def __init__(self, server: Server, place: Path) -> None:
        self.server = server
        self.place = place
        self.chain = Chain()
        self.nights: list[dict[str, dict[bytes, Entry]]] = []

    def night(
        self,
        *,
        users: tuple[str, ...] | None = None,
        mode: BackupMode | None = None,
        selection: Selection = EVERYTHING,
        departed: tuple[Departed, ...] = (),
    ) -> UnitReport:
        time.sleep(0.03)  # what is younger than a tick has no mark
        store = MaildirStore(str(self.server.root))
        report = self.chain.run(
            store, users or self.server.users, mode=mode, selection=selection, departed=departed
        )
        self.nights.append({user: snapshot(self.server.root / user) for user in self.server.users})
        return report

    def restored(self, night: int, user: str) -> dict[bytes, Entry]:
        """What a restore of that night gives."""
        target = self.place / f"restored-{night}-{user}-{len(list(self.place.iterdir()))}"
        archive = self.chain.moments[night].newest[user]
        path = LogicalPath("primary", "user", user)
        choice = Choice(archive=archive, user=user, to_user=user, place=os.fsencode(user), path=path)
        places = {}
        for archive_id, data in self.chain.archives.items():
            file = self.place / f"{archive_id.hex()}.mha"
            file.write_bytes(data)
            places[archive_id] = file
        with opened_archives(in_files(places)) as archives:
            report = restore(archives, (choice,), MaildirTarget(str(target)), lambda _: None).total()
        assert (report.damaged, report.skipped) == ((), ())
        return snapshot(target / user)

    def check(self, night: int = -1) -> None:
        """What a restore of that night gives is what the store was."""
        night %= len(self.nights)
        for user, expected in self.nights[night].items():
            assert differences(expected, self.restored(night, user)) == []

    def check_all(self) -> None:
        for night in range(len(self.nights)):
            self.check(night)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    server = Server(tmp_path / "mail")
    for user in server.users:
        for folder in (".Sent", ".Trash", ".Sent.Old"):
            server.make_folder(user, folder)
        for folder in ("", "", "", "", ".Sent", ".Sent.Old"):
            server.flag(user, folder, server.deliver(user, folder), "S")
        (server.root / user / "subscriptions").write_text("Sent\nTrash\n")
    return server


@pytest.fixture
def backups(server: Server, tmp_path: Path) -> Backups:
    place = tmp_path / "restored"
    place.mkdir()
    backups = Backups(server, place)
    backups.night()
    return backups


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names of the messages that are opened in the store from now on."""
    found: list[bytes] = []
    original = opened.FileOpener.open

    def noted(self: opened.FileOpener, directory: int, name: bytes, *rest: object) -> opened.StoreFile:
        if name.partition(b":")[0].endswith(b"P1.mx1"):
            found.append(name)
        return original(self, directory, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(opened.FileOpener, "open", noted)
    return found


def test_nothing_changed(backups: Backups, opens: list[bytes]) -> None:
    report = backups.night()
    assert (report.archive, report.name, report.read, opens) == (None, "", 0, [])
    assert report.messages == 12
    assert all(not mailbox.changed for mailbox in report.mailboxes)
    assert all(summary.listed == summary.stored == 6 for summary in report.mailboxes)
    backups.check()


def test_only_what_is_new_is_read(server: Server, backups: Backups, opens: list[bytes]) -> None:
    new = server.deliver("anna")
    report = backups.night()
    assert (opens, report.read) == ([new.encode()], 1)
    assert [
        (mailbox.user, mailbox.added, mailbox.vanished, mailbox.changed) for mailbox in report.mailboxes
    ] == [
        ("anna", 1, 0, True),
        ("bert", 0, 0, False),
    ]
    assert report.references == (backups.chain.moments[0].report.archive,)
    assert report.new_bytes < 5000
    backups.check_all()


def test_a_month_of_changes(server: Server, backups: Backups) -> None:
    rng = random.Random(3)
    for _ in range(12):
        for _ in range(rng.randint(0, 6)):
            user, folder = rng.choice(server.users), rng.choice(["", ".Sent", ".Trash", ".New"])
            if not server.folder(user, folder).exists():
                server.make_folder(user, folder)
            names = server.names(user, folder)
            action = rng.choice(["deliver", "deliver", "flag", "expunge", "move", "drop"])
            if action == "deliver" or not names:
                server.deliver(user, folder, number=rng.random() < 0.7)
            elif action == "flag":
                server.flag(user, folder, rng.choice(names), rng.choice(["", "F", "S", "RS"]))
            elif action == "expunge":
                server.expunge(user, folder, rng.choice(names))
            elif action == "move" and folder != ".Trash":
                server.move(user, folder, ".Trash", rng.choice(names))
            elif action == "drop" and folder == ".New":
                shutil.rmtree(server.folder(user, folder))
        report = backups.night()
        assert report.skipped == ()
        assert backups.night().archive is None, "a second look finds nothing new"
    backups.check_all()


class TestFolders:
    def test_a_renamed_folder_is_not_read_again(
        self, server: Server, backups: Backups, opens: list[bytes]
    ) -> None:
        server.folder("anna", ".Sent").rename(server.folder("anna", ".Posted"))
        report = backups.night()
        assert (report.read, opens) == (0, [])
        anna = report.mailboxes[0]
        assert (anna.added, anna.vanished, anna.changed) == (0, 0, True)
        assert {one[0].name for one in backups.chain.mailbox("anna").values()} >= {"Posted", "INBOX"}
        backups.check_all()

    def test_folders_that_change_places(self, server: Server, backups: Backups, opens: list[bytes]) -> None:
        path, other, away = (server.folder("anna", name) for name in (".Sent", ".Sent.Old", ".Away"))
        path.rename(away)
        other.rename(path)
        away.rename(other)
        shutil.rmtree(server.folder("bert", ".Trash"))
        server.folder("bert", ".Sent").rename(server.folder("bert", ".Trash"))
        report = backups.night()
        assert (report.read, opens) == (0, [])
        assert [(mailbox.added, mailbox.vanished, mailbox.changed) for mailbox in report.mailboxes] == [
            (0, 0, True)
        ] * 2
        backups.check_all()

    def test_a_folder_made_anew_with_the_same_names(self, server: Server, backups: Backups) -> None:
        """What was in it under the same names is not taken for what is in it now."""
        (old,) = server.files("anna", ".Sent")
        content, name = old.read_bytes(), old.name
        shutil.rmtree(server.folder("anna", ".Sent"))
        server.make_folder("anna", ".Sent")
        new = server.folder("anna", ".Sent") / "cur" / name
        new.write_bytes(bytes(reversed(content)))
        new.chmod(0o600)
        server.number("anna", ".Sent")
        report = backups.night()
        assert report.read == 1
        assert (report.mailboxes[0].added, report.mailboxes[0].vanished) == (1, 1)
        backups.check_all()

    def test_another_uidvalidity(self, server: Server, backups: Backups, opens: list[bytes]) -> None:
        path = server.folder("anna", "") / "dovecot-uidlist"
        path.write_text(path.read_text().replace(" V", " V9", 1))
        report = backups.night()
        assert (report.read, opens) == (0, []), "each is compared by stat"
        anna = report.mailboxes[0]
        assert (anna.added, anna.vanished, anna.changed) == (0, 0, True)
        backups.check_all()

    def test_a_store_on_another_disk(
        self, server: Server, backups: Backups, tmp_path: Path, opens: list[bytes]
    ) -> None:
        """All inodes and ctimes are others; names, sizes and mtimes are not."""
        copy = tmp_path / "copy"
        shutil.copytree(server.root, copy, symlinks=True)
        for path in (server.root, *server.root.rglob("*")):
            there = copy / path.relative_to(server.root)
            os.utime(there, ns=(0, path.stat().st_mtime_ns))
        shutil.rmtree(server.root)
        copy.rename(server.root)
        report = backups.night()
        assert (report.read, opens) == (0, [])
        backups.check_all()

    def test_a_message_that_was_exchanged_is_found_by_a_thorough_run(
        self, server: Server, backups: Backups
    ) -> None:
        """In place, under the same name: a program did it that knows nothing of Maildirs."""
        path = server.files("anna")[0]
        path.write_bytes(b"Subject: another\n\n")
        assert backups.night().archive is None
        report = backups.night(mode=BackupMode(thorough=True))
        assert (report.read, report.mailboxes[0].added, report.mailboxes[0].vanished) == (1, 1, 1)
        backups.check()


class TestParts:
    ONLY_SENT = Selection(paths=(LogicalPath("primary", "user", "anna", "Sent"),))

    def test_one_folder(self, server: Server, backups: Backups, opens: list[bytes]) -> None:
        """What is not asked for stays as it was, and is not looked at."""
        before = backups.chain.mailbox("anna")
        new, other = server.deliver("anna", ".Sent"), server.deliver("anna", "")
        report = backups.night(users=("anna",), selection=self.ONLY_SENT)
        assert report.read == 1
        assert new.encode() in opens
        assert other.encode() not in opens
        after = backups.chain.mailbox("anna")
        assert after.keys() == before.keys()
        assert new.encode() in after[b".Sent"][1]
        assert {path: one for path, one in after.items() if path != b".Sent"} == {
            path: one for path, one in before.items() if path != b".Sent"
        }
        assert (report.mailboxes[0].added, report.mailboxes[0].vanished) == (1, 0)
        report = backups.night()
        assert report.read == 1, "what came elsewhere meanwhile is found by the next whole run"
        backups.check()

    def test_a_folder_that_was_never_stored_is_told(self, server: Server, backups: Backups) -> None:
        server.make_folder("anna", ".Later")
        report = backups.night(users=("anna",), selection=self.ONLY_SENT)
        assert [(skip.path, skip.reason) for skip in report.skipped] == [
            ("/primary/user/anna/Later", "not-asked")
        ]
        assert report.archive is None

    def test_excluded_folders(self, server: Server, backups: Backups) -> None:
        without = Selection(rules=FolderRules(("Sent",)))
        server.deliver("anna", ".Sent")
        report = backups.night(selection=without)
        assert {(skip.path, skip.reason) for skip in report.skipped} == {
            (f"/primary/user/{user}/{folder}", "excluded")
            for user in server.users
            for folder in ("Sent", "Sent/Old")
        }
        assert all((mailbox.vanished, mailbox.changed) == (0, True) for mailbox in report.mailboxes)
        assert not {b".Sent", b".Sent.Old"} & backups.chain.mailbox("anna").keys()
        again = backups.night(selection=without)
        assert (again.archive, again.skipped) == (None, report.skipped)
        backups.night()
        backups.check()

    def test_what_arrived_earlier_is_left_out(self, server: Server, backups: Backups) -> None:
        old, new = server.deliver("anna"), server.deliver("anna")
        (path,) = (file for file in server.files("anna") if file.name == old)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        report = backups.night(mode=BackupMode(since=1_500_000_000.0))
        assert [skip.reason for skip in report.skipped] == ["older"]
        anna = report.mailboxes[0]
        assert (anna.listed, anna.stored, anna.skipped) == (8, 7, 1)
        names = backups.chain.mailbox("anna")[b""][1]
        assert new.encode() in names
        assert old.encode() not in names
        report = backups.night()
        assert (report.read, report.skipped) == (1, ())
        backups.check()


class TestElsewhere:
    def test_a_user_who_moved_to_another_group(self, server: Server, backups: Backups) -> None:
        backups.chain.group = "staff"
        report = backups.night(users=("anna",))
        assert report.read == 0
        assert report.archive is not None
        assert report.mailboxes[0].group == "staff"
        assert not report.mailboxes[0].changed
        backups.check()
        assert backups.night(users=("anna",)).archive is None

    def test_a_user_who_moved_to_another_partition(
        self, server: Server, backups: Backups, opens: list[bytes]
    ) -> None:
        """With all mail, copied as the server's tools copy it: nothing is read again, all is looked at."""
        backups.chain.partition = Partition(name="second", format="maildir", path="mail")
        report = backups.night(users=("anna",))
        assert report.archive is not None
        assert (report.read, opens) == (0, [])
        backups.check()
        assert backups.night(users=("anna",)).archive is None

    def test_a_user_who_is_gone(self, server: Server, backups: Backups) -> None:
        shutil.rmtree(server.root / "bert")
        gone = Departed("bert", "removed")
        server.users = ("anna",)
        report = backups.night(departed=(gone,))
        assert report.archive is not None
        assert report.departed == (gone,)
        assert backups.chain.reader(report.archive).departures() == (gone,)
        assert backups.night().archive is None
        backups.check_all()

    def test_a_mailbox_that_cannot_be_opened_keeps_its_version(
        self, server: Server, backups: Backups
    ) -> None:
        (server.root / "bert").rename(server.root.parent / "away")
        (server.root / "bert").write_text("no mailbox")
        server.deliver("anna")
        report = backups.night(users=("anna", "bert"))
        assert [skip.path for skip in report.unopened] == ["/primary/user/bert"]
        assert report.unopened == report.skipped
        assert [mailbox.user for mailbox in report.mailboxes] == ["anna"]
        archive = backups.chain.reader(ArchiveId(report.archive or b""))
        assert archive.directory.unopened == report.unopened
        assert backups.night(users=("anna", "bert")).archive is None


class TestLostData:
    def test_an_archive_that_is_gone_is_stored_anew(self, server: Server, backups: Backups) -> None:
        for _ in range(3):
            server.deliver("anna")
            backups.night()
        gone = backups.chain.moments[1].report.archive
        assert gone is not None
        del backups.chain.archives[gone]
        report = backups.night()
        assert report.read == 1, "the one message that only that archive had"
        assert gone not in report.references
        assert (report.mailboxes[0].added, report.mailboxes[0].changed) == (0, False)
        backups.check()
        assert backups.night().archive is None

    def test_the_newest_archive_is_gone(self, server: Server, backups: Backups) -> None:
        """Its metadata told of everything: all is read, and stored where it is not stored already."""
        server.deliver("anna")
        gone = backups.night().archive
        assert gone is not None
        del backups.chain.archives[gone]
        report = backups.night()
        assert report.read == 13
        assert report.references == (backups.chain.moments[0].report.archive,)
        backups.check()

    def test_a_stretch_that_is_damaged_is_stored_anew(self, server: Server, backups: Backups) -> None:
        first = backups.chain.moments[0].report.archive
        assert first is not None
        reader = backups.chain.reader(first)
        entry = reader.entry("bert")
        assert entry is not None
        (lost, *_) = next(messages_of(reader, entry, reader.mailbox(entry.home.number).folders[0])).pieces
        backups.chain.lost[first] = (Stretch(lost.offset + 1, 1),)
        report = backups.night()
        assert report.read == 1
        assert 0 < report.new_bytes < 5000
        assert not any(mailbox.changed for mailbox in report.mailboxes)
        backups.check()
        again = backups.night()
        assert (again.archive, again.read) == (None, 0)

    def test_all_data_is_damaged(self, server: Server, backups: Backups) -> None:
        first = backups.chain.moments[0].report.archive
        assert first is not None
        backups.chain.lost[first] = (Stretch(0, 1 << 40),)
        report = backups.night()
        assert (report.read, report.references) == (12, ())
        del backups.chain.archives[first]
        backups.check()

    def test_a_damaged_parent(self, server: Server, backups: Backups) -> None:
        """Every byte of its metadata once: what is damaged is read again, or taken from elsewhere."""
        newest = backups.chain.moments[0].report.archive
        assert newest is not None
        whole = backups.chain.archives[newest]
        server.deliver("anna")
        rng = random.Random(7)
        for _ in range(25):
            data = bytearray(whole)
            at = rng.randrange(len(data) * 9 // 10, len(data))
            data[at] ^= 0x55
            backups.chain.archives[newest] = bytes(data)
            report = backups.night()
            backups.chain.archives[newest] = whole
            assert report.archive is not None
            backups.check()
            backups.chain.moments.pop()
            backups.nights.pop()
            del backups.chain.archives[report.archive]
            backups.chain.newest = dict.fromkeys(server.users, newest)


def test_self_contained(server: Server, backups: Backups) -> None:
    server.deliver("anna")
    report = backups.night(mode=BackupMode(self_contained=True))
    assert report.read == 13
    assert report.references == ()
    assert [(mailbox.added, mailbox.vanished) for mailbox in report.mailboxes] == [(1, 0), (0, 0)]
    for archive in list(backups.chain.archives):
        if archive != report.archive:
            del backups.chain.archives[archive]
    backups.check()


def test_full(server: Server, backups: Backups) -> None:
    report = backups.night(mode=BackupMode(full=True))
    assert report.read == 12
    assert report.archive is not None
    assert not any(mailbox.changed for mailbox in report.mailboxes)
    assert report.new_bytes < backups.chain.moments[0].report.new_bytes
    backups.check()


def name_of(number: int) -> str:
    """What the archive of a run is called."""
    return f"primary/user/20261121T03150{number}Z-4f3a.0.{bytes([number] * 8).hex()}.mha"


class TestFromAnotherHost:
    """The worker has neither the archives nor the staging area."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Place]:
        with receiver_thread(make_place(tmp_path / "staging")) as (place, _):
            yield place

    def task(self, server: Server, place: Place, number: int, parents: Parents) -> BackupTask:
        name = name_of(number)
        partition = Partition(name="primary", format="maildir", path=str(server.root), hosts=("store01",))
        run = RunId(f"20261121T03150{number}Z-4f3a")
        return BackupTask(
            unit=Unit(
                run=run,
                partition=partition,
                group="user",
                shard=0,
                users=server.users,
                archive=ArchiveId(bytes([number]) * 16),
            ),
            settings=ArchiveSettings(run_started=1.8e9 + number),
            staging=place.staging(),
            name=name,
            epoch=1,
            host="store01",
            grant=token(file=name),
            parents=parents,
            read_grant=token(kind="read", file=""),
        )

    def test_parents_are_read_through_the_receiver(self, server: Server, place: Place) -> None:
        parents, last = Parents(), ArchiveId(b"")
        for number in range(1, 6):
            report = run_backup(self.task(server, place, number, parents), lambda _: None)
            assert report.skipped == ()
            assert report.read == (12 if number == 1 else 1)
            assert report.archive is not None
            last = report.archive
            there = {**parents.locations, last: (Location(STAGING, name_of(number)),)}
            parents = Parents(mailboxes=dict.fromkeys(server.users, last), locations=there)
            time.sleep(0.03)
            server.deliver(server.users[number % 2])
        assert report.references
        assert report.new_bytes < 5000
        with opened_archives(Holdings(locations=parents.locations, places=(place.staging(),))) as archives:
            reader = archives(last)
            stored = {mailbox.user: mailbox.stored for mailbox in reader.directory.mailboxes}
        assert stored == dict.fromkeys(server.users, 8)

    def test_nothing_changed(self, server: Server, place: Place) -> None:
        """The receiver is asked for metadata only; nothing is left in the staging area."""
        time.sleep(0.03)
        first = run_backup(self.task(server, place, 1, Parents()), lambda _: None)
        assert first.archive is not None
        parents = Parents(
            mailboxes=dict.fromkeys(server.users, first.archive),
            locations={first.archive: (Location(STAGING, name_of(1)),)},
        )
        names = place.names()
        report = run_backup(self.task(server, place, 2, parents), lambda _: None)
        assert (report.archive, report.read, report.messages) == (None, 0, 12)
        assert place.names() == names
