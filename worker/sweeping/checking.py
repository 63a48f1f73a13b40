"""A file that is checked while it is copied: whoever reads it gets its last bytes only if all of it is as it
should be. So it is read once, and a place in which a part of a file is never seen is left without a copy."""

from __future__ import annotations

from contextlib import suppress

from blake3 import blake3

from ...proto.archive.files import RandomAccess
from ...proto.archive.frames import HEADER_BYTES, FrameHeader, decode_any_header
from ...proto.archive.reader import open_sealed
from ...proto.errors import DamagedError, EncryptedError
from ...proto.records import ArchiveId

_PIECE_BYTES = 4 << 20


class CheckedSource:
    """A file for who reads it from front to back. See RandomAccess; the caller closes the file itself.

    If it is an ``archive``, every frame has to be as it was written, none may be missing, and the footer must
    lead to a directory. All of it must have the BLAKE3 ``checksum``, if one is given. Else ``read_at`` raises
    DamagedError, at the latest for the last bytes, and from then on. Bytes that are read again are not
    checked again.

    Raises DamagedError, UnsupportedError.
    """

    def __init__(
        self, file: RandomAccess, *, archive: ArchiveId | None = None, checksum: bytes = b""
    ) -> None:
        self.name, self.size = file.name, file.size
        if archive is not None:
            with suppress(EncryptedError):  # its end is there; what that tells is not asked for
                open_sealed(file)
        self._file = file
        self._frames = None if archive is None else _Frames(file.name, archive)
        self._expected = checksum
        self._hashed = blake3()
        self._at = 0
        self._found: DamagedError | None = None

    def read_at(self, offset: int, length: int) -> bytes:
        """See RandomAccess."""
        if self._found is not None:
            raise self._found
        data = self._file.read_at(offset, length)
        if offset <= self._at < offset + len(data):
            try:
                self._check(memoryview(data)[self._at - offset :])
            except DamagedError as error:
                self._found = error
                raise
        return data

    def read_rest(self) -> bytes:
        """Read what nobody has read yet, if anything; returns the BLAKE3 digest of the file. Raises
        DamagedError."""
        while self._at < self.size:
            if not self.read_at(self._at, min(_PIECE_BYTES, self.size - self._at)):
                raise DamagedError(f"{self.name} ends at {self._at}, not at {self.size}", reason="truncated")
        return self._hashed.digest()

    def close(self) -> None:
        """See RandomAccess."""

    def _check(self, data: memoryview) -> None:
        self._hashed.update(data)
        if self._frames is not None:
            self._frames.feed(data)
        self._at += len(data)
        if self._at == self.size:
            if self._frames is not None:
                self._frames.end()
            if self._expected not in (b"", self._hashed.digest()):
                raise DamagedError(
                    f"{self.name} is not what was copied before: it was damaged since", reason="changed"
                )


def digest(file: RandomAccess) -> bytes:
    """The BLAKE3 digest of any file. Raises DamagedError."""
    return CheckedSource(file).read_rest()


class _Frames:
    """The frames of an archive, as they come along."""

    def __init__(self, name: str, archive: ArchiveId) -> None:
        self._name, self._archive = name, archive
        self._begun = b""
        self._header: FrameHeader | None = None
        self._payload = blake3()
        self._left = 0
        self._at = self._count = 0

    def feed(self, data: memoryview) -> None:
        """The next bytes. Raises DamagedError."""
        while data:
            if self._header is None:
                taken = HEADER_BYTES - len(self._begun)
                self._begun += data[:taken]
                if len(self._begun) == HEADER_BYTES:
                    self._begin()
            else:
                taken = self._left
                self._payload.update(data[:taken])
                self._left -= min(taken, len(data))
            if self._header is not None and not self._left:
                self._finish(self._header)
            data = data[taken:]

    def end(self) -> None:
        """There are no more. Raises DamagedError inside a frame."""
        if self._begun:
            raise DamagedError(f"{self._where()}: the file ends inside a frame", reason="truncated")

    def _begin(self) -> None:
        header, _ = decode_any_header(self._begun, self._where(), self._archive)
        if header.sequence != self._count:
            raise DamagedError(
                f"{self._where()}: frame {self._count} is missing or out of place", reason="sequence"
            )
        self._header, self._left, self._payload = header, header.stored_bytes, blake3()

    def _finish(self, header: FrameHeader) -> None:
        if self._payload.digest(length=len(header.checksum)) != header.checksum:
            raise DamagedError(
                f"{self._where()}: the checksum of the frame does not match", reason="checksum"
            )
        self._at += HEADER_BYTES + header.stored_bytes
        self._count += 1
        self._header, self._begun = None, b""

    def _where(self) -> str:
        return f"{self._name} at {self._at}"
