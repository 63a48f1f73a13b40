"""What is taken out of a mailbox: what was listed, and nothing that came at the last moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.proto.records import DIGEST_BYTES, Listed, Message, Ownership, StoredFile
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.trees import snapshot
from mailhaul.worker.stores import removal
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.restored_names import RestoredNames

OWNER = Ownership(0o600, os.geteuid(), os.getegid())


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    made = Maildir(tmp_path / "jane")
    made.message("1.M1P1.host:2,S")
    made.message("2.M1P1.host:2,S")
    made.folder(".Sent")
    return made


def store(box: Maildir) -> MaildirStore:
    return MaildirStore(f"{box.root.parent}/{{user}}", places={"jane": b""})


def listed(name: str, place: str = "cur") -> Listed:
    base, colon, flags = name.partition(":")
    return Listed(base.encode(), (colon + flags).encode(), place, 0)


def stored(path: str, content: bytes, target: bytes | None = None) -> StoredFile:
    digest = blake3(content).digest(length=DIGEST_BYTES)
    return StoredFile(path.encode(), False, target, OWNER, 0, len(content), digest, ())


def test_what_has_another_name_by_now_stays(box: Maildir) -> None:
    gone, flagged = listed("1.M1P1.host:2,S"), listed("2.M1P1.host:2,")
    with store(box).open_removing("jane") as mailbox:
        assert mailbox.remove_messages(b"", [gone, flagged, listed("3.M1P1.host")]) == [gone]
    assert box.names() == ["2.M1P1.host:2,S"]
    assert not (box.root / "dovecot-uidlist.lock").exists()


def test_a_folder_goes_if_nothing_is_in_it(box: Maildir) -> None:
    box.uidlist("1 :1.M1P1.host", folder=".Sent")
    box.folder(".Kept")
    (box.root / ".Kept" / "notes").write_text("x")
    with store(box).open_removing("jane") as mailbox:
        assert mailbox.remove_folder(b".Sent")
        assert mailbox.remove_folder(b".Sent")
        assert not mailbox.remove_folder(b".Kept")
        assert not mailbox.remove_folder(b"")
        assert not mailbox.remove_mailbox()
    assert sorted(os.listdir(box.root)) == [".Kept", "cur", "new", "tmp"]
    assert os.listdir(box.root / "tmp") == []


def test_mail_that_comes_at_the_last_moment_stays(box: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is out of sight by then, and comes back with it."""
    looks: list[int] = []
    empty: Callable[..., bool] = removal._is_empty

    def deliver(directory: int, *, folders: bool) -> bool:
        looks.append(directory)
        if len(looks) == 5:  # the folder and three directories in it, then the folder once more
            (next((box.root / "tmp").iterdir()) / "new" / "9.M1P1.host").write_bytes(b"x")
        return empty(directory, folders=folders)

    monkeypatch.setattr(removal, "_is_empty", deliver)
    with store(box).open_removing("jane") as mailbox:
        assert not mailbox.remove_folder(b".Sent")
    assert box.names(".Sent", "new") == ["9.M1P1.host"]
    assert os.listdir(box.root / "tmp") == []


def test_a_mailbox_goes_with_its_folders(box: Maildir) -> None:
    with store(box).open_removing("jane") as mailbox:
        mailbox.remove_messages(b"", [listed("1.M1P1.host:2,S")])
        assert not mailbox.remove_mailbox()
        mailbox.remove_messages(b"", [listed("2.M1P1.host:2,S")])
        box.uidlist()
        (box.root / "maildirsize").write_text("1S\n")
        assert mailbox.remove_mailbox()
    assert os.listdir(box.root.parent) == []
    assert not store(box).stands("jane")


def test_files_go_if_they_hold_what_was_stored(box: Maildir) -> None:
    (box.root / "sieve").mkdir()
    (box.root / "sieve" / "main").write_bytes(b"keep;")
    (box.root / "changed").write_bytes(b"other")
    (box.root / "link").symlink_to("changed")
    (box.root / "dovecot-uidvalidity").write_bytes(b"00000001")
    (box.root / "directory").mkdir()
    with store(box).open_removing("jane") as mailbox:
        before = snapshot(box.root)
        assert mailbox.remove_file(stored("changed", b"then")) is False
        assert mailbox.remove_file(stored("link", b"", b"elsewhere")) is False
        assert mailbox.remove_file(stored("directory", b"")) is False
        assert mailbox.remove_file(stored("dovecot-uidvalidity", b"00000001")) is None
        assert mailbox.remove_file(stored("gone", b"")) is None
        assert mailbox.remove_file(stored("gone/too", b"")) is None
        assert snapshot(box.root) == before
        assert mailbox.remove_file(stored("sieve/main", b"keep;")) is True
        assert mailbox.remove_file(stored("link", b"", b"changed")) is True
    assert sorted(os.listdir(box.root)) == sorted(
        [".Sent", "changed", "cur", "directory", "dovecot-uidvalidity", "new", "tmp"]
    )


def test_names_that_a_restore_gives() -> None:
    def message(base: bytes, size: int) -> Message:
        return Message(0, base, b"", "cur", "", b"", 0, OWNER, size, b"", ())

    plain, mbsync = message(b"1.M1P1.host,S=5", 5), message(b"2.M1P1.host,U=7,S=6", 6)
    names = RestoredNames([plain, mbsync])
    assert names.find(b"1.M1P1.host,S=5", 5) is plain
    assert names.find(b"1.M1P1.host,S=5", 4) is None
    assert names.find(b"1.M1P1.host_r1,S=5", 5) is plain
    assert names.find(b"1.M1P1.host_r,S=5", 5) is None
    assert names.find(b"2.M1P1.host,S=6", 6) is mbsync
    assert names.find(b"2.M1P1.host_r12,S=6", 6) is mbsync
    assert names.find(b"3.M1P1.host,S=5", 5) is None
