"""The adapters of the mail store ports, each over an empty store."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.proto.ports import MailStore, MailTarget
from mailhaul.proto.records import Partition
from mailhaul.proto.structs import Record, replace
from mailhaul.worker.stores import registry
from mailhaul.worker.stores.memory import Mail, MemoryFolder, MemoryStore, MemoryTarget
from mailhaul.worker.stores.throttled import ThrottledStore

USER = "jane"


class Adapter(Record):
    """A store and a target over the same mail, and what a server and its users do to it meanwhile:
    ``rename(path of the folder, base, new suffix)``, ``expunge(path of the folder, base)``,
    ``move(from, base, to)``, ``remake(path of the folder)``, which deletes it and makes it again with the
    same mail, and ``remove_file(path)``. After ``settle`` all this is too long ago to be in doubt."""

    store: MailStore
    target: MailTarget
    rename: Callable[[bytes, bytes, bytes], None]
    expunge: Callable[[bytes, bytes], None]
    move: Callable[[bytes, bytes, bytes], None]
    remake: Callable[[bytes], None]
    remove_file: Callable[[bytes], None]
    settle: Callable[[], None]


def _maildir(place: Path) -> Adapter:
    root = place / "mail"
    root.mkdir()
    partition = Partition(name="primary", format="maildir", path=f"{root}/{{user}}/Maildir")

    mailbox = os.path.join(os.fsencode(root), USER.encode(), b"Maildir")

    def find(folder: bytes, base: bytes) -> bytes:
        directory = os.path.join(mailbox, folder)
        (found,) = [
            os.path.join(directory, sub, name)
            for sub in (b"cur", b"new")
            for name in os.listdir(os.path.join(directory, sub))
            if name.partition(b":")[0] == base
        ]
        return found

    def rename(folder: bytes, base: bytes, suffix: bytes) -> None:
        found = find(folder, base)
        cur = os.path.join(os.path.dirname(os.path.dirname(found)), b"cur")
        os.rename(found, os.path.join(cur, base + suffix))

    def move(folder: bytes, base: bytes, to: bytes) -> None:
        found = find(folder, base)
        os.rename(found, os.path.join(mailbox, to, b"cur", os.path.basename(found)))

    def remake(folder: bytes) -> None:
        directory = Path(os.fsdecode(os.path.join(mailbox, folder)))
        for name in ("new", "cur"):
            shutil.copytree(directory / name, directory / f"{name}.copy")
            shutil.rmtree(directory / name)
            (directory / f"{name}.copy").rename(directory / name)

    return Adapter(
        registry.open_store(partition),
        registry.open_target(partition),
        rename,
        lambda folder, base: os.unlink(find(folder, base)),
        move,
        remake,
        lambda path: os.unlink(os.path.join(mailbox, path)),
        lambda: time.sleep(0.03),
    )


def _memory(_: Path) -> Adapter:
    mail: Mail = {}

    def rename(folder: bytes, base: bytes, suffix: bytes) -> None:
        messages = mail[USER].folders[folder].messages
        message, content = messages[base]
        messages[base] = replace(message, suffix=suffix, place="cur"), content

    def expunge(folder: bytes, base: bytes) -> None:
        del mail[USER].folders[folder].messages[base]

    def move(folder: bytes, base: bytes, to: bytes) -> None:
        folders = mail[USER].folders
        folders[to].messages[base] = folders[folder].messages.pop(base)

    def remake(folder: bytes) -> None:
        there = mail[USER].folders[folder]
        mail[USER].folders[folder] = MemoryFolder(there.folder, there.messages)

    def remove_file(path: bytes) -> None:
        del mail[USER].files[False, path]

    store, target = MemoryStore(mail), MemoryTarget(mail)
    return Adapter(store, target, rename, expunge, move, remake, remove_file, lambda: None)


class _Generous:
    """A budget that is never short, but hands out little at a time."""

    piece_bytes = 5000
    small_bytes = 0

    def rest(self) -> None:
        pass

    def spend_message(self) -> None:
        pass

    def spend_bytes(self, count: int) -> None:
        assert count <= self.piece_bytes


def _throttled(place: Path) -> Adapter:
    adapter = _maildir(place)
    return replace(adapter, store=ThrottledStore(adapter.store, _Generous()))


_ADAPTERS = {"maildir": _maildir, "memory": _memory, "throttled": _throttled}


@pytest.fixture(params=sorted(_ADAPTERS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    """An adapter over an empty store."""
    return _ADAPTERS[request.param](tmp_path)
