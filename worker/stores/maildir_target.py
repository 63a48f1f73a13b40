"""Maildir stores, for writing: where a restored mailbox goes, and what is there already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial

from ...groups.paths import printable
from ...proto.errors import StoreError, TargetFullError
from ...proto.ports import MailboxMender, MailboxState, MailboxWriter
from ...proto.records import Folder, Renumbering
from ...proto.structs import replace
from . import announcements
from .added_folder import lies_below
from .directories import (
    descend,
    descend_making,
    is_directory,
    is_mailbox,
    is_maildir,
    make_directory,
    names_in,
    open_directory,
    opened,
    refused,
    split,
)
from .doveadm import Doveadm
from .file_systems import full_file_system
from .folder_names import INBOX
from .known_files import SharedFiles, forget_shared
from .layout import make_layout
from .location import Location
from .maildir_state import open_state
from .maildir_writer import Apart, MaildirWriter, Site
from .mending import open_mender
from .scaffold import remove_abandoned, wait_for_others
from .surroundings import Surroundings

_RENUMBERING = Renumbering()
_HOME_MODE = 0o700
_ABOVE_MODE = 0o755
_OTHERS_SECONDS = 60.0
"""So long another restore of the same mailbox is waited for; also a worker of one that was killed, which has
a second to notice."""


class MaildirTarget:
    """A MailTarget, a MailMender, a StateKeeper and an Announcer (see ``proto.ports``) of Maildirs. With
    ``doveadm`` the server counts on (HIGHESTMODSEQ) above where the restored folders were. With ``shares``
    all mailboxes have their hard links in common, also with what others write there, until
    ``end_restore``."""

    def __init__(
        self,
        path: str,
        doveadm: tuple[str, ...] = (),
        renumbering: Renumbering = _RENUMBERING,
        surroundings: Surroundings | None = None,
        *,
        shares: bool = False,
    ) -> None:
        self._surroundings = surroundings or Surroundings()
        self._layout = make_layout(path)
        self._doveadm = Doveadm(doveadm) if doveadm else None
        self._renumbering = renumbering
        self._shared = SharedFiles() if shares else None
        self._tidied: set[bytes] = set()

    @contextmanager
    def open_mailbox(
        self, user: str, place: bytes = b"", layout: Sequence[Folder] = ()
    ) -> Iterator[MailboxWriter]:
        location = self._layout.lay_out(user, place)
        with ExitStack() as stack:
            try:
                site = self._existing(location, layout, stack) or self._new(location, stack)
                site = self._surrounded(site, user, location, stack)
                if self._shared:
                    site = replace(site, known=partial(self._shared.beside, location, site.workshop))
                writer = MaildirWriter(site, user, self._doveadm, self._renumbering, layout)
            except NotADirectoryError as error:
                raise StoreError(
                    f"{printable(location.path)} is no directory, or behind a link, which is not followed"
                ) from error
            except OSError as error:
                raise self._told(refused(error, printable(location.path)), user, location) from error
            stack.callback(writer.close)
            try:
                yield writer
            except TargetFullError as error:
                raise self._told(error, user, location) from error

    def _told(self, error: StoreError, user: str, mailbox: Location) -> StoreError:
        """The error; where a file system is full, with which one that is."""
        if not isinstance(error, TargetFullError):
            return error
        around = self._surroundings
        places = (mailbox, around.home(user, mailbox), around.control(user), around.index(user))
        return full_file_system(error, [place.path for place in places if place])

    def finish(self) -> None:
        self.abandon()  # each mailbox is complete for itself

    def abandon(self) -> None:
        if self._shared:
            self._shared.close()

    def open_mending(self, user: str) -> AbstractContextManager[MailboxMender]:
        """See MailMender."""
        return open_mender(self._layout.locate(user))

    def open_state(self, user: str) -> AbstractContextManager[MailboxState]:
        """See StateKeeper."""
        return open_state(self._layout.locate(user), self._surroundings.control(user), user, self._doveadm)

    def announce(self, user: str, place: bytes, layout: Sequence[Folder], content: bytes) -> None:
        """See Announcer."""
        with self._inbox(user, place, layout) as inbox:
            if inbox is not None:
                announcements.put(inbox, content)

    def end_announcement(self, user: str, place: bytes, layout: Sequence[Folder]) -> None:
        """See Announcer."""
        with self._inbox(user, place, layout) as inbox:
            if inbox is not None:
                announcements.take_away(inbox)

    @contextmanager
    def _inbox(self, user: str, place: bytes, layout: Sequence[Folder]) -> Iterator[int | None]:
        """The directory of an INBOX, open; None where there is none."""
        path = next((folder.path for folder in layout if folder.name == INBOX), None)
        location = self._layout.lay_out(user, place)
        try:
            with ExitStack() as stack:
                inbox = None
                with suppress(FileNotFoundError):
                    root = location.open()
                    stack.callback(os.close, root)
                    if path is not None:
                        inbox = stack.enter_context(opened(root, split(path)))
                yield inbox
        except OSError as error:
            raise refused(error, printable(location.path)) from error

    def _surrounded(self, site: Site, user: str, mailbox: Location, stack: ExitStack) -> Site:
        """The site with what belongs to it and lies elsewhere; made where it is missing."""
        around = self._surroundings
        if around.separate_homes and (home := around.home(user, mailbox)):
            fd, made = _opened_making(home, stack)
            self._tidy(home, fd)
            site = replace(site, home=fd, new_home=made)
        control = self._apart(around.control(user), site, mailbox, stack)
        index = self._apart(around.index(user), site, mailbox, stack)
        return replace(site, control=control, index=index)

    def _apart(
        self, location: Location | None, site: Site, mailbox: Location, stack: ExitStack
    ) -> Apart | None:
        if location is None:
            return None
        inside = location.path.startswith(mailbox.path + b"/")
        if inside and site.root < 0:
            return Apart(below=location.path.removeprefix(mailbox.path + b"/"))
        fd, made = _opened_making(location, stack)
        remove_abandoned(fd)
        return Apart(fd=fd, is_new=made)

    def _existing(self, location: Location, layout: Sequence[Folder], stack: ExitStack) -> Site | None:
        try:
            root = location.open()
        except FileNotFoundError:
            return None
        stack.callback(os.close, root)
        is_one = is_maildir(root) or (lies_below(layout) and is_mailbox(root))
        if not location.below and not is_one and not set(names_in(root)) <= {b"tmp"}:
            # A Maildir in the midst of other things would hide them from whoever looks for Maildirs.
            raise StoreError(
                f"{printable(location.path)} is no Maildir and not empty: name a directory for this mailbox"
            )
        workshop = _workshop(root, location)
        stack.callback(os.close, workshop)
        if is_maildir(root) and not wait_for_others(workshop, _OTHERS_SECONDS):
            # Each would find missing what the other is about to put there.
            raise StoreError(f"another restore is at work in {printable(location.path)}: try again after it")
        remove_abandoned(workshop)
        # One that made this mailbox, and was killed before it had tidied up, built it beside.
        with suppress(OSError):
            above = location.open_parent()
            stack.callback(os.close, above)
            self._tidy(location, above)
        home = -1
        if location.has_home:
            home = location.open_parent()
            stack.callback(os.close, home)
            self._tidy(location, home)
        return Site(root=root, parent=-1, name=location.name, workshop=workshop, home=home)

    def _new(self, location: Location, stack: ExitStack) -> Site:
        anchor, names = location.parent()
        os.makedirs(anchor, _ABOVE_MODE, exist_ok=True)
        start = open_directory(anchor)
        stack.callback(os.close, start)
        above, made_above = _made_above(start, names[:-1], stack)
        mode = _HOME_MODE if location.has_home else _ABOVE_MODE
        new_home = bool(names) and make_directory(above, names[-1], mode)
        if new_home:
            stack.callback(_remove_empty, above, names[-1])
        parent = descend(above, names[-1:])
        stack.callback(os.close, parent)
        self._tidy(location, parent)
        if new_home and not location.has_home:
            made_above[len(names)] = parent
        new_home = new_home or (bool(names) and _is_abandoned(parent))
        return Site(
            root=-1,
            parent=parent,
            name=location.name,
            workshop=parent,
            home=parent if location.has_home else -1,
            new_home=new_home and location.has_home,
            made_above=made_above,
        )

    def _tidy(self, location: Location, parent: int) -> None:
        """Remove abandoned trees, once for each directory: one may hold all mailboxes of a store."""
        path = os.path.dirname(location.path)
        if path not in self._tidied:
            self._tidied.add(path)
            remove_abandoned(parent)


def end_restore(path: str) -> None:
    """Remove what the mailboxes of restores had in common in a target, unless one goes on. Raises
    StoreError."""
    anchor = make_layout(path).anchor
    try:
        forget_shared(anchor)
    except OSError as error:
        raise refused(error, printable(anchor)) from error


def _made_above(start: int, names: tuple[bytes, ...], stack: ExitStack) -> tuple[int, dict[int, int]]:
    """A directory below another one, open as long as the stack, and those on the way that had to be made, by
    their level."""
    made: dict[int, int] = {}
    directory = start
    for level, name in enumerate(names, 1):
        is_new = make_directory(directory, name, _ABOVE_MODE)
        directory = descend(directory, (name,))
        stack.callback(os.close, directory)
        if is_new:
            made[level] = directory
    return directory, made


def _opened_making(location: Location, stack: ExitStack) -> tuple[int, bool]:
    """A directory, open as long as the stack, and whether it was made; it is removed if it stays empty."""
    anchor, names = location.parent()
    os.makedirs(anchor, _ABOVE_MODE, exist_ok=True)
    start = open_directory(anchor)
    stack.callback(os.close, start)
    above = descend_making(start, names, _ABOVE_MODE)
    stack.callback(os.close, above)
    made = make_directory(above, location.name, _HOME_MODE)
    if made:
        stack.callback(_remove_empty, above, location.name)
    fd = descend(above, (location.name,))
    stack.callback(os.close, fd)
    return fd, made or _is_abandoned(fd)


def _workshop(root: int, location: Location) -> int:
    """A directory for temporary trees, on the file system of a mailbox that is there, opened: where mail is
    on its way in anyway, or beside a mailbox that is no folder itself."""
    if is_directory(root, b"tmp"):
        return descend(root, (b"tmp",))
    if is_maildir(root):
        make_directory(root, b"tmp", 0o700)
        # Whoever delivers mail must be able to use it.
        status = os.fstat(root)
        with suppress(PermissionError):
            os.chown(b"tmp", status.st_uid, status.st_gid, dir_fd=root, follow_symlinks=False)
        return descend(root, (b"tmp",))
    with suppress(OSError):
        parent = location.open_parent()
        if os.fstat(parent).st_dev == os.fstat(root).st_dev and os.access(b".", os.W_OK, dir_fd=parent):
            return parent
        os.close(parent)
    return os.dup(root)


def _is_abandoned(home: int) -> bool:
    """Whether a home is what a restore that was killed leaves: as it makes them, and empty."""
    status = os.fstat(home)
    ours = status.st_mode & 0o7777 == _HOME_MODE and status.st_uid == os.geteuid()
    return ours and not names_in(home)


def _remove_empty(parent: int, name: bytes) -> None:
    with suppress(OSError):
        os.rmdir(name, dir_fd=parent)
