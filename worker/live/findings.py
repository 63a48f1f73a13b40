"""What a look at the live mail store finds: light records, as tasks return them and as a report has them."""

from __future__ import annotations

from enum import StrEnum

from ...groups.paths import printable
from ...proto.records import ArchiveId, SeenFile, Skipped
from ...proto.structs import Record


class Kind(StrEnum):
    """How something is damaged."""

    MISSING = "missing"
    """It is not there, and nobody on record has removed it: a message that its server counts on, a folder or
    a mailbox."""
    TRUNCATED = "truncated"
    """Its file is shorter than the message was."""
    CHANGED = "changed"
    """Its file holds something else than the message, under the same name."""
    UNLISTED = "unlisted"
    """It is there, but its server's list of UIDs has lost it, or has another UID for it; of a folder: the
    list is gone, or was made anew."""


IN_THE_BODY = frozenset((Kind.MISSING, Kind.TRUNCATED, Kind.CHANGED))
"""What can be mended by putting the content back that a message had."""


Identity = tuple[str | int, ...]
"""What tells one damage from another: path and kind, and how the file was seen, if there was one."""


class Finding(Record, kw_only=True):
    """Something damaged: a message (with the lasting name ``base``, in the folder that has the path
    ``folder`` now), or a folder or mailbox of so many ``messages``. ``seen`` is the file of a message that
    has one."""

    kind: Kind
    path: str
    detail: str
    folder: bytes = b""
    base: bytes = b""
    seen: SeenFile | None = None
    messages: int = 1

    @property
    def is_message(self) -> bool:
        """Whether it is one message."""
        return bool(self.base)

    @property
    def file(self) -> str:
        """The place and name of the file that was seen, for people; empty where there is none."""
        return f"{self.seen.place}/{printable(self.seen.name)}" if self.seen else ""

    @property
    def identity(self) -> Identity:
        """What it has in common with the same damage at another look."""
        seen = self.seen
        return (
            self.path,
            self.kind.value,
            self.file,
            *((seen.size, seen.mtime_ns, seen.inode) if seen else ()),
        )


class MailboxFindings(Record, kw_only=True):
    """What was found of one mailbox, which ``archive`` tells of.

    Of the ``messages`` that are stored, ``gone`` ones are not there as somebody removed them (or, where no
    server keeps lists, as nothing tells), ``untold`` ones are not there and it can't be told whether they
    were removed. ``new`` ones came since, ``altered`` ones have other flags or keywords since. The content of
    ``read`` was compared. ``unlooked`` is what could not be looked at.
    """

    path: str
    archive: ArchiveId
    user: str
    messages: int = 0
    size_bytes: int = 0
    read: int = 0
    gone: int = 0
    untold: int = 0
    new: int = 0
    altered: int = 0
    damaged: tuple[Finding, ...] = ()
    unlooked: tuple[Skipped, ...] = ()
