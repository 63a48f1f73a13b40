"""Messages that are moved while their mailbox is read: each is stored, or reported; none is just missing."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailhaul.proto.records import Listed
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.memory_chains import Chain
from mailhaul.worker.comparing.pursuit import UNSETTLED
from mailhaul.worker.stores import later_looks, maildir_mailbox
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_folder import MaildirFolder
from mailhaul.worker.stores.opened import StoreFile

NAME = "7.moved:2,S"
BASE = b"7.moved"
FOLDERS = ("", ".B", ".C")


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    """Three folders with a message each, of which one is going to be moved."""
    box = Maildir(tmp_path / "jane")
    for number, folder in enumerate(FOLDERS):
        box.folder(folder)
        box.message(f"{number}.host:2,", b"stays %d" % number, folder=folder)
    box.message(NAME, b"moved", folder=".B")
    for directory in box.root.rglob("cur"):
        os.utime(directory, (1, 1))
    return box


class Mover:
    """Moves the message before it is opened, each time to the next of these folders."""

    def __init__(self, box: Maildir, monkeypatch: pytest.MonkeyPatch, *places: str) -> None:
        self.moves = 0
        self._box = box
        self._at = ".B"
        self._places = iter(places)
        opened = MaildirFolder.open_message

        def open_message(folder: MaildirFolder, message: Listed) -> StoreFile:
            if message.base == BASE:
                self.move()
            return opened(folder, message)

        monkeypatch.setattr(MaildirFolder, "open_message", open_message)

    def move(self) -> None:
        place = next(self._places, None)
        if place is not None:
            root = self._box.root
            target = root.parent / "removed" if place == "gone" else root / place / "cur" / NAME
            (root / self._at / "cur" / NAME).rename(target)
            self._at = place
            self.moves += 1


def back_up(box: Maildir) -> Chain:
    chain = Chain()
    chain.run(MaildirStore(str(box.root.parent)), ["jane"])
    return chain


def stored(chain: Chain) -> dict[bytes, bytes]:
    return {
        base: content
        for _, messages in chain.mailbox("jane").values()
        for base, (_, content) in messages.items()
    }


@pytest.mark.parametrize("moves", [("",), ("", ".B"), ("", ".C", ""), ("", ".B", "", ".C", ".B"), (".C", "")])
def test_moved_again_and_again(box: Maildir, monkeypatch: pytest.MonkeyPatch, moves: tuple[str, ...]) -> None:
    mover = Mover(box, monkeypatch, *moves)
    chain = back_up(box)
    assert mover.moves == len(moves)
    assert stored(chain) == {BASE: b"moved", **{b"%d.host" % n: b"stays %d" % n for n in range(3)}}
    (moment,) = chain.moments
    assert moment.report.skipped == ()
    (mailbox,) = moment.report.mailboxes
    assert (mailbox.listed, mailbox.stored, mailbox.skipped) == (4, 4, 0)
    # Nothing is left over for the next run, and it has nothing to tell.
    chain.run(MaildirStore(str(box.root.parent)), ["jane"])
    assert stored(chain)[BASE] == b"moved"


def test_a_message_that_was_removed_is_vanished(box: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    mover = Mover(box, monkeypatch, "", "gone")
    chain = back_up(box)
    assert mover.moves == 2
    assert BASE not in stored(chain)
    # It was seen in two folders, is reported where it was last, and counted once.
    (skip,) = chain.moments[0].report.skipped
    assert (skip.path.rpartition("/")[0], skip.reason) == ("/primary/user/jane/INBOX", "vanished")
    (mailbox,) = chain.moments[0].report.mailboxes
    assert (mailbox.listed, mailbox.stored, mailbox.skipped) == (4, 3, 1)


def test_one_that_never_holds_still_is_reported(box: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir_mailbox, "PAUSES", (0.0, 0.0, 0.0))
    mover = Mover(box, monkeypatch, *["", ".C"] * 50)
    chain = back_up(box)
    assert 1 <= mover.moves <= 7
    assert BASE not in stored(chain)
    report = chain.moments[0].report
    assert {skip.reason for skip in report.skipped} == {UNSETTLED}
    (mailbox,) = report.mailboxes
    assert mailbox.listed == mailbox.stored + mailbox.skipped


def test_a_folder_that_got_another_name_is_read_under_it(
    box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = MaildirFolder.open_message
    renamed: list[MaildirFolder] = []

    def open_message(folder: MaildirFolder, message: Listed) -> StoreFile:
        if not renamed:
            (box.root / ".C").rename(box.root / ".A")
            renamed.append(folder)
        return opened(folder, message)

    monkeypatch.setattr(MaildirFolder, "open_message", open_message)
    chain = back_up(box)
    assert renamed
    assert set(chain.mailbox("jane")[b".A"][1]) == {b"2.host"}
    assert stored(chain)[BASE] == b"moved"
    # The old name is told as gone, and is no fault.
    assert [skip.reason for skip in chain.moments[0].report.skipped] == ["vanished"]


def storm(box: Maildir, end: threading.Event, moves: list[int]) -> Iterator[None]:
    rng = random.Random(8)
    while not end.is_set():
        source, target = rng.sample(FOLDERS, 2)
        names = os.listdir(box.root / source / "cur")
        if names:
            name = rng.choice(names)
            (box.root / source / "cur" / name).rename(box.root / target / "cur" / name)
            moves.append(1)
        yield


def in_thread(steps: Iterator[None], end: threading.Event) -> threading.Thread:
    def run() -> None:
        for _ in steps:
            if end.wait(0.0003):
                return

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_storm_of_moves_loses_nothing_without_a_word(box: Maildir) -> None:
    """Nothing is removed here, so nothing may be taken for removed: each message is stored or reported."""
    names = {b"%d.storm" % number for number in range(300)}
    for number, name in enumerate(sorted(names)):
        box.message(os.fsdecode(name) + ":2,", name, folder=FOLDERS[number % 3])
    assert len(later_looks.PAUSES) > 3
    for _ in range(3):
        end, moves = threading.Event(), list[int]()
        thread = in_thread(storm(box, end, moves), end)
        try:
            deadline = time.monotonic() + 60
            while len(moves) <= 50 and time.monotonic() < deadline:  # on a busy machine a thread starts late
                time.sleep(0.001)
            chain = back_up(box)
        finally:
            end.set()
            thread.join()
        assert moves
        found = stored(chain)
        assert all(content == base for base, content in found.items() if base in names)
        reasons = {skip.reason for skip in chain.moments[0].report.skipped}
        assert reasons <= {UNSETTLED}
        missing = names - found.keys()
        told = {os.fsencode(one.path.rpartition("/")[2]) for one in chain.moments[0].report.skipped}
        assert all(any(name in path for path in told) for name in missing)
    # Once it is quiet, all is there.
    assert names <= stored(back_up(box)).keys()
