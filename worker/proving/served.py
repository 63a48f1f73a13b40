"""A mailbox as a mail server shows it, beside what it has to show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

from ...groups.paths import LogicalPath
from ...proto.errors import StoreError
from ...proto.records import Skipped
from ..stores.folder_names import INBOX
from ..stores.imap.shown import Shown, ShownAccount, imap_flags
from .comparison import Served, ServedFolder, path_of
from .matching import AsMail

_NS = 1_000_000_000
_RECENT = frozenset(("\\Recent",))


def compare_served(
    account: ShownAccount,
    whose: LogicalPath,
    folders: Sequence[ServedFolder],
    told: Callable[[int, int], object],
    others: Collection[str] = (),
) -> tuple[Skipped, ...]:
    """What a server does not show as it has to: folders, their UIDVALIDITY, and of each message UID, flags,
    date, size and content. There may also be the ``others``, which were not restored: other files may lie in
    them. Raises StoreError if it gives up."""
    lacks: list[Skipped] = []
    shown = set(account.folders())
    for folder in folders:
        path = str(LogicalPath(whose.partition, whose.group, whose.user, folder.name))
        if folder.name not in shown:
            lacks.append(Skipped(path, "imap", "a mail server does not list the folder"))
            continue
        try:
            validity = account.open(folder.name)
            if folder.uidvalidity and validity != folder.uidvalidity:
                detail = f"UIDVALIDITY was {folder.uidvalidity}, a mail server shows {validity}"
                lacks.append(Skipped(path, "imap", detail))
            lacks += _folder(account, whose, folder, told)
        except StoreError as error:
            lacks.append(Skipped(path, "imap", error.message))
    known = {served.name for served in folders}
    for name in sorted(shown - known - {INBOX, *others}):
        path = str(LogicalPath(whose.partition, whose.group, whose.user, name))
        lacks.append(Skipped(path, "imap", "a mail server lists a folder that the backup has not"))
    return tuple(lacks)


def _folder(
    account: ShownAccount, whose: LogicalPath, folder: ServedFolder, told: Callable[[int, int], object]
) -> Iterator[Skipped]:
    wanted = {one.uid: one for one in folder.messages if folder.uidvalidity and one.uid}
    unnumbered: defaultdict[bytes, list[Served]] = defaultdict(list)
    for message in folder.messages:
        if message.uid not in wanted:
            unnumbered[_content(message.shown)].append(message)
    for shown in account.messages():
        told(1, shown.size)
        found = wanted.pop(shown.uid, None)
        if found is None:
            alike = unnumbered.get(shown.digest) or unnumbered.get(shown.likeness)
            found = alike.pop() if alike else None
        if found is not None and (problems := list(_differences(found, shown))):
            detail = f"a mail server shows it otherwise: {'; '.join(problems)}"
            yield Skipped(path_of(whose, folder.name, found.message), "imap", detail)
    for served in (*wanted.values(), *(one for some in unnumbered.values() for one in some)):
        yield Skipped(path_of(whose, folder.name, served.message), "imap", "a mail server does not show it")


def _content(shown: AsMail) -> bytes:
    return shown.likeness or shown.digest


def _differences(served: Served, shown: Shown) -> Iterator[str]:
    message, has_to = served.message, served.shown
    if shown.digest != has_to.digest:
        if not has_to.likeness or shown.likeness != has_to.likeness:
            yield "other bytes"
    elif shown.size != has_to.size:
        yield f"{shown.size} bytes, not {has_to.size}"
    flags = frozenset(flag for flag in shown.flags if flag.startswith("\\")) - _RECENT
    if flags != imap_flags(message.flags):
        yield f"flags {' '.join(sorted(flags)) or 'none'}"
    if shown.seconds != message.date_ns // _NS:
        yield "another date"
