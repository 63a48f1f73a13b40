"""Maildir stores, for reading: Maildir++ as Dovecot keeps it, LAYOUT=fs, and Maildirs without a server.

Owns which mailboxes there are and how big. One mailbox is read by ``maildir_mailbox``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from ...groups.paths import printable
from ...proto.errors import StoreError
from ...proto.ports import KnownMailbox, MailboxReader, MailboxRemover, ServerRecord
from ...proto.records import MailboxSize, Skipped
from .acceptance import Acceptance
from .control import Control, control_of
from .directories import joined
from .doveadm import Doveadm
from .layout import Layout, make_layout
from .listing import PLACES
from .location import Location
from .maildir_mailbox import MaildirMailbox, Places
from .measuring import measure
from .notices import Notices
from .placed import Placed
from .server_record import MaildirRecord
from .surroundings import Surroundings
from .survey import survey


class MaildirStore:
    """A MailStore, a RecordKeeper and a MailRemover (see ``proto.ports``) of Maildirs."""

    def __init__(
        self,
        path: str,
        doveadm: tuple[str, ...] = (),
        surroundings: Surroundings | None = None,
        *,
        accept: tuple[str, ...] = (),
        places: Mapping[str, bytes] | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """``accept``: see Partition. With ``places`` mailboxes are looked for where a restore writes them
        (see ``Placed``). ``now`` is the clock, in nanoseconds since 1970. Raises ConfigError for a path that
        can't be."""
        self._surroundings = surroundings or Surroundings()
        self._now = now
        self._acceptance = Acceptance(accept)
        layout = make_layout(path, self._acceptance)
        self._layout: Layout = layout if places is None else Placed(layout, places)
        self._doveadm = Doveadm(doveadm) if doveadm else None

    def users(self) -> Iterator[str]:
        return self._layout.users()

    def left_out(self) -> Sequence[Skipped]:
        return self._layout.left_out()

    def measure(self, user: str) -> MailboxSize:
        try:
            mailbox = _open(self._layout.locate(user))
        except StoreError:
            # Its backup will tell why.
            return MailboxSize(user=user, messages=-1, size_bytes=0)
        messages = size_bytes = 0
        try:
            for folder in survey(mailbox, Notices()).folders:
                for place in PLACES:
                    some, more_bytes = measure(mailbox, joined(folder, place.encode()))
                    messages += some
                    size_bytes += more_bytes
        finally:
            os.close(mailbox)
        return MailboxSize(user=user, messages=messages, size_bytes=size_bytes)

    @contextmanager
    def open_mailbox(
        self,
        user: str,
        known: KnownMailbox | None = None,
        wanted: Callable[[str], bool] = lambda _folder: True,
    ) -> Iterator[MailboxReader]:
        location = self._layout.locate(user)
        with ExitStack() as stack:
            root = _open(location)
            stack.callback(os.close, root)
            home = self._home(stack, user, location)
            control = self._control(stack, user, root)
            index = self._surroundings.index(user)
            indexes = self._opened(stack, index) if index is not None else -1
            places = Places(
                root=root,
                home=home,
                control=control,
                index=indexes,
                also=self._surroundings.also,
                above=self._above(stack, location),
            )
            yield MaildirMailbox(
                places,
                user,
                location.place,
                self._doveadm,
                known=known,
                wanted=wanted,
                acceptance=self._acceptance,
                now=self._now,
            )

    @contextmanager
    def server_record(self, user: str) -> Iterator[ServerRecord]:
        """See RecordKeeper."""
        location = self._layout.locate(user)
        with ExitStack() as stack:
            root = _open(location)
            stack.callback(os.close, root)
            control = self._control(stack, user, root)
            apart = self._surroundings.index(user)
            index = self._opened(stack, apart) if apart is not None else -1
            yield MaildirRecord(
                root,
                control,
                control_of(root, index) if index >= 0 else None,
                apart.path if apart is not None else location.path,
                self._doveadm,
            )

    def stands(self, user: str) -> bool:
        """See MailRemover."""
        try:
            os.close(self._layout.locate(user).open())
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    @contextmanager
    def open_removing(self, user: str) -> Iterator[MailboxRemover]:
        """See MailRemover."""
        location = self._layout.locate(user)
        with ExitStack() as stack:
            root = _open(location)
            stack.callback(os.close, root)
            parent = location.open_parent()
            stack.callback(os.close, parent)
            home = self._home(stack, user, location)
            from .removal import MaildirRemover  # only an undo takes mail away

            yield MaildirRemover(root, parent, location.name, home, self._control(stack, user, root))

    def _home(self, stack: ExitStack, user: str, mailbox: Location) -> int:
        location = self._surroundings.home(user, mailbox)
        return self._opened(stack, location) if location is not None else -1

    def _control(self, stack: ExitStack, user: str, root: int) -> Control | None:
        location = self._surroundings.control(user)
        directory = self._opened(stack, location) if location is not None else -1
        return control_of(root, directory) if directory >= 0 else None

    def _above(self, stack: ExitStack, location: Location) -> list[int]:
        """The directories above a mailbox, the topmost first."""
        found: list[int] = []
        for level in range(1, location.levels_above + 1):
            below = location.below[:level]
            found.append(self._opened(stack, Location(anchor=location.anchor, below=below, has_home=False)))
        return found if -1 not in found else []

    def _opened(self, stack: ExitStack, location: Location) -> int:
        """A directory that belongs to a mailbox, -1 if there is none. Raises StoreError."""
        try:
            directory = location.open()
        except FileNotFoundError:
            return -1
        except OSError as error:
            raise StoreError(f"{printable(location.path)}: {error.strerror}") from error
        stack.callback(os.close, directory)
        return directory


def _open(location: Location) -> int:
    try:
        return location.open()
    except NotADirectoryError as error:
        raise StoreError(
            f"{printable(location.path)} is no directory, or behind a link, which is not followed"
        ) from error
    except OSError as error:
        raise StoreError(f"{printable(location.path)}: {error.strerror}") from error
