"""The table of contents of a look at a Maildir store that is restored to, on the host where it lies.

    on which file systems the mailboxes come to lie        rooms
    what the server removes by itself                      expiry
    for each mailbox, as long as there is time
      what its folders would become                        fates
      whether it can be written                            trial
      whether its quota leaves room                        stores.doveadm
    for each mailbox, as long as there is time
      which of its messages are names of one file          proto.archive.messages

Nothing is changed but for what is tried by writing, and removed again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence

from ...proto.archive.stored import StoredMailbox
from ...proto.errors import BackupError, DamagedError, StoreError
from ...proto.records import Folder, Message, Ownership, Partition
from ...proto.target_facts import FolderFate, TargetFacts, Trial
from ..archives.opened import OpenArchives
from ..choice import Extent
from ..stores.doveadm import Doveadm
from ..stores.layout import Layout, make_layout
from ..stores.location import Location
from ..stores.new_folder import owner_of
from ..stores.surroundings import surroundings_of
from .expiry import Tolls, rules_of
from .fates import MailboxThere, fate_of, mailbox_there
from .findings import MOST_TOLD, Findings
from .rooms import Rooms, nearest
from .sought import Sought
from .trial import try_writing

_MOST_REFUSALS = 3
"""After so many refusals in a row nobody's quota is asked for any more."""


def look(
    archives: OpenArchives,
    sought: Sequence[Sought],
    target: Partition,
    host: str,
    seconds: float,
    now: Callable[[], float] = time.time,
) -> TargetFacts:
    """What these mailboxes would meet in the target; no other is looked at after so many ``seconds``. Raises
    ConfigError for a target that can't be."""
    until = time.monotonic() + seconds
    work = _Look(archives, target, host, until, now)
    work.measure(sought)
    work.ask_server()
    for number, one in enumerate(sought):
        if time.monotonic() >= until:
            work.unseen = len(sought) - number
            break
        work.mailbox(one)
    for one in sought:
        if time.monotonic() >= until:
            break
        work.links(one)
    return work.facts()


class _Look:
    """What was found, as it adds up."""

    def __init__(
        self, archives: OpenArchives, target: Partition, host: str, until: float, now: Callable[[], float]
    ) -> None:
        self.unseen = 0
        self._archives = archives
        self._target = target
        self._host = host
        self._until = until
        self._now = now
        self._layout: Layout = make_layout(target.path)
        self._surroundings = surroundings_of(target)
        self._rooms = Rooms(host)
        self._server = Doveadm(target.doveadm, max(1.0, until - time.monotonic())) if target.doveadm else None
        self._refusals = 0
        self._quotas_asked = 0
        self._tolls: Tolls | None = None
        self._trials: dict[bytes, Trial] = {}
        self._failed: list[Trial] = []
        self._found = Findings()

    def facts(self) -> TargetFacts:
        rooms = self._found.rooms(self._rooms)
        return TargetFacts(
            target=self._target,
            rooms=rooms,
            trials=(*self._trials.values(), *self._failed[:MOST_TOLD]),
            fates=self._found.fates,
            counts=self._found.counts,
            unseen=self.unseen,
            quotas_asked=self._quotas_asked,
            excesses=self._found.excesses,
            expiry=self._tolls.all() if self._tolls else None,
            troubles=self._found.troubles,
        )

    def measure(self, sought: Sequence[Sought]) -> None:
        for one in sought:
            try:
                location = self._location(one)
                self._rooms.add(location.path, one.folders, one.messages, one.size_bytes)
            except (StoreError, OSError) as error:
                self._found.trouble(f"{one.choice.path}: {error}")

    def ask_server(self) -> None:
        if self._server is None:
            return
        try:
            self._tolls = Tolls(rules_of(self._server.configuration()), self._now())
        except StoreError as error:
            self._found.trouble(f"what the server removes by itself is not known: {error.message}")

    def mailbox(self, sought: Sought) -> None:
        try:
            location = self._location(sought)
            stored = StoredMailbox(self._archives, sought.choice.archive, sought.choice.user)
            folders = [entry.folder for entry in stored.mailbox.folders]
            owner = owner_of(folders[0]) if folders and folders[0].directories else None
            for place in self._places(sought, location):
                if place not in self._trials:
                    self._trials[place] = try_writing(self._host, place, owner)
            try:
                root = location.open()
            except FileNotFoundError:
                self._folders(sought, stored, None)
            else:
                try:
                    self._try_mailbox(location, owner)
                    control = self._surroundings.control(sought.choice.to_user)
                    with mailbox_there(root, control.path if control else None) as there:
                        self._folders(sought, stored, there)
                finally:
                    os.close(root)
            self._quota(sought)
        except DamagedError as error:
            self._found.trouble(f"{sought.choice.path}: {error.message}")
        except (BackupError, OSError) as error:
            self._found.trouble(f"{sought.choice.path}: {error}")

    def links(self, sought: Sought) -> None:
        """Which messages take no room of their own; told of mailboxes and folders that are wanted as a
        whole."""
        path = sought.choice.path
        if (
            sought.choice.extent is not Extent.ALL
            or sought.choice.only
            or sought.choice.into
            or path.uid
            or path.name
        ):
            return
        try:
            place = self._location(sought).path
            stored = StoredMailbox(self._archives, sought.choice.archive, sought.choice.user)
            path = path.resolve([entry.folder.name for entry in stored.mailbox.folders])
            for entry in stored.mailbox.folders:
                if path.selects_folder(entry.folder.name):
                    for rows in stored.frames(entry):
                        self._rooms.link(place, rows.by_columns().linked())
        except (BackupError, OSError):
            return  # the look before this one tells of it; what it takes at most is right without

    def _location(self, sought: Sought) -> Location:
        return self._layout.lay_out(sought.choice.to_user, sought.choice.place)

    def _places(self, sought: Sought, mailbox: Location) -> Iterator[bytes]:
        """The directories that are there already, below which something will be made."""
        user = sought.choice.to_user
        around = self._surroundings
        yield nearest(mailbox.anchor)
        for location in (
            around.home(user, mailbox) if around.separate_homes else None,
            around.control(user),
            around.index(user),
        ):
            if location is not None:
                yield nearest(location.anchor)

    def _try_mailbox(self, location: Location, owner: Ownership | None) -> None:
        """Where a mailbox is there, whether it can be written: its directories may be another's."""
        inside = os.path.join(location.path, b"tmp")
        trial = try_writing(self._host, inside if os.path.isdir(inside) else location.path, owner)
        if trial.error or trial.owner:
            self._failed.append(trial)

    def _folders(self, sought: Sought, stored: StoredMailbox, there: MailboxThere | None) -> None:
        path = sought.choice.path
        for entry in sought.chosen(stored):
            folder = entry.folder
            exists = there is not None and there.has(folder)
            wanted: list[Message] = []
            messages = 0
            concerned = self._tolls is not None and self._tolls.concern(folder.name)
            if sought.choice.extent is Extent.FRAME:
                concerned = False
            elif exists or concerned or path.uid is not None or path.name is not None:
                wanted = list(sought.messages_of(stored, entry))
                messages = len(wanted)
            else:
                messages = entry.messages
            in_it = 0
            if there is not None and exists:
                names = there.names(folder)
                in_it = len(names)
                told = sought.shown(folder.name)
                anew = self._target.renumbering.new_uidvalidity
                fate = fate_of(told, folder, wanted, names, there.header(folder), new_uidvalidity=anew)
                self._found.folder(fate)
            else:
                self._recreated(sought, folder, messages)
            if self._tolls is not None and concerned:
                self._tolls.add(folder.name, [message.date_ns for message in wanted], in_it)

    def _recreated(self, sought: Sought, folder: Folder, messages: int) -> None:
        keeps = bool(folder.uidvalidity) and not self._target.renumbering.new_uidvalidity
        self._found.folder(
            FolderFate(
                path=sought.shown(folder.name),
                kept=messages if keeps else 0,
                renumbered=0 if keeps else messages,
                uidvalidity=folder.uidvalidity,
            ),
            recreated=True,
        )

    def _quota(self, sought: Sought) -> None:
        if self._server is None or self._refusals >= _MOST_REFUSALS:
            return
        user = sought.choice.to_user
        try:
            quotas = self._server.quotas(user)
        except StoreError as error:
            if "Unknown command" in error.message:
                self._refusals = _MOST_REFUSALS
                self._found.trouble("the server knows no quotas: its plugin for them is not on")
                return
            self._refusals += 1
            self._found.trouble(f"the quota of {user!r} is not known: {error.message}")
            return
        self._refusals = 0
        self._quotas_asked += 1
        for quota in quotas:
            wanted = sought.size_bytes if quota.kind == "storage" else sought.messages
            self._found.quota(user, quota.root, quota.kind, quota.used, quota.limit, wanted)
