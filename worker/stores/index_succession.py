"""A new ``dovecot.index`` for a folder that sessions of the server have open, and a log that goes on from it.

Where the log is gone, a session of Dovecot makes another from what it has in memory, and writes its old index
over the new one; where the log has another ``indexid``, the session marks that as corrupted. So the new index
and its log keep the ``indexid``, and the log has a number that leaves a gap after that of the old log:
whoever synchronises finds the way from the old log to the new one missing, and reads the index anew
(``mail_transaction_log_view_set`` and ``mail_index_map`` of Dovecot 2.3 and 2.4;
docs/decisions/0038-newest-first.md has what was seen).
"""

from __future__ import annotations

import struct

_GAP = 2
_MODSEQ = b"modseq"

# Of struct mail_transaction_log_header (mail-transaction-log.h), in the byte order of this machine.
_LOG_HEADER = struct.Struct("=BBHIIIIIQB7x")
LOG_HEADER_SIZE = _LOG_HEADER.size
# Of struct mail_index_header (mail-index.h).
_INDEX_SIZES = struct.Struct("=BBHI")
_INDEX_ID_AT = 16
_INDEX_LOG_AT = 60
_INDEX_BASE_SIZE = 120
_EXTENSION = struct.Struct("=IIHHHH")
_MAJOR_OF_LOG = 1
_MAJOR_OF_INDEX = 7


def succession(log: bytes, index: bytes) -> tuple[bytes, bytes] | None:
    """The index and the log that are to take the places of those of a folder whose log begins with the bytes
    ``log``: the ``index``, which the server wrote of another folder, as that of this folder. None if either
    is not as it is known to be: then the server has to begin anew."""
    if len(log) < _LOG_HEADER.size or len(index) < _INDEX_BASE_SIZE:
        return None
    major, minor, size, indexid, number, _, _, stamp, _, order = _LOG_HEADER.unpack_from(log)
    if (major, size) != (_MAJOR_OF_LOG, _LOG_HEADER.size) or not indexid or number > 0xFFFF_0000:
        return None
    number += _GAP
    renamed = bytearray(index)
    highest = _number_modseqs(renamed, number)
    if not highest:
        return None
    struct.pack_into("=I", renamed, _INDEX_ID_AT, indexid)
    struct.pack_into("=III", renamed, _INDEX_LOG_AT, number, size, size)
    fields = (major, minor, size, indexid, number, number - 1, size, stamp, highest, order)
    return bytes(renamed), _LOG_HEADER.pack(*fields)


def _number_modseqs(index: bytearray, number: int) -> int:
    """Let the modification sequences of an index be known up to the start of the log of this number; the
    highest of them, 0 if the index has none or can't be understood."""
    major, _, at, size = _INDEX_SIZES.unpack_from(index)
    if major != _MAJOR_OF_INDEX or at < _INDEX_BASE_SIZE or size > len(index):
        return 0
    while at + _EXTENSION.size < size:
        length, *_, name_length = _EXTENSION.unpack_from(index, at)
        name = bytes(index[at + _EXTENSION.size : at + _EXTENSION.size + name_length])
        at = _aligned(at + _EXTENSION.size + name_length)
        if name == _MODSEQ and length == 16 and at + length <= size:
            highest: int = struct.unpack_from("=Q", index, at)[0]
            struct.pack_into("=II", index, at + 8, number, _LOG_HEADER.size)
            return highest
        at = _aligned(at + length)
    return 0


def _aligned(offset: int) -> int:
    return (offset + 7) & ~7
