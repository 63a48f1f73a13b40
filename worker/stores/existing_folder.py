"""A folder that is there and gets more messages: the server will give them UIDs when it looks next."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ...proto.errors import LockedError
from ...proto.records import Folder, Message, Ownership
from . import keywords
from .directories import descend, make_directory, name_bytes, opened, ownership
from .dotlock import uidlist_lock
from .file_writer import FileWriter
from .listing import PLACES, Listing, record
from .message_places import MessagePlaces, another_base
from .notices import Notices
from .opened import FileOpener
from .scaffold import link_new


class ExistingFolder:
    """A FolderWriter (see ``proto.ports``) that adds messages to a folder that is there. They wait in
    ``stage`` until ``deliver``. ``directory`` is the folder's; both are closed with the writer."""

    def __init__(self, folder: Folder, directory: int, stage: int, files: FileWriter) -> None:
        self.folder = folder
        self._stage = stage
        self._files = files
        self._letters: set[str] = set()
        self._present: dict[str, int] = {}
        self._places = MessagePlaces(stage, files)
        for place in PLACES:
            with suppress(FileNotFoundError):
                self._present[place] = descend(directory, (place.encode(),))
        os.close(directory)
        self._listing = Listing(self._present)

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        sizes = self._sizes(message.base)
        if message.size in sizes:
            return False
        base = another_base(message.base) if sizes else message.base
        if self._places.add(message, base, content) is None:
            return False
        self._letters.update(set(keywords.flags_of(message.suffix)) & set(keywords.LETTERS))
        return True

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        """Repeatable."""
        self._places.close()
        while self._present:
            os.close(self._present.popitem()[1])
        if self._stage >= 0:
            os.close(self._stage)
            self._stage = -1

    def _sizes(self, base: bytes) -> set[int]:
        """The sizes of the files that have this lasting name already."""
        sizes: set[int] = set()
        position = self._listing.find(base)
        while 0 <= position < len(self._listing):
            one = record(self._listing.entries[position])
            if one.base != base:
                break
            try:
                status = os.stat(
                    one.base + one.suffix, dir_fd=self._present[one.place], follow_symlinks=False
                )
                sizes.add(status.st_size)
            except OSError:
                # Renamed or removed just now: whatever it is, no other file may take its name.
                sizes.add(-1)
            position += 1
        return sizes

    def deliver(self, directory: int, stage: int, notices: Notices) -> None:
        """Put the messages into the folder, with the letters that its keywords have there. Raises OSError."""
        translation = self._translation(directory, stage, notices)
        for place in PLACES:
            make_directory(directory, place.encode(), 0o700)
            with (
                opened(stage, (place.encode(),)) as source,
                opened(directory, (place.encode(),)) as target,
                os.scandir(source) as found,
            ):
                for one in found:
                    _deliver(source, name_bytes(one.name), target, translation)
                os.fsync(target)

    def _translation(self, directory: int, stage: int, notices: Notices) -> keywords.Translation:
        """How letters change on the way; keywords that the folder lacks are added to it."""
        translation = self._planned(directory)
        if translation.grew:
            try:
                with uidlist_lock(directory):
                    translation = self._planned(directory)
                    _replace_keywords(directory, stage, translation.keywords, self._files)
            except (LockedError, OSError) as error:
                translation = self._planned(directory, may_add=False)
                notices.add(self.folder.path, "keyword", f"no keywords could be added: {error}")
        if translation.left_out:
            names = ", ".join(translation.left_out)
            notices.add(self.folder.path, "keyword", f"messages come back without keywords: {names}")
        return translation

    def _planned(self, directory: int, *, may_add: bool = True) -> keywords.Translation:
        known = keywords.read_keywords(directory, FileOpener())
        most = keywords.MOST if may_add else len(known)
        return keywords.Translation(self.folder.keywords, self._letters, known, most)


def _deliver(source: int, name: bytes, target: int, translation: keywords.Translation) -> None:
    base, colon, rest = name.partition(b":")
    suffix = translation.suffix(colon + rest)
    while True:
        try:
            link_new(source, name, target, base + suffix)
        except FileExistsError:
            base = another_base(base)
        else:
            return


def _replace_keywords(directory: int, stage: int, names: Sequence[str], files: FileWriter) -> None:
    """Write the keywords of a folder anew; its lock is held. Raises OSError."""
    try:
        before = os.stat(keywords.NAME, dir_fd=directory, follow_symlinks=False)
        owner, newest = ownership(before), before.st_mtime_ns
    except FileNotFoundError:
        above = ownership(os.fstat(directory))
        owner, newest = Ownership(above.mode & 0o666, above.uid, above.gid), 0
    # The server looks at the seconds of the time to learn that there are more keywords.
    mtime_ns = max(time.time_ns(), newest + 1_000_000_000)
    files.write(stage, keywords.NAME, [keywords.format_keywords(names)], owner, mtime_ns)
    os.rename(keywords.NAME, keywords.NAME, src_dir_fd=stage, dst_dir_fd=directory)
