"""A folder that is there and gets more messages: the server will give them UIDs when it looks next."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress

from ...proto.errors import LockedError, MessageUnavailable
from ...proto.records import Folder, Listed, Message
from . import keywords
from .directories import descend, is_full, make_directory, names_in, opened
from .dotlock import uidlist_lock
from .file_names import FileNames
from .file_writer import FileWriter
from .keyword_file import replace_keywords
from .listing import PLACES
from .message_places import MessagePlaces, lasting_names, portable_name
from .notices import Notices
from .opened import FileOpener
from .present_messages import PresentMessages
from .reserved_uids import ReservedUids
from .scaffold import link_new
from .uidlist_file import opened_list


class ExistingFolder:
    """A FolderWriter (see ``proto.ports``) that adds messages to a folder that is there. They wait in
    ``stage`` until ``deliver``, those that may have their old UIDs in that of ``reserved``. ``directory`` is
    the folder's, ``lists`` that of its lists; all are closed with the writer. ``names`` are the files with
    several names."""

    def __init__(
        self,
        folder: Folder,
        directory: int,
        lists: int,
        stage: int,
        files: FileWriter,
        names: FileNames,
        reserved: ReservedUids | None = None,
    ) -> None:
        self.folder = folder
        self.reserved = reserved
        self._directory = directory
        self._lists = lists
        self._stage = stage
        self._files = files
        self._letters: set[str] = set()
        self._keyworded: dict[str, list[bytes]] = {}
        self._present: dict[str, int] = {}
        self._names = names
        self._places = MessagePlaces(stage, files, names)
        for place in PLACES:
            with suppress(FileNotFoundError):
                self._present[place] = descend(directory, (place.encode(),))
        self._messages = PresentMessages(self._present)
        self._known_listed: set[bytes] | None = None

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        if there := self._messages.take(message):
            with suppress(FileNotFoundError):  # renamed meanwhile
                self._take_over(message, there)
            return False
        name = portable_name(message.base)
        reserved = self.reserved
        if reserved and not reserved.has_room_for(message.uid):
            reserved = None
        places = reserved.places if reserved else self._places
        for base in lasting_names(message.base if reserved else name):
            if self._messages.has(base) or base in self._listed():
                continue
            try:
                if not places.add(message, base, content):
                    return False
                break
            except FileExistsError:
                continue
        if reserved:
            reserved.take(message.uid, message.fields, base)
        self._note_keywords(message, base)
        return True

    def _note_keywords(self, message: Message, base: bytes) -> None:
        for keyword in message.keywords:
            self._keyworded.setdefault(keyword, []).append(base)
        self._letters.update(set(keywords.flags_of(message.suffix)) & set(keywords.LETTERS))

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        """Repeatable."""
        self._places.close()
        if self.reserved:
            self.reserved.places.close()
        while self._present:
            os.close(self._present.popitem()[1])
        if self._stage >= 0:
            os.close(self._stage)
            os.close(self._directory)
            os.close(self._lists)
            self._stage = self._directory = self._lists = -1

    def _take_over(self, message: Message, there: Listed) -> None:
        """A file that is there already: it may be one of several names of a file; and where an attempt was
        ended before it had entered the UIDs, it is to have its UID now. Raises FileNotFoundError."""
        place, name = self._present[there.place], there.base + there.suffix
        self._names.present(message, place, name)
        reserved = self.reserved
        if not reserved or not reserved.has_room_for(message.uid) or there.base in self._listed():
            return
        if reserved.take_over(message, there, place):
            self._note_keywords(message, there.base)

    def _listed(self) -> set[bytes]:
        """Lasting names that the UID list has. Where there is no such file (any more), one of that name would
        be the message that was expunged to the server."""
        if self._known_listed is None:
            self._known_listed = set()
            with suppress(OSError, MessageUnavailable), opened_list(self._lists) as found:
                self._known_listed.update(base for _, _, base in found.entries())
        return self._known_listed

    def deliver(self, directory: int, stage: int, translation: keywords.Translation) -> None:
        """Put the messages into the folder, with the letters that its keywords have there. Raises OSError."""
        for place in PLACES:
            make_directory(directory, place.encode(), 0o700)
            with (
                opened(stage, (place.encode(),)) as source,
                opened(directory, (place.encode(),)) as target,
            ):
                for name in names_in(source):
                    _deliver(source, name, target, translation)
                os.fsync(target)

    def translation(self, lists: int, stage: int, notices: Notices) -> keywords.Translation:
        """How letters change on the way; keywords that the folder lacks are added to it."""
        known: tuple[str, ...] = ()
        try:
            known = keywords.read_keywords(lists, FileOpener())
            translation = self._translated(known)
            if translation.grew:
                with uidlist_lock(lists):
                    known = keywords.read_keywords(lists, FileOpener())
                    translation = self._translated(known)
                    replace_keywords(lists, stage, translation.keywords, self._files)
        except (LockedError, MessageUnavailable, OSError) as error:
            if isinstance(error, OSError) and is_full(error):
                raise
            notices.add(self.folder.path, "keyword", f"no keywords could be added: {error}")
            translation = self._translated(known, most=len(known))
        return translation

    def without_letters(self, translation: keywords.Translation) -> dict[str, list[bytes]]:
        """The keywords that no letter of the folder stands for, with the lasting names of their messages; a
        letter that no keyword was known of stands for itself."""
        beyond = set(translation.left_out) | (set(self._keyworded) - set(self.folder.keywords))
        return {keyword: self._keyworded.get(keyword, []) for keyword in sorted(beyond)}

    def _translated(self, known: Sequence[str], most: int = keywords.MOST) -> keywords.Translation:
        return keywords.Translation(self.folder.keywords, self._letters, known, most)


def _deliver(source: int, name: bytes, target: int, translation: keywords.Translation) -> None:
    base, colon, flags = name.partition(b":")
    suffix = translation.suffix(colon + flags)
    for new_base in lasting_names(base):
        try:
            link_new(source, name, target, new_base + suffix)
        except FileExistsError:
            continue
        return
