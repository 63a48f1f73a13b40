"""Content that is put back in place while a server renames files: never two of one message, nor one lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailhaul.proto.errors import DamagedError, MessageUnavailable, StoreError
from mailhaul.proto.records import Message, SeenFile
from mailhaul.tests.maildirs import DATE_NS, Maildir, message
from mailhaul.worker.stores import mending, renaming
from mailhaul.worker.stores.maildir_target import MaildirTarget

GOOD = b"Subject: whole\n\nas it was stored\n"
NAME = "1.host:2,S"


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    """A mailbox with a truncated message."""
    box = Maildir(tmp_path / "mail" / "jane")
    box.message(NAME, b"Subj")
    return box


def stored(name: bytes = b"1.host", suffix: bytes = b":2,S") -> Message:
    return message(name, GOOD, suffix=suffix)


def seen(box: Maildir, name: str = NAME) -> SeenFile:
    status = (box.root / "cur" / name).stat()
    return SeenFile("cur", name.encode(), status.st_size, status.st_mtime_ns, status.st_ino)


def mend(box: Maildir, one: Message, file: SeenFile | None, content: Iterator[bytes] | None = None) -> None:
    target = MaildirTarget(f"{box.root.parent}/{{user}}")
    with target.open_mending("jane") as mailbox:
        mailbox.mend(b"", one, file, content or iter([GOOD]))


def everything(box: Maildir) -> dict[str, bytes]:
    return {str(path.relative_to(box.root)): path.read_bytes() for path in box.root.rglob("*.host*")}


@pytest.mark.parametrize("exchanges", [True, False])
def test_the_file_that_was_seen(box: Maildir, monkeypatch: pytest.MonkeyPatch, *, exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(mending, "exchange", lambda *_: False)
    mend(box, stored(), seen(box))
    assert everything(box) == {f"cur/{NAME}": GOOD}
    assert (box.root / "cur" / NAME).stat().st_mtime_ns == DATE_NS
    assert box.names(place="tmp") == []


def test_a_file_that_was_written_meanwhile(box: Maildir) -> None:
    before = seen(box)
    (box.root / "cur" / NAME).write_bytes(b"by somebody else")
    with pytest.raises(MessageUnavailable) as caught:
        mend(box, stored(), before)
    assert caught.value.reason == "changed"
    assert everything(box) == {f"cur/{NAME}": b"by somebody else"}
    assert box.names(place="tmp") == []


def test_a_flag_that_was_set_meanwhile(box: Maildir) -> None:
    """Between the look and the exchange, the name goes."""
    before = seen(box)

    def content() -> Iterator[bytes]:
        (box.root / "cur" / NAME).rename(box.root / "cur" / "1.host:2,FS")
        yield GOOD

    with pytest.raises(MessageUnavailable, match="not as it was"):
        mend(box, stored(), before, content())
    assert everything(box) == {"cur/1.host:2,FS": b"Subj"}


def test_another_file_under_the_name_at_the_last_moment(
    box: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = renaming.exchange
    calls: list[bytes] = []

    def late(tmp: int, name: bytes, target: int, other: bytes) -> bool:
        if not calls:
            os.unlink(other, dir_fd=target)
            (box.root / "cur" / os.fsdecode(other)).write_bytes(b"new")
        calls.append(name)
        return exchange(tmp, name, target, other)

    monkeypatch.setattr(mending, "exchange", late)
    with pytest.raises(MessageUnavailable, match="not as it was"):
        mend(box, stored(), seen(box))
    assert len(calls) == 2, "and back"
    assert everything(box) == {f"cur/{NAME}": b"new"}
    assert box.names(place="tmp") == []


def test_one_that_has_no_file(box: Maildir) -> None:
    mend(box, stored(b"2.host", b":2,F"), None)
    assert everything(box) == {f"cur/{NAME}": b"Subj", "cur/2.host:2,F": GOOD}


def test_one_that_has_come_back(box: Maildir) -> None:
    """Under other flags: the name counts that lasts."""
    box.message("2.host:2,T", b"it is here")
    with pytest.raises(MessageUnavailable, match="not as it was"):
        mend(box, stored(b"2.host", b":2,F"), None)
    assert sorted(everything(box)) == [f"cur/{NAME}", "cur/2.host:2,T"]


def test_content_that_is_damaged_in_the_backup(box: Maildir) -> None:
    def content() -> Iterator[bytes]:
        yield GOOD[:5]
        raise DamagedError("not what was stored")

    with pytest.raises(DamagedError):
        mend(box, stored(), seen(box), content())
    assert everything(box) == {f"cur/{NAME}": b"Subj"}
    assert box.names(place="tmp") == []


def test_a_folder_or_a_mailbox_that_is_gone(box: Maildir) -> None:
    target = MaildirTarget(f"{box.root.parent}/{{user}}")
    with target.open_mending("jane") as mailbox, pytest.raises(MessageUnavailable):
        mailbox.mend(b".Gone", stored(), None, [GOOD])
    with pytest.raises(StoreError), target.open_mending("nobody"):
        pass
