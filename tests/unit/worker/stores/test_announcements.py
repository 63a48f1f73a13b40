"""A message of the operator in an INBOX: there once, found again whatever the server made of its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.proto.errors import StoreError
from mailhaul.proto.records import Folder
from mailhaul.tests.maildirs import Maildir
from mailhaul.worker.stores.maildir_target import MaildirTarget

CONTENT = b"Subject: patience\n\nOld mail is on its way.\n"
LAYOUT = [Folder(name="INBOX", path=b"", uidvalidity=1), Folder(name="Sent", path=b".Sent", uidvalidity=2)]


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    box = Maildir(tmp_path / "jane")
    box.message("1.host:2,S")
    return box


def test_there_once_and_gone(box: Maildir) -> None:
    target = MaildirTarget(f"{box.root.parent}/{{user}}")
    for _ in range(2):
        target.announce("jane", b"", LAYOUT, CONTENT)
    (name,) = box.names(place="new")
    path = box.root / "new" / name
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o600
    assert box.names(place="tmp") == []
    path.rename(box.root / "cur" / f"{name}:2,FS")
    target.announce("jane", b"", LAYOUT, CONTENT)
    assert box.names(place="new") == []
    for _ in range(2):
        target.end_announcement("jane", b"", LAYOUT)
    assert (box.names(), box.names(place="new")) == (["1.host:2,S"], [])


def test_where_there_is_no_inbox(box: Maildir) -> None:
    target = MaildirTarget(f"{box.root.parent}/{{user}}")
    target.announce("nobody", b"", LAYOUT, CONTENT)
    target.announce("jane", b"", LAYOUT[1:], CONTENT)
    assert box.names(place="new") == []
    (box.root / "new").rmdir()
    (box.root / "new").write_text("no directory")
    with pytest.raises(StoreError, match="jane"):
        target.announce("jane", b"", LAYOUT, CONTENT)
