"""Reading while mail is delivered, flagged, moved and expunged: no message that stays is missed or told
twice, and how often directories are read again is bounded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailhaul.proto.errors import MessageUnavailable
from mailhaul.worker.stores.listing import Listing, Rescan
from mailhaul.worker.stores.maildir import MaildirStore

from ....maildirs import Maildir

MESSAGES = 300


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    box = Maildir(tmp_path / "jane")
    for number in range(MESSAGES):
        name = f"{number:04d}.host"
        box.message(name if number % 3 else f"{name}:2,", name.encode(), place="new" if number % 3 else "cur")
    return box


@contextmanager
def going_on(change: Iterator[None]) -> Iterator[None]:
    """Changes by another thread until the block ends."""
    done = threading.Event()

    def run() -> None:
        for _ in change:
            if done.wait(0.0002):
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def flag_all(box: Maildir) -> Iterator[None]:
    """A client that marks everything, again and again."""
    while True:
        for place in ("new", "cur"):
            for name in os.listdir(box.root / place):
                base, _, flags = name.partition(":2,")
                flags = "S" if flags != "S" else ""
                (box.root / place / name).rename(box.root / "cur" / f"{base}:2,{flags}")
                yield


def deliver(box: Maildir) -> Iterator[None]:
    for number in range(100_000):
        path = box.root / "tmp" / f"9{number}.new"
        path.write_text("new")
        path.rename(box.root / "new" / path.name)
        yield


@pytest.mark.parametrize("change", [flag_all, deliver])
def test_nothing_is_missed(box: Maildir, change: object) -> None:
    store = MaildirStore(str(box.root))
    for _ in range(5):
        with going_on(change(box)), store.open_mailbox("jane") as mailbox:  # type: ignore[operator]
            found = {}
            for folder in mailbox.folders():
                for message in folder.messages():
                    opened = folder.open_message(message)
                    now = opened.listed or message
                    assert opened.read(100) in (message.base, b"new")
                    assert now.base == message.base
                    assert message.base not in found
                    found[message.base] = now
                    opened.close()
        assert {base for base in found if base[:1] != b"9"} == {
            f"{number:04d}.host".encode() for number in range(MESSAGES)
        }


def test_mail_moved_to_a_folder_that_was_read_is_found(box: Maildir) -> None:
    other = box.folder(".Work")
    (other / "cur" / "moving.host:2,S").write_bytes(b"moving")
    found: dict[str, list[bytes]] = {"INBOX": [], "Work": []}
    with MaildirStore(str(box.root)).open_mailbox("jane") as mailbox:
        for folder in mailbox.folders():
            found[folder.folder.name] += [message.base for message in folder.messages()]
            if folder.folder.path == b"" and (other / "cur" / "moving.host:2,S").exists():
                (other / "cur" / "moving.host:2,S").rename(box.root / "cur" / "moved.host:2,S")
    assert found["Work"] == []
    assert sorted(found["INBOX"]) == sorted({*found["INBOX"]})
    assert len(found["INBOX"]) == MESSAGES + 1
    assert b"moved.host" in found["INBOX"]


def test_one_look_serves_all_that_were_renamed_or_removed(
    box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    rescans: list[Rescan] = []
    original = Listing.rescan

    def rescan(listing: Listing) -> Rescan:
        rescans.append(original(listing))
        return rescans[-1]

    monkeypatch.setattr(Listing, "rescan", rescan)
    with MaildirStore(str(box.root)).open_mailbox("jane") as mailbox:
        folders = mailbox.folders()
        folder = next(folders)
        for name in os.listdir(box.root / "new"):
            (box.root / "new" / name).rename(box.root / "cur" / f"{name}:2,F")
        for name in os.listdir(box.root / "cur"):
            if name.endswith(":2,"):
                (box.root / "cur" / name).unlink()
        flags, gone = set(), []
        for message in folder.messages():
            try:
                opened = folder.open_message(message)
            except MessageUnavailable as error:
                gone.append(error.reason)
            else:
                assert opened.listed
                flags.add(opened.listed.flags)
                opened.close()
        assert (flags, gone, len(rescans)) == ({"F"}, ["vanished"] * (MESSAGES // 3), 1)


def test_flags_taken_back_are_no_loss(box: Maildir) -> None:
    """A name that was away for a moment and is back is found under the name it had."""
    with MaildirStore(str(box.root)).open_mailbox("jane") as mailbox:
        folders = mailbox.folders()
        folder = next(folders)
        listed, *_, last = folder.messages()
        path = box.root / listed.place / os.fsdecode(listed.base + listed.suffix)
        path.rename(path.with_name("away"))
        with pytest.raises(MessageUnavailable):
            folder.open_message(listed)
        other = box.root / last.place / os.fsdecode(last.base + last.suffix)
        other.rename(box.root / "cur" / f"{last.base.decode()}:2,T")
        folder.open_message(last).close()
        path.with_name("away").rename(path)
        folder.open_message(listed).close()


def test_folders_that_vanish_are_told(box: Maildir) -> None:
    box.folder(".Away")
    box.folder(".Here")
    with MaildirStore(str(box.root)).open_mailbox("jane") as mailbox:
        folders = mailbox.folders()
        assert next(folders).folder.name == "INBOX"
        (box.root / ".Away").rename(box.root.parent / "deleted")
        assert [folder.folder.name for folder in folders] == ["Here"]
        assert [(skip.path, skip.reason) for skip in mailbox.skipped()] == [(".Away", "vanished")]
        list(mailbox.files())


def test_mail_moved_to_a_folder_that_was_read_comes_with_another_look(box: Maildir) -> None:
    box.folder(".Sent")
    box.message("moved.host:2,S", b"moved", folder=".Sent")
    (box.root / "scripts").mkdir()
    with MaildirStore(str(box.root)).open_mailbox("jane") as mailbox:
        folders = mailbox.folders()
        first = next(folders).folder
        (box.root / ".Sent" / "cur" / "moved.host:2,S").rename(box.root / "cur" / "moved.host:2,S")
        later = [(reader.folder, [listed.base for listed in reader.messages()]) for reader in folders]
    assert [(folder.name, bases) for folder, bases in later] == [("Sent", []), ("INBOX", [b"moved.host"])]
    # The later record counts, so it tells of all that the first did.
    assert {directory.path for directory in later[1][0].directories} == {
        one.path for one in first.directories
    }
