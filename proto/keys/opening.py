"""The keys of a slot, with an identity; and the keys of slots wrapped for other recipients, later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import DamagedError, EncryptedError
from ..structs import replace
from .derivation import content_id, structure_key, wrap_info
from .records import KEY_BYTES, Recipient, Slot, Wrap

if TYPE_CHECKING:
    from .identities import Identity  # who only reads sidecars starts no programs


def open_slot(slot: Slot, identity: Identity) -> tuple[bytes, bytes]:
    """The content key and the structure key of a slot, with the ids that the slot names: a wrapped key that
    was replaced, or is that of another slot, is DamagedError (``wrapped-key``). Where several wraps can be
    opened, any that is whole will do. Raises EncryptedError, with the names of those who could open it, if
    this identity is none of them; AccessError if the identity refuses."""
    own = [wrap for wrap in slot.wraps if wrap.recipient in identity.recipients]
    if not own:
        names = tuple(dict.fromkeys(wrap.name for wrap in slot.wraps))
        raise EncryptedError(
            f"the keys are wrapped for {', '.join(names) or 'nobody'}; the identity at hand is "
            f"{', '.join(identity.recipients.values())}",
            recipients=names,
        )
    for wrap in own[:-1]:
        with suppress(DamagedError):
            return _unwrapped(slot, wrap, identity)
    return _unwrapped(slot, own[-1], identity)


def rewrap(slot: Slot, identity: Identity, recipients: Iterable[Recipient]) -> tuple[Wrap, ...]:
    """The keys of a slot wrapped for these recipients, but for those who can open it already. Raises as
    ``open_slot``."""
    from .wrapping import wrap

    there = {one.recipient for one in slot.wraps}
    missing = [recipient for recipient in recipients if recipient.id not in there]
    if not missing:
        return ()
    secret = b"".join(open_slot(slot, identity))
    return tuple(
        Wrap(one.id, one.name, one.kem, wrap(one, secret, wrap_info(slot.archive, slot.salt, one.id)))
        for one in missing
    )


def slots_with_sidecar(slots: Sequence[Slot], sidecar: Sequence[Slot]) -> tuple[Slot, ...]:
    """The slots of an archive, each with the wraps that a sidecar has for it beside its own. What a sidecar
    has for other slots counts for nothing; whether a wrap of it is what it seems ``open_slot`` finds out."""
    more = {_which(slot): slot.wraps for slot in sidecar}
    return tuple(
        replace(slot, wraps=tuple(dict.fromkeys((*slot.wraps, *more[_which(slot)]))))
        if _which(slot) in more
        else slot
        for slot in slots
    )


def _which(slot: Slot) -> tuple[object, ...]:
    return slot.archive, slot.salt, slot.cipher, slot.structure, slot.content


def _unwrapped(slot: Slot, wrap: Wrap, identity: Identity) -> tuple[bytes, bytes]:
    secret = identity.unwrap(wrap, wrap_info(slot.archive, slot.salt, wrap.recipient))
    content, structure = secret[:KEY_BYTES], secret[KEY_BYTES:]
    is_slots = (
        len(secret) == 2 * KEY_BYTES
        and content_id(content) == slot.content
        and structure_key(structure).id == slot.structure
    )
    if not is_slots:
        raise DamagedError("a wrapped key is not that of its slot", reason="wrapped-key")
    return content, structure
