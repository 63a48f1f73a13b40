"""What the catalog tells: of runs, their units, their archives, and the mailboxes in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from ..proto.records import STAGING, ArchiveId, Departed, Location, Losses, RunId, Skipped, Stretch
from ..proto.structs import Record, field
from ..worker.archives.names import parse_name
from ..worker.archives.ports import Copy

RunState = Literal["running", "done", "partial", "failed", "interrupted"]
UnitState = Literal["planned", "sealed", "unchanged", "failed"]


class RunRecord(Record, kw_only=True):
    """A run, and its units added up. ``error`` says why it ended early; times are aware UTC.

    ``sealed_units`` have an archive, ``unchanged_units`` needed none. Of the ``messages`` so many were
    ``read`` in the run; ``added`` ones were new in their folders, ``vanished`` ones gone, ``departed``
    mailboxes gone as a whole. ``skipped`` is what should be in the backup and is not, ``excluded`` what was
    left out on purpose. ``narrowed``: by options, to less than its paths hold. ``purged``: as a moment it is
    not kept any more, in no group; what is left of the record tells what it did.
    """

    run: RunId
    started: datetime
    ended: datetime | None
    state: RunState
    paths: str
    options: str
    error: str
    planned_units: int
    sealed_units: int
    unchanged_units: int = 0
    failed_units: int
    mailboxes: int
    departed: int = 0
    skipped: int
    excluded: int = 0
    messages: int
    read: int = 0
    added: int = 0
    vanished: int = 0
    size_bytes: int
    new_bytes: int
    archive_bytes: int
    narrowed: bool = False
    purged: bool = False
    alarms: int = 0


class UnitRecord(Record, kw_only=True):
    """A unit of a run; the counts are those of its report, zero while there is none. ``purged``: its group
    is not kept any more as it was in this run."""

    run: RunId
    partition: str
    group: str
    shard: int
    state: UnitState
    attempts: int
    error: str
    mailboxes: int
    departed: int = 0
    skipped: int
    excluded: int = 0
    messages: int
    read: int = 0
    added: int = 0
    vanished: int = 0
    size_bytes: int
    new_bytes: int
    archive_bytes: int
    purged: bool = False
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


class UnitPlan(Record, kw_only=True):
    """What a unit that is not sealed consists of."""

    partition: str
    group: str
    shard: int
    users: tuple[str, ...]
    archive: ArchiveId
    departed: tuple[Departed, ...] = ()
    carried: tuple[Departed, ...] = ()
    size_bytes: int
    messages: int


class Unplanned(Record, kw_only=True):
    """What a run was asked for and no unit of it holds: partitions that could not be listed, with the code
    and text of the error, and mailboxes that were left out."""

    failed: tuple[tuple[str, str, str], ...] = ()
    left_out: tuple[Skipped, ...] = ()


class ResumedRun(Record, kw_only=True):
    """A run that goes on for the ``resumed``-th time: ``sealed`` units are done, also without an archive, and
    ``units`` are left. ``mode`` is what ``begin_run`` was given."""

    started: datetime
    resumed: int
    sealed: int
    units: tuple[UnitPlan, ...]
    unplanned: Unplanned
    mode: str = ""


class GoodBackup(Record, kw_only=True):
    """The last good backup of a group in a partition: that of its worst mailbox that is there.

    A mailbox is good as of a run that looked at all of it and stored it whole. Of the ``mailboxes`` that are
    there, ``behind`` are those that the newest run did not store whole, ``never`` those that none ever did.
    ``run`` is the newest by which all are good, ``sealed`` when its last archive of the group was; both are
    None while there is none. ``newest`` is the same time for the best mailbox instead of the worst.
    """

    partition: str
    group: str
    run: RunId | None
    sealed: datetime | None
    newest: datetime | None = None
    mailboxes: int = 0
    behind: int = 0
    never: int = 0


class Behind(Record, kw_only=True):
    """A mailbox without a good backup since some time: ``good`` is the last run that made one, ``stored``
    when that began (None: there is none); ``since`` the first run that was to store it; ``reason`` (one word)
    and ``detail`` say why the newest run did not, empty if none has tried since."""

    partition: str
    group: str
    user: str
    good: RunId | None
    stored: datetime | None
    since: RunId | None
    reason: str
    detail: str


class Totals(Record, kw_only=True):
    """What all runs have done to a group of a partition: gone through so many ``messages`` (``size_bytes``),
    ``read`` so many of them, stored ``new_bytes`` of mail in ``archive_bytes`` of archives."""

    partition: str
    group: str
    messages: int
    read: int
    size_bytes: int
    new_bytes: int
    archive_bytes: int


class Moment(Record, kw_only=True):
    """A run as a time to restore a group of a partition from. ``whole``: it was over all of the group, and
    none of its units failed. ``unchanged``: it wrote no archive of the group, since nothing had changed."""

    run: RunId
    started: datetime
    whole: bool
    unchanged: bool = False


CopyState = Literal["copied", "kept", "lost"]
"""Of a copy: it was put there; it was still there when it was looked at later, and counts from then on; it
was not there any more, or damaged."""


class CopyRecord(Record, kw_only=True):
    """A copy of an archive in a place, under the ``name`` of its ``generation``, and of this ``version``
    where the place counts them.

    ``checksum`` is the BLAKE3 digest of all its bytes, empty where nobody took it. It was ``copied`` then,
    ``verified`` last then (found there, or read), ``checked`` last then (all of it was read and was as it was
    put), and its place does not remove it before ``locked_until``.
    Times are aware.
    """

    place: str
    name: str
    version: str = ""
    generation: int = 0
    size_bytes: int
    checksum: bytes = b""
    state: CopyState = "kept"
    copied: datetime | None = None
    verified: datetime | None = None
    checked: datetime | None = None
    locked_until: datetime | None = None


def seen_at(place: str, copy: Copy, when: datetime) -> CopyRecord:
    """What is recorded of a copy of an archive that was seen at a place. Raises AccessError if its name is
    none of an archive."""
    return CopyRecord(
        place=place,
        name=copy.name,
        version=copy.version,
        generation=parse_name(copy.name).generation,
        size_bytes=copy.size_bytes,
        checksum=copy.checksum,
        verified=when,
        locked_until=copy.locked_until,
    )


class ArchiveRecord(Record, kw_only=True):
    """A sealed archive: what it is called, how large it is, and where ``copies`` of it lie.

    ``missing``: no copy is left of which anything can be read. ``lost`` is what is known to be damaged of
    it, ``holes`` are all stretches of its data that it does not hold (any more), ascending. Whether it is
    ``encrypted`` is None where that is not known.
    """

    archive: ArchiveId
    run: RunId
    partition: str
    group: str
    shard: int
    name: str
    size_bytes: int
    sealed: datetime | None
    generation: int = 0
    missing: bool = False
    encrypted: bool | None = None
    holes: tuple[Stretch, ...] = ()
    lost: Losses = field(default_factory=Losses)
    copies: tuple[CopyRecord, ...] = ()

    @property
    def staged_name(self) -> str:
        """What it is called in the staging area; empty if it does not lie there."""
        return next((copy.name for copy in self.copies if copy.place == STAGING), "")

    @property
    def is_staged(self) -> bool:
        """Whether it lies in the staging area."""
        return bool(self.staged_name)


class PlaceStanding(Record, kw_only=True):
    """So many copies (``archives``) are in this ``state`` in a place, and have so many bytes. The place has
    ``locked`` so many of them, the first until ``locked_until``."""

    place: str
    state: CopyState
    archives: int
    size_bytes: int
    locked: int = 0
    locked_until: datetime | None = None


class Discarded(Record, kw_only=True):
    """A copy that nobody needs, and that its place has yet to remove: not before ``locked_until`` (aware), as
    far as that is known."""

    location: Location
    locked_until: datetime | None = None


class Leftovers(Record, kw_only=True):
    """So many ``copies`` that nobody needs are still in a place, and have so many bytes. The last of them was
    locked until ``locked_until``, if any was."""

    place: str
    copies: int
    size_bytes: int
    locked_until: datetime | None = None


class CopyStanding(Record, kw_only=True):
    """Where copies are. Of ``alone`` archives copies count in one place only, the oldest sealed at
    ``alone_since``; of ``unswept`` ones none counts outside of the staging area."""

    places: tuple[PlaceStanding, ...] = ()
    alone: int = 0
    alone_since: datetime | None = None
    unswept: int = 0
    unswept_since: datetime | None = None
    leftovers: tuple[Leftovers, ...] = ()


class RunPlaces(Record, kw_only=True):
    """Where the archives of a run are: so many of them are ``staged``, for ``staged_only`` no copy counts
    elsewhere, ``freed`` ones have left the staging area. ``places``: their copies, by place and state."""

    run: RunId
    archives: int
    staged: int
    staged_only: int
    freed: int
    places: tuple[PlaceStanding, ...] = ()


class GroupCopies(Record, kw_only=True):
    """The archives of a group in a partition, and how many of them lie in each place (``places``, copies that
    count). Of ``nowhere`` of them no copy is left, of ``alone`` copies count in one place only, the
    oldest sealed at ``alone_since``; of ``unswept`` none counts outside of the staging area."""

    partition: str
    group: str
    archives: int
    size_bytes: int
    nowhere: int
    alone: int
    alone_since: datetime | None
    unswept: int
    places: Mapping[str, int] = field(default_factory=dict)


class PlaceLooks(PlaceStanding, kw_only=True):
    """The same, and what was read again of it since it was put there: ``unchecked`` copies never were, the
    oldest of them from ``unchecked_since``; of the others none was read before ``checked_since``."""

    unchecked: int = 0
    unchecked_since: datetime | None = None
    checked_since: datetime | None = None


class NamelessLoss(Record, kw_only=True):
    """So many ``mailboxes`` that a run stored in an archive and of which nothing tells any more, not even
    whose they were."""

    partition: str
    group: str
    run: RunId
    archive: ArchiveId
    mailboxes: int

    @property
    def detail(self) -> str:
        """What is lost, for people."""
        many = "1 mailbox is" if self.mailboxes == 1 else f"{self.mailboxes:,} mailboxes are"
        return f"{many} lost that run {self.run} stored, and nothing tells any more whose"


class MailboxVersion(Record, kw_only=True):
    """The mailbox of a user as one run stored it, and the archive whose metadata describes it."""

    partition: str
    group: str
    user: str
    run: RunId
    shard: int
    archive: ArchiveId
    folders: int
    listed: int
    stored: int
    skipped: int
    size_bytes: int
    added: int = 0
    vanished: int = 0
    changed: bool = True


class Version(Record, kw_only=True):
    """What one run made of a mailbox in one of its groups: stored it, or found it departed.

    Of one that has departed ``departed`` is the reason and ``archive`` None; of one that was stored they are
    empty and the archive whose metadata describes it.
    """

    partition: str
    group: str
    user: str
    run: RunId
    started: datetime
    archive: ArchiveId | None
    shard: int
    folders: int
    listed: int
    stored: int
    skipped: int
    size_bytes: int
    added: int
    vanished: int
    changed: bool
    departed: str
    detail: str


class KnownMailbox(Record, kw_only=True):
    """A mailbox as the newest run tells of it that changed anything of it: so many ``messages`` then. One
    that is gone from the mail store was found ``gone`` by that run."""

    partition: str
    group: str
    user: str
    run: RunId
    started: datetime
    messages: int
    size_bytes: int
    gone: bool


class Needed(Record, kw_only=True):
    """What must stay for the versions that the catalog knows.

    ``users`` gives for each archive the users whose metadata is needed in it; it may be none: then it is
    needed to tell of mailboxes that have departed. ``references`` are, of these archives, all others that
    their metadata named as of when they were written: what of them is needed, their metadata tells.
    """

    users: Mapping[ArchiveId, frozenset[str]] = field(default_factory=dict)
    references: Mapping[ArchiveId, tuple[ArchiveId, ...]] = field(default_factory=dict)
