"""What private keys open of archives: the content keys, for as long as a command runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..proto.archive.sidecars import with_sidecars
from ..proto.archive.slots import read_keys
from ..proto.errors import BackupError, DamagedError, EncryptedError, StagingError
from ..proto.keys.records import NO_KEYS, VAULTS, Keyring, Slot
from ..proto.records import ArchiveId
from ..proto.structs import replace
from ..worker.archives.holdings import Holdings
from ..worker.archives.opened import Unlock
from ..worker.archives.places import Places

if TYPE_CHECKING:
    from ..proto.keys.identities import Identity


def unlocking(identity: Identity, vaults: Sequence[Path] = ()) -> Unlock:
    """What opens the slots of archives as they are read, and ``vaults`` as soon as there is a structure key
    for them. It raises AccessError if the identity refuses."""
    closed = list(vaults)
    secrets = NO_KEYS
    known: dict[bytes, Keyring] = {}

    def unlock(slots: tuple[Slot, ...]) -> Keyring:
        nonlocal secrets
        for slot in slots:
            if slot.content not in known:  # of an archive that many tasks need
                known[slot.content] = _opened(slot, identity)
        found = NO_KEYS
        for one in slots:
            found = found.and_those(known[one.content])
        for path in list(closed):
            with suppress(EncryptedError):
                secrets = secrets.and_those(_opened_vault(path, found))
                closed.remove(path)
        return found.and_those(secrets)

    return unlock


class ReadSlots:
    """The slots of archives, of each read once: many tasks need the same archives, which may lie far away."""

    def __init__(self) -> None:
        self._found: dict[ArchiveId, tuple[Slot, ...]] = {}
        self._erasable = set[ArchiveId]()

    def of(self, holdings: Holdings) -> dict[ArchiveId, tuple[Slot, ...]]:
        """Those of all these archives, by the nearest copy that has them. Of an archive of which no copy can
        be read now there are none: whoever reads it says so."""
        with closing(Places(holdings.places)) as places:
            for archive in holdings.locations.keys() - self._found:
                for location in holdings.locations[archive]:
                    with suppress(BackupError), closing(places.open(location)) as file:
                        keys = read_keys(file)
                        if archive in holdings.encrypted and not keys.wrapped:
                            continue  # in clear: it is none of this archive
                        self._found[archive] = with_sidecars(keys.wrapped, holdings.keys)
                        if keys.mailboxes:
                            self._erasable.add(archive)
                        break
        return {archive: self._found.get(archive, ()) for archive in holdings.locations}

    def erasable(self, holdings: Holdings) -> list[ArchiveId]:
        """Those of these archives that hold something which takes the secret of a mailbox."""
        return [archive for archive in self.of(holdings) if archive in self._erasable]


def unlocked(holdings: Holdings, unlock: Unlock | None, slots: ReadSlots) -> Holdings:
    """The same archives, with the keys of just these: for who must not have what opens them."""
    if unlock is None:
        return holdings
    found = NO_KEYS
    for own in slots.of(holdings).values():
        found = found.and_those(unlock(own))
    return replace(holdings, unlocked=holdings.unlocked.and_those(found))


def refuse_locked(several: Sequence[Holdings], slots: ReadSlots) -> None:
    """Raise EncryptedError, which names who could open it, if the mail of an archive is encrypted and the key
    is not among those that go with the archives: those of several tasks. Search terms that were copied from
    another archive need not be opened."""
    for holdings in several:
        for archive, found in slots.of(holdings).items():
            own = [slot for slot in found if slot.archive == archive]
            if any(one.content not in holdings.unlocked.contents for one in own):
                names = sorted({wrap.name for one in own for wrap in one.wraps})
                raise EncryptedError(
                    f"{holdings.path(archive)}: the mail is {holdings.unlocked.lacking(names)}",
                    recipients=names,
                )


def refuse_without_vault(several: Sequence[Holdings], slots: ReadSlots) -> None:
    """Raise EncryptedError, which says what helps, if mailboxes in these archives are erasable and no secret
    of any is at hand: the vault is missing. One from which secrets were destroyed is there."""
    for holdings in several:
        if holdings.keys.secrets or holdings.keys.erased:
            continue
        for archive in slots.erasable(holdings):
            raise EncryptedError(
                f"{holdings.path(archive)}: its mailboxes are erasable, and the vault of their secrets is "
                f"missing: put the newest copy from {VAULTS}/ of a destination into the directory of keys, "
                f"under its name there (with -f: leave it in {VAULTS}/ beside the archives)"
            )


def refuse_useless(holdings: Holdings, slots: ReadSlots) -> None:
    """Raise EncryptedError, which names who could open them, if some of these archives are encrypted and the
    private key whose keys go with them opens nothing of any: who gave it takes all for decrypted."""
    found = [slot for own in slots.of(holdings).values() for slot in own]
    if found and not any(slot.content in holdings.unlocked.contents for slot in found):
        names = sorted({wrap.name for slot in found for wrap in slot.wraps})
        archives = f"of {len(holdings.locations):,} archives none can be decrypted"
        raise EncryptedError(f"{archives}: the mail is {holdings.unlocked.lacking(names)}", recipients=names)


def _opened_vault(path: Path, keys: Keyring) -> Keyring:
    """The secrets in a vault. Raises EncryptedError without its structure key, DamagedError, StagingError."""
    from ..proto.keys.vault import open_vault

    try:
        return open_vault(path.read_bytes(), keys, path.name).keyring
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error


def _opened(slot: Slot, identity: Identity) -> Keyring:
    """The keys of a slot; none if the identity is not one of those for whom they are wrapped. A wrap that is
    not what it seems opens nothing: whoever needs the keys is told that there are none."""
    from ..proto.keys.opening import open_slot  # who has no private key does without

    tried = Keyring(tried=tuple(identity.recipients.values()))
    with suppress(EncryptedError, DamagedError):
        content, structure = open_slot(slot, identity)
        return tried.and_those(Keyring({slot.structure: structure}, {slot.content: content}))
    return tried
