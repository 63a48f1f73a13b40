"""A message that is replaced under its own name: noticed by the file's number, which a listing gives."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mailhaul.proto.records import BackupMode, FileStat, Listed, UnitReport
from mailhaul.tests.maildirs import DATE_NS, Maildir
from mailhaul.tests.memory_chains import Chain
from mailhaul.worker.packing import hot_path
from mailhaul.worker.packing.entries import Entry
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_folder import MaildirFolder

MESSAGES = 30


def name(number: int, flags: str = "S") -> str:
    return f"{number:02d}.host:2,{flags}"


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    box = Maildir(tmp_path / "mail" / "jane")
    for number in range(MESSAGES):
        box.message(name(number), b"content %02d" % number)
    return box


def night(box: Maildir, chain: Chain, **mode: bool) -> UnitReport:
    time.sleep(0.03)  # what is younger than a tick of the file system's clock is in doubt
    return chain.run(MaildirStore(str(box.root.parent)), ["jane"], mode=BackupMode(**mode))


def contents(chain: Chain) -> dict[int, bytes]:
    ((_, messages),) = chain.mailbox("jane").values()
    return {int(base[:2]): content for base, (_, content) in messages.items()}


def replaced(box: Maildir, number: int, content: bytes, mtime_ns: int = DATE_NS) -> None:
    """As scripts do that encrypt or compress mail: written beside it, renamed onto its name."""
    path = box.root / "tmp" / "x"
    path.write_bytes(content)
    path.chmod(0o600)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    path.rename(box.root / "cur" / name(number))


def whole(**changes: bytes) -> dict[int, bytes]:
    usual = {number: b"content %02d" % number for number in range(MESSAGES)}
    return usual | {int(key[1:]): content for key, content in changes.items()}


@contextmanager
def stats() -> Iterator[list[bytes]]:
    """Which messages are looked at one by one."""
    looked: list[bytes] = []
    really = MaildirFolder.stat

    def stat(folder: MaildirFolder, message: Listed) -> FileStat:
        looked.append(message.base)
        return really(folder, message)

    with patch.object(MaildirFolder, "stat", stat):
        yield looked


@pytest.mark.parametrize("content", [b"NEW CONTENT, AND LONGER", b"CONTENT 07"])
@pytest.mark.parametrize("mtime_ns", [DATE_NS, DATE_NS + 1])
def test_another_file_under_the_name_is_another_message(box: Maildir, content: bytes, mtime_ns: int) -> None:
    """Whatever its size and time are."""
    chain = Chain()
    night(box, chain)
    replaced(box, 7, content, mtime_ns)
    with stats() as looked:
        report = night(box, chain)
    assert contents(chain) == whole(_7=content)
    (mailbox,) = report.mailboxes
    assert (report.read, mailbox.added, mailbox.vanished, mailbox.changed) == (1, 1, 1, True)
    assert set(looked) <= {b"07.host"}, "none of the others was looked at"
    assert contents(Chain(archives=chain.archives, moments=chain.moments[:1])) == whole()
    assert night(box, chain).archive is None


def test_a_folder_with_other_flags_costs_no_look(box: Maildir) -> None:
    chain = Chain()
    night(box, chain)
    for number in range(0, MESSAGES, 2):
        (box.root / "cur" / name(number)).rename(box.root / "cur" / name(number, "FS"))
    box.message("99.host:2,", b"new")
    with stats() as looked:
        report = night(box, chain)
    assert (report.read, looked) == (1, [])
    assert contents(chain) == {**whole(), 99: b"new"}


def test_the_same_content_in_another_file_is_the_same_message(box: Maildir) -> None:
    chain = Chain()
    night(box, chain)
    replaced(box, 7, b"content 07")
    report = night(box, chain)
    (mailbox,) = report.mailboxes
    assert (report.read, mailbox.added, mailbox.vanished, mailbox.changed) == (1, 0, 0, True)
    assert report.new_bytes == 0
    assert contents(chain) == whole()
    # The number of now is known: there is nothing to read, nor to write, any more.
    box.message("99.host:2,", b"new")
    assert night(box, chain).read == 1


def test_one_written_in_place_is_seen_by_a_thorough_run(box: Maildir) -> None:
    """Its number is the same, and no directory tells of it: it takes a look at each message."""
    chain = Chain()
    night(box, chain)
    (box.root / "cur" / name(7)).write_bytes(b"in place")
    box.message("99.host:2,", b"new")
    night(box, chain)
    assert contents(chain)[7] == b"content 07"
    assert night(box, chain, thorough=True).read == 1
    assert contents(chain) == {**whole(_7=b"in place"), 99: b"new"}


def test_a_store_that_was_copied_is_not_read_again(box: Maildir) -> None:
    chain = Chain()
    night(box, chain)
    copy = box.root.with_name("copy")
    shutil.copytree(box.root, copy)
    shutil.rmtree(box.root)
    copy.rename(box.root)
    with stats() as looked:
        report = night(box, chain)
    assert (report.read, len(looked), report.mailboxes[0].changed) == (0, MESSAGES, False)
    assert contents(chain) == whole()
    # Then it is known, and a message replaced in it is noticed.
    replaced(box, 7, b"CONTENT 07")
    with stats() as looked:
        assert night(box, chain).read == 1
    assert set(looked) <= {b"07.host"}
    assert contents(chain) == whole(_7=b"CONTENT 07")


@pytest.mark.parametrize("number_of", [lambda _: 0xFFFF_FFFF, lambda _: 0, lambda inode: inode + 1_000_000])
def test_a_file_system_whose_listing_tells_no_numbers(box: Maildir, number_of: Callable[[int], int]) -> None:
    """Then each message of a folder that changed is looked at, and none is read for it."""
    read = hot_path.entries_in

    def entries_in(fd: int) -> Iterator[Entry]:
        return ((name, kind, number_of(inode)) for name, kind, inode in read(fd))

    chain = Chain()
    with patch.object(hot_path, "entries_in", entries_in):
        night(box, chain)
        box.message("99.host:2,", b"new")
        with stats() as looked:
            assert night(box, chain).read == 1
        assert len(looked) == MESSAGES
        replaced(box, 7, b"CONTENT 07")
        assert night(box, chain).read == 1
    assert contents(chain) == {**whole(_7=b"CONTENT 07"), 99: b"new"}


def test_a_folder_in_doubt_is_known_by_its_files(box: Maildir) -> None:
    """A folder with a stray among its messages has no mark; but its other files are those that it had."""
    (box.root / "cur" / ".hidden").write_text("x")
    chain = Chain()
    night(box, chain)
    assert chain.mailbox("jane")
    replaced(box, 7, b"CONTENT 07")
    assert night(box, chain).read == 1
    assert contents(chain) == whole(_7=b"CONTENT 07")


def test_a_message_that_is_replaced_while_it_is_read(box: Maildir) -> None:
    """What is stored is what was opened, and its number: the next run finds nothing to do."""
    opened = MaildirFolder.open_message
    changes: list[Listed] = []

    def open_message(folder: MaildirFolder, message: Listed) -> Any:
        if message.base == b"07.host" and not changes:
            replaced(box, 7, b"replaced")
            changes.append(message)
        return opened(folder, message)

    chain = Chain()
    with patch.object(MaildirFolder, "open_message", open_message):
        night(box, chain)
    assert changes
    assert contents(chain) == whole(_7=b"replaced")
    box.message("99.host:2,", b"new")
    assert night(box, chain).read == 1
    assert contents(chain) == {**whole(_7=b"replaced"), 99: b"new"}
