"""UIDs that were kept free: a folder that a restore made before its mail gets that under its old UIDs.

Dovecot gives a new UID to every message that appears below the highest one that its index knows, whatever
the UID list says ("Expunged message reappeared"). So the index goes when the UIDs are entered, under the
lock of the list; where ``doveadm`` is at hand another one takes its place, which was written beside the
mailbox and counts on above the old one. Sessions that have the folder open are told to come back.
docs/decisions/0031-into-a-live-server.md has what was seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress

from ...proto.errors import MessageUnavailable
from ...proto.records import Folder, Listed, Message
from ...proto.structs import replace
from . import keywords, uidlist
from .directories import make_directory, names_in, opened, ownership
from .directory_exchange import take_late, take_over
from .dovecot_index import INDEX
from .file_names import FileNames
from .file_writer import FileWriter
from .index_lock import folder_unused
from .listing import PLACES
from .location import RESERVED
from .message_places import MessagePlaces
from .opened import FileOpener
from .scaffold import link_new, make_durable
from .uidlist_file import lines_of, opened_list, uids_of
from .undisturbed import undisturbed

_NEW_LIST = RESERVED + b"uidlist"
_NEW_INDEX = RESERVED + b"index"


def free_below(lists: int, folder: Folder) -> int:
    """Below which UID none was given yet in the folder whose lists are in this directory; 0 if it is not
    known to be one that a restore made for ``folder`` before its mail came."""
    try:
        with opened_list(lists) as found:
            header = found.header
    except (OSError, MessageUnavailable):
        return 0
    return reserved_for(folder, header)


def reserved_for(folder: Folder, header: uidlist.UidListHeader) -> int:
    """Below which UID a list with this first line has room for messages of ``folder``; 0 if it has none."""
    is_same = folder.uidvalidity == header.uidvalidity and folder.guid in ("", header.guid)
    return header.reserved if folder.uidvalidity and is_same else 0


class ReservedUids:
    """The messages that are to enter a folder under UIDs below ``limit``. They wait in a directory of their
    own, the ``stage``. ``names`` are the files with several names."""

    def __init__(self, limit: int, stage: int, files: FileWriter, names: FileNames) -> None:
        self._limit = limit
        self._files = files
        self._entries: dict[int, tuple[bytes, bytes]] = {}
        self._there: set[bytes] = set()
        self.places = MessagePlaces(stage, files, names)

    @property
    def is_empty(self) -> bool:
        """Whether there is no such message."""
        return not self._entries

    def has_room_for(self, uid: int) -> bool:
        """Whether a message of this UID may have it."""
        return 0 < uid < self._limit and uid not in self._entries

    def take(self, uid: int, fields: bytes, base: bytes) -> None:
        """A message was written into ``places`` that is to have this UID."""
        self._entries[uid] = fields, base

    def take_over(self, message: Message, there: Listed, directory: int) -> bool:
        """A message that is in the folder already, but has no UID there, is to have its own: it stands in
        ``places``, too, for the index. Whether that was possible. Raises FileNotFoundError if it is gone."""
        if not self.places.take_over(there, directory, message.suffix):
            return False
        self._there.add(there.base)
        self.take(message.uid, message.fields, there.base)
        return True

    def leave_there(self, stage: int) -> None:
        """What is in the folder already stays as it is there: it waits no longer. Raises OSError."""
        for place in PLACES:
            with opened(stage, (place.encode(),)) as directory:
                for name in names_in(directory):
                    if name.partition(b":")[0] in self._there:
                        os.unlink(name, dir_fd=directory)

    def look_like(self, stage: int, folder: int, lists: int, translation: keywords.Translation) -> None:
        """Make of the stage a folder by itself, for the server to write an index of: with the letters that
        keywords have in the ``folder``, and of its owner. Raises OSError, MessageUnavailable."""
        owner = ownership(os.fstat(folder))
        with opened(stage, (b"cur",)) as cur:
            for name in names_in(cur):
                base, colon, flags = name.partition(b":")
                os.rename(name, base + translation.suffix(colon + flags), src_dir_fd=cur, dst_dir_fd=cur)
        header = uidlist.parse_header(lines_of(lists)[0])
        uidnext = max(self._entries) + 1
        like = Folder(name="", path=b"", uidvalidity=header.uidvalidity, uidnext=uidnext, guid=header.guid)
        writer = uidlist.UidListWriter(stage, like)
        try:
            for uid in sorted(self._entries):
                writer.add(uid, *self._entries[uid])
            writer.finish()
        finally:
            writer.close()
        if any(translation.keywords):
            mine = replace(owner, mode=owner.mode & 0o666)
            content = keywords.format_keywords(translation.keywords)
            self._files.write(stage, keywords.NAME, [content], mine, 0)
        make_directory(stage, b"tmp", 0o700)
        if os.geteuid() == 0:
            for name in (b".", b"tmp", b"cur", b"new", uidlist.NAME):
                os.chown(name, owner.uid, owner.gid, dir_fd=stage, follow_symlinks=False)

    def enter(self, stage: int, directory: int, lists: int, index: int) -> bool:
        """Put the messages into a folder under their UIDs, and the index that was written of them in place of
        the one that is there. False if they are not free any more. Raises OSError, LockedError,
        MessageUnavailable."""
        exchanged: dict[bytes, frozenset[bytes]] = {}
        with folder_unused(index, lists):
            header, *lines = lines_of(lists)
            reserved = uidlist.parse_header(header).reserved
            if max(self._entries) >= reserved or any(0 < _uid(line) < reserved for line in lines):
                return False
            if self._there and uids_of(lists, self._there):
                return False  # the server has seen them meanwhile
            # What takes room comes first: files without the list would get other UIDs by whoever looks next.
            self._write_list(lists, header, lines)
            has_index = self._write_index(stage, index)
            with undisturbed():
                # The files before the list: until that has them, the server has to wait for the lock.
                if self._there:
                    self.leave_there(stage)
                for place in map(str.encode, PLACES):
                    taken = take_over(stage, directory, place, self._files)
                    if taken is None:
                        _put_each(stage, directory, place)
                    else:
                        exchanged[place] = taken
                gone = {name for name in names_in(index) if name.startswith(INDEX)}
                os.rename(_NEW_LIST, uidlist.NAME, src_dir_fd=lists, dst_dir_fd=lists)
                if has_index:
                    os.rename(_NEW_INDEX, INDEX, src_dir_fd=index, dst_dir_fd=index)
                    gone.discard(INDEX)
                for name in gone:
                    with suppress(FileNotFoundError):  # a lock of the server, or a log that it has put away
                        os.unlink(name, dir_fd=index)
        os.fsync(lists)
        for place, taken in exchanged.items():
            take_late(stage, directory, place, taken)
        return True

    def _write_list(self, lists: int, header: bytes, lines: Sequence[bytes]) -> None:
        """The list as it is to be, beside the one that is there."""
        least = min(self._entries)
        text = [uidlist.with_reserved(header, least if least > 1 else 0)]
        for uid in sorted(self._entries):
            line = uidlist.format_line(uid, *self._entries[uid])
            if line is not None:
                text.append(line.rstrip(b"\n"))
        with suppress(FileNotFoundError):
            os.unlink(_NEW_LIST, dir_fd=lists)  # a process that was killed left it
        status = os.stat(uidlist.NAME, dir_fd=lists, follow_symlinks=False)
        content = b"\n".join([*text, *lines, b""])
        self._files.write(lists, _NEW_LIST, [content], ownership(status), time.time_ns())
        make_durable(lists, _NEW_LIST)

    def _write_index(self, stage: int, index: int) -> bool:
        """The index that was written, on the file system on which it is to be; False without one: then the
        server makes it anew."""
        try:
            fd, status = FileOpener().open_regular(stage, INDEX)
        except FileNotFoundError:
            return False
        try:
            content = os.pread(fd, status.st_size, 0)
        finally:
            os.close(fd)
        with suppress(FileNotFoundError):
            os.unlink(_NEW_INDEX, dir_fd=index)  # a process that was killed left it
        self._files.write(index, _NEW_INDEX, [content], ownership(status), time.time_ns())
        return True


def _put_each(stage: int, directory: int, place: bytes) -> None:
    """Give each message of a stage its name in the folder."""
    with opened(stage, (place,)) as source, opened(directory, (place,)) as target:
        for name in names_in(source):
            with suppress(FileExistsError):
                link_new(source, name, target, name)


def _uid(line: bytes) -> int:
    number = line.partition(b" ")[0]
    return int(number) if number.isdigit() else 0
