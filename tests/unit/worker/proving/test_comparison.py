"""A restored mailbox beside its backup: the same is the same, and each difference is told where it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.stored import StoredMailbox
from mailhaul.proto.records import Message, Ownership
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.memory_chains import Chain
from mailhaul.worker.proving.comparison import Comparison, compare
from mailhaul.worker.proving.matching import Found, pairs
from mailhaul.worker.stores.maildir import MaildirStore

JANE = LogicalPath("primary", "user", "jane")


class Place:
    """The mailbox of jane, backed up, and beside it a copy as a restore would give it."""

    def __init__(self, root: Path) -> None:
        home = root / "live" / "jane"
        box = Maildir(home / "Maildir")
        box.folder(".Work")
        for number in range(1, 5):
            box.message(f"{number}.host:2,S", b"Subject: %d\n\nhi\n" % number)
        for number in (8, 9):
            box.message(f"{number}.host:2,a", b"Subject: same\n\nwork\n", folder=".Work")
        box.keywords("urgent", folder=".Work")
        box.uidlist(*(f"{uid} :{uid}.host" for uid in range(1, 5)))
        box.uidlist("8 :8.host", "9 :9.host", header="3 V1501 N10 Gf00d", folder=".Work")
        (home / "Maildir" / "subscriptions").write_bytes(b"V\t2\n\nWork\n")
        (home / "Maildir" / "dovecot-uidvalidity").write_bytes(b"00001500")
        (home / "sieve").mkdir()
        (home / "sieve" / "main.sieve").write_bytes(b'fileinto "Work";\n')
        (home / ".dovecot.sieve").symlink_to("sieve/main.sieve")
        chain = Chain()
        chain.run(MaildirStore(str(root / "live" / "{user}" / "Maildir")), ["jane"])
        self.stored = StoredMailbox(chain.reader, chain.newest["jane"], "jane")
        shutil.copytree(root / "live", root / "restored", symlinks=True)
        self.home = root / "restored" / "jane"
        self.box = self.home / "Maildir"
        self.store = MaildirStore(str(root / "restored" / "{user}" / "Maildir"))
        self.told = 0

    def compare(self, *, to_serve: bool = False) -> Comparison:
        def told(messages: int, _size_bytes: int) -> None:
            self.told += messages

        return compare(self.stored, JANE, self.store, "jane", told, to_serve=to_serve)

    def file(self, number: int, folder: str = "") -> Path:
        (found,) = (self.box / folder / "cur").glob(f"{number}.host*")
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_same(place: Place) -> None:
    found = place.compare()
    assert (found.lacks, found.messages, place.told) == ((), 6, 6)
    assert found.size_bytes == 4 * len(b"Subject: 1\n\nhi\n") + 2 * len(b"Subject: same\n\nwork\n")
    assert found.served == ()


def rewritten(file: Path, data: bytes) -> None:
    status = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def relinked(file: Path, target: str) -> None:
    file.unlink()
    file.symlink_to(target)


def test_what_a_restore_writes_anew_is_not_compared(place: Place) -> None:
    (place.box / "dovecot-uidvalidity").write_bytes(b"00001501")
    assert place.compare().lacks == ()


@pytest.mark.parametrize(
    ("spoil", "path", "reason", "detail"),
    [
        (lambda one: one.file(2).unlink(), "INBOX/2", "missing", "it is not there"),
        (
            lambda one: rewritten(one.file(3), one.file(3).read_bytes().swapcase()),
            "INBOX/3",
            "different",
            "the content is not what was stored",
        ),
        (
            lambda one: rewritten(one.file(3), b"short"),
            "INBOX/3",
            "different",
            "5 bytes, 15 were stored",
        ),
        (
            lambda one: one.file(1).rename(one.box / "cur" / "1.host:2,FS"),
            "INBOX/1",
            "different",
            "its flags were S, are FS",
        ),
        (lambda one: os.utime(one.file(4), ns=(0, 0)), "INBOX/4", "different", "its date is another"),
        (
            lambda one: (one.box / ".Work" / "dovecot-keywords").write_text("0 other\n"),
            "Work/8",
            "different",
            "its keywords are others",
        ),
        (
            lambda one: shutil.rmtree(one.box / ".Work"),
            "Work/",
            "missing",
            "the folder, with 2 messages, is not there",
        ),
        (
            lambda one: shutil.copytree(one.box / ".Work", one.box / ".More"),
            "More/",
            "extra",
            "the backup has no such folder",
        ),
        (
            lambda one: (one.box / "cur" / "7.host:2,").write_bytes(b"Subject: 7\n\n"),
            "INBOX/",
            "extra",
            "a message that the backup has not",
        ),
        (
            lambda one: (one.box / "dovecot-uidlist").write_text(
                (one.box / "dovecot-uidlist").read_text().replace("V1500", "V1600")
            ),
            "INBOX/",
            "uidvalidity",
            "UIDVALIDITY was 1500, is 1600",
        ),
        (
            lambda one: (one.box / "dovecot-uidlist").write_text(
                (one.box / "dovecot-uidlist").read_text().replace("2 :2.host\n", "")
            ),
            "INBOX/2",
            "different",
            "its UID was 2, is none",
        ),
        (lambda one: shutil.rmtree(one.box), "", "mailbox", ""),
        (lambda one: (one.box / "subscriptions").unlink(), "subscriptions", "file", "it is not there"),
        (
            lambda one: (one.box / "subscriptions").write_bytes(b"V\t2\n\nwork\n"),
            "subscriptions",
            "file",
            "the content is not what was stored",
        ),
        (
            lambda one: (one.home / "sieve" / "main.sieve").write_bytes(b"keep;\n"),
            "sieve/main.sieve",
            "file",
            "6 bytes, 17 were stored",
        ),
        (lambda one: shutil.rmtree(one.home / "sieve"), "sieve/main.sieve", "file", "it is not there"),
        (lambda one: (one.home / ".dovecot.sieve").unlink(), ".dovecot.sieve", "file", "it is not there"),
        (
            lambda one: relinked(one.home / ".dovecot.sieve", "sieve/other.sieve"),
            ".dovecot.sieve",
            "file",
            "it is no link to where it led",
        ),
        (
            lambda one: relinked(one.box / "subscriptions", "dovecot-uidlist"),
            "subscriptions",
            "file",
            "it is a link, and was none",
        ),
    ],
    ids=[
        *("gone", "content", "cut", "flags", "date", "keywords", "folder", "another folder"),
        *("another message", "uidvalidity", "uid", "mailbox", "no subscriptions", "subscriptions"),
        *("filter", "no filters", "no active filter", "another active filter", "a link for a file"),
    ],
)
def test_each_difference_is_told_where_it_is(
    place: Place, spoil: Callable[[Place], object], path: str, reason: str, detail: str
) -> None:
    spoil(place)
    first = place.compare().lacks[0]
    assert first.path.rstrip("/") == f"/primary/user/jane/{path}".rstrip("/")
    assert first.reason == reason
    assert detail in first.detail


def test_what_a_server_has_to_show(place: Place) -> None:
    rewritten(place.file(3), b"Subject: 3\n\nhx\n")
    inbox, work = sorted(place.compare(to_serve=True).served, key=lambda one: one.name)
    assert (inbox.name, inbox.uidvalidity, [served.uid for served in inbox.messages]) == (
        "INBOX",
        1500,
        [1, 2, 4],
    )
    assert (work.name, [one.uid for one in work.messages]) == ("Work", [8, 9])
    assert {one.shown.size for one in inbox.messages} == {len(b"Subject: 1\r\n\r\nhi\r\n")}


def message(uid: int, digest: bytes, flags: str = "") -> Message:
    owner = Ownership(0, 0, 0)
    return Message(uid, b"%d" % uid, b"", "cur", flags, b"", 5, owner, 1, digest, ())


def found(uid: int, digest: bytes, flags: str = "") -> Found:
    return Found(uid, flags, frozenset(), 5, 1, digest)


@pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])
def test_messages_are_matched_by_uid_and_then_by_content(order: int) -> None:
    stored = [message(1, b"a"), message(2, b"b"), message(4, b"d"), message(0, b"x", "S"), message(0, b"x")]
    there = [found(1, b"a"), found(3, b"c"), found(4, b"other"), found(0, b"x"), found(0, b"x", "S")]
    got = {
        (one.uid, one.flags) if one else None: other for one, other in pairs(stored[::order], there[::order])
    }
    assert got == {
        (1, ""): found(1, b"a"),
        (2, ""): None,
        (4, ""): found(4, b"other"),
        (0, "S"): found(0, b"x", "S"),
        (0, ""): found(0, b"x"),
        None: found(3, b"c"),
    }


def test_uids_of_a_folder_that_is_not_numbered_mean_nothing() -> None:
    stored = [message(1, b"a"), message(2, b"b")]
    there = [found(0, b"b"), found(0, b"a")]
    assert list(pairs(stored, there, numbered=False)) == [(stored[0], there[1]), (stored[1], there[0])]
