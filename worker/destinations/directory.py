"""A directory as a place: of this host, over NFS, on a disk or an LTFS tape that is carried."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from ...proto.archive.files import RandomAccess
from ...proto.directories import make_directories
from ...proto.errors import (
    AccessError,
    DamagedError,
    ExistsError,
    PlaceError,
    PlaceUnavailableError,
    UnreadableError,
)
from ..archives.names import check_file_name
from ..archives.ports import Copy, OnBytes
from .arrivals import Arrival, new_arrival, remove_leftovers
from .copying import copy_into, digest_of, is_same
from .marks import MARK, MOST_MARK_BYTES, decode_mark, encode_mark
from .settings import DirectoryDestination
from .system_errors import told
from .trees import parent_of, regular_size, walk

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_GONE = {errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EIO, errno.ENOTCONN, errno.ESHUTDOWN}


class DirectoryPlace:
    """The files below a directory. See Place for what it promises.

    A directory that is not there, or has no mark (``found_directory`` makes both), is unavailable: the disk
    is not mounted. It is kept open from the first call on, so that nothing is written below the mount point
    when the disk goes away. One with the mark of another staging area than ``area`` is read, and never
    changed; without an ``area`` it does not matter whose it is.

    What is put is durable at once, and was read back from the disk rather than from memory, as far as its
    file system can do that.
    """

    reads_anywhere = DirectoryDestination.reads_anywhere

    def __init__(self, name: str, path: str, *, area: str = "") -> None:
        self.name = name
        self._path = path
        self._area = area
        self._owner = ""
        self._root = -1

    def list(self, prefix: str = "") -> Iterator[Copy]:
        """See Place."""
        root = self._opened()
        with self._told(f"list {self._path}"):
            for name, size_bytes in walk(root, prefix):
                if name != MARK:
                    yield Copy(name=name, size_bytes=size_bytes)

    def stat(self, name: str, version: str = "") -> Copy | None:
        """See Place."""
        _check(name)
        root = self._opened()
        with self._told(f"look for {name}"):
            try:
                with parent_of(root, name) as (directory, last):
                    size_bytes = regular_size(directory, last, name)
            except FileNotFoundError:
                return None
        return None if size_bytes is None or version else Copy(name=name, size_bytes=size_bytes)

    def open(self, name: str, version: str = "") -> RandomAccess:
        """See Place."""
        if self.stat(name, version) is None:
            raise self._missing(name)
        root = self._opened()
        with self._told(f"open {name}"):
            try:
                with parent_of(root, name) as (directory, last):
                    return StoredFile(self.name, name, os.open(last, _FILE, dir_fd=directory))
            except FileNotFoundError:
                raise self._missing(name) from None
            except PermissionError as error:
                raise UnreadableError(
                    f"{self.name}:{name}: {error.strerror}", place=self.name, file=name
                ) from error

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = lambda _size_bytes: None,
    ) -> Copy:
        """See Place."""
        _check(name)
        if lock_until is not None:
            raise self._no_locks(name, lock_until)
        root = self._opened_for_change()
        over = "" in instead_of  # no copy here has another version
        try:
            there = self._same_there(name, source)
        except (ExistsError, DamagedError):
            if not over:
                raise
            there = None
        if there is not None:
            return there
        with self._told(f"write {name}"):
            new = new_arrival(root)
        with closing(new):
            checksum = copy_into(new.fd, source, on_bytes, lambda: self._told(f"write {name}"))
            with self._told(f"read back {name}"):
                if digest_of(new.fd, source.size) != checksum:
                    raise PlaceUnavailableError(
                        f"{self.name}: what is read back of {name} is not what was written", place=self.name
                    )
            if self._published(root, new, name, over=over):
                return Copy(name=name, size_bytes=source.size, checksum=checksum)
        there = self._same_there(name, source)
        if there is None:
            raise PlaceUnavailableError(f"{self.name}: somebody else writes {name}", place=self.name)
        return there

    def commit(self) -> None:
        """See Place. ``put`` has done it."""

    def lock(self, name: str, version: str, until: datetime) -> datetime:
        """See Place. Never."""
        raise self._no_locks(f"{name} {version}".rstrip(), until)

    def remove(self, name: str, version: str = "") -> None:
        """See Place."""
        if self.stat(name, version) is None:
            return
        root = self._opened_for_change()
        with self._told(f"remove {name}"):
            try:
                with parent_of(root, name) as (directory, last):
                    os.unlink(last, dir_fd=directory)
                    os.fsync(directory)
            except FileNotFoundError:
                return

    def request(self, copies: Collection[tuple[str, str]]) -> None:
        """See Place. Everything is ready."""

    def reading_order(self, copies: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """See Place. Any is as good."""
        return copies

    def close(self) -> None:
        """See Place."""
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def free_bytes(self) -> int:
        """How much room there is for who has no privileges; raises as all methods do."""
        root = self._opened()
        with self._told("ask for the free space"):
            status = os.statvfs(root)
        return status.f_bavail * status.f_frsize

    def _opened(self) -> int:
        """The directory, open."""
        if self._root < 0:
            with self._told(f"open {self._path}"):
                try:
                    root = os.open(self._path, _ROOT)
                except FileNotFoundError:
                    raise self._not_here(f"there is no directory {self._path}") from None
            try:
                self._owner = self._marked(root)
                remove_leftovers(root)
            except BaseException:
                os.close(root)
                raise
            self._root = root
        return self._root

    def _marked(self, root: int) -> str:
        """The id of the staging area whose files these are."""
        with self._told(f"read the mark of {self._path}"):
            try:
                fd = os.open(MARK, _FILE, dir_fd=root)
            except FileNotFoundError:
                raise self._not_here(f"{self._path} has no {MARK}") from None
            try:
                return decode_mark(os.read(fd, MOST_MARK_BYTES), f"{self._path}/{MARK}")
            finally:
                os.close(fd)

    def _opened_for_change(self) -> int:
        root = self._opened()
        if self._area and self._owner != self._area:
            raise PlaceError(
                f"{self.name}: {self._path} is a destination of another staging area ({self._owner}), and is "
                f"not changed; `mailhaul destination adopt {self.name}` takes it over",
                place=self.name,
                area=self._owner,
            )
        return root

    def _same_there(self, name: str, source: RandomAccess) -> Copy | None:
        """The copy that is there, if any. Raises ExistsError if it is not of these bytes."""
        there = self.stat(name)
        if there is None:
            return None
        if there.size_bytes == source.size:
            with closing(self.open(name)) as file:
                checksum = is_same(file, source)
            if checksum is not None:
                return Copy(name=name, size_bytes=source.size, checksum=checksum)
        raise ExistsError(f"{self.name} has another file called {name}", place=self.name, file=name)

    def _published(self, root: int, new: Arrival, name: str, *, over: bool) -> bool:
        """Whether a new file got its name, durably, also ``over`` another; False if that is taken."""
        with self._told(f"name {name}"), parent_of(root, name, make=True) as (directory, last):
            if over:
                new.replace(directory, last)
                return True
            try:
                new.publish(directory, last)
            except FileExistsError:
                return False
            os.fsync(directory)
        return True

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Errors of the system as those of a place. After some the directory is opened anew by the next call:
        it may be mounted again by then."""
        try:
            with told(self.name, what):
                yield
        except PlaceUnavailableError as error:
            if error.facts.get("errno") in _GONE:
                self.close()
            raise

    def _not_here(self, why: str) -> PlaceUnavailableError:
        return PlaceUnavailableError(
            f"{self.name}: {why}: mount its disk, if it is not mounted; a new destination is made by "
            f"`mailhaul destination check {self.name}`",
            place=self.name,
        )

    def _missing(self, name: str) -> DamagedError:
        return DamagedError(f"{self.name} has no {name}", reason="missing", place=self.name, file=name)

    def _no_locks(self, name: str, until: datetime) -> PlaceError:
        return PlaceError(
            f"{self.name} is a directory: it can't keep {name} from being removed until {until.isoformat()}",
            place=self.name,
            file=name,
        )


class StoredFile:
    """A file of a place, open for reading. See RandomAccess."""

    def __init__(self, place: str, name: str, fd: int) -> None:
        self.name = f"{place}:{name}"
        self._place = place
        self._fd = fd
        self.size = os.fstat(fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        length = min(length, self.size - offset)
        if offset < 0 or length <= 0:
            return b""
        parts: list[bytes] = []
        try:
            with told(self._place, f"read {self.name} at {offset}"):
                while length > 0 and (data := os.pread(self._fd, length, offset)):
                    parts.append(data)
                    offset += len(data)
                    length -= len(data)
        except PlaceUnavailableError as error:
            if error.facts.get("errno") != errno.EIO:
                raise
            raise DamagedError(error.message, reason="io-error") from error
        if length:
            raise DamagedError(f"{self.name} was cut at {offset}", reason="io-error")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """See RandomAccess."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def found_directory(path: str, area: str, *, take_over: bool = False) -> str:
    """Make a directory, if it is not there, the destination of the staging area with this id, unless it is
    one of another already (``take_over``: even then); returns whose it is now. Repeatable. Raises OSError,
    PlaceError."""
    make_directories(Path(path))
    root = os.open(path, _ROOT)
    try:
        with closing(new_arrival(root)) as new:
            os.write(new.fd, encode_mark(area))
            os.fsync(new.fd)
            if take_over:
                new.replace(root, MARK)
                return area
            with suppress(FileExistsError):
                new.publish(root, MARK)
            os.fsync(root)
        with closing(StoredFile(path, MARK, os.open(MARK, _FILE, dir_fd=root))) as mark:
            return decode_mark(mark.read_at(0, MOST_MARK_BYTES), f"{path}/{MARK}")
    finally:
        os.close(root)


def _check(name: str) -> None:
    if check_file_name(name) == MARK:
        raise AccessError(f"{name} is the mark of the destination itself", file=name)
