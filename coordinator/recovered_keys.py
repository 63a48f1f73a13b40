"""The structure keys of a staging area that has lost them, out of archives, with a private key: they are in
each archive, wrapped for its recipients."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from ..proto.archive.files import RandomAccess
from ..proto.archive.sidecars import with_sidecars
from ..proto.archive.slots import read_slots
from ..proto.errors import BackupError, EncryptedError
from ..proto.keys.records import NO_KEYS, VAULT_ENDING, VAULTS, Keyring, StructureKey
from ..worker.archives.excerpts import Excerpt
from ..worker.archives.opened import Unlock
from ..worker.archives.places import open_local
from .area_id import area_id
from .keys_directory import keys_directory
from .mailbox_secrets import key_of_vault, vault_of
from .run_archives import FOLDER
from .structure_keys import area_at, bring_back, take_up
from .unknown import archives_and_excerpts


class RecoveredKeys:
    """Structure keys at hand, and more as archives are looked at, if an ``unlock`` opens them.

    ``found`` are those that came out of archives: last stands that of the archive that was last looked at."""

    def __init__(self, unlock: Unlock | None = None, at_hand: Keyring = NO_KEYS) -> None:
        self.found: dict[bytes, StructureKey] = {}
        self._at_hand = at_hand
        self._unlock = unlock

    @property
    def keys(self) -> Keyring:
        """All of them; no content keys."""
        structures = {key.id: key.secret for key in self.found.values()}
        return Keyring({**self._at_hand.structures, **structures})

    @property
    def opens_more(self) -> bool:
        """Whether there is a private key that may open what is not at hand."""
        return self._unlock is not None

    @property
    def has_none(self) -> bool:
        """Whether no encrypted archive can be opened, whatever is looked at."""
        return self._unlock is None and not self._at_hand.structures

    def look(self, archive: RandomAccess) -> None:
        """Take the structure keys of an archive out of it. Raises DamagedError if what tells of its keys is
        gone, AccessError if the private key refuses."""
        if self._unlock is None:
            return
        for slot in with_sidecars(read_slots(archive), self._at_hand):
            known = self.found.pop(slot.structure, None)
            if known is None and slot.structure not in self._at_hand.structures:
                secret = self._unlock((slot,)).structures.get(slot.structure)
                known = StructureKey(slot.structure, secret) if secret else None
            if known is not None:
                self.found[slot.structure] = known


def recover(staging: Path, directory: Path, keys: RecoveredKeys) -> tuple[StructureKey, ...]:
    """Take the structure keys that archives here have and that are not in the directory of keys out of them,
    and put them there; those that were missing. The key of the newest run is for what is written from now on,
    if there was none. Raises as ``bring_back``."""
    take_up(staging, directory)
    if not keys.opens_more:
        return ()
    for file in _oldest_first(staging):
        with suppress(BackupError), closing(open_local(str(file))) as local:
            keys.look(Excerpt(local) if file.suffix == ".mhx" else local)
    known = area_at(staging).keys.structures
    missing = tuple(key for key in keys.found.values() if key.id not in known)
    if missing:
        bring_back(staging, directory, missing)
    take_in_vaults(staging)
    return missing


def take_in_vaults(staging: Path) -> None:
    """Vaults that came from a destination go into the directory of keys, and nowhere else. Those that open
    with none of the keys there stay. Raises DamagedError, StagingError."""
    files, directory = sorted(staging.glob(f"{VAULTS}/*{VAULT_ENDING}")), keys_directory(staging)
    key = key_of_vault(staging) if files else None
    if directory is None or key is None:
        return
    from ..proto.keys.vault import Vault, open_vault
    from .vaults import changing, remove_vault, write_vault

    keys, taken = area_at(staging).keys, []
    with changing(directory, area_id(staging)):
        vault = vault_of(staging) or Vault()
        for file in files:
            with suppress(EncryptedError):
                vault = vault.joined(open_vault(file.read_bytes(), keys, file.name))
                taken.append(file)
        if taken:
            write_vault(directory, area_id(staging), vault, key)
    for file in taken:
        remove_vault(file)


def _oldest_first(staging: Path) -> Iterable[Path]:
    """All archives of a staging area, and excerpts; their names begin with when their run began."""
    runs = staging.glob(f"{FOLDER}/*/*.mhr")
    return sorted((*runs, *archives_and_excerpts(staging)), key=lambda file: file.name)
