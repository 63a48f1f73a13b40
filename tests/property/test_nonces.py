"""No key encrypts two things with one nonce: over many nights of backups with purges that write archives
anew, copies at a destination, runs that were killed and go on, restores that keep what was there. All frames
that were ever written are looked at, also those of files that are gone since; and each call of a cipher in
this process.

``--rounds 12500`` for 1,000 nights.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from blake3 import blake3

from mailhaul.proto.archive import sealing
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import AUTHENTICATED, HEADER_BYTES, MAGIC, FrameType, authenticated
from mailhaul.proto.archive.scanning import FoundFrame, scan
from mailhaul.proto.archive.slots import read_slots
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.keys import ciphers, sealed_files
from mailhaul.proto.keys.derivation import frame_key
from mailhaul.proto.keys.records import Cipher, Keyring

from ..configured import Configured
from ..histories import lived
from ..sealed import opened_keys

_OF_CONTENT = (FrameType.BLOCK, FrameType.SEARCH)


class Nonces:
    """Which nonces were used with which keys: by who encrypts in this process, and by what lies in files."""

    def __init__(self) -> None:
        self.encrypted: set[bytes] = set()
        self.stored: dict[bytes, bytes] = {}
        self.types: Counter[FrameType] = Counter()
        self.copies = 0
        self.slots: Counter[int] = Counter()
        self._known: dict[Path, tuple[int, ...]] = {}
        self._opened: dict[bytes, Keyring] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """In this time each encryption is noted; it fails if its key had the same nonce before."""

        def keyed(cipher: Cipher, key: bytes) -> _Recorded:
            return _Recorded(ciphers.keyed_cipher(cipher, key), key, self.encrypted)

        with ExitStack() as stack:
            for module in (sealing, sealed_files):
                stack.enter_context(patch.object(module, "keyed_cipher", keyed))
            yield

    def look(self, place: Path) -> None:
        """Take in all frames of files below a directory that were not there, or not so, when it was looked at
        last."""
        for path in place.rglob("*"):
            if not path.is_file():
                continue
            told = path.stat()
            state = told.st_ino, told.st_size, told.st_mtime_ns
            if self._known.get(path) != state:
                self._known[path] = state
                with path.open("rb") as file:
                    begins = file.read(len(MAGIC)) == MAGIC
                if begins:
                    with closing(LocalFile(str(path))) as archive:
                        self._take(archive)

    def _take(self, file: LocalFile) -> None:
        try:
            slots = {read_slot.number: read_slot for read_slot in read_slots(file)}
        except DamagedError:
            return  # it was killed before its keys were written: nobody has them any more
        self.slots[len(slots)] += 1
        for slot in slots.values():
            if slot.content not in self._opened:
                self._opened[slot.content] = opened_keys((slot,))
        for found in scan(file):
            if not isinstance(found, FoundFrame) or not found.header.flags or found.damage is not None:
                continue
            header = found.header
            slot = slots[header.slot]
            keys = self._opened[slot.content]
            if header.type in _OF_CONTENT:
                key = frame_key(keys.contents[slot.content], slot, b"content")
            else:
                key = frame_key(keys.structures[slot.structure], slot, b"structure")
            stored = file.read_at(found.at + HEADER_BYTES, header.stored_bytes)
            nonce = stored[-24:-16] if header.flags == AUTHENTICATED else stored[:8]
            # What SEARCH is bound to stands in the frame before it, whose payload it is part of.
            bound = b"" if header.type is FrameType.SEARCH else authenticated(header._replace(slot=0))
            what = blake3(bound + stored).digest()
            pair = _pair(key, bytes(4) + nonce)
            self.copies += pair in self.stored
            assert self.stored.setdefault(pair, what) == what, f"{file.name} at {found.at}: a nonce again"
            self.types[header.type] += 1


class _Recorded:
    def __init__(self, cipher: Any, key: bytes, seen: set[bytes]) -> None:
        self._cipher = cipher
        self._key = key
        self._seen = seen
        self.decrypt = cipher.decrypt

    def encrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
        pair = _pair(self._key, nonce)
        assert pair not in self._seen, "a nonce again"
        self._seen.add(pair)
        return bytes(self._cipher.encrypt(nonce, data, bound))


def _pair(key: bytes, nonce: bytes) -> bytes:
    return blake3(key + nonce).digest(length=16)


class Nights(Configured):
    """A history that goes on for many nights, and is looked at after each step."""

    def __init__(self, place: Path, rng: random.Random, nights: int, nonces: Nonces) -> None:
        super().__init__(place, rng)
        self._nights = nights
        self._nonces = nonces
        self.done: Counter[str] = Counter()

    def look(self) -> None:
        self._nonces.look(self.place)

    def live(self) -> None:
        work = [self.kill, self.kill, self.sweep, self.sweep, self.purge, self.purge, self.restore_there]
        work += [self.crash, self.regroup, self.rebuild, self.back_up_anew, self.verify, self.back_up_group]
        mail = [self.deliver, self.deliver, self.expunge, self.move, self.flag, self.drop_folder]
        mail += [self.drop_user, self.come, self.split]
        for night in range(self._nights):
            for step in (*self.rng.sample(mail, 2), self.back_up):
                self._step(step)
            if night % 3 == 2:
                self._step(work[night // 3 % len(work)])
            if night % 20 == 19:
                self._step(self.restore_any)
            if night % 50 == 49:
                self._shed()
        self._step(self.purge)
        for run in self._kept()[-3:]:
            self._restores(run)

    def _step(self, step: Any) -> None:
        self.step(step)
        self.done[step.__name__] += 1
        self.look()

    def _shed(self) -> None:
        """Runs of long ago are not restored any more in the end; they make each look at the catalog slow."""
        self.told.clear()


def test_no_nonce_comes_twice(tmp_path: Path, rounds: int) -> None:
    nonces, nights = Nonces(), max(rounds * 8 // 100, 4)
    history = Nights(tmp_path, random.Random(rounds), nights, nonces)
    try:
        with nonces.recorded():
            lived(history.live, history.rng)
    except BaseException as error:
        error.add_note("\n  ".join(history.told[-30:]))
        raise
    print(f"{nights} nights, {len(nonces.encrypted)} encryptions, {len(nonces.stored)} frames in files,")
    print(f"{nonces.copies} copies of these; {dict(nonces.types)}; slots of an archive: {dict(nonces.slots)}")
    print(dict(history.done))
    assert len(nonces.encrypted) > 20 * nights
    assert len(nonces.stored) > 10 * nights
    if nights > 30:
        assert nonces.copies > nights
        assert max(nonces.slots) > 1, "archives were written anew, or gone on with"
        assert set(nonces.types) >= {FrameType.BLOCK, FrameType.SEARCH, FrameType.RUN, FrameType.UNCHANGED}
