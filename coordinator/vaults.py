"""The vault of a staging area on this host: ``AREAID.vault.sealed`` in the directory of keys, beside the
structure key. proto/keys/vault.py has what is in it; copies lie at destinations (``vault_copies``).

It is rewritten as a whole, and what it held before is overwritten, as far as the file system lets that be
done. A copy that somebody has put beside it, under the name that it had at a destination, counts too until
then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from ..proto.errors import AccessError
from ..proto.keys.records import VAULT_ENDING, VAULTS, Keyring, StructureKey
from ..proto.keys.vault import Vault, open_vault, seal, vault_name
from .durable import remove_durably, replace_durably
from .flocks import flocked

_PATIENCE_SECONDS = 60.0


def vault_files(directory: Path, area: str) -> list[Path]:
    """The vault of the staging area with this id, and copies of it, as far as they lie there."""
    own = directory / vault_name(area)
    copies = sorted(directory.glob(f"{area}.*{VAULT_ENDING}"))
    return [*([own] if own.is_file() else []), *copies]


def read_vault(directory: Path, area: str, keys: Keyring) -> Vault | None:
    """The vault of the staging area with this id; None if there is none. Raises DamagedError, AccessError if
    it can't be read, EncryptedError without the structure key."""
    found: Vault | None = None
    for path in vault_files(directory, area):
        try:
            vault = open_vault(path.read_bytes(), keys, path.name)
        except OSError as error:
            raise AccessError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
        found = vault if found is None else found.joined(vault)
    return found


def changing(directory: Path, area: str) -> AbstractContextManager[None]:
    """Nobody else changes the vault of this staging area while this lasts: read it within. Runs into streams
    make secrets, too, beside others. Raises LockedError, StagingError."""
    lock = directory / f"{area}.vault-lock"
    return flocked(lock, "the vault of secrets is being changed", patience_seconds=_PATIENCE_SECONDS)


def write_vault(directory: Path, area: str, vault: Vault, key: StructureKey) -> None:
    """Put a vault in the place of what was there: durable, whole, for nobody else. Raises StagingError."""
    path, before = directory / vault_name(area), vault_files(directory, area)
    with ExitStack() as stack:
        old = []
        for one in before:
            with suppress(OSError):
                old.append((one, stack.enter_context(one.open("r+b"))))
        replace_durably(path, seal(vault, key, path.name))
        for one, file in old:
            _overwrite(file.fileno())
            if one != path:
                remove_durably(one)


def remove_vault(path: Path) -> None:
    """A copy of a vault goes. Raises StagingError."""
    with suppress(OSError), path.open("r+b") as file:
        _overwrite(file.fileno())
    remove_durably(path)


def vaults_beside(files: Iterable[Path]) -> list[Path]:
    """Vaults that lie where archives do that somebody names: in their directories, or as at a destination."""
    folders: dict[Path, None] = {}
    for file in files:
        directory = file.absolute().parent
        folders.update(dict.fromkeys((directory, directory.parent.parent / VAULTS)))
    return [path for folder in folders for path in sorted(folder.glob(vault_name("*"))) if path.is_file()]


def _overwrite(file: int) -> None:
    """The bytes of a file that has no name any more. A file system that copies on write, and a disk that
    spreads what is written, keep them all the same."""
    left = os.fstat(file).st_size
    os.lseek(file, 0, os.SEEK_SET)
    while left > 0:
        left -= os.write(file, bytes(min(left, 1 << 20)))
    os.fsync(file)
