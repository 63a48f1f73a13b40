"""A mail store behind the port of a target, in whose files users are called as they are called now."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...groups.paths import printable
from ...groups.renames import Renamed
from ...proto.ports import FolderWriter, MailboxWriter, MailTarget
from ...proto.records import Folder, MailboxOutcome, Skipped, StoredFile
from .naming_users import ACCESS_LIST, SUBSCRIPTIONS, rename_in_access_list, rename_in_subscriptions

_MOST_BYTES = 4 << 20
"""A file that names users is no larger; one that is stays as it is, and that is told."""


def names_users(file: StoredFile) -> bool:
    """Whether a file is of those that name users."""
    return _is_called_so(file) and file.size <= _MOST_BYTES


def with_new_names(
    file: StoredFile,
    content: bytes,
    renamed: Renamed,
    layout: Sequence[Folder],
    unclear: Callable[[str], object] = lambda _user: None,
) -> bytes:
    """The content of a file that names users, with the names that they have now; ``unclear`` is told of those
    whose name can't be known. ``layout`` are the folders of the mailbox."""

    def rename(user: str) -> str | None:
        if user in renamed.unclear:
            unclear(user)
        return renamed.users.get(user)

    if posixpath.basename(file.path) == ACCESS_LIST:
        return rename_in_access_list(content, rename)
    dotted = not any(folder.path and not folder.path.startswith(b".") for folder in layout)
    return rename_in_subscriptions(content, rename, [one.name for one in layout], dotted=dotted)


def _is_called_so(file: StoredFile) -> bool:
    return posixpath.basename(file.path) in (ACCESS_LIST, SUBSCRIPTIONS) and file.target is None


class RenamedUsersTarget:
    """A MailTarget (see ``proto.ports``) that writes access lists and subscriptions with new names, and tells
    of users of whom it can't know what they are called (``who``). Raises what the target raises."""

    def __init__(self, target: MailTarget, renamed: Renamed) -> None:
        self._target = target
        self._renamed = renamed

    @contextmanager
    def open_mailbox(
        self, user: str, place: bytes = b"", layout: Sequence[Folder] = ()
    ) -> Iterator[MailboxWriter]:
        with self._target.open_mailbox(user, place, layout) as writer:
            yield _Mailbox(writer, self._renamed, layout)

    def finish(self) -> None:
        self._target.finish()

    def abandon(self) -> None:
        self._target.abandon()


class _Mailbox:
    def __init__(self, writer: MailboxWriter, renamed: Renamed, layout: Sequence[Folder]) -> None:
        self._writer = writer
        self._renamed = renamed
        self._layout = layout
        self._notices: list[Skipped] = []

    def new_folder(self, name: str) -> Folder:
        return self._writer.new_folder(name)

    def open_folder(self, folder: Folder) -> FolderWriter:
        return self._writer.open_folder(folder)

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:
        if not names_users(file):
            if _is_called_so(file):
                self._notice(file, "it is too large for a file that names users, and stays as it was")
            return self._writer.add_file(file, content)
        unclear: list[str] = []
        written = self._writer.add_file(file, self._rewritten(file, content, unclear))
        if written:
            for user in dict.fromkeys(unclear):
                self._notice(file, f"it names {user!r}, who becomes several, and stays as it was there")
        return written

    def commit(self) -> None:
        self._writer.commit()

    def skipped(self) -> Sequence[Skipped]:
        return (*self._writer.skipped(), *self._notices)

    def outcome(self) -> MailboxOutcome:
        return self._writer.outcome()

    def without_modseq(self) -> int:
        return self._writer.without_modseq()

    def listed(self) -> Mapping[str, int]:
        return self._writer.listed()

    def _rewritten(self, file: StoredFile, content: Iterable[bytes], unclear: list[str]) -> Iterator[bytes]:
        # Read when it is asked for, and to its end: only then is it known to be what was stored.
        yield with_new_names(file, b"".join(content), self._renamed, self._layout, unclear.append)

    def _notice(self, file: StoredFile, detail: str) -> None:
        self._notices.append(Skipped(printable(file.path), "who", detail))
