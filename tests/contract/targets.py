"""What was written to a target, as programs read it that know nothing of us: Python's mailbox and tarfile, or
a look at the files."""

from __future__ import annotations

import calendar
import json
import mailbox
import os
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mailhaul.groups.renames import Renamed
from mailhaul.proto.ports import MailTarget
from mailhaul.proto.records import Partition
from mailhaul.proto.structs import Record, replace
from mailhaul.worker.load import LoadLimits
from mailhaul.worker.load.budget import Budget
from mailhaul.worker.stores import registry
from mailhaul.worker.stores.memory import Mail, MemoryTarget
from mailhaul.worker.stores.renamed_users import RenamedUsersTarget
from mailhaul.worker.stores.throttled_target import ThrottledTarget

_IMAP = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
_MBOX = {"R": "\\Seen", "A": "\\Answered", "F": "\\Flagged", "D": "\\Deleted", "T": "\\Draft"}


class Found(Record, order=True):
    """A message: its bytes, the second of its internal date, flags and keywords as IMAP names them."""

    content: bytes
    date: int
    flags: frozenset[str] = frozenset()


Mailboxes = dict[tuple[str, str], list[Found]]
"""By user and folder, sorted."""


class Kind(Record):
    """A target at a place, made anew by ``make``, and what ``read`` finds there."""

    make: Callable[[], MailTarget]
    read: Callable[[], Mailboxes]
    holds_one_file: bool = False
    ends_lines: bool = False
    """A message without a line end at its end gets one."""


def memory(_: Path) -> Kind:
    mail: Mail = {}

    def read() -> Mailboxes:
        return {
            (user, folder.folder.name): sorted(
                Found(
                    content,
                    message.date_ns // 10**9,
                    frozenset(_IMAP[flag] for flag in message.flags) | set(message.keywords),
                )
                for message, content in folder.messages.values()
            )
            for user, mailbox_ in mail.items()
            for folder in mailbox_.folders.values()
        }

    return Kind(lambda: MemoryTarget(mail), read)


def maildir(place: Path) -> Kind:
    path = f"{place}/{{user}}"
    return Kind(_maker("maildir", path), lambda: dict(_maildirs(place)))


def renamed(place: Path) -> Kind:
    made = maildir(place)
    return replace(made, make=lambda: RenamedUsersTarget(made.make(), Renamed({"joe": "jim"})))


def throttled(place: Path) -> Kind:
    made = maildir(place)
    budget = Budget(LoadLimits(bytes_per_second=1 << 40), FreeOfCharge())
    return replace(made, make=lambda: ThrottledTarget(made.make(), budget))


class FreeOfCharge:
    """Bookings that nobody has to wait for."""

    def book(self, _allowance: int, _length_ns: int) -> int:
        return 0


def mbox(place: Path) -> Kind:
    return Kind(_maker("mbox", str(place)), lambda: dict(_mboxes(place)), ends_lines=True)


def eml(place: Path) -> Kind:
    def read() -> Mailboxes:
        files = {
            str(path.relative_to(place)): (path.read_bytes(), path.stat().st_mtime_ns // 10**9)
            for path in place.rglob("*")
            if path.is_file()
        }
        return _eml(files)

    return Kind(_maker("eml", str(place)), read)


def tar(place: Path) -> Kind:
    file = place / "mail.tar"

    def read() -> Mailboxes:
        return _eml(tar_files(file)) if file.exists() else {}

    return Kind(_maker("tar", str(file)), read, holds_one_file=True)


def tar_files(file: Path) -> dict[str, tuple[bytes, int]]:
    """The members of a tar archive, with the second of their time. Of one that comes twice the last
    counts."""
    with tarfile.open(file) as archive:
        return {
            one.name: (archive.extractfile(one).read(), int(one.mtime // 1))  # type: ignore[union-attr]
            for one in archive
        }


def mbox_messages(file: Path) -> Iterator[Found]:
    """The messages of an mbox, without the fields of their state."""
    with closing(mailbox.mbox(file, create=False)) as opened:
        yield from _mbox_messages(opened)


def _mbox_messages(opened: Any) -> Iterator[Found]:
    for key in opened.keys():  # noqa: SIM118 (it is no dictionary)
        told = opened.get_message(key)
        flags = {_MBOX[flag] for flag in told.get_flags() if flag in _MBOX}
        keywords = (told["X-Keywords"] or "").split()
        date = calendar.timegm(time.strptime(" ".join(told.get_from().split()[1:])))
        head, content = _apart(opened.get_bytes(key))
        assert [one.partition(b":")[0] for one in head] == [
            b"Status", b"X-Status", b"X-Keywords", b"X-Mozilla-Status", b"X-Mozilla-Keys"
        ]  # fmt: skip
        yield Found(re.sub(rb"(?m)^>(>*From )", rb"\1", content), date, frozenset({*flags, *keywords}))


def _apart(data: bytes) -> tuple[list[bytes], bytes]:
    *head, content = data.split(b"\n", 5)
    return head, content


def _maker(format_: str, path: str) -> Callable[[], MailTarget]:
    return lambda: registry.open_target(Partition(name="primary", format=format_, path=path))


def maildir_folders(home: Path) -> Iterator[tuple[str, list[Found]]]:
    """The folders of a Maildir, sorted messages of each."""
    inbox = mailbox.Maildir(home, factory=None, create=False)
    for name in ("", *inbox.list_folders()):
        folder = inbox.get_folder(name) if name else inbox
        letters = _letters(home / f".{name}" if name else home)
        yield (
            name.replace(".", "/").replace("&APw-", "ü") or "INBOX",
            sorted(
                Found(
                    folder.get_bytes(key),
                    int(folder.get_message(key).get_date() // 1),
                    frozenset(
                        letters[flag] if flag in letters else _IMAP[flag]
                        for flag in folder.get_message(key).get_flags()
                    ),
                )
                for key in folder.keys()  # noqa: SIM118 (it is no dictionary)
            ),
        )


def _maildirs(place: Path) -> Iterator[tuple[tuple[str, str], list[Found]]]:
    for home in sorted(place.iterdir()) if place.is_dir() else ():
        for name, found in maildir_folders(home):
            yield (home.name, name), found


def _letters(folder: Path) -> dict[str, str]:
    file = folder / "dovecot-keywords"
    lines = file.read_text().splitlines() if file.exists() else []
    return {chr(ord("a") + int(number)): name for number, name in map(str.split, lines)}


def _mboxes(place: Path) -> Iterator[tuple[tuple[str, str], list[Found]]]:
    for path in sorted(place.rglob("*.mbox")):
        user, *names = path.relative_to(place).with_suffix("").parts
        yield (user, "/".join(names)), sorted(mbox_messages(path))


def _eml(files: dict[str, tuple[bytes, int]]) -> Mailboxes:
    found: Mailboxes = {}
    for name, (index, _) in files.items():
        directory, last = os.path.split(name)
        if last != "index.jsonl":
            continue
        user, _, folder = directory.partition("/")
        told = {one["file"]: one for one in map(json.loads, index.splitlines())}
        inside = {os.path.basename(one): files[one] for one in files if os.path.dirname(one) == directory}
        del inside[last]
        # Neither lists what is not in the other.
        assert inside.keys() == told.keys()
        found[user, folder] = sorted(
            Found(content, date, frozenset(told[file]["flags"])) for file, (content, date) in inside.items()
        )
    return found


KINDS = {
    "eml": eml,
    "maildir": maildir,
    "mbox": mbox,
    "memory": memory,
    "renamed": renamed,
    "tar": tar,
    "throttled": throttled,
}
