"""A tape drive of the Linux driver ``st``."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from ....proto.errors import AccessError, BackupError, DamagedError, PlaceError, PlaceUnavailableError
from . import mtio
from .alerts import read_alerts
from .drive import DriveStatus, EndOfTapeError, Mark
from .mtio import Operation

DEVICES = "/dev/tape/by-id/"
NO_REWIND = "-nst"
_BUFFER_BYTES = 1 << 20
_MOST_RECORD = 16 << 20
_FIRST_WAIT, _MOST_WAIT = 0.5, 10.0

_SET = mtio.BUFFER_WRITES | mtio.LOGICAL_BLOCKS
_CLEARED = (
    # An error would name a record that was written before.
    mtio.ASYNC_WRITES
    | mtio.READ_AHEAD
    | mtio.TWO_FILEMARKS
    | mtio.FAST_END
    | mtio.SYSV
    | mtio.NO_WAIT
    | mtio.SILI
    # A filemark that is not waited for makes nothing durable.
    | mtio.NO_WAIT_FILEMARKS
)

_GENERATIONS = {
    0x40: "LTO-1", 0x42: "LTO-2", 0x44: "LTO-3", 0x46: "LTO-4", 0x58: "LTO-5", 0x5A: "LTO-6", 0x5C: "LTO-7",
    0x5D: "LTO-7 M8", 0x5E: "LTO-8", 0x60: "LTO-9",
}  # fmt: skip


def check_device(path: str) -> None:
    """Raise AccessError for a name that may be another drive after the next start, and for a device that
    rewinds when it is closed: what is written then begins at the label."""
    if not path.startswith(DEVICES) or not path.endswith(NO_REWIND):
        raise AccessError(f"{path} is no lasting name of a drive: take {DEVICES}*{NO_REWIND}", path=path)
    try:
        fit = mtio.is_tape_without_rewind(path)
    except OSError as error:
        raise _translated(error, path) from error
    if not fit:
        raise AccessError(f"{path} is no tape drive that does not rewind when it is closed", path=path)


def is_online(path: str) -> bool:
    """Whether a volume is ready in a drive. Does not wait. Raises PlaceUnavailableError, AccessError."""
    try:
        # Without O_NONBLOCK an empty drive is waited for, minutes long.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return mtio.status(fd).online
        finally:
            os.close(fd)
    except OSError as error:
        raise _translated(error, path) from error


def eject(path: str) -> None:
    """Let go of the volume in a drive: rewound and out, or ready for a robot to take."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with suppress(OSError):
                mtio.do(fd, Operation.UNLOCK)
            mtio.do(fd, Operation.EJECT)
        finally:
            os.close(fd)
    except OSError as error:
        raise _translated(error, path) from error


def wait_until_online(path: str, most_seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """A volume takes from seconds to half an hour until it is ready, a new one of LTO-9 two hours. Raises
    PlaceUnavailableError if that takes longer than ``most_seconds``."""
    until = time.monotonic() + most_seconds
    wait = _FIRST_WAIT
    while not is_online(path):
        left = until - time.monotonic()
        if left <= 0:
            raise PlaceUnavailableError(
                f"{path}: no volume became ready in {most_seconds:.0f} seconds", path=path
            )
        sleep(min(wait, left))
        wait = min(2 * wait, _MOST_WAIT)


class StDrive:
    """See Drive. It counts blocks itself and asks the drive after errors; where that can't tell (old drives,
    emulated ones), it goes back to the beginning and reads forward.

    One descriptor, which no child process inherits: a second one would keep the drive busy, and a copy would
    put off the end of what is written. The door is locked where the drive can do that.
    """

    def __init__(self, path: str, on_close: Callable[[], object] = lambda: None) -> None:
        """The volume has to be ready. Raises PlaceUnavailableError, AccessError, PlaceError."""
        check_device(path)
        self.name = path
        self._on_close = on_close
        self._protected = False
        self._buffer_bytes = _BUFFER_BYTES
        self._surely_larger = True  # than any record: what fills the buffer is suspicious
        self._at: int | None = None
        self._after_mark = False
        self._fd = self._opened()
        try:
            self._set_up()
            self.rewind()
            self._tells = self._told() is not None
        except BaseException:
            os.close(self._fd)
            raise

    def _opened(self) -> int:
        try:
            return os.open(self.name, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise _translated(error, self.name) from error
        try:
            self._protected = True
            return os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _translated(error, self.name) from error

    def _set_up(self) -> None:
        """All settings are those of whoever used the drive last."""
        self._do(Operation.BLOCK_SIZE, 0)
        self._do(Operation.OPTIONS, mtio.SET_OPTIONS | _SET)
        self._do(Operation.OPTIONS, mtio.CLEAR_OPTIONS | _CLEARED)
        for operation, count in ((Operation.OPTIONS, 1), (Operation.COMPRESSION, 1), (Operation.LOCK, 1)):
            # Not every drive can.
            with suppress(OSError):
                mtio.do(self._fd, operation, count)

    def read_record(self) -> bytes | Mark:
        """See Drive."""
        at = self._known()
        while True:
            try:
                record = os.read(self._fd, self._buffer_bytes)
            except OSError as error:
                self._at = None
                if error.errno == errno.ENOMEM and self._buffer_bytes < _MOST_RECORD:
                    # Longer than the buffer: it is lost, and the tape has moved on.
                    self._buffer_bytes *= 2
                    self.locate(at)
                    continue
                if error.errno == errno.EINVAL and self._buffer_bytes > _BUFFER_BYTES:
                    # More than the adapter takes at once.
                    self._buffer_bytes //= 2
                    self._at, self._surely_larger = at, False
                    continue
                if error.errno == errno.EIO and self._ends(at):
                    return Mark.END
                raise DamagedError(
                    f"{self.name}: block {at} can't be read: {error.strerror}", reason="io-error"
                ) from error
            if not self._fills(record):
                break
            self._at = None
            if self._ends(at):
                # Emulated drives say at the end of what was written that they have filled the buffer.
                return Mark.END
            self._buffer_bytes *= 2
            self.locate(at)
        if record:
            self._after_mark = False
        elif self._after_mark:
            # The second one in a row; a third read would be an error.
            return Mark.END
        else:
            self._after_mark = True
        self._at = at + 1
        return record or Mark.FILEMARK

    def write_record(self, record: bytes) -> None:
        """See Drive."""
        at = self.position()
        self._at, self._after_mark = None, False
        try:
            written = os.write(self._fd, record)
        except OSError as error:
            raise self._refused(error, f"block {at} was not written") from error
        if written < len(record):
            raise PlaceError(f"{self.name}: only {written} of {len(record)} bytes of block {at} were written")
        self._at = None if at is None else at + 1

    def write_filemark(self) -> None:
        """See Drive. Also checks that the tape is where it should be: nobody else has moved it."""
        at = self.position()
        self._at, self._after_mark = None, False
        try:
            mtio.do(self._fd, Operation.WRITE_FILEMARKS, 1)
        except OSError as error:
            raise self._refused(error, f"the filemark at block {at} was not written") from error
        if at is None:
            return
        told = self._told() if self._tells else None
        if told is not None and told != at + 1:
            raise PlaceError(f"{self.name}: the drive is at block {told}, not {at + 1}: it was moved")
        self._at = at + 1

    def rewind(self) -> None:
        """See Drive."""
        self._at, self._after_mark = None, False
        self._do(Operation.REWIND)
        self._at = 0

    def locate(self, block: int) -> None:
        """See Drive."""
        if self._at == block:
            return
        if not self._tells:
            self._read_forward_to(block)
            return
        self._at, self._after_mark = None, False
        with suppress(OSError):
            mtio.do(self._fd, Operation.SEEK, block)
        if self.position() != block:
            raise PlaceError(f"{self.name}: there is no block {block}", block=block)

    def _read_forward_to(self, block: int) -> None:
        if self._at is None or self._at > block:
            self.rewind()
        while self._at != block:
            try:
                record = self.read_record()
            except DamagedError as error:
                raise PlaceError(f"{self.name}: block {block} can't be reached", block=block) from error
            if record is Mark.END:
                raise PlaceError(f"{self.name}: there is no block {block}", block=block)
        self._after_mark = False

    def locate_end(self) -> None:
        """See Drive."""
        if not self._tells:
            while self.read_record() is not Mark.END:
                pass
            self._after_mark = False
            return
        self._at, self._after_mark = None, False
        self._do(Operation.END)

    def position(self) -> int | None:
        """See Drive."""
        if self._at is None and self._tells:
            self._at = self._told()
        return self._at

    def is_blank(self) -> bool:
        """See Drive. Needs CAP_SYS_RAWIO."""
        self.rewind()
        return self._ends(0)

    def status(self) -> DriveStatus:
        """See Drive."""
        try:
            told = mtio.status(self._fd)
        except OSError as error:
            raise _translated(error, self.name) from error
        known = _GENERATIONS.get(told.density)
        density = f"density {told.density:#x}" if told.density else ""
        return DriveStatus(
            write_protected=self._protected or told.write_protected, generation=known or density
        )

    def alerts(self) -> Sequence[str]:
        """See Drive."""
        return read_alerts(self.name)

    def close(self) -> None:
        """See Drive."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            with suppress(OSError):
                mtio.do(fd, Operation.UNLOCK)
            # What counts is before a filemark that was checked: nothing depends on this.
            with suppress(OSError):
                os.close(fd)
        finally:
            self._on_close()

    def _fills(self, record: bytes) -> bool:
        """Whether the buffer may have been too small for what was read."""
        return self._surely_larger and len(record) == self._buffer_bytes

    def _known(self) -> int:
        """Where the tape is."""
        at = self.position()
        if at is None:
            raise PlaceError(f"{self.name}: the drive does not tell where the tape is")
        return at

    def _told(self) -> int | None:
        try:
            return mtio.position(self._fd)
        except OSError:
            return None

    def _ends(self, block: int) -> bool:
        """Whether nothing was ever written from a block on. Leaves the tape there if so."""
        try:
            self.locate(block)
            ends = mtio.nothing_behind(self._fd)
        except (OSError, PlaceError):
            ends = False
        self._at = block if ends else None
        self._after_mark = False
        return ends

    def _do(self, operation: Operation, count: int = 1) -> None:
        try:
            mtio.do(self._fd, operation, count)
        except OSError as error:
            raise _translated(error, self.name, operation.name.lower().replace("_", " ")) from error

    def _refused(self, error: OSError, what: str) -> BackupError:
        if error.errno == errno.ENOSPC:
            return EndOfTapeError(f"{self.name}: the end of the tape is near", volume=self.name)
        return _translated(error, self.name, what)


def _translated(error: OSError, path: str, what: str = "") -> BackupError:
    text = f"{path}: {what}: {error.strerror}" if what else f"{path}: {error.strerror}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(text, path=path)
    if error.errno in (errno.EBUSY, errno.ENOMEDIUM, errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EAGAIN):
        return PlaceUnavailableError(text, path=path)
    return PlaceError(text, path=path)
