"""The port to a place where archives lie: the staging area, a destination, files that somebody names.

An archive has an address, its id and its name. A place knows names only; which copy of which archive lies
where is in the catalog. ``tests/contract/test_places.py`` holds every adapter and
every wrapper to these promises.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from ...proto.archive.files import RandomAccess
from ...proto.structs import Record

OnBytes = Callable[[int], object]
"""Told of bytes that were copied, some at a time; must be quick and must not raise."""


def _nobody(_size_bytes: int) -> None:
    """Nobody wants to know."""


class Copy(Record, kw_only=True):
    """A file as a place has it. ``version`` is what the place itself calls this very copy, where a name may
    have had several: the version id of an object, volume and block on a tape; else empty.

    ``checksum`` is the BLAKE3 digest (32 bytes) of what was put, where that is known without reading it.
    ``locked_until`` (aware): the place itself refuses to remove it until then.
    """

    name: str
    size_bytes: int
    version: str = ""
    checksum: bytes = b""
    locked_until: datetime | None = None


class Source(Protocol):
    """A place as who only reads needs it."""

    name: str
    """What the configuration, the catalog and people call it."""

    def open(self, name: str, version: str = "") -> RandomAccess:
        """The bytes of a copy. Its ``read_at`` raises DamagedError (``io-error``) for bytes that are lost,
        and what every method of a place may raise.

        Raises DamagedError (``missing``) if there is none, UnreadableError if the system does not let it be
        read; NotYetError if it has to be made ready first (``Place.request``)."""

    def close(self) -> None:
        """Repeatable."""


class Place(Source, Protocol):
    """Files by name. Names are those that ``names.check_file_name`` lets pass, going in and coming out:
    others are refused (AccessError), and passed over when files are listed.

    All methods but ``close`` may raise, beside what they say: PlaceUnavailableError (it can't be reached, is
    too busy, or failed in a way that may pass: the same call may succeed later), AccessError (credentials,
    permissions), PlaceError (anything else: the same call will fail again). A place is for one thread, unless
    its adapter says otherwise; it is opened in the process that uses it, never handed over a fork.
    """

    reads_anywhere: bool
    """Whether parts of a file can be had at about the price of these parts: if not (a tape, a program), who
    needs one brings back all of it first."""

    def list(self, prefix: str = "") -> Iterator[Copy]:
        """Every whole file whose name begins so, in any order; of several versions of a name all. What is
        being written is not among them. What ``put`` and ``commit`` made durable before is."""

    def stat(self, name: str, version: str = "") -> Copy | None:
        """The copy of this name (and version; the newest where that is empty), asked anew each time; None if
        there is none. Reads no content."""

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = _nobody,
    ) -> Copy:
        """Copy all of ``source`` there, whole or not at all: under ``name`` there never is a part of it. What
        arrived was compared with what was sent, by what the place can do: its checksum of the bytes, or
        reading them back. After ``commit`` it is durable.

        Never overwrites. Repeatable: if the very same bytes are there already that is their copy. Copies of
        the versions ``instead_of`` (empty, where there are none) are known to be damaged: what is put takes
        the place of such a one, or becomes a version on top of all, once all of it has been read. Memory does
        not depend on the size. ``lock_until``: not to be removed before then; read back, not only asked for.
        An exception raised by ``source`` passes through and leaves nothing.

        Raises ExistsError if something else has that name, PlaceFullError if there is no room.
        """

    def commit(self) -> None:
        """All that was put before is durable when this returns; until then it counts for nothing. Cheap where
        ``put`` does that already; else not to be called for every small file. Raises as ``put`` does: then
        what was put since the last ``commit`` may be there or not, and is to be put again."""

    def lock(self, name: str, version: str, until: datetime) -> datetime:
        """Let a copy not be removed before ``until``, or before what it is locked until already if that is
        later; returns that, as the place tells it now. Raises PlaceError where a place can't."""

    def remove(self, name: str, version: str = "") -> None:
        """Remove a copy for good. Repeatable: one that is not there is no error. Raises LockedUntilError
        while the place does not let go of it."""

    def request(self, copies: Collection[tuple[str, str]]) -> None:
        """Ask once for all of these (name, version) that have to be made ready before they can be opened: out
        of a cold storage class, a volume that somebody has to bring. Does not wait. Repeatable, also by other
        processes: what was asked for is not asked for again."""

    def reading_order(self, copies: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """These (name, version) in the order in which the place is read fastest: each volume once."""

    def close(self) -> None:
        """Repeatable. What was put and not committed counts for nothing."""
