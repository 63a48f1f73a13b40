"""A Maildir beside what is stored of it, with a server whose records are made up here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import StoreError
from mailhaul.proto.ports import ServerRecord
from mailhaul.tests.maildirs import DATE_NS, Maildir
from mailhaul.tests.memory_chains import Chain
from mailhaul.tests.trees import snapshot
from mailhaul.worker.live.check import LiveCheck, Stored
from mailhaul.worker.live.findings import Kind, MailboxFindings
from mailhaul.worker.stores.maildir import MaildirStore

GUID = "f00d7e3a786d016b9d45000083ecc375"


class Server:
    """A store, and what its server says to have in its index: ``index`` of UIDs, ``deleted`` folders; None if
    it does not tell."""

    def __init__(self, store: MaildirStore) -> None:
        self.index: set[int] | None = None
        self.deleted: set[str] = set()
        self.asked = 0
        self._store = store

    @contextmanager
    def server_record(self, user: str) -> Iterator[ServerRecord]:
        with self._store.server_record(user) as record:
            yield _Record(self, record)


class _Record:
    def __init__(self, server: Server, record: ServerRecord) -> None:
        self._server = server
        self._record = record

    def numbered(self, path: bytes, bases: Collection[bytes]) -> Mapping[bytes, int] | None:
        return self._record.numbered(path, bases)

    def counts_on(self, path: bytes, uids: Collection[int]) -> Collection[int] | None:
        assert self._record.counts_on(path, uids) is None, "there is no doveadm"
        self._server.asked += 1
        return None if self._server.index is None else self._server.index.intersection(uids)

    def has_deleted(self, guid: str) -> bool:
        return guid in self._server.deleted


class Place:
    """The mailbox of jane with five messages in INBOX and two in Work, backed up."""

    def __init__(self, root: Path) -> None:
        self.box = Maildir(root / "jane")
        self.box.folder(".Work")
        for number in range(1, 6):
            self.box.message(f"{number}.host:2,S", b"Subject: %d\n\nhi\n" % number)
        for number in (8, 9):
            self.box.message(f"{number}.host:2,", b"Subject: %d\n\nwork\n" % number, folder=".Work")
        self.number(*range(1, 6))
        header = f"3 V1501 N10 G{GUID}"
        self.box.uidlist("8 :8.host", "9 :9.host", header=header, folder=".Work")
        self.store = MaildirStore(str(root))
        self.server = Server(self.store)
        self.chain = Chain()
        self.chain.run(self.store, ["jane"])
        self.pauses: list[float] = []

    def number(self, *uids: int) -> None:
        """Let the list of INBOX have these."""
        self.box.uidlist(*(f"{uid} :{uid}.host" for uid in uids))

    def file(self, number: int, folder: str = "") -> Path:
        (found,) = (self.box.root / folder / "cur").glob(f"{number}.host*")
        return found

    def check(self, path: str = "/primary/user/jane", *, data: bool = False) -> MailboxFindings:
        look = LiveCheck(
            self.chain.reader,
            self.store,
            self.server,
            lambda _: None,
            data=data,
            pause=self.pauses.append,
        )
        before = snapshot(self.box.root.parent)
        stored = Stored(archive=self.chain.newest["jane"], user="jane", path=LogicalPath.parse(path))
        found = look.mailbox(stored)
        assert snapshot(self.box.root.parent) == before
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "mail")


def kinds(found: MailboxFindings) -> dict[str, Kind]:
    return {finding.path.removeprefix("/primary/user/jane/"): finding.kind for finding in found.damaged}


def test_nothing_is_wrong(place: Place) -> None:
    found = place.check(data=True)
    assert (found.damaged, found.unlooked) == ((), ())
    assert (found.messages, found.read, found.gone, found.new, found.untold) == (7, 7, 0, 0, 0)


def test_bodies(place: Place) -> None:
    os.truncate(place.file(1), 3)
    os.utime(place.file(1), ns=(DATE_NS, DATE_NS))
    place.file(2).write_bytes(b"much longer than it has been before")
    place.file(3).write_bytes(place.file(3).read_bytes().swapcase())
    place.file(4).write_bytes(place.file(4).read_bytes())  # touched
    assert kinds(place.check()) == {
        "INBOX/1": Kind.TRUNCATED,
        "INBOX/2": Kind.CHANGED,
        "INBOX/3": Kind.CHANGED,
    }
    assert place.check().read == 2, "only where the time is another one"


def test_content_that_kept_size_and_time(place: Place) -> None:
    place.file(3).write_bytes(place.file(3).read_bytes().swapcase())
    os.utime(place.file(3), ns=(DATE_NS, DATE_NS))
    assert place.check().damaged == ()
    assert kinds(place.check(data=True)) == {"INBOX/3": Kind.CHANGED}


def test_a_file_that_is_gone(place: Place) -> None:
    place.file(3).unlink()
    found = place.check()
    assert (found.damaged, found.untold, found.gone) == ((), 1, 0), "nothing tells"
    place.server.index = {1, 2, 4, 5}
    found = place.check()
    assert (found.damaged, found.untold, found.gone) == ((), 0, 1), "expunged"
    place.server.index.add(3)
    assert place.pauses == []
    assert kinds(place.check()) == {"INBOX/3": Kind.MISSING}
    assert place.pauses == [1.0], "it was looked at twice"
    place.number(1, 2, 4, 5)
    found = place.check()
    assert (found.damaged, found.untold, found.gone) == ((), 0, 1), "the list does not have it any more"


def test_what_was_being_expunged_is_not_lost(place: Place) -> None:
    """The second look finds that the server has caught up."""
    place.file(3).unlink()
    place.server.index = {3}
    pause, place.pauses = place.pauses.append, place.pauses

    class Pauses(list[float]):
        def append(self, seconds: float) -> None:
            pause(seconds)
            place.server.index = set()

    place.pauses = Pauses()
    found = place.check()
    assert (found.damaged, found.gone) == ((), 1)


def test_moved_by_a_program_that_knows_nothing_of_lists(place: Place) -> None:
    place.server.index = {1, 2, 3, 4, 5, 8, 9}
    place.file(3).rename(place.box.root / ".Work" / "cur" / "3.host:2,S")
    found = place.check()
    assert (found.damaged, found.gone, found.untold, found.new) == ((), 0, 0, 1)


def test_not_in_the_list(place: Place) -> None:
    place.number(1, 2, 4, 5)
    assert kinds(place.check()) == {"INBOX/3": Kind.UNLISTED}
    place.box.uidlist("1 :1.host", "2 :2.host", "4 :4.host", "5 :5.host", "17 :3.host")
    assert kinds(place.check()) == {"INBOX/3": Kind.UNLISTED}, "under another UID"


def test_a_list_that_is_gone(place: Place) -> None:
    (place.box.root / "dovecot-uidlist").unlink()
    place.file(3).unlink()
    found = place.check()
    assert kinds(found) == {"INBOX": Kind.UNLISTED}
    assert found.untold == 1


def test_a_list_that_was_made_anew(place: Place) -> None:
    place.box.uidlist("1 :1.host", header="3 V99 N2 G00000000000000000000000000000001")
    assert kinds(place.check()) == {"INBOX": Kind.UNLISTED}


def test_a_folder_that_is_gone(place: Place) -> None:
    shutil.rmtree(place.box.root / ".Work")
    found = place.check()
    assert kinds(found) == {"Work": Kind.MISSING}
    assert found.damaged[0].messages == 2
    place.server.deleted = {GUID}
    found = place.check()
    assert (found.damaged, found.gone) == ((), 2)


def test_a_folder_that_was_renamed(place: Place) -> None:
    (place.box.root / ".Work").rename(place.box.root / ".Done")
    os.truncate(place.file(8, ".Done"), 1)
    assert kinds(place.check()) == {"Done/8": Kind.TRUNCATED}
    assert kinds(place.check("/primary/user/jane/Work")) == {"Done/8": Kind.TRUNCATED}


def test_a_folder_that_was_deleted_and_made_anew(place: Place) -> None:
    shutil.rmtree(place.box.root / ".Work")
    place.box.folder(".Work")
    place.box.message("77.host:2,", folder=".Work")
    place.box.uidlist("1 :77.host", header="3 V1777 N2 G00000000000000000000000000000001", folder=".Work")
    place.server.deleted = {GUID}
    found = place.check()
    assert (found.damaged, found.gone) == ((), 2)


def test_one_message_only(place: Place) -> None:
    os.truncate(place.file(1), 1)
    os.truncate(place.file(2), 1)
    found = place.check("/primary/user/jane/INBOX/2")
    assert kinds(found) == {"INBOX/2": Kind.TRUNCATED}
    assert found.messages == 1


def test_a_mailbox_that_is_gone(place: Place) -> None:
    shutil.rmtree(place.box.root)
    with pytest.raises(StoreError), place.store.open_mailbox("jane"):
        pass
    found = place.check()
    assert [(finding.kind, finding.path, finding.messages) for finding in found.damaged] == [
        (Kind.MISSING, "/primary/user/jane", 7)
    ]


def test_a_store_that_is_not_mounted(place: Place) -> None:
    """Nothing can be listed: nothing is said to be lost."""
    shutil.rmtree(place.box.root.parent)
    place.box.root.parent.write_text("no directory")
    look = LiveCheck(
        place.chain.reader, place.store, place.server, lambda _: None, data=False, pause=lambda _: None
    )
    path = LogicalPath.parse("/primary/user/jane")
    found = look.mailbox(Stored(archive=place.chain.newest["jane"], user="jane", path=path))
    assert (found.damaged, [skip.reason for skip in found.unlooked]) == ((), ["mailbox"])


def test_without_a_server(tmp_path: Path) -> None:
    place = Place(tmp_path / "mail")
    for folder in ("", ".Work"):
        (place.box.root / folder / "dovecot-uidlist").unlink()
    place.chain.run(place.store, ["jane"])
    place.file(1).unlink()
    shutil.rmtree(place.box.root / ".Work")
    os.truncate(place.file(2), 1)
    found = place.check()
    assert [finding.kind for finding in found.damaged] == [Kind.TRUNCATED]
    assert (found.gone, found.untold) == (3, 0)


def test_two_files_of_one_name_are_left_alone(tmp_path: Path) -> None:
    place = Place(tmp_path / "mail")
    place.box.message("1.host:2,T", b"another")
    place.chain.run(place.store, ["jane"])
    assert place.check().damaged == ()
    assert place.check().new == 0


def test_metadata_that_is_damaged(place: Place) -> None:
    archive = place.chain.newest["jane"]
    del place.chain.archives[archive]
    found = place.check()
    assert [skip.path for skip in found.unlooked] == ["/primary/user/jane"]
