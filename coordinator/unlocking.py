"""What private keys open of archives: the content keys, for as long as a command runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from ..proto.archive.slots import read_slots
from ..proto.errors import BackupError, DamagedError, EncryptedError
from ..proto.keys.records import NO_KEYS, Keyring, Slot
from ..proto.records import ArchiveId
from ..proto.structs import replace
from ..worker.archives.holdings import Holdings
from ..worker.archives.opened import Unlock
from ..worker.archives.places import Places

if TYPE_CHECKING:
    from ..proto.keys.identities import Identity


def unlocking(identity: Identity) -> Unlock:
    """What opens the slots of archives as they are read. It raises AccessError if the identity refuses."""
    known: dict[bytes, Keyring] = {}

    def unlock(slots: tuple[Slot, ...]) -> Keyring:
        for one in slots:
            if one.content not in known:  # of an archive that many tasks need
                known[one.content] = _opened(one, identity)
        found = NO_KEYS
        for one in slots:
            found = found.and_those(known[one.content])
        return found

    return unlock


def unlocked(holdings: Holdings, unlock: Unlock | None) -> Holdings:
    """The same archives, with the keys of just these: for who must not have what opens them."""
    if unlock is None:
        return holdings
    found = NO_KEYS
    with closing(Places(holdings.places)) as places:
        for archive in holdings.locations:
            found = found.and_those(unlock(_slots(holdings, archive, places)))
    return replace(holdings, unlocked=holdings.unlocked.and_those(found))


def refuse_locked(several: Sequence[Holdings]) -> None:
    """Raise EncryptedError, which names who could open it, if the mail of an archive is encrypted and the key
    is not among those that go with the archives: those of several tasks, which have the same places."""
    looked: set[ArchiveId] = set()
    for holdings in several:
        with closing(Places(holdings.places)) as places:
            for archive in holdings.locations.keys() - looked:
                looked.add(archive)
                slots = _slots(holdings, archive, places)
                if any(one.content not in holdings.unlocked.contents for one in slots):
                    names = sorted({wrap.name for one in slots for wrap in one.wraps})
                    raise EncryptedError(
                        f"{holdings.path(archive)}: the mail is encrypted, for {', '.join(names)} "
                        "(--identity FILE names a private key)",
                        recipients=names,
                    )


def _opened(slot: Slot, identity: Identity) -> Keyring:
    """The keys of a slot; none if the identity is not one of those for whom they are wrapped. A wrap that is
    not what it seems opens nothing: whoever needs the keys is told that there are none."""
    from ..proto.keys.opening import open_slot  # who has no private key does without

    with suppress(EncryptedError, DamagedError):
        content, structure = open_slot(slot, identity)
        return Keyring({slot.structure: structure}, {slot.content: content})
    return NO_KEYS


def _slots(holdings: Holdings, archive: ArchiveId, places: Places) -> tuple[Slot, ...]:
    """The slots of an archive, by the nearest copy that has them; none if no copy can be read: whoever reads
    the archive says so."""
    for one in holdings.locations[archive]:
        with suppress(BackupError), closing(places.open(one)) as file:
            return read_slots(file)
    return ()
