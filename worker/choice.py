"""What is restored of a mailbox, and how: the records that a plan hands to the workers."""

from __future__ import annotations

from enum import StrEnum

from ..groups.paths import LogicalPath
from ..proto.records import ArchiveId
from ..proto.structs import Record
from .arrivals import Slice
from .portion import Portion


class Rescue(Record, kw_only=True):
    """Messages of one folder, by lasting name and digest, and the folder that they are put into."""

    folder: str
    into: str
    messages: frozenset[tuple[bytes, bytes]]


class Extent(StrEnum):
    """How much of what was chosen is restored."""

    ALL = "all"
    FRAME = "frame"
    """The folders without their messages, and the other files."""


class StateRules(Record, kw_only=True):
    """That only the state of messages is restored (see ``live.state``), and how: ``exact``: as it was,
    whatever was done since; else merged, with how the archive ``later`` tells of the mailbox, if there is
    such a backup of a later moment. ``dry_run``: it is only found out what would change."""

    exact: bool = False
    later: ArchiveId | None = None
    dry_run: bool = False


def folder_for(day: str) -> str:
    """The folder in which messages are set aside on a day (as in 2026-11-29)."""
    return f"Set aside {day}"


class Exactly(Record, kw_only=True):
    """That a mailbox becomes just as it was (see ``live.exact``): what is there beyond that goes into folders
    below ``aside``. ``dry_run``: it is only found out what would change."""

    aside: str
    dry_run: bool = False


class Choice(Record, kw_only=True):
    """What to restore of one mailbox as the metadata of ``archive`` tells of it: all of it, one folder (and
    what lies below), or one message.

    ``to_user`` is whose mailbox it becomes; ``place`` where its directory lies below the target's root,
    b"" for wherever the target puts that user. With ``into`` folders become new ones below that folder, and
    nothing but mail is restored. With ``rescues`` only these messages are restored, as new ones that are not
    marked as deleted. With ``only``, paths as reports print them, only these of what ``path`` selects:
    messages, files, whole folders, or the whole mailbox. With ``state`` nothing but that is restored; with
    ``exactly`` what is there beyond what is restored goes.

    With a ``portion`` only that of the mailbox is restored. With a ``slice`` only the messages of that time
    are restored, and nothing but them. ``reach`` is how much of the mailbox is there then, see
    ``RestoredMailbox``; with the folders it is told how much comes in each slice of ``ages``. An
    ``announcement`` is a message that is put into the INBOX with the folders, and taken away with the last of
    the mail.
    """

    archive: ArchiveId
    user: str
    to_user: str
    place: bytes = b""
    path: LogicalPath
    into: str = ""
    rescues: tuple[Rescue, ...] = ()
    extent: Extent = Extent.ALL
    only: frozenset[str] = frozenset()
    portion: Portion | None = None
    state: StateRules | None = None
    exactly: Exactly | None = None
    slice: Slice | None = None
    reach: str = ""
    ages: tuple[Slice, ...] = ()
    announcement: bytes = b""

    @property
    def key(self) -> tuple[ArchiveId, str, str]:
        """What tells it from all others of a plan, and from itself as it reaches further."""
        return self.archive, str(self.path), self.reach
