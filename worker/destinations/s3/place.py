"""A bucket as a place where archives lie. See ``worker.archives.ports.Place`` for what it promises."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime

from ....proto.archive.files import RandomAccess
from ....proto.errors import AccessError, DamagedError, LockedUntilError, NotYetError
from ....proto.structs import replace
from ...archives.names import check_file_name
from ...archives.ports import Copy, OnBytes
from ..settings import S3Destination
from .answers import Meaning
from .bucket import NO_END, Bucket, StoredObject
from .connection import Connection, Told
from .dialect import Dialect, kept_dialect
from .probing import probe
from .putting import Putting
from .reading import S3File
from .retention import Retention
from .thawing import Thawing
from .uploads import Uploads


class S3Place:
    """Objects of one bucket, below a prefix. Nothing is reached before the first call."""

    reads_anywhere = S3Destination.reads_anywhere

    def __init__(self, settings: S3Destination, sleep: Callable[[float], None] = time.sleep) -> None:
        self.name = settings.name
        self._settings = settings
        self._connection = Connection(settings, sleep)
        self._bucket = Bucket(self._connection)
        self._putting = Putting(self._connection, self._bucket, Uploads(settings.journal))
        self._retention = Retention(self._bucket, settings)
        self._dialect: Dialect | None = None
        self._orphans_gone = False

    def list(self, prefix: str = "") -> Iterator[Copy]:
        self._begin()
        return self._bucket.copies(prefix)

    def stat(self, name: str, version: str = "") -> Copy | None:
        found = self._look(name, version)
        return None if found is None else _copy(name, found)

    def open(self, name: str, version: str = "") -> S3File:
        found = self._look(name, version)
        if found is None:
            raise self._bucket.told(DamagedError, name, "is not there", reason="missing")
        if not found.thawed:
            raise self._bucket.told(NotYetError, name, "lies in a cold class: it has to be asked for first")
        return S3File(self._bucket, name, found)

    def put(
        self,
        name: str,
        source: RandomAccess,
        *,
        lock_until: datetime | None = None,
        instead_of: Collection[str] = (),
        on_bytes: OnBytes = lambda _size_bytes: None,
    ) -> Copy:
        check_file_name(name)
        if lock_until is not None:
            self._retention.check()
        self._begin()
        copy = self._putting.put(name, source, self._known_dialect(), on_bytes, instead_of)
        self._tag(copy)
        if lock_until is not None:
            until = self._retention.extend(name, copy.version, lock_until)
            copy = replace(copy, locked_until=until)
        if self._settings.legal_hold:
            self._retention.hold(name, copy.version)
            copy = replace(copy, locked_until=NO_END)
        return copy

    def commit(self) -> None:
        """Nothing to do: what was put is durable."""

    def lock(self, name: str, version: str, until: datetime) -> datetime:
        self._begin()
        return self._retention.extend(name, version, until)

    def remove(self, name: str, version: str = "") -> None:
        # Its own version, else a mark would hide it, and all of it stayed.
        found = self._look(name, version)
        if found is None:
            return
        try:
            self._bucket.drop(name, found.version)
        except AccessError:
            locked = found.locked_until
            if locked is None or locked <= datetime.now(UTC):
                raise
            until = "somebody ends its legal hold" if found.held else locked.isoformat()
            raise self._bucket.told(
                LockedUntilError, name, f"is locked until {until}", until=locked
            ) from None

    def request(self, copies: Collection[tuple[str, str]]) -> None:
        self._begin()
        Thawing(self._bucket, self._settings).request(copies)

    def reading_order(self, copies: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        return builtins.list(copies)

    def close(self) -> None:
        self._putting.close()
        self._connection.close()

    def _begin(self) -> None:
        """What was left behind by a process that ended in the middle of an upload goes before anything else
        is done."""
        if not self._orphans_gone:
            self._orphans_gone = True
            self._putting.give_up_orphans()

    def _known_dialect(self) -> Dialect:
        """What the server can do; tried out when something is put there for the first time."""
        if self._dialect is None:
            self._dialect = kept_dialect(self._settings.journal) or probe(self._settings)
            self._putting.give_up_forgotten()
        return self._dialect

    def _look(self, name: str, version: str) -> StoredObject | None:
        check_file_name(name)
        self._begin()
        return self._bucket.look(name, version)

    def _tag(self, copy: Copy) -> None:
        # Not when it is put: some servers drop the tags of an upload in parts.
        if not self._settings.tags:
            return
        tags = [{"Key": key, "Value": value} for key, value in self._settings.tags]
        try:
            self._bucket.ask_about(
                "put_object_tagging",
                copy.name,
                copy.version,
                Tagging={"TagSet": tags},
                expecting=(Meaning.UNSUPPORTED,),
            )
        except Told:
            raise self._bucket.told(
                AccessError, copy.name, "can't be tagged: the server has no tags"
            ) from None


def _copy(name: str, found: StoredObject) -> Copy:
    return Copy(
        name=name,
        size_bytes=found.size_bytes,
        version=found.version,
        checksum=found.checksum,
        locked_until=found.locked_until,
    )
