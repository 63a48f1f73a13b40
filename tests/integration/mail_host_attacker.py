"""Somebody who has all that a mail host ever held: the memory of all its processes, whenever he likes, all
files that these had open or mapped, or left, and all keys that were handed to it. What he can make of that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType, decode_header
from mailhaul.proto.archive.slots import codec_for
from mailhaul.proto.keys.derivation import frame_key
from mailhaul.proto.keys.records import KEY_BYTES, Cipher, Keyring, KeySlots, Slot
from mailhaul.proto.records import DIGEST_BYTES
from mailhaul.proto.structs import Record
from mailhaul.tests.integration.installation import workers_of
from mailhaul.tests.integration.keyholder import Keyholder, slots_of
from mailhaul.tests.integration.network import Host
from mailhaul.tests.integration.process_memory import mapped_files, memory

_NEAR_BYTES = 160
"""A key that lies so near to its id, or to its salt, would be found."""

_MOST_TRIED = 10_000


class Secrets(Record, kw_only=True):
    """What of archives nobody must find: content keys, and the keys of frames that are made of them."""

    contents: tuple[bytes, ...]
    frames: tuple[bytes, ...]

    @property
    def all(self) -> tuple[bytes, ...]:
        return (*self.contents, *self.frames)

    def in_(self, held: bytes) -> list[str]:
        """Those that are there, as they are or in digits."""
        return [one.hex() for one in self.all if one in held or one.hex().encode() in held]


def secrets_of(archives: Iterable[Path], ops: Keyholder) -> Secrets:
    """Those of archives, with the private key."""
    slots = [slot for file in archives for slot in slots_of(file)]
    contents = tuple(ops.opened(one)[0] for one in slots)
    frames = (frame_key(one, slot, b"content") for one, slot in zip(contents, slots, strict=True))
    return Secrets(contents=contents, frames=tuple(frames))


class Held:
    """What is found on a host, where only mail lies in ``store``. ``files`` are all that a process had open
    or mapped when it was looked at."""

    def __init__(self, host: Host, store: Path) -> None:
        self._host = host
        self._store = store
        self.files: set[Path] = set()

    def memories(self) -> Iterator[tuple[bool, bytes]]:
        """Of every process there, now; and whether it is a worker."""
        workers = set(workers_of(self._host))
        for pid in self._host.pids():
            self.files |= mapped_files(pid)
            yield pid in workers, memory(pid)

    def contents(self, *more: Path) -> Iterator[tuple[Path, bytes]]:
        """Of all these files, and of those below ``more``, but for libraries, and the mail that is there."""
        for file in sorted({*self.files, *(path for place in more for path in place.rglob("*"))}):
            if ".so" not in file.name and not file.is_relative_to(self._store) and "/proc/" not in str(file):
                with suppress(OSError):
                    if file.is_file():
                        yield file, file.read_bytes()


class ContentFrame(Record, kw_only=True):
    """A frame of mail or search terms, with all that it takes to open it but the key: who has the structure
    key has that."""

    slot: Slot
    counter: bytes
    sealed: bytes
    bound: bytes

    def opens_with(self, key: bytes) -> bool:
        """Whether this is its key, or the content key that its key is made of."""
        aead = AESGCM if self.slot.cipher is Cipher.AES_256_GCM else ChaCha20Poly1305
        for one in (key, frame_key(key, self.slot, b"content")):
            with suppress(InvalidTag):
                aead(one).decrypt(bytes(4) + self.counter, self.sealed, self.bound)
                return True
        return False


def content_frames(archive: Path, structure: bytes) -> Iterator[ContentFrame]:
    """The BLOCK and SEARCH frames of an archive, by FORMAT.md, with the structure key."""
    slots = slots_of(archive)
    codec = codec_for(slots[0].archive, KeySlots(slots), Keyring(structures={slots[0].structure: structure}))
    data, at, messages = archive.read_bytes(), 0, b""
    while at < len(data):
        packed = data[at : at + HEADER_BYTES]
        header = decode_header(packed, archive.name)
        stored = data[at + HEADER_BYTES : (at := at + HEADER_BYTES + header.stored_bytes)]
        if header.type is FrameType.MESSAGES:
            messages = codec.unpack(header, stored, archive.name)
        bound = packed[4:8] + packed[12:32] + packed[40:48] + packed[64:68]
        if header.type is FrameType.SEARCH:
            bound = packed[4:8] + packed[12:16] + blake3(messages).digest(DIGEST_BYTES)
        if header.type in (FrameType.BLOCK, FrameType.SEARCH):
            (slot,) = (one for one in slots if one.number == header.slot)
            yield ContentFrame(slot=slot, counter=stored[:8], sealed=stored[8:], bound=bound)


def keys_near(held: bytes, slots: Iterable[Slot]) -> list[bytes]:
    """What may be a key of a slot, as it lies in memory near an id or the salt of it; some thousands."""
    found: dict[bytes, None] = {}
    for id_ in {one for slot in slots for one in (slot.content, slot.structure, slot.salt)}:
        at = held.find(id_)
        while at >= 0 and len(found) < _MOST_TRIED:
            for start in range(max(0, at - _NEAR_BYTES), at + _NEAR_BYTES):
                window = held[start : start + KEY_BYTES]
                if len(set(window)) > 16:  # of 32 random bytes hardly any are the same
                    found[window] = None
            at = held.find(id_, at + 1)
    return list(found)
