"""How long an object is kept from being removed: by retention until a date, and by a legal hold.

Set once the object is there, and read back: servers drop what is told when an upload in parts begins.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ....proto.errors import DamagedError, PlaceError
from ..settings import S3Destination
from .answers import Meaning
from .bucket import Bucket, StoredObject
from .connection import Told


class Retention:
    """Locks the objects of one bucket, as its settings say. A lock is only ever extended."""

    def __init__(self, bucket: Bucket, settings: S3Destination) -> None:
        self._bucket = bucket
        self._settings = settings

    def check(self) -> None:
        """Raises PlaceError if nothing is locked here."""
        if not self._settings.lock:
            raise PlaceError(
                f"{self._settings.name} locks nothing (lock is not set)", place=self._settings.name
            )

    def extend(self, name: str, version: str, until: datetime) -> datetime:
        """Lock until then, or until what it is locked already; what the server tells of it now. Raises
        PlaceError if it does not lock."""
        self.check()
        found = self._look(name, version)
        if found.until is None or found.until < until:
            self._set(name, found, _whole_seconds(until))
            found = self._look(name, found.version)
        if found.until is None or found.until < until:
            raise self._bucket.told(PlaceError, name, "was to be locked, and the server does not lock it")
        return found.until

    def hold(self, name: str, version: str) -> None:
        """Put a legal hold on a version, which somebody else has to end. Repeatable."""
        found = self._look(name, version)
        if found.held:
            return
        try:
            self._bucket.ask_about(
                "put_object_legal_hold",
                name,
                found.version,
                LegalHold={"Status": "ON"},
                expecting=(Meaning.UNSUPPORTED, Meaning.MISSING, Meaning.REFUSED),
            )
        except Told:
            found = self._look(name, version)
        else:
            found = self._look(name, found.version)
        if not found.held:
            raise self._bucket.told(PlaceError, name, "was to be held, and the server does not hold it")

    def _set(self, name: str, found: StoredObject, until: datetime) -> None:
        # A stronger mode is never taken back.
        mode = found.mode if found.mode == "COMPLIANCE" else self._settings.lock.upper()
        try:
            self._bucket.ask_about(
                "put_object_retention",
                name,
                found.version,
                Retention={"Mode": mode, "RetainUntilDate": until},
                expecting=(Meaning.UNSUPPORTED, Meaning.MISSING),
            )
        except Told as told:
            raise self._bucket.told(
                PlaceError, name, "can't be locked: the server has no locks"
            ) from told.__cause__

    def _look(self, name: str, version: str) -> StoredObject:
        found = self._bucket.look(name, version)
        if found is None:
            raise self._bucket.told(DamagedError, name, "is not there", reason="missing")
        return found


def _whole_seconds(until: datetime) -> datetime:
    """Servers drop parts of a second: never earlier than asked for."""
    until = until.astimezone(UTC)
    return until.replace(microsecond=0) + timedelta(seconds=bool(until.microsecond))
