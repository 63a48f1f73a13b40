"""A mailbox is made durable as a whole: how often the disk is waited for does not depend on how many messages
there are."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from mailhaul.proto.records import Folder
from mailhaul.worker.stores import scaffold
from mailhaul.worker.stores.maildir_target import MaildirTarget

from ....maildirs import message

FOLDERS = tuple(
    Folder(name=name, path=path, uidvalidity=7, uidnext=1000)
    for name, path in (("INBOX", b""), ("Sent", b".Sent"), ("Archive", b".Archive"))
)


class Syncs(Counter[str]):
    """How often what was made durable, by the kind of call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for module, name in ((os, "fsync"), (os, "fdatasync"), (scaffold, "_sync_file_system")):
            self._count(monkeypatch, module, name)

    def _count(self, monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
        real = getattr(module, name)

        def counted(fd: int) -> object:
            self[name] += 1
            return real(fd)

        monkeypatch.setattr(module, name, counted)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


def restore(root: Path, names: range) -> None:
    with MaildirTarget(f"{root}/{{user}}/Maildir").open_mailbox("jane", b"", FOLDERS) as writer:
        for folder in FOLDERS:
            into = writer.open_folder(folder)
            for number in names:
                content = b"Subject: %d\n\n" % number
                assert into.add(message(b"%d.host" % number, content, uid=number + 1), [content])
            into.finish()
        writer.commit()


def test_a_new_mailbox_is_one_sync(syncs: Syncs, tmp_path: Path) -> None:
    for messages in (1, 60):
        syncs.clear()
        restore(tmp_path / str(messages), range(messages))
        assert syncs["_sync_file_system"] == 1
        assert syncs["fsync"] + syncs["fdatasync"] <= 2
    assert len(list((tmp_path / "60").rglob("*.host*"))) == 3 * 60


def test_a_mailbox_that_exists_is_one_sync_and_a_few_for_each_folder(syncs: Syncs, tmp_path: Path) -> None:
    seen = []
    for messages in (1, 60):
        root = tmp_path / str(messages)
        restore(root, range(1))
        syncs.clear()
        restore(root, range(1, 1 + messages))
        assert syncs["_sync_file_system"] == 1
        assert syncs["fsync"] + syncs["fdatasync"] <= 4 * len(FOLDERS)
        seen.append(dict(syncs))
        assert len(list(root.rglob("*.host*"))) == 3 * (1 + messages)
    assert seen[0] == seen[1]
