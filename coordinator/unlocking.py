"""What private keys open of archives: the content keys, for as long as a command runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from ..proto.archive.slots import read_slots
from ..proto.errors import BackupError, DamagedError, UsageError
from ..proto.keys.derivation import content_id, structure_key, wrap_info
from ..proto.keys.records import KEY_BYTES, NO_KEYS, Keyring, Slot
from ..proto.keys.secrets import Secret, read_secret
from ..proto.keys.wrapping import unwrap
from ..proto.records import ArchiveId
from ..proto.structs import replace
from ..worker.archives.holdings import Holdings
from ..worker.archives.opened import Unlock
from ..worker.archives.places import Places


def read_identities(files: Sequence[Path], passphrase_file: Path | None) -> tuple[Secret, ...]:
    """The private keys in these files. Raises AccessError, UsageError for a share of a key."""
    passphrase = None
    if passphrase_file is not None:
        try:
            passphrase = passphrase_file.read_text("utf-8", errors="surrogateescape").rstrip("\n")
        except OSError as error:
            raise UsageError(f"{passphrase_file}: can't be read: {error.strerror}") from error
    found = tuple(read_secret(file).open(passphrase) for file in files)
    for file, one in zip(files, found, strict=True):
        if one.share is not None:
            raise UsageError(f"{file} is a share of a key: put the key together first")
    return found


def unlocking(identities: Sequence[Secret]) -> Unlock | None:
    """What opens the slots of archives as they are read; None without identities."""
    if not identities:
        return None
    known: dict[bytes, Keyring] = {}

    def unlock(slots: tuple[Slot, ...]) -> Keyring:
        for one in slots:
            if one.content not in known:  # of an archive that many tasks need
                known[one.content] = keys_of_slots([one], identities)
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


def keys_of_slots(slots: Iterable[Slot], identities: Sequence[Secret]) -> Keyring:
    """The keys of slots that identities open; none of others."""
    structures: dict[bytes, bytes] = {}
    contents: dict[bytes, bytes] = {}
    by_id = {one.recipient: one for one in identities}
    for slot in slots:
        for wrap in slot.wraps:
            secret = by_id.get(wrap.recipient)
            if secret is None or slot.content in contents:
                continue
            with suppress(DamagedError):  # another wrap may open
                info = wrap_info(slot.archive, slot.salt, wrap.recipient)
                both = unwrap(wrap.kem, secret.private, wrap.sealed, info)
                content, structure = both[:KEY_BYTES], both[KEY_BYTES:]
                if content_id(content) == slot.content and structure_key(structure).id == slot.structure:
                    contents[slot.content], structures[slot.structure] = content, structure
    return Keyring(structures, contents)


def _slots(holdings: Holdings, archive: ArchiveId, places: Places) -> tuple[Slot, ...]:
    """The slots of an archive, by the nearest copy that has them; none if no copy can be read: whoever reads
    the archive says so."""
    for one in holdings.locations[archive]:
        with suppress(BackupError), closing(places.open(one)) as file:
            return read_slots(file)
    return ()
