"""KEYS frames: the slots of an encrypted archive, and the codec that reads it. FORMAT.md, "KEYS"."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import cast

import msgpack

from ..errors import DamagedError, UnsupportedError
from ..keys.records import KEY_BYTES, KEY_ID_BYTES, Cipher, Kem, Keyring, KeySlots, MailboxSlot, Slot, Wrap
from ..records import ArchiveId
from ..structs import replace
from . import claims, contents, frames
from .codec import PLAIN, FrameCodec
from .files import RandomAccess, read_frame
from .frames import FrameHeader, FrameType
from .places import FramePlace
from .scanning import FOOTER_FRAME_BYTES, any_header_at, next_header, owner_of

_MOST_SLOT = (1 << 32) - 1


def encode(slots: KeySlots) -> bytes:
    """The payload of a KEYS frame."""
    row: dict[str, object] = {"slots": _rows(slots.wrapped)}
    if slots.mailboxes:
        row["mailboxes"] = [[slot.number, slot.parent, slot.secret] for slot in slots.mailboxes]
    return cast(bytes, msgpack.packb(row, unicode_errors="surrogateescape"))


def _rows(slots: Iterable[Slot]) -> list[object]:
    return [
        [
            slot.number,
            slot.archive,
            slot.salt,
            slot.cipher.value,
            slot.structure,
            slot.content,
            [[wrap.recipient, wrap.name, wrap.kem.value, wrap.sealed] for wrap in slot.wraps],
        ]
        for slot in slots
    ]


def decode(payload: bytes) -> KeySlots:
    """The slots of a KEYS frame. Raises DamagedError if it contradicts itself, UnsupportedError if a later
    version wrote it."""
    row = claims.unpack_map(payload)
    rows = claims.rows(row.get("slots"))
    mailbox_rows = claims.rows(row.get("mailboxes", []))
    try:
        slots = tuple(map(_slot, map(claims.rows, rows)))
        mailboxes = tuple(map(_mailbox_slot, map(claims.rows, mailbox_rows)))
    except (TypeError, ValueError) as error:
        raise DamagedError(f"the keys contradict themselves: {claims.shown(error)}", reason="keys") from error
    numbers, of_mailboxes = [slot.number for slot in slots], [slot.number for slot in mailboxes]
    in_order = numbers == sorted(set(numbers)) and of_mailboxes == sorted(set(of_mailboxes))
    if not in_order or not set(numbers).isdisjoint(of_mailboxes):
        raise DamagedError("the keys are not in order", reason="keys")
    return KeySlots(slots, mailboxes)


def up_to(found: KeySlots, number: int) -> KeySlots:
    """Those of some slots with a number up to this one."""
    return KeySlots(
        tuple(slot for slot in found.wrapped if slot.number <= number),
        tuple(slot for slot in found.mailboxes if slot.number <= number),
    )


def read_slots(file: RandomAccess) -> tuple[Slot, ...]:
    """The wrapped slots of an archive: see ``read_keys``."""
    return read_keys(file).wrapped


def read_keys(file: RandomAccess) -> KeySlots:
    """The slots of an archive, by its end, else from wherever in the file; none if it is not encrypted.
    Raises DamagedError if they are gone."""
    with suppress(DamagedError):
        at = file.size - FOOTER_FRAME_BYTES
        header, payload = read_frame(file, FramePlace(at, FOOTER_FRAME_BYTES), FrameType.FOOTER)
        footer = contents.decode_footer(payload)
        last = any_header_at(file, footer.directory, header.archive)
        if last is not None:
            return slots_behind(file, last[0], footer.directory)
    return slots_anywhere(file)


def slots_behind(file: RandomAccess, directory: FrameHeader, at: int) -> KeySlots:
    """The slots in the KEYS frame behind the last DIRECTORY frame, which lies at ``at``; none if that is not
    encrypted. Raises DamagedError."""
    return decode(keys_behind(file, directory, at)) if directory.flags else KeySlots()


def keys_behind(file: RandomAccess, directory: FrameHeader, at: int) -> bytes:
    """The payload of that frame. Raises DamagedError."""
    place = FramePlace(at + frames.HEADER_BYTES + directory.stored_bytes, 0)
    return read_frame(file, place, FrameType.KEYS, directory.archive)[1]


def slots_anywhere(file: RandomAccess, owner: ArchiveId | None = None) -> KeySlots:
    """The slots that can be found in a damaged or unfinished archive (of this id, where that is known); none
    if nothing says that it is encrypted. Reads all of the file, unless it begins as one that is not."""
    owner = owner or owner_of(file)
    first = any_header_at(file, 0, owner)
    if first is not None and _begins_in_clear(file, first[0], owner):
        return KeySlots()
    found: dict[int, Slot] = {}
    mailboxes: dict[int, MailboxSlot] = {}
    is_sealed = False

    def is_keys(header: FrameHeader) -> bool:
        nonlocal is_sealed
        is_sealed = is_sealed or _is_sealed(header)
        return _is_keys(header)

    at = -1
    while (at := next_header(file, at + 1, owner, is_keys)) < file.size:
        with suppress(DamagedError, UnsupportedError):
            payload = read_frame(file, FramePlace(at, 0), FrameType.KEYS, owner)[1]
            slots = decode(payload)
            for slot in slots.wrapped:
                found[slot.number] = _together(found.get(slot.number, slot), slot)
            for mailbox in slots.mailboxes:
                mailboxes.setdefault(mailbox.number, mailbox)
    if is_sealed and not found:
        raise DamagedError(f"{file.name}: the keys of the archive are gone", reason="keys")
    return KeySlots.by_number(found, mailboxes)


def _begins_in_clear(file: RandomAccess, first: FrameHeader, owner: ArchiveId) -> bool:
    """Whether an archive with this frame at its front is none that is encrypted: in its HEADER frame is the
    mark that is easily changed, but behind that one comes a KEYS frame."""
    second = any_header_at(file, frames.HEADER_BYTES + first.stored_bytes, owner)
    is_header = first.type is FrameType.HEADER and not first.flags
    return is_header and second is not None and not _is_keys(second[0]) and not _is_sealed(second[0])


def _together(first: Slot, second: Slot) -> Slot:
    """A slot as two KEYS frames have it: what is wrapped in either counts. The first, if they are others."""
    if replace(first, wraps=()) != replace(second, wraps=()):
        return first
    return replace(first, wraps=tuple(dict.fromkeys(first.wraps + second.wraps)))


def codec_for(archive: ArchiveId, slots: KeySlots, keys: Keyring) -> FrameCodec:
    """What reads the frames of an archive with these slots."""
    if not slots:
        return PLAIN
    from .sealing import SealedCodec  # whoever has no encrypted archive does without

    if keys.sidecars:
        from .sidecars import with_sidecars

        slots = replace(slots, wrapped=with_sidecars(slots.wrapped, keys))
    return SealedCodec(archive, slots, keys)


def _is_sealed(header: FrameHeader) -> bool:
    return header.flags > 0 and header.type is not FrameType.LATER  # whose flags nobody knows


def _is_keys(header: FrameHeader) -> bool:
    return header.type is FrameType.KEYS


def _slot(row: list[object]) -> Slot:
    number, archive, salt, cipher, structure, content, wraps = row
    if not 0 < claims.number(number) <= _MOST_SLOT:
        raise ValueError("not the number of a slot")
    return Slot(
        number=claims.number(number),
        archive=claims.archive_id(archive),
        salt=_bytes(salt, KEY_BYTES),
        cipher=_cipher(claims.number(cipher)),
        structure=_bytes(structure, KEY_ID_BYTES),
        content=_bytes(content, KEY_ID_BYTES),
        wraps=tuple(wrap for one in claims.rows(wraps) if (wrap := _wrap(claims.rows(one))) is not None),
    )


def _mailbox_slot(row: list[object]) -> MailboxSlot:
    number, parent, secret = row
    for one in (number, parent):
        if not 0 < claims.number(one) <= _MOST_SLOT:
            raise ValueError("not the number of a slot")
    return MailboxSlot(
        number=claims.number(number), parent=claims.number(parent), secret=_bytes(secret, KEY_ID_BYTES)
    )


def _cipher(number: int) -> Cipher:
    if number not in list(Cipher):
        raise UnsupportedError(f"the keys need a later version: cipher {number}")
    return Cipher(number)


def _wrap(row: list[object]) -> Wrap | None:
    """None for one of a kind that only a later version knows: others may open the keys."""
    recipient, name, kem, sealed = row
    if claims.number(kem) not in list(Kem):
        return None
    return Wrap(
        _bytes(recipient, KEY_ID_BYTES), claims.text(name), Kem(claims.number(kem)), claims.octets(sealed)
    )


def _bytes(value: object, size: int) -> bytes:
    if len(found := claims.octets(value)) != size:
        raise ValueError(f"{len(found)} bytes instead of {size}")
    return found
