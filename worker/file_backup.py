"""The files of a mailbox that are no messages, compared with those that were stored last: which of them have
to be stored anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice

from blake3 import blake3

from ..groups.paths import LogicalPath, printable
from ..proto.archive.columns import BEYOND, clamped
from ..proto.errors import MessageUnavailable
from ..proto.ports import MailboxReader
from ..proto.records import DIGEST_BYTES, FileStat, ListedFile, Piece, Skipped, StoredFile
from .comparing.known import KnownVersion
from .unit_archive import LateMailbox

_MOST_FILES = 1 << 17
"""More files than this do not fit the metadata of a mailbox anyway."""

_SMALL_BYTES = 1 << 20

Key = tuple[bool, bytes]


class FileBackup:
    """The other files of a mailbox as they are to be stored: ``stored``, and the ``mark`` that stands for
    them, empty if some could not be stored. ``skipped`` tells which. ``reuse``: one that is as it was stored
    last is not stored again.

    ``differ`` tells whether they are others than those that were stored last, ``anew`` whether any is stored
    at another place.
    """

    def __init__(
        self,
        mailbox: MailboxReader,
        late: LateMailbox,
        path: LogicalPath,
        known: KnownVersion | None,
        *,
        reuse: bool,
    ) -> None:
        self.stored: list[StoredFile] = []
        self.skipped: list[Skipped] = []
        self.mark = b""
        self._mailbox = mailbox
        self._late = late
        self._path = path
        self._known = known
        self._reuse = reuse
        self._are_as_before = False

    @cached_property
    def _before(self) -> dict[Key, StoredFile]:
        files = self._known.mailbox.files if self._known is not None else ()
        return {(file.home, file.path): file for file in files}

    def are_as_stored(self) -> bool:
        """Whether the mark tells that nothing has changed in any of them."""
        known = self._known
        for _ in self._mailbox.files():
            pass
        mark = self._mailbox.files_mark()
        return mark != b"" and known is not None and known.intact and mark == known.files_mark

    def read(self) -> None:
        """Look at all that the mailbox lists, and store what is not stored already. Raises what LateMailbox
        does."""
        listing = iter(self._mailbox.files())
        listed = list(islice(listing, _MOST_FILES))
        if more := sum(1 for _ in listing):
            detail = f"{more} other files beyond the first {_MOST_FILES}"
            self.skipped.append(Skipped(str(self._path), "too-many", detail))
        mark, known = self._mailbox.files_mark(), self._known
        if mark and known is not None and mark == known.files_mark and known.intact and self._reuse:
            self.stored += known.mailbox.files
            self._are_as_before = True
        else:
            for file in listed:
                self._file(file)
        self.mark = b"" if self.skipped else mark

    def take_over(self, wanted: Callable[[StoredFile], bool] = lambda _file: True) -> None:
        """Take those along, as they were stored last, that are not there. Nobody looked at them now."""
        there = {(file.home, file.path) for file in self.stored}
        missing = [
            stored_file
            for key, stored_file in self._before.items()
            if key not in there and wanted(stored_file)
        ]
        if missing:
            self._are_as_before = False
            self.stored += missing
            self.mark = b""

    @property
    def differ(self) -> bool:
        """See the class."""
        return not self._are_as_before and _facts(self.stored) != _facts(self._before.values())

    @property
    def anew(self) -> bool:
        """See the class."""
        return not self._are_as_before and _places(self.stored) != _places(self._before.values())

    def _file(self, file: ListedFile) -> None:
        try:
            stored = self._stored_file(file)
            self.stored.append(stored)
            if clamped(stored.mtime_ns) != stored.mtime_ns:
                self.skipped.append(Skipped(f"{self._path}/{printable(file.path)}", "date", BEYOND))
        except MessageUnavailable as error:
            self.skipped.append(Skipped(f"{self._path}/{printable(file.path)}", error.reason, error.message))

    def _stored_file(self, file: ListedFile) -> StoredFile:
        if file.target is not None:
            stat = self._mailbox.link_stat(file)
            return StoredFile(file.path, file.home, file.target, stat.owner, stat.mtime_ns, 0, bytes(16), ())
        return self._as_before(file) or self._packed(file)

    def _as_before(self, file: ListedFile) -> StoredFile | None:
        """A small file, if it holds what it held: most do, and nothing has to be written then."""
        before = self._before.get((file.home, file.path))
        if before is None or before.size > _SMALL_BYTES or not self._may_reuse(before.pieces):
            return None
        opened = self._mailbox.open_file(file)
        try:
            stat, content = opened.stat, opened.read(before.size + 1)
        finally:
            opened.close()
        same = blake3(content).digest(length=DIGEST_BYTES) == before.digest and len(content) == stat.size
        return _file(file, stat, len(content), before.digest, before.pieces) if same else None

    def _may_reuse(self, pieces: Sequence[Piece]) -> bool:
        return self._reuse and self._known is not None and self._known.holds(pieces)

    def _packed(self, file: ListedFile) -> StoredFile:
        _, packer = self._late.begin()
        opened = self._mailbox.open_file(file)
        try:
            return _file(file, opened.stat, *packer.store(opened))
        finally:
            opened.close()


def _file(
    file: ListedFile, stat: FileStat, size: int, digest: bytes, pieces: tuple[Piece, ...]
) -> StoredFile:
    return StoredFile(
        file.path, file.home, None, stat.owner, stat.mtime_ns, size, digest, pieces, stat.attributes
    )


def _facts(files: Iterable[StoredFile]) -> dict[Key, tuple[object, ...]]:
    """All about files but where they are stored."""
    return {
        (file.home, file.path): (
            file.target,
            file.owner,
            clamped(file.mtime_ns),
            file.size,
            file.digest,
            file.attributes,
        )
        for file in files
    }


def _places(files: Iterable[StoredFile]) -> dict[Key, tuple[Piece, ...]]:
    return {(file.home, file.path): file.pieces for file in files}
