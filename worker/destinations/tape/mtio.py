"""The calls of the Linux tape driver (``st``), as numbers and structures: see ``linux/mtio.h`` and st(4)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from enum import IntEnum

from ....proto.structs import Record

_WRITE, _READ = 1, 2
_TOP = struct.Struct("hi")
_STATUS = struct.Struct("lllllii")
_POSITION = struct.Struct("l")


def _number(direction: int, number: int, size: int) -> int:
    """As the kernel puts these together on all but a few old architectures."""
    return direction << 30 | size << 16 | ord("m") << 8 | number


_MTIOCTOP = _number(_WRITE, 1, _TOP.size)
_MTIOCGET = _number(_READ, 2, _STATUS.size)
_MTIOCPOS = _number(_READ, 3, _POSITION.size)


class Operation(IntEnum):
    """What MTIOCTOP does, so many times."""

    WRITE_FILEMARKS = 5
    REWIND = 6
    EJECT = 7
    END = 12
    BLOCK_SIZE = 20
    SEEK = 22
    OPTIONS = 24
    LOCK = 28
    UNLOCK = 29
    COMPRESSION = 32


SET_OPTIONS = 0x30000000
CLEAR_OPTIONS = 0x40000000
BUFFER_WRITES = 0x1
ASYNC_WRITES = 0x2
READ_AHEAD = 0x4
TWO_FILEMARKS = 0x10
FAST_END = 0x20
LOGICAL_BLOCKS = 0x800
SYSV = 0x1000
NO_WAIT = 0x2000
SILI = 0x4000
NO_WAIT_FILEMARKS = 0x8000


class Status(Record):
    """What MTIOCGET tells. ``density`` is the code of the format, 0 where the drive does not tell."""

    online: bool
    write_protected: bool
    end_of_data: bool
    density: int


def do(fd: int, operation: Operation, count: int = 1) -> None:
    """MTIOCTOP. Raises OSError."""
    fcntl.ioctl(fd, _MTIOCTOP, _TOP.pack(operation, count))


def status(fd: int) -> Status:
    """MTIOCGET. Raises OSError."""
    fields = _STATUS.unpack(fcntl.ioctl(fd, _MTIOCGET, bytes(_STATUS.size)))
    general = fields[3]
    return Status(
        online=bool(general & 0x01000000),
        write_protected=bool(general & 0x04000000),
        end_of_data=bool(general & 0x08000000),
        density=fields[2] >> 24 & 0xFF,
    )


def position(fd: int) -> int:
    """MTIOCPOS: the number of the next block. Raises OSError where the drive does not tell."""
    (block,) = _POSITION.unpack(fcntl.ioctl(fd, _MTIOCPOS, bytes(_POSITION.size)))
    return int(block)


# One read past the driver: only its sense data tells a blank tape from one that can't be read.

_SG_IO = 0x2285
_FROM_DEVICE = -3
_BLANK_CHECK = 8
_PROBE_BYTES = 65_536
_TIMEOUT_MS = 600_000


class _Request(ctypes.Structure):
    """``sg_io_hdr``."""

    _fields_ = (
        ("interface_id", ctypes.c_int),
        ("dxfer_direction", ctypes.c_int),
        ("cmd_len", ctypes.c_ubyte),
        ("mx_sb_len", ctypes.c_ubyte),
        ("iovec_count", ctypes.c_ushort),
        ("dxfer_len", ctypes.c_uint),
        ("dxferp", ctypes.c_void_p),
        ("cmdp", ctypes.c_void_p),
        ("sbp", ctypes.c_void_p),
        ("timeout", ctypes.c_uint),
        ("flags", ctypes.c_uint),
        ("pack_id", ctypes.c_int),
        ("usr_ptr", ctypes.c_void_p),
        ("status", ctypes.c_ubyte),
        ("masked_status", ctypes.c_ubyte),
        ("msg_status", ctypes.c_ubyte),
        ("sb_len_wr", ctypes.c_ubyte),
        ("host_status", ctypes.c_ushort),
        ("driver_status", ctypes.c_ushort),
        ("resid", ctypes.c_int),
        ("duration", ctypes.c_uint),
        ("info", ctypes.c_uint),
    )


def nothing_behind(fd: int) -> bool:
    """Whether the drive says that nothing was ever written behind where it is. Moves the tape.

    Not knowing is no: the call needs CAP_SYS_RAWIO.
    """
    command = (ctypes.c_ubyte * 6)(0x08, 0, *_PROBE_BYTES.to_bytes(3, "big"), 0)
    data = ctypes.create_string_buffer(_PROBE_BYTES)
    sense = ctypes.create_string_buffer(32)
    request = _Request(
        interface_id=ord("S"),
        dxfer_direction=_FROM_DEVICE,
        cmd_len=len(command),
        mx_sb_len=len(sense),
        dxfer_len=len(data),
        dxferp=ctypes.addressof(data),
        cmdp=ctypes.addressof(command),
        sbp=ctypes.addressof(sense),
        timeout=_TIMEOUT_MS,
    )
    try:
        fcntl.ioctl(fd, _SG_IO, request)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTTY, errno.EINVAL):
            return False
        raise
    return request.sb_len_wr >= 3 and _sense_key(sense.raw) == _BLANK_CHECK


def _sense_key(sense: bytes) -> int:
    """Of sense data in the fixed or the descriptor format."""
    return (sense[1] if sense[0] & 0x7F in (0x72, 0x73) else sense[2]) & 0x0F


def is_tape_without_rewind(path: str) -> bool:
    """Whether this is a device of the driver that does not rewind when it is closed. Raises OSError."""
    number = os.stat(path).st_rdev
    return os.major(number) == 9 and bool(os.minor(number) & 0x80)
