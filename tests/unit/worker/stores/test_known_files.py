"""Messages that were names of one file are that again: across folders, mailboxes, processes and attempts."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from mailhaul.proto.records import Folder, Message, Ownership
from mailhaul.proto.structs import replace
from mailhaul.worker.stores.maildir_target import MaildirTarget, end_restore
from mailhaul.worker.stores.scaffold import remove_abandoned

from ....maildirs import DATE_NS, Maildir, message

INBOX = Folder(name="INBOX", path=b"")
CONTENT = b"Subject: x\n\nto all\n"


def linked(base: bytes, content: bytes = CONTENT, **more: Any) -> Message:
    one = message(base, content, **{"link": 7, **more})
    return replace(one, digest=blake3(content).digest(length=16))


def put(target: MaildirTarget, user: str, *messages: Message, commit: bool = True) -> None:
    """Restore messages with that content into the INBOX of a user."""
    with target.open_mailbox(user) as writer:
        into = writer.open_folder(INBOX)
        for one in messages:
            into.add(one, [CONTENT])
        into.finish()
        if commit:
            writer.commit()


def inodes(root: Path) -> list[int]:
    """Of all messages below a store, each of which is whole."""
    files = sorted(root.glob("*/**/cur/*"))
    assert {file.read_bytes() for file in files} <= {CONTENT}
    return [file.stat().st_ino for file in files]


def known(root: Path) -> list[Path]:
    return sorted(root.glob(".mailhaul-restore-shared/*"))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "mail"


def target(store: Path, template: str = "{user}/Maildir") -> MaildirTarget:
    return MaildirTarget(f"{store}/{template}", shares=True)


def test_across_mailboxes_and_processes(store: Path) -> None:
    first = target(store)
    put(first, "anna", linked(b"1.h"))
    put(first, "bert", linked(b"2.h"), linked(b"3.h"))
    first.finish()
    # Another worker, or the restore that is gone on with, reads what it did not write.
    second = target(store)
    put(second, "cleo", linked(b"4.h"))
    second.finish()
    assert len(inodes(store)) == 4
    assert len(set(inodes(store))) == 1
    end_restore(f"{store}/{{user}}/Maildir")
    assert not list(store.glob(".mailhaul*"))
    assert {path.stat().st_nlink for path in store.glob("*/Maildir/cur/*")} == {4}


def test_it_stays_as_long_as_a_restore_goes_on(store: Path) -> None:
    first, second = target(store), target(store)
    put(first, "anna", linked(b"1.h"))
    put(second, "bert", linked(b"2.h"))
    first.finish()
    end_restore(f"{store}/{{user}}/Maildir")
    assert len(known(store)) == 1
    assert len(set(inodes(store))) == 1
    second.abandon()
    directory = os.open(store, os.O_RDONLY)
    try:
        remove_abandoned(directory)
    finally:
        os.close(directory)
    assert len(known(store)) == 1, "one that was ended early can be gone on with"
    end_restore(f"{store}/{{user}}/Maildir")
    assert not list(store.glob(".mailhaul*"))


@pytest.mark.parametrize(
    "other",
    [
        {"date_ns": DATE_NS + 1},
        {"owner": Ownership(0o640, os.geteuid(), os.getegid())},
        {"link": 8},
        {"content": CONTENT[:-1] + b"!"},
        {"attributes": (("user.x", b"1"),)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_not_the_same_file_is_not_linked(store: Path, other: dict[str, Any]) -> None:
    maildir_target = target(store)
    put(maildir_target, "anna", linked(b"1.h"))
    with maildir_target.open_mailbox("bert") as writer:
        into = writer.open_folder(INBOX)
        into.add(linked(b"2.h", **other), [other.get("content", CONTENT)])
        into.finish()
        writer.commit()
    assert len({path.stat().st_ino for path in store.glob("*/Maildir/cur/*")}) == 2


def test_a_file_that_a_crash_has_damaged_is_written_again(store: Path) -> None:
    put(target(store), "anna", linked(b"1.h"))
    (file,) = known(store)
    file.write_bytes(CONTENT[:-1])
    (store / "anna" / "Maildir" / "cur" / "1.h:2,S").unlink()
    put(target(store), "bert", linked(b"2.h"))
    put(target(store), "cleo", linked(b"3.h"))
    assert len(inodes(store)) == 2
    assert len(set(inodes(store))) == 1


def test_what_came_to_be_in_no_mailbox_is_let_go(store: Path) -> None:
    maildir_target = target(store)
    put(maildir_target, "anna", linked(b"1.h"), linked(b"2.h"), commit=False)
    assert known(store) == []
    put(maildir_target, "bert", linked(b"1.h"))
    put(maildir_target, "anna", linked(b"1.h"), commit=False)
    assert len(known(store)) == 1


def test_messages_that_are_there_take_part_if_they_are_the_same_file(store: Path) -> None:
    """Their content is compared before they get another name."""
    anna, cleo = Maildir(store / "anna" / "Maildir"), Maildir(store / "cleo" / "Maildir")
    there = anna.message("1.h:2,", CONTENT)
    cleo.message("5.h:2,", CONTENT).chmod(0o644)
    maildir_target = target(store)
    put(maildir_target, "anna", linked(b"1.h"))
    put(maildir_target, "bert", linked(b"2.h"))
    put(maildir_target, "cleo", linked(b"5.h", link=9))
    put(maildir_target, "dora", linked(b"6.h", link=9))
    by_user = {path.parts[-4]: path.stat().st_ino for path in store.glob("*/Maildir/cur/*")}
    assert by_user["bert"] == there.stat().st_ino
    assert by_user["dora"] != by_user["cleo"]


def test_a_message_that_is_there_and_damaged_is_not_spread(store: Path) -> None:
    Maildir(store / "anna" / "Maildir").message("1.h:2,S", b"x" * len(CONTENT))
    maildir_target = target(store)
    put(maildir_target, "anna", linked(b"1.h"))
    put(maildir_target, "bert", linked(b"2.h"))
    assert (store / "bert" / "Maildir" / "cur" / "2.h:2,S").read_bytes() == CONTENT


def test_a_worker_that_was_slower_takes_the_file_of_the_other(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = target(store), target(store)
    put(first, "zoe", linked(b"0.h", link=9))
    real = os.link
    missed: list[str] = []

    def link(source: Any, name: Any, **more: Any) -> None:
        if isinstance(source, str) and not missed:
            missed.append(source)
            put(first, "anna", linked(b"1.h"))  # the other one, in between
            raise FileNotFoundError(errno.ENOENT, "not yet")
        real(source, name, **more)

    monkeypatch.setattr("mailhaul.worker.stores.known_files.os.link", link)
    put(second, "bert", linked(b"2.h"))
    assert missed
    assert len(set(inodes(store))) == 2, "one for zoe, one for both others"
    assert len(known(store)) == 2


def test_a_target_that_is_one_mailbox_or_a_folder_has_its_own(tmp_path: Path) -> None:
    whole = MaildirTarget(str(tmp_path / "box"), shares=True)
    with whole.open_mailbox("anna", b".") as writer:
        into = writer.open_folder(INBOX)
        for base in (b"1.h", b"2.h"):
            into.add(linked(base), [CONTENT])
        into.finish()
        writer.commit()
    assert len({path.stat().st_ino for path in (tmp_path / "box" / "cur").iterdir()}) == 1
    Maildir(tmp_path / "mail")
    put(target(tmp_path / "mail"), "anna", linked(b"1.h"))
    assert not list(tmp_path.glob("**/.mailhaul*"))


def test_where_others_could_put_files_nothing_is_known(store: Path) -> None:
    (store / ".mailhaul-restore-shared").mkdir(parents=True)
    (store / ".mailhaul-restore-shared").chmod(0o777)
    put(target(store), "anna", linked(b"1.h"))
    put(target(store), "bert", linked(b"1.h"))
    assert known(store) == []
    assert len(set(inodes(store))) == 2


# Limits of file systems


@pytest.fixture
def mounted(tmp_path: Path, require_tool: Callable[[str], Path]) -> Iterator[Path]:
    """An ext4, which allows 65,000 names of a file, in the place of the domain b.example."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system")
    place, image = tmp_path / "mail" / "b.example", tmp_path / "image"
    place.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run([require_tool("mkfs.ext4"), "-q", "-O", "^has_journal", "-N", "200", image], check=True)
    done = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_file_with_as_many_names_as_it_can_have_is_followed_by_another(
    mounted: Path, tmp_path: Path
) -> None:
    """And across file systems there are no links."""
    store, template = tmp_path / "mail", "{domain}/{user}"
    maildir_target = target(store, template)
    put(maildir_target, "anna@b.example", linked(b"1.h"))
    put(maildir_target, "anna@a.example", linked(b"1.h"))
    (file,) = known(mounted)
    (elsewhere,) = known(store)
    assert file.name == elsewhere.name
    assert file.stat().st_dev != elsewhere.stat().st_dev
    first, full = mounted / "anna" / "cur" / "1.h:2,S", mounted / "full"
    full.mkdir()
    for number in range(65_000 - first.stat().st_nlink):
        os.link(first, full / str(number))
    for user in ("bert", "cleo", "dora"):
        put(maildir_target, f"{user}@b.example", linked(b"2.h"))
    found = {user: (mounted / user / "cur" / "2.h:2,S").stat() for user in ("bert", "cleo", "dora")}
    assert len({one.st_ino for one in found.values()}) == 1, "the others are links of one another again"
    assert found["bert"].st_ino != first.stat().st_ino
    assert (mounted / "dora" / "cur" / "2.h:2,S").read_bytes() == CONTENT
    maildir_target.finish()
    end_restore(f"{store}/{template}")
    assert known(store) == known(mounted) == []
