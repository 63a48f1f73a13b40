"""The mailbox that is being written: its folders and files, within what its frames can hold."""

from __future__ import annotations

from ..errors import MessageUnavailable, StoreError
from ..records import ArchiveId, Folder, Skipped, StoredFile
from ..structs import Mutable, field, replace
from . import mailboxes
from .mailboxes import FolderEntry
from .pointers import FramePointer

_MOST_MAILBOX_BYTES = (mailboxes.MOST_PARTS - 1) * mailboxes.PART_BYTES
_MOST_SKIPPED_BYTES = 1 << 20


class MailboxUnderWay(Mutable):
    """What is told of a mailbox so far: ``archives`` are those in which it lies, with its messages and
    files."""

    folders: list[FolderEntry] = field(default_factory=list)
    files: list[StoredFile] = field(default_factory=list)
    archives: dict[ArchiveId, None] = field(default_factory=dict)
    _pointers: list[FramePointer] = field(default_factory=list)
    _folder_numbers: dict[bytes, int] = field(default_factory=dict)
    _size_bytes: int = 0

    def add_rows(self, pointer: FramePointer) -> None:
        """The folder that is being written goes on with these messages."""
        self._pointers.append(pointer)
        self.archives.update(dict.fromkeys(pointer.archives))

    def end_folder(self, folder: Folder, mark: bytes) -> None:
        """See ArchiveWriter."""
        entry = FolderEntry(folder, tuple(self._pointers), mark)
        self._pointers = []
        number = self._folder_numbers.get(folder.path)
        if number is not None:
            known = self.folders[number]
            self.folders[number] = FolderEntry(
                replace(folder, directories=known.folder.directories), known.frames + entry.frames, mark
            )
            return
        if not self._fits(mailboxes.folder_bytes(entry)):
            raise StoreError("the mailbox has too many folders for one archive")
        self._folder_numbers[folder.path] = len(self.folders)
        self.folders.append(entry)

    def add_file(self, file: StoredFile) -> None:
        """See ArchiveWriter."""
        if not self._fits(mailboxes.file_bytes(file)):
            raise MessageUnavailable(
                "the mailbox has too many other files for one archive", reason="too-many"
            )
        self.files.append(file)
        self.archives.update((piece.archive, None) for piece in file.pieces)

    def _fits(self, more_bytes: int) -> bool:
        """Take so many bytes of what the frames of a mailbox can hold, if they are left."""
        fits = self._size_bytes + more_bytes <= _MOST_MAILBOX_BYTES
        self._size_bytes += more_bytes if fits else 0
        return fits


def fitting(skipped: tuple[Skipped, ...]) -> tuple[Skipped, ...]:
    """As many as a mailbox should tell of; the last one then tells how many more there are."""
    left = _MOST_SKIPPED_BYTES
    for number, skip in enumerate(skipped):
        left -= 16 + 4 * (len(skip.path) + len(skip.reason) + len(skip.detail))
        if left < 0 and number:
            more = replace(skipped[number - 1], detail=f"and {len(skipped) - number} more, not listed")
            return (*skipped[: number - 1], more)
    return skipped
