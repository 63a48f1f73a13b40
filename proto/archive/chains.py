"""The chain over the headers of an encrypted archive, compared with what its directory seals. FORMAT.md, "The
end of an encrypted archive".
"""

from __future__ import annotations

from ..errors import DamagedError
from ..records import ArchiveId
from . import frames
from .contents import Seal
from .files import RandomAccess
from .framing import NO_CHAIN, chained


def check_chain(file: RandomAccess, archive: ArchiveId, seal: Seal) -> None:
    """That a file is made of the frames that were sealed, up to its directory: only headers are read. They
    hold the checksums of payloads, so who copies a frame of it as it is stored, without the key for it,
    copies what was written. Raises DamagedError (``forged``) if not."""
    at, chain = 0, NO_CHAIN
    while at < seal.at:
        packed = file.read_at(at, frames.HEADER_BYTES)
        header, _ = frames.decode_any_header(packed, f"{file.name} at {at}", archive)
        chain = chained(chain, packed)
        at += frames.HEADER_BYTES + header.stored_bytes
    if at != seal.at or chain != seal.chain:
        raise DamagedError(f"{file.name}: it is not made of the frames that were sealed", reason="forged")
