"""A file system that fails while a mailbox is read: what was stored of it stays, and what can't be read is
reported. Nothing but a name that a second listing no longer has is taken for removed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mailhaul.coordinator.alarms import alarms_of_unit
from mailhaul.proto.records import BackupMode
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.memory_chains import Chain
from mailhaul.worker.packing import hot_path
from mailhaul.worker.packing.entries import Entry
from mailhaul.worker.stores.maildir import MaildirStore

FOLDERS = ("", ".Sent", ".Archive")
MESSAGES = 20
SENT = b".Sent"


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    box = Maildir(tmp_path / "mail" / "jane")
    for folder in FOLDERS:
        box.folder(folder)
        for number in range(MESSAGES):
            box.message(f"{number:02d}{folder}:2,S", b"%d of " % number + folder.encode(), folder=folder)
    (box.root / ".Sent" / "notes").write_text("kept")
    return box


def night(box: Maildir, chain: Chain, **mode: bool) -> Any:
    return chain.run(MaildirStore(str(box.root.parent)), ["jane"], mode=BackupMode(**mode))


def contents(chain: Chain) -> dict[bytes, dict[bytes, bytes]]:
    return {
        path: {base: content for base, (_, content) in messages.items()}
        for path, (_, messages) in chain.mailbox("jane").items()
    }


def whole() -> dict[bytes, dict[bytes, bytes]]:
    return {
        folder.encode(): {
            f"{number:02d}{folder}".encode(): b"%d of " % number + folder.encode()
            for number in range(MESSAGES)
        }
        for folder in FOLDERS
    }


class Fault:
    """Fails calls of ``os`` on what a name fits; ``fired`` counts how often."""

    def __init__(self, number: int, fits: Callable[[str], bool]) -> None:
        self.fired = 0
        self._number = number
        self._fits = fits

    def check(self, path: str) -> None:
        if self._fits(path):
            self.fired += 1
            raise OSError(self._number, os.strerror(self._number))

    @contextmanager
    def in_listing(self) -> Iterator[Fault]:
        read = hot_path.entries_in

        def entries_in(fd: int) -> Iterator[Entry]:
            self.check(os.readlink(f"/proc/self/fd/{fd}"))
            return read(fd)

        with patch.object(hot_path, "entries_in", entries_in):
            yield self

    @contextmanager
    def in_opening(self) -> Iterator[Fault]:
        really, read = os.open, hot_path.read_file

        def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            above = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
            self.check(os.path.join(above, os.fsdecode(path)))
            return really(path, flags, mode, dir_fd=dir_fd)

        def read_file(directory: int, name: bytes, flags: int) -> Any:
            self.check(os.path.join(os.readlink(f"/proc/self/fd/{directory}"), os.fsdecode(name)))
            return read(directory, name, flags)

        # The second opens files where the first does not see it.
        with patch.object(os, "open", opened), patch.object(hot_path, "read_file", read_file):
            yield self


ERRORS = pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES])


@ERRORS
@pytest.mark.parametrize("full", [False, True])
def test_a_directory_that_can_not_be_listed_keeps_what_was_stored(
    box: Maildir, number: int, full: bool
) -> None:
    chain = Chain()
    night(box, chain)
    box.message("99.Sent:2,", b"new", folder=".Sent", place="new")
    with Fault(number, lambda path: path.endswith(".Sent/cur")).in_listing() as fault:
        report = night(box, chain, full=full)
    assert fault.fired
    reason = "permission" if number == errno.EACCES else "io-error"
    assert [(one.path, one.reason) for one in report.skipped] == [("/primary/user/jane/.Sent/cur", reason)]
    expected = whole()
    expected[SENT][b"99.Sent"] = b"new"
    assert contents(chain) == expected
    (mailbox,) = report.mailboxes
    assert (mailbox.listed, mailbox.stored, mailbox.skipped, mailbox.vanished) == (61, 61, 0, 0)
    # Its mark says nothing: the next run looks again, and what went meanwhile is not kept.
    (box.root / ".Sent" / "cur" / "07.Sent:2,S").unlink()
    report = night(box, chain)
    del expected[SENT][b"07.Sent"]
    assert (contents(chain), report.skipped) == (expected, ())


@ERRORS
def test_a_directory_that_can_not_be_listed_the_first_time_is_reported(box: Maildir, number: int) -> None:
    chain = Chain()
    with Fault(number, lambda path: path.endswith(".Sent/cur")).in_listing() as fault:
        report = night(box, chain)
    assert fault.fired
    assert [one.path for one in report.skipped] == ["/primary/user/jane/.Sent/cur"]
    assert contents(chain) == {**whole(), SENT: {}}
    assert night(box, chain).skipped == ()
    assert contents(chain) == whole()


@ERRORS
def test_messages_that_can_not_be_opened_are_not_vanished(box: Maildir, number: int) -> None:
    chain = Chain()
    night(box, chain)
    with Fault(number, lambda path: "/.Sent/cur/" in path).in_opening() as fault:
        report = night(box, chain, full=True)
    assert fault.fired >= MESSAGES
    assert len(report.skipped) == MESSAGES
    assert {one.reason for one in report.skipped} == {"permission" if number == errno.EACCES else "io-error"}
    # What was stored before stays; and it is read again by the next run that reads.
    assert contents(chain) == whole()
    (box.root / ".Sent" / "cur" / "07.Sent:2,S").write_bytes(b"changed")
    assert night(box, chain, full=True).skipped == ()
    assert contents(chain)[SENT][b"07.Sent"] == b"changed"


@ERRORS
@pytest.mark.parametrize("where", [".Sent", ".Sent/cur"])
def test_directories_that_can_not_be_entered_keep_what_was_stored(
    box: Maildir, number: int, where: str
) -> None:
    chain = Chain()
    night(box, chain)
    box.message("99:2,", b"new")
    os.utime(box.root / ".Sent" / "cur")
    with Fault(number, lambda path: path.endswith(where)).in_opening() as fault:
        report = night(box, chain)
    assert fault.fired
    assert report.skipped
    assert {one.reason for one in report.skipped} == {"permission" if number == errno.EACCES else "io-error"}
    assert contents(chain) == {**whole(), b"": {**whole()[b""], b"99": b"new"}}
    assert (False, b".Sent/notes") in chain.files("jane")


def test_folders_below_a_directory_that_can_not_be_entered_stay(box: Maildir) -> None:
    box.folder("lists/deep/er")
    box.message("1.deep:2,", b"deep", folder="lists/deep/er")
    chain = Chain()
    night(box, chain)
    box.message("99:2,", b"new")
    with Fault(errno.ESTALE, lambda path: path.endswith("/lists/deep")).in_opening() as fault:
        report = night(box, chain)
    assert fault.fired
    assert [one.path for one in report.skipped] == ["/primary/user/jane/lists/deep"]
    assert contents(chain)[b"lists/deep/er"] == {b"1.deep": b"deep"}


@pytest.mark.parametrize("where", [".Sent", ".Sent/cur", ".Sent/cur/07.Sent:2,S"])
def test_a_name_that_is_listed_is_not_gone(box: Maildir, where: str) -> None:
    """Whatever the file system says of it: some answer ENOENT where they have lost their server."""
    chain = Chain()
    with Fault(errno.ENOENT, lambda path: path.endswith(where)).in_opening() as fault:
        report = night(box, chain)
    assert fault.fired
    assert {one.reason for one in report.skipped} == {"io-error"}


@pytest.mark.parametrize("broken", [False, True])
def test_many_messages_that_go_while_they_are_read_are_an_alarm(box: Maildir, broken: bool) -> None:
    chain = Chain()
    removed: list[str] = []

    def fits(path: str) -> bool:
        if "/.Sent/cur/" in path and not removed:
            for name in sorted(os.listdir(box.root / ".Sent" / "cur"))[: 15 if broken else 9]:
                (box.root / ".Sent" / "cur" / name).unlink()
                removed.append(name)
        return False

    with Fault(0, fits).in_opening():
        report = night(box, chain)
    assert {one.reason for one in report.skipped} == {"vanished"}
    assert len(report.skipped) == len(removed)
    alarms = [(alarm.path, alarm.reason, alarm.detail, alarm.held) for alarm in alarms_of_unit(report, 0.5)]
    told = "15 of 20 messages were gone when they were to be read"
    one = ("/primary/user/jane/Sent", "folder-vanished", told, ("/primary/user/jane",))
    assert alarms == ([one] if broken else [])
    assert not list(alarms_of_unit(report, 0.8))
