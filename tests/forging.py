"""What somebody does to encrypted archives who can write whatever he likes, with right checksums, and has no
key: frames changed, moved, repeated, left out, taken from elsewhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mailhaul.proto.archive import contents, frames, slots
from mailhaul.proto.archive.frames import Codec, FrameHeader, FrameType
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.keys.derivation import content_id, structure_key, wrap_info
from mailhaul.proto.keys.records import Cipher, KeySlots, Recipient, Slot, Wrap
from mailhaul.proto.keys.wrapping import wrap
from mailhaul.proto.structs import Record, replace

from .archives import frames_of
from .sealed import recipient

_KINDS = [one for one in FrameType if one is not FrameType.LATER]


class Piece(Record):
    """A frame as it is stored."""

    header: FrameHeader
    stored: bytes


def pieces_of(data: bytes) -> list[Piece]:
    """The frames of an archive that is whole."""
    return [
        Piece(frame.header, data[frame.at + frames.HEADER_BYTES : frame.end]) for frame in frames_of(data)
    ]


class Forger:
    """Changes an archive in one way or another. ``donors`` are frames of others that may be put into it: of
    its earlier generations and attempts, of other archives."""

    def __init__(self, data: bytes, donors: Sequence[Piece], rng: random.Random) -> None:
        self._data = data
        self._pieces = pieces_of(data)
        self._archive = self._pieces[0].header.archive
        self._slots = [piece.header.slot for piece in self._pieces if piece.header.slot]
        self._donors: dict[FrameType, list[Piece]] = {}
        for donor in donors:
            self._donors.setdefault(donor.header.type, []).append(donor)
        self._rng = rng
        self.ways: dict[str, Callable[[], bytes]] = {
            "bits": self._bits,
            "bytes": self._bytes,
            "cut off": self._cut_off,
            "payload": lambda: self._framed(self._payload),
            "header": lambda: self._framed(self._header),
            "swapped": lambda: self._framed(self._swapped),
            "repeated": lambda: self._framed(self._repeated),
            "left out": lambda: self._framed(self._left_out),
            "reordered": lambda: self._framed(self._reordered),
            "foreign": lambda: self._framed(self._foreign),
            "keys": lambda: self._framed(self._keys),
            "several": lambda: self._framed(self._several),
        }

    def forged(self) -> tuple[str, bytes]:
        """Which way, and what came of it: never the archive as it was."""
        way = self._rng.choice([*self.ways])
        data = self.ways[way]()
        return (way, data) if data != self._data else self.forged()

    # Bytes, as they come

    def _bits(self) -> bytes:
        data = bytearray(self._data)
        for _ in range(self._rng.choice((1, 1, 1, 2, 5))):
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)
        return bytes(data)

    def _bytes(self) -> bytes:
        data, rng = self._data, self._rng
        begin = rng.randrange(len(data))
        end = min(len(data), begin + rng.choice((1, 8, 72, 300, 2000)))
        other = rng.choice((b"", bytes(end - begin), rng.randbytes(rng.choice((1, end - begin, 100)))))
        return data[:begin] + other + data[begin if rng.random() < 0.2 else end :]

    def _cut_off(self) -> bytes:
        """Perhaps with a footer that says that all is there."""
        rng, kept = self._rng, rng_prefix(self._rng, self._pieces)
        if rng.random() < 0.5:
            return self._data[: rng.randrange(1, len(self._data))]
        return self._written([*kept, self._pieces[-1]] if rng.random() < 0.5 else kept, footer=True)

    # Frames

    def _framed(self, change: Callable[[list[Piece]], None]) -> bytes:
        pieces = list(self._pieces)
        change(pieces)
        return self._written(pieces, footer=self._rng.random() < 0.5)

    def _written(self, pieces: Sequence[Piece], *, footer: bool) -> bytes:
        """These frames with right checksums, and sequences in a row; perhaps with a ``footer`` that is right,
        too."""
        data, directory = b"", 0
        renumbered = self._rng.random() < 0.8
        for number, piece in enumerate(pieces):
            header, stored = piece.header, piece.stored
            if header.type is FrameType.DIRECTORY:
                directory = len(data)
            if footer and header.type is FrameType.FOOTER:
                own = contents.Footer(directory=directory, footer=len(data), frames=number + 1)
                stored = contents.encode_footer(own)
            header = header._replace(
                archive=self._archive,
                stored_bytes=len(stored),
                checksum=frames.checksum(stored),
                sequence=number if renumbered else header.sequence,
            )
            data += frames.pack_header(header) + stored
        return data

    def _any(self, pieces: Sequence[Piece]) -> int:
        """A frame, of any type as likely as of another."""
        kind = self._rng.choice(sorted({piece.header.type for piece in pieces}))
        return self._rng.choice([at for at, one in enumerate(pieces) if one.header.type is kind])

    def _payload(self, pieces: list[Piece]) -> None:
        at, rng = self._any(pieces), self._rng
        stored = bytearray(pieces[at].stored)
        if stored and rng.random() < 0.7:
            place = rng.choice((rng.randrange(len(stored)), rng.randrange(min(8, len(stored))), -1, -17))
            stored[max(place, -len(stored))] ^= 1 << rng.randrange(8)
        elif rng.random() < 0.5:
            del stored[rng.randrange(len(stored) + 1) :]
        else:
            stored += rng.randbytes(rng.choice((1, 16, 40)))
        pieces[at] = replace(pieces[at], stored=bytes(stored))

    def _header(self, pieces: list[Piece]) -> None:
        at, rng = self._any(pieces), self._rng
        header = pieces[at].header
        other = rng.choice(pieces).header
        change = rng.choice(
            (
                {"type": rng.choice(_KINDS)},
                {"codec": rng.choice(list(Codec))},
                {"flags": 0, "slot": 0},
                {"flags": rng.choice((1, 2)), "slot": rng.choice(self._slots)},
                {"slot": max(1, header.slot + rng.choice((-1, 1)))} if header.slot else {"position": 7},
                {"plain_bytes": max(0, header.plain_bytes + rng.choice((-1, 1, 100)))},
                {"position": header.position + rng.choice((1, 1 << 32))},
                {"position": other.position},
                {"type": other.type, "position": other.position},
                {"position": other.position, "slot": other.slot, "flags": other.flags},
            )
        )
        pieces[at] = replace(pieces[at], header=header._replace(**change))

    def _swapped(self, pieces: list[Piece]) -> None:
        a, b = self._any(pieces), self._any(pieces)
        first, second = pieces[a], pieces[b]
        if self._rng.random() < 0.5:  # each is said to be at the place of the other
            first = replace(first, header=first.header._replace(position=second.header.position))
            second = replace(second, header=second.header._replace(position=pieces[a].header.position))
        pieces[a], pieces[b] = second, first

    def _repeated(self, pieces: list[Piece]) -> None:
        at = self._any(pieces)
        if self._rng.random() < 0.5:
            pieces.insert(self._rng.randrange(len(pieces) + 1), pieces[at])
        else:
            pieces[self._any(pieces)] = pieces[at]

    def _left_out(self, pieces: list[Piece]) -> None:
        at = self._any(pieces)
        if self._rng.random() < 0.3:  # all of its type, or of its type and place
            whose = pieces[at].header
            by_place = self._rng.random() < 0.5
            pieces[:] = [
                piece
                for piece in pieces
                if piece.header.type is not whose.type
                or (by_place and piece.header.position != whose.position)
            ]
        else:
            del pieces[at : at + self._rng.choice((1, 1, 1, 2, 5))]

    def _reordered(self, pieces: list[Piece]) -> None:
        a, b = sorted((self._rng.randrange(len(pieces)), self._rng.randrange(len(pieces) + 1)))
        part = pieces[a:b]
        self._rng.shuffle(part)
        pieces[a:b] = part

    def _foreign(self, pieces: list[Piece]) -> None:
        """A frame from elsewhere, most often of the same type and place."""
        at, rng = self._any(pieces), self._rng
        own = pieces[at].header
        known = self._donors.get(own.type) or [piece for found in self._donors.values() for piece in found]
        alike = [one for one in known if one.header.position == own.position]
        donor = rng.choice(alike if alike and rng.random() < 0.7 else known)
        if rng.random() < 0.3:
            donor = replace(donor, header=donor.header._replace(position=own.position))
        if rng.random() < 0.3 and donor.header.slot:
            donor = replace(donor, header=donor.header._replace(slot=rng.choice(self._slots)))
        if rng.random() < 0.7:
            pieces[at] = donor
        else:
            pieces.insert(at + rng.choice((0, 1)), donor)

    def _keys(self, pieces: list[Piece]) -> None:
        """Other keys: in one of the frames, or in all."""
        rng = self._rng
        places = [at for at, piece in enumerate(pieces) if piece.header.type is FrameType.KEYS]
        known = slots.decode(pieces[places[-1]].stored).wrapped
        made = self._other_keys(known) if known else rng.choice(self._donors[FrameType.KEYS]).stored
        for at in places if rng.random() < 0.5 else [rng.choice(places)]:
            header = pieces[at].header._replace(plain_bytes=len(made), codec=Codec.NONE)
            pieces[at] = Piece(header, made)

    def _other_keys(self, known: tuple[Slot, ...]) -> bytes:
        rng, found = self._rng, list(known)
        at = rng.randrange(len(found))
        slot = found[at]
        ways = ["left out", "own keys", "salt", "cipher", "ids", "wraps", "number", "donor", "archive"]
        way = rng.choice(ways)
        if way == "left out":
            del found[at]
        elif way == "own keys":
            found[at] = own_slot(slot, rng)
        elif way == "salt":
            found[at] = replace(slot, salt=rng.randbytes(32))
        elif way == "cipher":
            found[at] = replace(
                slot, cipher=rng.choice([cipher for cipher in Cipher if cipher is not slot.cipher])
            )
        elif way == "ids":
            other = rng.choice(known)
            found[at] = replace(slot, content=other.content, structure=rng.randbytes(16))
        elif way == "wraps":
            found[at] = replace(slot, wraps=rng.choice(known).wraps if rng.random() < 0.5 else ())
        elif way == "number":
            found = [replace(one, number=one.number + 1) for one in found]
        elif way == "archive":
            found[at] = replace(slot, archive=rng.choice(known).archive)
        else:
            with_keys = [piece for piece in self._donors.get(FrameType.KEYS, ()) if not piece.header.flags]
            return rng.choice(with_keys).stored
        return slots.encode(KeySlots(tuple(found)))

    def _several(self, pieces: list[Piece]) -> None:
        for _ in range(self._rng.choice((2, 3, 4))):
            if len(pieces) > 3:
                self._rng.choice(
                    (self._foreign, self._swapped, self._left_out, self._payload, self._keys_or)
                )(pieces)

    def _keys_or(self, pieces: list[Piece]) -> None:
        if any(piece.header.type is FrameType.KEYS for piece in pieces):
            try:
                self._keys(pieces)
            except (DamagedError, UnsupportedError):
                self._repeated(pieces)


def rng_prefix(rng: random.Random, pieces: Sequence[Piece]) -> list[Piece]:
    """The first of some frames, so many."""
    return list(pieces[: rng.randrange(1, len(pieces))])


def own_slot(slot: Slot, rng: random.Random, to: Recipient | None = None) -> Slot:
    """A slot with keys of somebody who knows only the public key of the recipient."""
    structure, content = structure_key(rng.randbytes(32)), rng.randbytes(32)
    to = to or recipient()
    sealed = wrap(to, content + structure.secret, wrap_info(slot.archive, slot.salt, to.id))
    return replace(
        slot,
        structure=structure.id,
        content=content_id(content),
        wraps=(Wrap(to.id, to.name, to.kem, sealed),),
    )
