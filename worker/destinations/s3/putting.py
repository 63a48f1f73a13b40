"""How a file gets into a bucket: at once if it is small, else in parts that are sent side by side.

Never over another object, and never repeated blindly: a request that may have been heard is looked after by
the object's own token before anything is sent again.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections import deque
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from ....proto.archive.files import RandomAccess
from ....proto.errors import (
    BackupError,
    ExistsError,
    NotYetError,
    PlaceError,
    PlaceUnavailableError,
)
from ....proto.structs import replace
from ...archives.ports import Copy, OnBytes
from ..copying import is_same
from .answers import Meaning
from .bucket import CHECKSUM, PUT, SIZE, Bucket, StoredObject, md5_text
from .connection import Connection, Told
from .dialect import Dialect
from .parts import USUAL_PART_BYTES, ReadOnce, digest_of, on_their_way, part_bytes
from .reading import S3File
from .uploads import Upload, Uploads

_log = logging.getLogger(__name__)

_FORGOTTEN_AFTER = timedelta(days=7)
"""An upload below our prefix that nobody has written down here, of another host or of a staging area that is
no more, is given up when it is so old."""

_LOOKS = 4


class Putting:
    """Puts files into one bucket, as its server's dialect allows."""

    def __init__(self, connection: Connection, bucket: Bucket, uploads: Uploads) -> None:
        self._connection = connection
        self._bucket = bucket
        self._uploads = uploads
        self._place = connection.settings.name
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def put(
        self,
        name: str,
        source: RandomAccess,
        dialect: Dialect,
        on_bytes: OnBytes,
        instead_of: Collection[str] = (),
    ) -> Copy:
        """See ``Place.put``. What is damaged gets another version on top, which needs no right to remove
        anything; without versions it is replaced."""
        if instead_of:
            found = self._bucket.look(name)
            if found is not None:
                # What an object tells of itself does not tell whether its bytes are still that.
                if found.version not in instead_of:
                    try:
                        return self._same(name, found, source)
                    except ExistsError:
                        # A version on top does no harm to what is there.
                        if not self._bucket.versioned:
                            raise
                dialect = replace(dialect, only_new=False)
                if source.size <= USUAL_PART_BYTES:
                    return self._put_whole(name, source, dialect, on_bytes)
                return self._put_parts(name, source, dialect, on_bytes)
        # Where the server itself refuses to overwrite, a small file needs no look before.
        small = source.size <= USUAL_PART_BYTES
        if not (small and dialect.only_new):
            found = self._bucket.look(name)
            if found is not None:
                return self._same(name, found, source)
        if small:
            return self._put_whole(name, source, dialect, on_bytes)
        return self._put_parts(name, source, dialect, on_bytes)

    def _put_whole(self, name: str, source: RandomAccess, dialect: Dialect, on_bytes: OnBytes) -> Copy:
        reading = ReadOnce(source)
        data = reading.fill(bytearray(source.size))
        token = secrets.token_hex(16)
        told = {PUT: token, SIZE: str(len(data)), CHECKSUM: reading.digest.hex()}

        def ours() -> StoredObject | None:
            found = self._bucket.look(name)
            return found if found is not None and found.token == token else None

        try:
            answer = self._bucket.put(name, data, told, only_new=dialect.only_new, before_again=ours)
        except Told:
            found = self._bucket.look(name)
            if found is None:
                raise self._error(PlaceUnavailableError, name, "was there and is not any more") from None
            if found.token != token:
                return self._same(name, found, source)
            answer = found
        version = answer.version if isinstance(answer, StoredObject) else str(answer.get("VersionId") or "")
        if not self._bucket.versioned:
            version = ""
        copy = Copy(name=name, size_bytes=len(data), version=version, checksum=reading.digest)
        self._check_arrival(copy, dialect)
        on_bytes(len(data))
        return copy

    def _put_parts(self, name: str, source: RandomAccess, dialect: Dialect, on_bytes: OnBytes) -> Copy:
        told = {PUT: secrets.token_hex(16), SIZE: str(source.size)}
        if self._bucket.is_cold(name):
            # It can't be read back for hours: what it is has to be told beforehand.
            told[CHECKSUM] = digest_of(source).hex()
        upload = self._uploads.begin(name, told[PUT])
        try:
            answer = self._bucket.ask_about(
                "create_multipart_upload", name, Metadata=told, **self._bucket.stored_as(name)
            )
            upload.record(str(answer["UploadId"]))
            reading = ReadOnce(source)
            parts = self._send_parts(upload, reading, source.size, on_bytes)
            if told.get(CHECKSUM, reading.digest.hex()) != reading.digest.hex():
                raise self._error(PlaceUnavailableError, name, "changed while it was read")
            found = self._complete(upload, parts, dialect)
        except BaseException:
            self._give_up(upload)
            raise
        if found is None:
            return self._overtaken(name, source, upload)
        upload.end()
        copy = Copy(name=name, size_bytes=source.size, version=found.version, checksum=reading.digest)
        self._check_arrival(copy, dialect)
        return copy

    def _send_parts(
        self, upload: Upload, reading: ReadOnce, size_bytes: int, on_bytes: OnBytes
    ) -> list[dict[str, Any]]:
        """Read here, send from other threads; no more parts are in memory than are on their way."""
        length = part_bytes(size_bytes)
        most = on_their_way(length, self._connection.settings.part_threads)
        pool = self._threads()
        waiting: deque[tuple[bytearray, int, Future[str]]] = deque()
        sent: list[dict[str, Any]] = []

        def take() -> bytearray:
            """Wait for the first that is on its way; its buffer is free again."""
            buffer, count, future = waiting.popleft()
            sent.append({"PartNumber": len(sent) + 1, "ETag": future.result()})
            on_bytes(count)
            return buffer

        free: list[bytearray] = []
        number = 0
        try:
            while reading.left:
                number += 1
                buffer = free.pop() if free else bytearray(length)
                data = reading.fill(buffer)
                if len(waiting) >= most:
                    free.append(take())
                future = pool.submit(self._send_part, upload, number, data)
                waiting.append((buffer, len(data), future))
            while waiting:
                take()
        finally:
            # A part that arrives after the upload was given up would stay there.
            for _, _, future in waiting:
                if not future.cancel():
                    future.exception()
        return sent

    def _send_part(self, upload: Upload, number: int, data: bytes | bytearray) -> str:
        answer = self._bucket.ask_about(
            "upload_part",
            upload.name,
            UploadId=upload.id,
            PartNumber=number,
            Body=data,
            ContentMD5=md5_text(data),
        )
        return str(answer["ETag"])

    def _complete(self, upload: Upload, parts: list[dict[str, Any]], dialect: Dialect) -> StoredObject | None:
        """Put the parts together, and look at what is there now; None if another object has the name.

        Asked once: whether it was done is told by the object, never by asking again, for servers answer the
        second time that all is well, with nothing in it, or that they have failed.
        """
        facts = {"IfNoneMatch": "*"} if dialect.only_new else {}
        lost: BackupError | None = None
        try:
            self._bucket.ask_about(
                "complete_multipart_upload",
                upload.name,
                UploadId=upload.id,
                MultipartUpload={"Parts": parts},
                attempts=1,
                expecting=(Meaning.EXISTS,),
                **facts,
            )
        except Told:
            return None
        except BackupError as error:
            lost = error
        found = self._arrived(upload, lost)
        return found if found is not None and found.token == upload.token else None

    def _arrived(self, upload: Upload, lost: BackupError | None) -> StoredObject | None:
        """What has the name now. ``lost`` is why it is not known whether the upload was completed; it is
        raised if it was not."""
        for attempt in range(1, _LOOKS + 1):
            found = self._bucket.look(upload.name)
            if found is not None:
                return found
            if lost is not None and not lost.retryable:
                break
            self._connection.pause(attempt)
        if lost is None:
            raise self._error(PlaceUnavailableError, upload.name, "was stored and is not there")
        # It may be completed still, but not once it was given up.
        self._abort(upload)
        found = self._bucket.look(upload.name)
        if found is None:
            raise lost
        return found

    def _overtaken(self, name: str, source: RandomAccess, upload: Upload) -> Copy:
        """Another object has the name: of the same bytes, or that is an error."""
        self._give_up(upload)
        found = self._bucket.look(name)
        if found is None:
            raise self._error(PlaceUnavailableError, name, "was there and is not any more")
        return self._same(name, found, source)

    def _same(self, name: str, found: StoredObject, source: RandomAccess) -> Copy:
        """The copy that is there, if it is of these bytes."""
        copy = Copy(
            name=name,
            size_bytes=found.size_bytes,
            version=found.version,
            locked_until=found.locked_until,
        )
        digest: bytes | None = None
        if found.size_bytes == source.size:
            if found.checksum:
                mine = digest_of(source)
                digest = mine if mine == found.checksum else None
            elif not found.thawed:
                raise self._error(NotYetError, name, "lies in a cold class, and can't be compared")
            else:
                with closing(S3File(self._bucket, name, found)) as file:
                    digest = is_same(source, file)
        if digest is None:
            raise self._error(ExistsError, name, "is another file there")
        return Copy(
            name=name,
            size_bytes=copy.size_bytes,
            version=copy.version,
            checksum=digest,
            locked_until=copy.locked_until,
        )

    def _check_arrival(self, copy: Copy, dialect: Dialect) -> None:
        """Read back what a server has that does not check what it receives."""
        if dialect.checks_md5 or self._bucket.is_cold(copy.name):
            return
        found = self._bucket.look(copy.name, copy.version)
        if found is not None and found.size_bytes == copy.size_bytes:
            with closing(S3File(self._bucket, copy.name, found)) as file:
                if digest_of(file) == copy.checksum:
                    return
            self._bucket.drop(copy.name, copy.version)
        raise self._error(PlaceUnavailableError, copy.name, "did not arrive as it was sent")

    def _give_up(self, upload: Upload) -> None:
        """Let the server forget an upload; if it can't be told now, it is told later."""
        try:
            self._abort(upload)
        except BackupError as error:
            _log.warning("upload of %s is given up later: %s", upload.name, error)
            upload.leave()
        else:
            upload.end()

    def _abort(self, upload: Upload) -> None:
        """Repeatable; without an id, all uploads for that object that nobody here works at."""
        if upload.id:
            self._forget(self._bucket.key(upload.name), upload.id)
            return
        known = self._uploads.known_ids()
        for one in self._begun(self._bucket.key(upload.name)):
            if one["Key"] == self._bucket.key(upload.name) and one["UploadId"] not in known:
                self._forget(one["Key"], one["UploadId"])

    def give_up_orphans(self) -> None:
        """Let the server forget the uploads that were begun here and that nobody works at any more."""
        for upload in self._uploads.orphans():
            self._give_up(upload)

    def give_up_forgotten(self) -> None:
        """The same for old ones that are not written down here."""
        known = self._uploads.known_ids()
        before = datetime.now(UTC) - _FORGOTTEN_AFTER
        try:
            for one in self._begun(self._connection.settings.prefix):
                if one["Initiated"] < before and one["UploadId"] not in known:
                    self._forget(one["Key"], one["UploadId"])
        except BackupError as error:
            # Who may put need not be allowed to look: the bucket's own rule does it, too.
            _log.warning("uploads that were never completed can't be looked for: %s", error)

    def _begun(self, prefix: str) -> list[dict[str, Any]]:
        """All uploads of keys that begin so."""
        found: list[dict[str, Any]] = []
        facts: dict[str, Any] = {"Prefix": prefix}
        while True:
            answer = self._bucket.ask("list_multipart_uploads", "uploads", **facts)
            found += answer.get("Uploads", ())
            if not answer.get("IsTruncated"):
                return found
            facts |= {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }

    def _forget(self, key: str, upload_id: str) -> None:
        try:
            self._bucket.ask(
                "abort_multipart_upload", key, Key=key, UploadId=upload_id, expecting=(Meaning.MISSING,)
            )
        except Told:
            return

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pool[0] != os.getpid():
            threads = self._connection.settings.part_threads
            self._pool = os.getpid(), ThreadPoolExecutor(threads, thread_name_prefix="part")
        return self._pool[1]

    def close(self) -> None:
        """Repeatable."""
        made, self._pool = self._pool, None
        if made is not None and made[0] == os.getpid():
            made[1].shutdown(wait=True, cancel_futures=True)

    def _error(self, error: type[PlaceError], name: str, text: str) -> PlaceError:
        return error(f"{self._place}: {name} {text}", place=self._place, file=name)
