"""What a destination is configured with: a frozen record for each kind, fit to be sent to a worker. Light: no
adapter is imported for it."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import ClassVar, Literal

from ...proto.structs import Record


class DirectoryDestination(Record, kw_only=True):
    """A directory: of this host, over NFS, on a disk that is carried. ``path`` is absolute. ``area`` is the
    id of the staging area whose archives are put there; who only reads need not tell it."""

    kind: ClassVar[str] = "directory"
    reads_anywhere: ClassVar[bool] = True

    name: str
    path: str
    area: str = ""

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return self.path


class S3Destination(Record, kw_only=True):
    """A bucket of an object storage that speaks S3, below ``prefix`` (empty, or with a ``/`` at its end).

    ``endpoint`` is a URL; empty for Amazon's. ``journal`` is a directory of this host, of this destination
    alone: uploads that were begun, and what the server can do. ``credentials`` is a file; without one,
    botocore looks for itself (environment, its own files, the role of the machine). ``lock``: what retention
    is set with; empty: nothing is locked. What is needed is locked for ``lock_ahead_seconds`` from now on at
    least.
    ``legal_hold``: each archive is held until somebody ends that. ``thaw_tier`` and ``thaw_days``: how fast
    what lies in a cold class is brought back, and for how long. ``capacity_bytes``: so much may lie there by
    a quota, or by what somebody pays for; None: nobody says so.
    """

    kind: ClassVar[str] = "s3"
    reads_anywhere: ClassVar[bool] = True

    name: str
    bucket: str
    journal: str
    endpoint: str = ""
    prefix: str = ""
    region: str = ""
    credentials: str = ""
    ca_file: str = ""
    lock: Literal["", "governance", "compliance"] = ""
    lock_ahead_seconds: float = 30 * 86400.0
    legal_hold: bool = False
    storage_class: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    part_threads: int = 4
    requests_per_second: int = 0
    thaw_days: int = 7
    thaw_tier: Literal["Bulk", "Standard", "Expedited"] = "Standard"
    capacity_bytes: int | None = None

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return f"{self.endpoint or 's3:/'}/{self.bucket}/{self.prefix}"


class TapeDestination(Record, kw_only=True):
    """Tapes of one pool: a directory of volumes that are files (``file``), or drives (``devices``, stable
    names that do not rewind) and the robot that feeds them (``changer``), if there is one.

    ``state`` is the directory where is recorded what is on which volume. ``record_bytes``, ``allocation`` and
    ``reuse_seconds`` (how long after its last archive a volume whose archives were all removed is labelled
    anew; None: never) hold for what is labelled from now on. ``capacity_bytes`` is that of a volume that is a
    file. ``load_seconds``: so long a drive may take until it is ready. ``beside`` is the staging area: a
    reader and its newest table of archives stand first on each volume; who only reads need not tell it.
    """

    kind: ClassVar[str] = "tape"
    reads_anywhere: ClassVar[bool] = False

    name: str
    state: str
    file: str = ""
    devices: tuple[str, ...] = ()
    changer: str = ""
    pool: str = "default"
    allocation: str = "full"
    record_bytes: int = 256 << 10
    capacity_bytes: int = 100 * 10**9
    reuse_seconds: float | None = None
    label_blanks: bool = False
    load_seconds: float = 7200.0
    buffer_bytes: int = 32 << 20
    beside: str = ""

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return self.file or ", ".join(self.devices)


class CommandDestination(Record, kw_only=True):
    """Programs that take files and bring them back, each a list of words; ``{name}`` in one stands for the
    name of the file, ``{prefix}`` in ``list`` for how names begin. No shell is started.

    ``put`` reads the file from its standard input, ``get`` writes it to its standard output. ``stat`` prints
    its size, or nothing if there is none; ``list`` a line for each file, size first, then the name: one of
    the two has to be there. Without ``remove`` nothing is removed. A program through which no byte goes for
    ``limit_seconds`` is ended. ``capacity_bytes``: so much may lie there; None: nobody says so.
    """

    kind: ClassVar[str] = "command"
    reads_anywhere: ClassVar[bool] = False

    name: str
    put: tuple[str, ...]
    get: tuple[str, ...]
    stat: tuple[str, ...] = ()
    list: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    limit_seconds: float = 3600.0
    capacity_bytes: int | None = None

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return shlex.join(self.put)


Destination = DirectoryDestination | S3Destination | TapeDestination | CommandDestination


def lock_ahead(destination: Destination) -> timedelta | None:
    """For how long what is needed is locked there at least; None where nothing is locked."""
    if isinstance(destination, S3Destination) and destination.lock:
        return timedelta(seconds=destination.lock_ahead_seconds)
    return None
