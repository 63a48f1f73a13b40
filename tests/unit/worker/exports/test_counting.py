"""What was written as files is counted by listing it: what is not there, or can't be read, is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailhaul.proto.errors import StoreError
from mailhaul.proto.ports import MailTarget
from mailhaul.proto.records import Folder
from mailhaul.tests.maildirs import message
from mailhaul.worker.exports.eml_target import eml_target
from mailhaul.worker.exports.mbox_target import mbox_target
from mailhaul.worker.exports.tar_target import TarTarget

INBOX = Folder(name="INBOX", path=b"")
MAIL = [b"Subject: %d\n\nFrom here\n" % number for number in range(3)]


@contextmanager
def restored(target: MailTarget) -> Iterator[Callable[[], object]]:
    """A mailbox that was committed; gives what counts it."""
    with target.open_mailbox("jane", b"", [INBOX]) as mailbox:
        writer = mailbox.open_folder(INBOX)
        for number, content in enumerate(MAIL, 1):
            assert writer.add(message(b"%d" % number, content, uid=number), [content])
        writer.finish()
        mailbox.commit()
        yield mailbox.listed


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with restored(eml_target(str(tmp_path))) as listed:
        assert listed() == {"INBOX": 3}
        next((tmp_path / "jane" / "INBOX").glob("*.eml")).unlink()
        assert listed() == {"INBOX": 2}
        shutil.rmtree(tmp_path / "jane" / "INBOX")
        with pytest.raises(StoreError, match="INBOX"):
            listed()


def test_an_mbox_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "jane" / "INBOX.mbox"
    with restored(mbox_target(str(tmp_path))) as listed:
        assert listed() == {"INBOX": 3}
        file.write_bytes(file.read_bytes()[:-30])
        assert listed() == {"INBOX": 3}, "what is cut off at the end is a message all the same"
        file.write_bytes(file.read_bytes().partition(b"\nFrom ")[0])
        assert listed() == {"INBOX": 1}
        file.write_bytes(bytes(4096))
        with pytest.raises(StoreError, match=r"no mail|From_"):
            listed()
        file.unlink()
        with pytest.raises(StoreError, match=r"INBOX: No such file"):
            listed()


@pytest.mark.parametrize("harm", ["cut off", "zeros"])
def test_a_tar_archive_that_lists_something_else_gets_no_name(tmp_path: Path, harm: str) -> None:
    target = TarTarget(str(tmp_path / "mail.tar"))
    with restored(target):
        pass
    (growing,) = (path for path in tmp_path.rglob("mail.tar") if path.is_file())
    archive = target._archive
    assert archive._output is not None
    archive._output.file.flush()
    if harm == "cut off":
        archive._output.file.truncate(2000)
    else:
        with growing.open("r+b") as file:
            file.seek(1024)
            file.write(bytes(1024))
    with pytest.raises(StoreError, match=r"mail.tar"):
        target.finish()
    target.abandon()
    assert list(tmp_path.iterdir()) == []
