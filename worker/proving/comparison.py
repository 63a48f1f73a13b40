"""The table of contents of a proof: a mailbox in a scratch directory beside how an archive tells of it.

    for each folder
      list     what lies there                                stores/
      read     each message, and compare it                   matching
    what has no counterpart is lacking, or one too many
    the other files of the mailbox: filters, subscriptions    files
    with a server: the same folders, once more, as it shows them      served

What is wrong is told by logical path; a proof raises nothing for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from blake3 import blake3

from ...groups.paths import LogicalPath, message_path
from ...proto.archive.columns import clamped
from ...proto.archive.mailboxes import FolderEntry
from ...proto.archive.stored import StoredMailbox
from ...proto.errors import DamagedError, MessageUnavailable, StoreError
from ...proto.ports import FolderReader, MailStore
from ...proto.records import DIGEST_BYTES, Listed, Message, Skipped
from ...proto.structs import Mutable, Record
from ..portion import Portion
from ..stores.imap.likeness import Likeness
from ..stores.line_ends import with_crlf
from .files import compare_files
from .matching import AsMail, Found, pairs

_READ_BYTES = 1 << 20


class Served(NamedTuple):
    """A message as a mail server has to show it."""

    uid: int
    message: Message
    shown: AsMail


class ServedFolder(Record, kw_only=True):
    """A folder as a mail server has to show it; ``messages`` are those whose files are as they were
    stored."""

    name: str
    uidvalidity: int
    messages: tuple[Served, ...]


class Comparison(Record, kw_only=True):
    """What was compared: so many ``messages`` and bytes of the backup. ``lacks`` is what a restore would
    lack, or have otherwise. ``served`` is what a server has to show, where that is wanted."""

    messages: int = 0
    size_bytes: int = 0
    lacks: tuple[Skipped, ...] = ()
    served: tuple[ServedFolder, ...] = ()


class _Course(Mutable):
    """How far a comparison is."""

    messages: int
    size_bytes: int
    lacks: list[Skipped]
    served: list[ServedFolder]


def compare(
    stored: StoredMailbox,
    whose: LogicalPath,
    store: MailStore,
    user: str,
    told: Callable[[int, int], object],
    *,
    to_serve: bool,
    portion: Portion | None = None,
) -> Comparison:
    """Compare the mailbox of ``user`` in a store, where nobody else is, with what is ``stored`` of ``whose``,
    or a ``portion`` of that if no more was restored; ``told`` is called with the messages and bytes of each
    step. With ``to_serve`` it is found out what a server has to show."""
    course = _Course(0, 0, [], [])
    entries = {
        entry.folder.path: entry
        for entry in stored.mailbox.folders
        if portion is None or portion.has_folder(entry.folder.name)
    }
    try:
        with store.open_mailbox(user) as reader:
            for folder in reader.folders():
                entry = entries.pop(folder.folder.path, None)
                if entry is not None:
                    messages = stored.messages(entry)
                    if portion is not None:
                        messages = filter(portion.of_folder(entry.folder), messages)
                    _folder(messages, whose, folder, entry, course, told, to_serve=to_serve)
                elif len(folder):
                    course.lacks.append(
                        Skipped(_path(whose, folder.folder.name), "extra", "the backup has no such folder")
                    )
            if portion is None or portion.files:
                course.lacks += compare_files(stored.mailbox.files, whose, reader)
    except StoreError as error:
        course.lacks.append(Skipped(str(whose), "mailbox", error.message))
    for entry in entries.values():
        detail = f"the folder, with {entry.messages} messages, is not there"
        course.lacks.append(Skipped(_path(whose, entry.folder.name), "missing", detail))
    return Comparison(
        messages=course.messages,
        size_bytes=course.size_bytes,
        lacks=tuple(course.lacks),
        served=tuple(course.served),
    )


def _folder(
    stored: Iterable[Message],
    whose: LogicalPath,
    folder: FolderReader,
    entry: FolderEntry,
    course: _Course,
    told: Callable[[int, int], object],
    *,
    to_serve: bool,
) -> None:
    name, then = entry.folder.name, entry.folder
    if then.uidvalidity and folder.folder.uidvalidity != then.uidvalidity:
        detail = f"UIDVALIDITY was {then.uidvalidity}, is {folder.folder.uidvalidity}"
        course.lacks.append(Skipped(_path(whose, name), "uidvalidity", detail))
    served: list[Served] = []
    damage: list[DamagedError] = []
    numbered = bool(then.uidvalidity)
    for message, found in pairs(
        _whole(stored, damage), _listed(folder, to_serve=to_serve), numbered=numbered
    ):
        if message is None:
            course.lacks.append(Skipped(_path(whose, name), "extra", "a message that the backup has not"))
            continue
        course.messages += 1
        course.size_bytes += message.size
        told(1, message.size)
        problems = list(differences(message, found, numbered=numbered)) if found else ["it is not there"]
        if problems:
            reason = "missing" if found is None else "different"
            course.lacks.append(Skipped(path_of(whose, name, message), reason, "; ".join(problems)))
        elif found is not None and found.as_mail is not None:
            served.append(Served(found.uid, message, found.as_mail))
    for error in damage:
        course.lacks.append(Skipped(_path(whose, name), "metadata", error.message))
    if to_serve:
        validity = folder.folder.uidvalidity if then.uidvalidity else 0
        course.served.append(ServedFolder(name=name, uidvalidity=validity, messages=tuple(served)))


def differences(message: Message, found: Found, *, numbered: bool = True) -> Iterator[str]:
    """What of a message is not as it was stored; UIDs of a folder that is not ``numbered`` mean nothing."""
    if found.size != message.size:
        yield f"{found.size} bytes, {message.size} were stored"
    elif found.digest != message.digest:
        yield "the content is not what was stored" if found.digest else "it can't be read"
    if numbered and message.uid and found.uid != message.uid:
        yield f"its UID was {message.uid}, is {found.uid or 'none'}"
    if sorted(found.flags) != sorted(message.flags):
        yield f"its flags were {message.flags or 'none'}, are {found.flags or 'none'}"
    if found.keywords != frozenset(message.keywords):
        yield "its keywords are others"
    if found.date_ns != message.date_ns:
        yield "its date is another"


def path_of(whose: LogicalPath, folder: str, message: Message) -> str:
    """The logical path of a message."""
    named = message.uid or message.base
    return message_path(whose.partition or "", whose.group or "", whose.user or "", folder, named)


def _path(whose: LogicalPath, folder: str) -> str:
    return str(LogicalPath(whose.partition, whose.group, whose.user, folder))


def _whole(messages: Iterable[Message], damage: list[DamagedError]) -> Iterator[Message]:
    """The messages that metadata tells of; what of it is damaged is added at the end."""
    try:
        yield from messages
    except DamagedError as error:
        damage.append(error)


def _listed(folder: FolderReader, *, to_serve: bool) -> Iterator[Found]:
    """The messages of a folder, each read."""
    for listed in folder.messages():
        try:
            stat = folder.stat(listed)
            digest, as_mail = _read(folder, listed, to_serve=to_serve)
        except MessageUnavailable:
            yield Found(listed.uid, listed.flags, frozenset(listed.keywords), 0, -1, b"")
            continue
        date_ns, keywords = clamped(stat.mtime_ns), frozenset(listed.keywords)
        yield Found(listed.uid, listed.flags, keywords, date_ns, stat.size, digest, as_mail)


def _read(folder: FolderReader, listed: Listed, *, to_serve: bool) -> tuple[bytes, AsMail | None]:
    """The digest of a message in a store, and what a server has to show of it. Raises MessageUnavailable."""
    opened, digest = folder.open_message(listed), blake3()

    def pieces() -> Iterator[bytes]:
        while data := opened.read(_READ_BYTES):
            digest.update(data)
            yield data

    as_mail = None
    try:
        if to_serve:
            as_mail = _as_mail(pieces())
        else:
            deque(pieces(), maxlen=0)
    finally:
        opened.close()
    return digest.digest(length=DIGEST_BYTES), as_mail


def _as_mail(content: Iterable[bytes]) -> AsMail:
    hashed, likeness, size = blake3(), Likeness(), 0
    stray = 0
    for data in with_crlf(content):
        hashed.update(data)
        likeness.update(data)
        size += len(data)
        stray += data.count(b"\r") - data.count(b"\n")
    alike = likeness.digest()
    altered = stray or not likeness.is_plain
    return AsMail(size, hashed.digest(length=DIGEST_BYTES), alike if altered else b"")
