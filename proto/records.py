"""The records that cross boundaries: what is backed up, what was stored, what happened.

All are immutable and compared by value. Byte strings are used wherever a file system's own bytes
must survive (file names); everything else is text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NewType

from .structs import Record, astuple, field

RunId = NewType("RunId", str)
"""Sorts by start time: ``20261121T031500Z-4f3a``."""

ArchiveId = NewType("ArchiveId", bytes)
"""16 random bytes, chosen before an archive is begun."""

ARCHIVE_ID_BYTES = 16

DIGEST_BYTES = 16
"""Length of every BLAKE3 digest kept (128 bits: no second message can be made to match one)."""


class Renumbering(Record, kw_only=True):
    """How a restore numbers folders that it makes anew, so that no number is used twice.

    The next UID is ``uid_margin`` above the recorded one: above all that the server may have given out since
    (docs/decisions/0017-numbers-after-a-restore.md). With ``new_uidvalidity`` a folder gets a UIDVALIDITY
    that it never had, and its clients read it anew. With ``reserves`` the UIDs below the next one are kept
    free: a later restore may enter them, though the server has given out higher ones by then.
    """

    uid_margin: int = 10_000_000
    new_uidvalidity: bool = False
    reserves: bool = False


class ServerAccess(Record, kw_only=True):
    """How a mail server is written to over its protocol: as the ``master`` user, who may act for all others,
    or, if that is empty, as each user; with the password in ``password_file``. With ``verify`` the bytes of
    all messages are read back, not of a sample. ``ca_file`` holds the authorities that may certify it, if not
    those of the system. ``delivered`` is a directory in which it is written down what was delivered over
    LMTP."""

    password_file: str = ""
    master: str = ""
    verify: bool = False
    ca_file: str = ""
    delivered: str = ""


class Partition(Record, kw_only=True):
    """A named root of a mail store.

    ``path`` is a directory, or a template whose placeholders say where user names stand. ``hosts`` are
    those that have it: one, or all that share its storage. ``doveadm`` is the command (with its options)
    that reaches the server of this partition; empty where there is none. ``accept`` are patterns of paths:
    of what looks like mail, or lies in mailboxes, and is known not to be backed up. ``renumbering`` is how
    restores number its folders. ``home``, ``control`` and ``index`` are templates of the users' homes, and of
    where the server keeps its lists and its index files of each mailbox; empty: beside, and in the mailbox.
    ``also`` are patterns of what belongs to the mail in a home. ``access`` is how a server is written to of
    which ``path`` is the address.
    """

    name: str
    format: str
    path: str
    hosts: tuple[str, ...] = ("localhost",)
    doveadm: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    renumbering: Renumbering = Renumbering()
    home: str = ""
    control: str = ""
    index: str = ""
    also: tuple[str, ...] = ()
    access: ServerAccess | None = None


class MailboxSize(Record, kw_only=True):
    """What an inventory knows of one user's mailbox before it is read; a negative count is not known."""

    user: str
    messages: int
    size_bytes: int


STAGING = "staging"
"""What the staging area is called among the places where archives lie."""

CONFIRMED = "confirmed"
"""What is called so among them is kept by other programs: somebody has confirmed that they took it. The
``version`` of such a copy says where it is, in words."""


class Location(NamedTuple):
    """Where a copy of an archive lies: under this ``name`` in the place that is called so. ``version`` is
    what the place calls this very copy, if it does; a size of 0 is not known."""

    place: str
    name: str
    version: str = ""
    size_bytes: int = 0


class Referred(Record, kw_only=True):
    """An archive that another refers to, as that tells: whose it is, what its file is called after, and how
    large that was. Of one of which nothing is known any more ``run`` is empty; the size may be 0 (not known).
    """

    archive: ArchiveId
    partition: str = ""
    group: str = ""
    run: str = ""
    shard: int = 0
    size_bytes: int = 0


LEFT_PARTITION = ("removed", "moved")
"""The reasons of mailboxes that are in no group of their partition any more."""


class Departed(Record):
    """A mailbox that was stored before and is not to be any more, as of this run.

    ``reason`` is ``removed`` (the store does not list it), ``left-group`` or ``moved`` (to another
    partition); ``detail`` says where it is now. ``run`` is the run that found it, where that is an earlier
    one than the run that tells of it once more; else empty.
    """

    user: str
    reason: str
    detail: str = ""
    run: RunId = RunId("")

    @property
    def from_partition(self) -> bool:
        """Whether it is in no group of the partition any more."""
        return self.reason in LEFT_PARTITION


class Unit(Record, kw_only=True):
    """One (partition, group, shard) of one run: what is dispatched, retried, written to one archive.

    ``archive`` is the id of that, chosen once for all attempts at it (empty while it is still planned).
    ``departed`` are mailboxes that its archive tells of as gone, ``carried`` those that an earlier one told
    of and that older archives still hold: to be told once more, should there be an archive.
    """

    run: RunId
    partition: Partition
    group: str
    shard: int
    users: tuple[str, ...]
    archive: ArchiveId = ArchiveId(b"")
    departed: tuple[Departed, ...] = ()
    carried: tuple[Departed, ...] = ()
    size_bytes: int = 0
    messages: int = 0

    @property
    def label(self) -> str:
        """How it is called towards people, and in its progress."""
        return f"{self.partition.name}/{self.group}/{self.shard}"


class Ownership(Record):
    """Mode bits (as ``stat`` gives them, type bits removed), user and group id of a file."""

    mode: int
    uid: int
    gid: int


Attributes = tuple[tuple[str, bytes], ...]
"""Named values of a file or directory besides mode, owner and time, in the order of the names: extended
attributes by their names (``user.note``), an access control list as ``system.posix_acl_access``."""


class Piece(NamedTuple):
    """A run of stored bytes: ``length`` bytes at ``offset`` of the data of ``archive``.

    ``recipe`` says how the stored bytes become mail again: 0 as they are, else see
    ``proto.archive.recipes``. ``joined`` marks a piece that continues the encoded run of the piece
    before it (one base64 part kept as several pieces).
    """

    archive: ArchiveId
    offset: int
    length: int
    recipe: int = 0
    joined: bool = False


class Listed(NamedTuple):
    """A message as a folder lists it, before it is read.

    ``base`` is its lasting name, ``suffix`` what the store has appended to it for now (flags);
    ``place`` the sub-directory it lies in. ``uid`` is 0 where the store knows none. ``fields`` are the
    store's own notes on the message, verbatim. ``flags`` and ``keywords``: see Message. ``inode`` is what the
    store calls the file itself, 0 where it does not say: no part of what the message is called.
    """

    base: bytes
    suffix: bytes
    place: str
    uid: int
    flags: str = ""
    fields: bytes = b""
    keywords: tuple[str, ...] = ()
    inode: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listed) and self[:-1] == other[:-1]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:-1])


class Message(Record):
    """A stored message: all that is needed to put it back exactly.

    ``flags`` are the letters of the Maildir convention (D F P R S T), ``keywords`` names, in the order of
    the names. ``date_ns`` is INTERNALDATE in nanoseconds since 1970. ``base``, ``suffix``, ``place``,
    ``fields``, ``owner`` and ``inode`` mean something to the store only; ``inode`` is what it called the file
    when the message was read, 0 where it does not say, and no part of what is compared. Messages with
    the same ``link`` above 0, and the same content, date, owner and attributes, are names of one file.
    """

    uid: int
    base: bytes
    suffix: bytes
    place: str
    flags: str
    fields: bytes
    date_ns: int
    owner: Ownership
    size: int
    digest: bytes
    pieces: tuple[Piece, ...]
    keywords: tuple[str, ...] = ()
    attributes: Attributes = ()
    link: int = 0
    inode: int = 0

    def __eq__(self, other: object) -> bool:
        return type(other) is Message and astuple(self)[:-1] == astuple(other)[:-1]

    def __hash__(self) -> int:
        return hash(astuple(self)[:-1])


class Terms(NamedTuple):
    """What a message can be found by, as its header has it (unfolded, not decoded; cut off where it is long).

    ``recipients`` are To and Cc, ``attachments`` file names, each one after the other with a NUL between.
    """

    sender: bytes = b""
    recipients: bytes = b""
    subject: bytes = b""
    message_id: bytes = b""
    date: bytes = b""
    attachments: bytes = b""


class Folder(Record, kw_only=True):
    """A folder without its messages.

    ``name`` is the name a person sees, hierarchy levels separated by ``/``; ``path`` its directory
    relative to the mailbox (``b""`` for the mailbox's own). Zero or empty means: not known.
    ``keywords`` are the store's own numbers of them: number 0, 1 and so on, "" for a number without name.
    ``header`` is the store's own header of its UID list, verbatim. ``directories`` are the directories that
    make the folder, with ownership and mtime, and so is the UID list if it is a file; then those that are
    told with it though they are no part of it.
    """

    name: str
    path: bytes
    uidvalidity: int = 0
    uidnext: int = 0
    guid: str = ""
    highest_modseq: int = 0
    keywords: tuple[str, ...] = ()
    header: bytes = b""
    directories: tuple[Directory, ...] = ()


class DirectoryKind(StrEnum):
    """What a directory is to the folder that it is told with."""

    FOLDER = "folder"
    """Its own directory."""
    PART = "part"
    """One in which it keeps its messages."""
    UIDLIST = "uidlist"
    """Its UID list: a file."""
    NEAR = "near"
    """One of the mailbox that is no folder, nor a part of any."""
    HOME = "home"
    """The home of the mailbox's user, or a directory in it."""
    ABOVE = "above"
    """One between the root of the partition and the mailbox, or its home: of a domain, of a letter."""
    CONTROL = "control"
    """Where the server keeps the lists of the folder, if not in it: in its control directory, or that."""


class Directory(Record):
    """A directory as it was. ``path`` is relative to the mailbox; of the kinds HOME and CONTROL relative to
    the home and to the control directory, ``b""`` for these themselves. Of the kind ABOVE it says how many
    levels below the root of the partition it lies, as a decimal number."""

    path: bytes
    owner: Ownership
    mtime_ns: int
    kind: DirectoryKind = DirectoryKind.PART
    attributes: Attributes = ()


class ListedFile(Record):
    """A file of a mailbox that is no message. ``target`` is set for a symbolic link.

    ``path`` is relative to the mailbox; a file of the user's home beside the mailbox has ``home``
    set and a path relative to the home.
    """

    path: bytes
    home: bool = False
    target: bytes | None = None


class StoredFile(Record):
    """A stored file that is no message."""

    path: bytes
    home: bool
    target: bytes | None
    owner: Ownership
    mtime_ns: int
    size: int
    digest: bytes
    pieces: tuple[Piece, ...]
    attributes: Attributes = ()


class Skipped(Record):
    """Something that was not stored, or not restored: its logical path, why (one word), and details."""

    path: str
    reason: str
    detail: str = ""


class FolderLoss(Record):
    """Of the messages that a folder listed so many were ``gone`` when they were to be read, in one run."""

    path: str
    listed: int
    gone: int


class MailboxSummary(Record, kw_only=True):
    """The counts of one mailbox in one archive. ``listed == stored + skipped`` always holds.

    ``added`` messages were not in the version before this one, ``vanished`` ones only in that; ``changed``
    tells whether it differs from that in anything at all (also in flags, names, other files).
    """

    partition: str
    group: str
    user: str
    folders: int
    listed: int
    stored: int
    skipped: int
    size_bytes: int
    added: int = 0
    vanished: int = 0
    changed: bool = True


class UnitReport(Record, kw_only=True):
    """What became of one unit.

    ``archive`` is None, and ``name`` empty, if nothing had changed: what was stored before tells of this run
    too, and no archive was written. ``unopened`` are mailboxes that could not be opened at all (they are in
    ``skipped`` too); ``departed`` those that are gone. ``references`` are the other archives that its
    metadata names. Of all its ``messages``, ``read`` were read in this run. ``losses``: folders of which many
    messages went while they were read. ``sha256`` is that of the archive; empty where it is not known.
    ``encrypted``: whether the archive is; None where that is not known.
    """

    run: RunId
    partition: str
    group: str
    shard: int
    archive: ArchiveId | None
    name: str
    mailboxes: tuple[MailboxSummary, ...]
    skipped: tuple[Skipped, ...]
    unopened: tuple[Skipped, ...] = ()
    departed: tuple[Departed, ...] = ()
    carried: tuple[Departed, ...] = ()
    losses: tuple[FolderLoss, ...] = ()
    references: tuple[ArchiveId, ...] = ()
    messages: int
    read: int = 0
    size_bytes: int
    new_bytes: int
    archive_bytes: int
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int = 0
    sha256: bytes = b""
    encrypted: bool | None = None


class Stretch(NamedTuple):
    """``length`` bytes at ``offset`` of the data of an archive."""

    offset: int
    length: int


class Losses(Record):
    """What is known to be lost of an archive: stretches of its ``data``, and of its metadata stretches of the
    positions of its ``frames`` (so many from one on; FORMAT.md, "Frame types"). Both ascend."""

    data: tuple[Stretch, ...] = ()
    frames: tuple[Stretch, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.data or self.frames)


class ArchiveFacts(Record, kw_only=True):
    """What a sealed archive says of itself: enough to enter it into a catalog again. ``referred`` is what it
    knows of its ``references``.

    ``holes`` are the stretches of its data that it does not hold (any more), ``generation`` how often it was
    written anew without them; ``lost`` is what it says to be lost.

    ``started`` is when its run began, ``sealed`` when it was sealed (None where that is not known),
    both aware; ``encrypted`` is None where that is not known.
    """

    archive: ArchiveId
    run: RunId
    started: datetime
    partition: str
    group: str
    shard: int
    name: str
    size_bytes: int
    mailboxes: tuple[MailboxSummary, ...]
    skipped: tuple[Skipped, ...]
    unopened: tuple[Skipped, ...] = ()
    departed: tuple[Departed, ...] = ()
    carried: tuple[Departed, ...] = ()
    references: tuple[ArchiveId, ...] = ()
    referred: tuple[Referred, ...] = ()
    holes: tuple[Stretch, ...] = ()
    lost: Losses = Losses()
    generation: int = 0
    sealed: datetime | None = None
    encrypted: bool | None = None


class Parents(Record, kw_only=True):
    """What a unit starts from: the mailboxes as they were stored last, and where that lies.

    ``mailboxes`` gives for each user that is known the archive whose metadata tells of the mailbox.
    ``elsewhere`` are the users of whom this is not how their own group has them now: they are new to it, had
    departed from it, or what it had is lost, or may be. So even if nothing has changed the unit must tell of
    them. ``locations`` are these archives and all that they refer to, with where they lie: what is not among
    them is lost. ``lost`` is what is known to be damaged of those that are.
    """

    mailboxes: Mapping[str, ArchiveId] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    locations: Mapping[ArchiveId, tuple[Location, ...]] = field(default_factory=dict)
    lost: Mapping[ArchiveId, Losses] = field(default_factory=dict)


class BackupMode(Record, kw_only=True):
    """How a unit is backed up.

    ``full``: every message is read again. ``thorough``: also of a folder in which nothing seems to have
    changed each message is looked at (one stat). ``since``: of the messages that are not stored yet only
    those that arrived then or later, in seconds since 1970. ``self_contained``: the archive refers to no
    other one (which takes a full reading). ``apart``: the archive is in no catalog. There is one even if
    nothing has changed, and it refers to what its parents tell of these mailboxes, and to nothing else.
    """

    full: bool = False
    thorough: bool = False
    since: float | None = None
    self_contained: bool = False
    apart: bool = False


class UidMap(NamedTuple):
    """Which UIDs messages of a folder got in another one: the first of ``uids`` the first of ``new_uids``,
    and so on. Both are written as IMAP does (``3:5,9``). ``folder`` is where they were, its UIDVALIDITY 0 if
    that is not known; ``new_folder`` what the server calls the other one."""

    folder: str
    uidvalidity: int
    uids: str
    new_folder: str
    new_uidvalidity: int
    new_uids: str


class MailboxOutcome(Record, kw_only=True):
    """What became of a mailbox after its messages were handed over: so many of them, with so many bytes as
    they were stored, were ``refused`` after all. ``uids`` are the UIDs that messages have got, where it is
    not the writer that gives them."""

    refused: int = 0
    refused_bytes: int = 0
    uids: tuple[UidMap, ...] = ()


class RestoreReport(Record, kw_only=True):
    """What became of something that was restored: a mailbox, a task, all of it.

    ``size_bytes`` are those of messages that were ``restored``, ``present_bytes`` of those that were there
    already. ``without_modseq``: see ``MailboxWriter``. ``linked``: so many of those that were restored or
    there have a ``link``. ``replaced``: something in these copies of archives
    was damaged, and was read from others. ``uids``: see ``MailboxOutcome``; each by the path of its mailbox.
    Where state alone is restored, ``flagged`` messages got flags or keywords back, and ``moved`` ones their
    folder; those with any of that are ``restored``, all others that are there ``present``.
    Where a restore is taken back, ``removed`` messages went that it had added. Of an exact one ``aside`` were
    set aside, as they were not there then.
    """

    restored: int = 0
    present: int = 0
    files: int = 0
    size_bytes: int = 0
    present_bytes: int = 0
    without_modseq: int = 0
    linked: int = 0
    flagged: int = 0
    moved: int = 0
    removed: int = 0
    aside: int = 0
    skipped: tuple[Skipped, ...] = ()
    damaged: tuple[Skipped, ...] = ()
    replaced: frozenset[tuple[ArchiveId, Location]] = frozenset()
    uids: tuple[tuple[str, UidMap], ...] = ()

    def __add__(self, other: RestoreReport) -> RestoreReport:
        return RestoreReport(
            restored=self.restored + other.restored,
            present=self.present + other.present,
            files=self.files + other.files,
            size_bytes=self.size_bytes + other.size_bytes,
            present_bytes=self.present_bytes + other.present_bytes,
            without_modseq=self.without_modseq + other.without_modseq,
            linked=self.linked + other.linked,
            flagged=self.flagged + other.flagged,
            moved=self.moved + other.moved,
            removed=self.removed + other.removed,
            aside=self.aside + other.aside,
            skipped=self.skipped + other.skipped,
            damaged=self.damaged + other.damaged,
            replaced=self.replaced | other.replaced,
            uids=self.uids + other.uids,
        )


FOLDERS = "folders"
"""How much is there of a mailbox that has its folders, and none of its mail yet."""


class RestoredMailbox(Record, kw_only=True):
    """A mailbox, or a part of one, that is durable in its target: what its ``path`` selects of it as
    ``archive`` tells of it. ``folders`` says how many messages of the backup were to be in each folder then,
    and how many the target listed.

    ``reach`` says how much of it is there, where the newest comes first: ``FOLDERS``, or the date (ISO) back
    to which its mail is; empty for all of it. With its folders it is told how much mail comes in each of the
    slices that follow (``ages``: messages and bytes), and how new the newest message is that somebody has
    seen (``last_seen_ns``, in nanoseconds since 1970; 0 if there is none)."""

    archive: ArchiveId
    path: str
    report: RestoreReport
    folders: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    reach: str = ""
    ages: tuple[tuple[int, int], ...] = ()
    last_seen_ns: int = 0


class RestoreTaskReport(Record, kw_only=True):
    """What became of one restore task: the ``mailboxes`` that are durable, and what is to be told of the
    others (``rest``)."""

    mailboxes: tuple[RestoredMailbox, ...] = ()
    rest: RestoreReport = RestoreReport()

    def total(self) -> RestoreReport:
        """All of it."""
        return sum((mailbox.report for mailbox in self.mailboxes), self.rest)


class Progress(NamedTuple):
    """How far a unit has come; sent now and then, never relied upon.

    ``size_bytes`` were read, ``new_bytes`` of them had to be stored, which took ``archive_bytes``.
    ``waiting`` says what it waits for, in a few words; empty where it goes on. ``done`` is what a restore has
    made durable since it was told last, each as ``proto.restored`` writes it: nobody drops that for newer
    progress. A worker on the host of its coordinator goes on when that has taken note of it; from other hosts
    it may be lost as everything here.
    """

    unit: str
    messages: int
    size_bytes: int
    mailbox: str = ""
    new_bytes: int = 0
    archive_bytes: int = 0
    waiting: str = ""
    done: tuple[str, ...] = ()

    def after(self, earlier: Progress | None) -> Progress:
        """This progress where an earlier one of the same unit could not be told."""
        return self if earlier is None else self._replace(done=earlier.done + self.done)


class FileStat(NamedTuple):
    """What the file system says of an opened file.

    ``identity`` is (device, inode) where several names share the file, else None; ``inode`` 0 where a store
    has none.
    """

    size: int
    mtime_ns: int
    owner: Ownership
    identity: tuple[int, int] | None = None
    attributes: Attributes = ()
    inode: int = 0


class SeenFile(NamedTuple):
    """The file of a message as somebody saw it: where it lay, its whole name, and what tells it from another
    file under that name."""

    place: str
    name: bytes
    size: int
    mtime_ns: int
    inode: int
