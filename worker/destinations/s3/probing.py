"""What a server can do, found out by doing it: with small objects below the prefix, under names that no file
of a place has. They are removed again, where these credentials may do that.
"""

from __future__ import annotations

import secrets
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta

from ....proto.errors import AccessError, PlaceError
from ....proto.structs import replace
from ..settings import S3Destination
from .answers import Meaning
from .bucket import PUT, Bucket, md5_text
from .connection import Connection, Told
from .dialect import Dialect, keep_dialect
from .parts import USUAL_PART_BYTES
from .putting import Putting
from .reading import S3File
from .retention import Retention
from .uploads import Uploads

PROBES = ".check/"
"""Below the prefix: no name of a file begins with a dot."""

_LOCKED_SECONDS = 5
_LINE_BYTES = 4096


def probe(settings: S3Destination) -> Dialect:
    """Try a destination out, and keep what was found. Raises PlaceError for what it is configured to do and
    can't; and whatever the methods of a place may raise."""
    connection = Connection(replace(settings, prefix=settings.prefix + PROBES))
    with closing(connection):
        dialect = _Probe(connection).run()
    keep_dialect(settings.journal, dialect)
    return dialect


class _Probe:
    """One trial, under names of its own."""

    def __init__(self, connection: Connection) -> None:
        self._settings = connection.settings
        self._connection = connection
        self._bucket = Bucket(connection)
        self._token = secrets.token_hex(8)

    def run(self) -> Dialect:
        self._remove_all()
        self._try_storage_class()
        found = Dialect(
            checks_md5=self._checks_md5(), only_new=self._only_new(), versions=self._bucket.versioned
        )
        name, version = self._try_parts(found)
        if self._settings.lock:
            self._try_lock(name, version)
        return replace(found, locks=bool(self._settings.lock), removes=self._remove_all())

    def _name(self, what: str) -> str:
        return f"{self._token}-{what}"

    def _try_storage_class(self) -> None:
        if not self._settings.storage_class:
            return
        try:
            self._bucket.ask_about(
                "put_object",
                self._name("class"),
                Body=b"",
                ContentMD5=md5_text(b""),
                StorageClass=self._settings.storage_class,
                expecting=(Meaning.REFUSED,),
            )
        except Told:
            raise self._unfit(f"has no storage class {self._settings.storage_class}") from None

    def _checks_md5(self) -> bool:
        try:
            self._bucket.ask_about(
                "put_object",
                self._name("spoilt"),
                Body=b"one",
                ContentMD5=md5_text(b"another"),
                attempts=1,
                expecting=(Meaning.SPOILT, Meaning.REFUSED),
            )
        except Told:
            return True
        return False

    def _only_new(self) -> bool:
        name = self._name("new")
        self._bucket.put(name, b"first", {PUT: self._token}, only_new=False)
        refused = Meaning.REFUSED
        try:
            self._bucket.put(name, b"other", {PUT: self._token}, only_new=True)
        except Told as told:
            refused = told.meaning
        if self._bucket.read(name, "", 1, 3, 5) not in (b"irs", b"the"):
            raise self._unfit("does not give back what was put")
        return refused is Meaning.EXISTS

    def _try_parts(self, found: Dialect) -> tuple[str, str]:
        """Puts an object in two parts and reads over the seam of them."""
        source = _Lines(USUAL_PART_BYTES + 1)
        name = self._name("parts")
        with closing(Putting(self._connection, self._bucket, Uploads(self._settings.journal))) as putting:
            copy = putting.put(name, source, found, lambda _size_bytes: None)
        there = self._bucket.look(name, copy.version)
        at = USUAL_PART_BYTES - 8
        if there is None or S3File(self._bucket, name, there).read_at(at, 9) != source.read_at(at, 9):
            raise self._unfit("does not give back what was put in parts")
        return name, copy.version

    def _try_lock(self, name: str, version: str) -> None:
        until = datetime.now(UTC) + timedelta(seconds=_LOCKED_SECONDS)
        Retention(self._bucket, self._settings).extend(name, version, until)
        with suppress(AccessError):
            self._bucket.drop(name, version)
        if self._bucket.look(name, version) is None:
            raise self._unfit("lets go of what is locked")

    def _remove_all(self) -> bool:
        """Remove what this and earlier trials have left; whether that is allowed. What is locked stays."""
        allowed = True
        for copy in self._bucket.copies(""):
            there = self._bucket.look(copy.name, copy.version)
            if there is None or (there.locked_until or datetime.min.replace(tzinfo=UTC)) > datetime.now(UTC):
                continue
            try:
                self._bucket.drop(copy.name, copy.version)
            except AccessError:
                allowed = False
                break
        return allowed

    def _unfit(self, text: str) -> PlaceError:
        return PlaceError(f"{self._settings.name} {text}", place=self._settings.name)


class _Lines:
    """A RandomAccess over bytes whose places can be told apart."""

    name = "probe"

    def __init__(self, size: int) -> None:
        self.size = size
        count = -(-size // _LINE_BYTES)
        self._data = b"".join(b"%08d" % number * (_LINE_BYTES // 8) for number in range(count))[:size]

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """See RandomAccess."""
