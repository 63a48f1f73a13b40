"""The bucket in our words: its objects by the names of a place, one request each."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from ....proto.errors import AccessError, BackupError, PlaceError, PlaceUnavailableError
from ....proto.structs import Record
from ...archives.names import check_file_name, parse_name
from ...archives.ports import Copy
from .answers import Meaning
from .connection import ATTEMPTS, Connection, Told

PUT = "mailhaul-put"
SIZE = "mailhaul-size"
CHECKSUM = "mailhaul-blake3"
"""What an object of ours is told by in its metadata: by which put it came (a token, another each time), how
long it is, and the BLAKE3 digest of its bytes where that was known in time."""

COLD_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})

NO_END = datetime.max.replace(tzinfo=UTC, microsecond=0)
"""Until when a legal hold locks: until somebody ends it."""

_ABSENT = (Meaning.MISSING,)


class StoredObject(Record, kw_only=True):
    """One version of an object. ``until``: retention ends then; ``mode`` is its kind, in capitals. ``thawed``
    is true of what lies in no cold class, or was brought out of it; ``thawing``: it was asked for."""

    size_bytes: int
    version: str
    token: str
    checksum: bytes
    mode: str = ""
    until: datetime | None = None
    held: bool = False
    thawed: bool = True
    thawing: bool = False

    @property
    def locked_until(self) -> datetime | None:
        """Until when it can't be removed."""
        return NO_END if self.held else self.until


class Bucket:
    """Objects below the prefix of a destination. All methods may raise what those of a Place may."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._seen = False
        self._versioned: bool | None = None

    def key(self, name: str) -> str:
        """What the object of a file is called. Raises AccessError for what is no name."""
        return self._settings.prefix + check_file_name(name)

    def ask(self, verb: str, what: str, **facts: Any) -> Any:
        """See ``Connection.ask``: about this bucket."""
        return self._connection.ask(verb, what, Bucket=self._settings.bucket, **facts)

    def ask_about(self, verb: str, name: str, version: str = "", **facts: Any) -> Any:
        """The same about an object, or a version of it."""
        if version:
            facts["VersionId"] = version
        return self.ask(verb, name, Key=self.key(name), **facts)

    def look(self, name: str, version: str = "") -> StoredObject | None:
        """What the server tells of an object without its bytes; None if there is none."""
        expecting = (Meaning.MISSING, Meaning.REFUSED) if version else _ABSENT
        try:
            answer = self.ask_about("head_object", name, version, expecting=expecting)
        except Told as told:
            # What can't be a version id of this server is refused, and so is a session that has ended: an
            # answer to HEAD has no words that would tell them apart.
            self._look_at_bucket(again=told.meaning is Meaning.REFUSED)
            return None
        self._seen = True
        return _stored(answer, version)

    def _look_at_bucket(self, *, again: bool) -> None:
        # Whether the object or the bucket is not there is asked once.
        if self._seen and not again:
            return
        try:
            self.ask("head_bucket", "the bucket", expecting=(Meaning.MISSING, Meaning.DENIED))
        except Told as told:
            if told.meaning is Meaning.MISSING:
                raise PlaceError(
                    f"{self._settings.name}: there is no bucket {self._settings.bucket}",
                    place=self._settings.name,
                ) from None
        self._seen = True

    @property
    def versioned(self) -> bool:
        """Whether objects have versions there, so that each has an id of its own."""
        if self._versioned is None:
            try:
                answer = self.ask(
                    "get_bucket_versioning",
                    "the bucket's versions",
                    expecting=(Meaning.UNSUPPORTED, Meaning.DENIED),
                )
            except Told:
                answer = {}
            self._versioned = answer.get("Status") in ("Enabled", "Suspended")
        return self._versioned

    def copies(self, prefix: str) -> Iterator[Copy]:
        """Every object that has the name of a file, of each all versions."""
        for entry in self.entries(prefix):
            name = entry["Key"].removeprefix(self._settings.prefix)
            try:
                check_file_name(name)
            except AccessError:
                continue
            version = str(entry["VersionId"]) if self.versioned else ""
            yield Copy(name=name, size_bytes=int(entry["Size"]), version=version)

    def entries(self, prefix: str) -> Iterator[dict[str, Any]]:
        """What the server lists below the prefix of the destination and this one."""
        facts: dict[str, Any] = {"Prefix": self._settings.prefix + prefix}
        if self.versioned:
            verb, found, marks = "list_object_versions", "Versions", ["KeyMarker", "VersionIdMarker"]
        else:
            verb, found, marks = "list_objects_v2", "Contents", ["ContinuationToken"]
        while True:
            answer = self.ask(verb, "listing", **facts)
            yield from answer.get(found, ())
            if not answer.get("IsTruncated"):
                return
            facts |= {mark: answer[f"Next{mark}"] for mark in marks if answer.get(f"Next{mark}")}

    def put(
        self,
        name: str,
        data: bytes | bytearray,
        told: dict[str, str],
        *,
        only_new: bool,
        before_again: Callable[[], Any] | None = None,
    ) -> Any:
        """Put a whole object. Raises Told (EXISTS, UNSUPPORTED) where ``only_new`` is refused."""
        facts = {"IfNoneMatch": "*"} if only_new else {}
        return self.ask_about(
            "put_object",
            name,
            Body=data,
            ContentMD5=md5_text(data),
            Metadata=told,
            expecting=(Meaning.EXISTS, Meaning.UNSUPPORTED) if only_new else (),
            before_again=before_again,
            **self.stored_as(name),
            **facts,
        )

    def stored_as(self, name: str) -> dict[str, str]:
        """The storage class in which a file is put. What every restore reads first is never put in a cold
        one: only archives of mail are."""
        chosen = self._settings.storage_class
        if not chosen or (chosen in COLD_CLASSES and not _is_archive(name)):
            return {}
        return {"StorageClass": chosen}

    def is_cold(self, name: str) -> bool:
        """Whether a file that is put under this name can't be read at once."""
        return self.stored_as(name).get("StorageClass", "") in COLD_CLASSES

    def read(self, name: str, version: str, offset: int, length: int, size_bytes: int) -> bytes:
        """One stretch of an object of this size, by one range a request. Raises Told (MISSING, COLD)."""
        for attempt in range(1, ATTEMPTS + 1):
            answer = self.ask_about(
                "get_object",
                name,
                version,
                Range=f"bytes={offset}-{offset + length - 1}",
                expecting=(Meaning.MISSING, Meaning.COLD),
            )
            expected = f"bytes {offset}-{offset + length - 1}/{size_bytes}"
            if answer.get("ContentRange", expected if length == size_bytes else "") != expected:
                answer["Body"].close()
                raise PlaceError(
                    f"{self._settings.name}: {name}: {expected} was asked for, and "
                    f"{answer.get('ContentRange', 'all of it')} came",
                    place=self._settings.name,
                    file=name,
                )
            data = self._connection.received(answer["Body"], length, attempt, name)
            if data is not None:
                return data
        raise PlaceUnavailableError(
            f"{self._settings.name}: {name} comes in pieces", place=self._settings.name
        )

    def drop(self, name: str, version: str) -> None:
        """Remove one version for good; where there are none, the object."""
        # That it is not allowed is the usual answer to who sweeps, and to what is locked: it is not doubted.
        try:
            self.ask_about("delete_object", name, version, expecting=(Meaning.MISSING, Meaning.DENIED))
        except Told as told:
            if told.meaning is Meaning.DENIED:
                raise self.told(AccessError, name, "may not be removed") from told.__cause__

    def told(self, error: type[BackupError], name: str, text: str, **facts: object) -> BackupError:
        """An error about a file, that says where."""
        return error(f"{self._settings.name}: {name} {text}", place=self._settings.name, file=name, **facts)


def md5_text(data: bytes | bytearray) -> str:
    """What a server checks the bytes it received by."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _is_archive(name: str) -> bool:
    try:
        parse_name(name)
    except AccessError:
        return False
    return not name.startswith("_")


def _stored(answer: dict[str, Any], version: str) -> StoredObject:
    told = answer.get("Metadata", {})
    until = answer.get("ObjectLockRetainUntilDate")
    restore = str(answer.get("Restore", ""))
    cold = answer.get("StorageClass", "") in COLD_CLASSES or "ArchiveStatus" in answer
    return StoredObject(
        size_bytes=int(answer["ContentLength"]),
        version=str(answer.get("VersionId") or version),
        token=told.get(PUT, ""),
        checksum=_digest(told.get(CHECKSUM, "")),
        mode=answer.get("ObjectLockMode", "") if until else "",
        until=until.astimezone(UTC) if until else None,
        held=answer.get("ObjectLockLegalHoldStatus") == "ON",
        thawed=not cold or 'ongoing-request="false"' in restore,
        thawing='ongoing-request="true"' in restore,
    )


def _digest(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return b""
    return found if len(found) == 32 else b""
