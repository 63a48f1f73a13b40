"""Copies of the vault at destinations: a lost house has the secrets of its mailboxes from there, and who
destroys one has to reach each of them.

Places never overwrite: a newer vault has another name, and when it is durable the older ones are removed,
with all versions. So a copy lies only where files can be removed: at directories, and in buckets in which
nothing is locked. What a bucket locks by itself shows on an empty vault, which is put and removed first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from ..proto.errors import BackupError, DamagedError, EncryptedError, PlaceError
from ..proto.keys.records import VAULT_ENDING, VAULTS, Keyring, StructureKey
from ..proto.keys.vault import Vault, open_vault, seal, vault_name
from ..proto.structs import Record
from ..worker.archives.ports import Copy, Place
from ..worker.destinations.memory import MemoryFile
from ..worker.destinations.registry import open_destination
from ..worker.destinations.settings import Destination, DirectoryDestination, S3Destination
from .area_id import area_id
from .destinations import begin_to_use
from .durable import replace_durably
from .keys_directory import keys_directory
from .mailbox_secrets import has_vault, key_of_vault, vault_of
from .settings import own_directory
from .vaults import changing, write_vault

_NOTE = "vault"
"""Where what has to be kept of a destination lies: that a copy of the vault may be there."""

HERE = "keys"
"""What the directory of keys is called among the places of a vault."""


class VaultPlace(Record, kw_only=True):
    """A place of the vault: whether it has the vault of now and no older one (``done``), else why not."""

    name: str
    done: bool
    error: str = ""


def keeps_vault(destination: Destination) -> bool:
    """Whether a copy of the vault belongs there: where it can be removed again."""
    if isinstance(destination, S3Destination):
        return not (destination.lock or destination.legal_hold)
    return isinstance(destination, DirectoryDestination)


def vault_notice(staging: Path, destinations: Sequence[Destination]) -> str:
    """What an operator has to be told, if none of the destinations keeps a copy of the vault; else empty."""
    directory = keys_directory(staging)
    if directory is None or not has_vault(staging) or not destinations or any(map(keeps_vault, destinations)):
        return ""
    return (
        "no destination can have a copy of the vault with the secrets of mailboxes, as nothing goes from "
        f"there: copy {directory / vault_name(area_id(staging))} yourself, where nothing keeps old versions; "
        "without it nobody reads what is stored of mailboxes that are erasable"
    )


def copy_vault(staging: Path, destinations: Sequence[Destination]) -> tuple[VaultPlace, ...]:
    """Have the vault of now, and no older one, at each of these destinations that keeps one. None of it where
    the staging area has no vault. Repeatable. Raises as ``vault_of``."""
    vault = vault_of(staging)
    key = key_of_vault(staging)
    if vault is None or key is None:
        return ()
    area = area_id(staging)
    return tuple(
        _copied(destination, staging, area, vault, key)
        for destination in destinations
        if keeps_vault(destination)
    )


def destroy_secrets(
    staging: Path, mailboxes: Iterable[tuple[str, str]], destinations: Sequence[Destination], now: float
) -> tuple[VaultPlace, ...]:
    """Destroy the secrets of these mailboxes (partition and user) at every place of the vault. While any
    place is not done they are not destroyed. Repeatable, also to look whether that is so now. None where no
    mailbox of the staging area is erasable. Raises as ``vault_of``, StagingError, LockedError; the caller has
    the lock of the staging area, so that no run goes on with a secret that goes."""
    directory, key = keys_directory(staging), key_of_vault(staging)
    if directory is None or key is None or not has_vault(staging):
        return ()
    with changing(directory, area_id(staging)):
        vault = left = vault_of(staging) or Vault()
        for mailbox in mailboxes:
            left = left.without(mailbox, now)
        if left is not vault:
            write_vault(directory, area_id(staging), left, key)
    return VaultPlace(name=HERE, done=True), *copy_vault(staging, destinations), *_left(staging, destinations)


def _left(staging: Path, destinations: Sequence[Destination]) -> Iterator[VaultPlace]:
    """Places that have, or had, a copy of the vault and that nobody can reach, as they are not configured."""
    configured = {destination.name for destination in destinations if keeps_vault(destination)}
    for note in sorted(own_directory(staging, "any").parent.glob(f"*/{_NOTE}")):
        if note.parent.name not in configured:
            told = (
                "it may have a copy of the vault, and is not configured any more as one that can: configure "
                f"it again; or remove {VAULTS}/ there with all versions, and then {note}"
            )
            yield VaultPlace(name=note.parent.name, done=False, error=told)


def _copied(
    destination: Destination, staging: Path, area: str, vault: Vault, key: StructureKey
) -> VaultPlace:
    try:
        replace_durably(own_directory(staging, destination.name) / _NOTE, b"")
        with closing(open_destination(begin_to_use(destination, staging))) as place:
            _put(place, area, vault, key)
    except BackupError as error:
        return VaultPlace(name=destination.name, done=False, error=error.message)
    return VaultPlace(name=destination.name, done=True)


def _put(place: Place, area: str, vault: Vault, key: StructureKey) -> None:
    prefix = f"{VAULTS}/{area}."
    ours = []
    for copy in list(place.list(f"{VAULTS}/")):
        is_whole = _is_of(place, copy, vault, key)
        if is_whole:
            ours.append(copy)
        elif is_whole is None and copy.name.startswith(prefix):
            place.remove(copy.name, copy.version)
    name = f"{prefix}{vault.number}{VAULT_ENDING}"
    if not any(one.name == name for one in ours):
        _refuse_locked(place, f"{prefix}0{VAULT_ENDING}", key)
        _put_file(place, name, vault, key)
    for our in ours:
        if our.name != name:
            place.remove(our.name, our.version)
    if left := [one.name for one in place.list(prefix) if one.name != name]:
        raise PlaceError(f"{place.name} still has an older vault of secrets: {left[0]}", place=place.name)


def _is_of(place: Place, copy: Copy, vault: Vault, key: StructureKey) -> bool | None:
    """Whether a file there is a copy of this vault, of now or before, also of the time before the house was
    lost; None if it is damaged: nobody would have anything from it. Raises PlaceError for one with secrets
    that this one does not have: with it they would be gone."""
    try:
        with closing(place.open(copy.name, copy.version)) as file:
            found = open_vault(
                file.read_at(0, file.size),
                Keyring(structures={key.id: key.secret}),
                copy.name.rpartition("/")[2],
            )
    except EncryptedError:
        return False  # of another staging area
    except DamagedError:
        return None
    known = {secret.id for secret in vault.all} | set(vault.erased)
    if not {mailbox_secret.id for mailbox_secret in found.all} <= known:
        raise PlaceError(
            f"{place.name} has a vault with secrets that this host does not have: put {copy.name} into the "
            "directory of keys first",
            place=place.name,
        )
    return True


def _refuse_locked(place: Place, name: str, key: StructureKey) -> None:
    """Raise PlaceError if what is put there can't be removed again: tried with a vault that holds nothing."""
    if place.stat(name) is None:
        _put_file(place, name, Vault(), key)
    try:
        for copy in list(place.list(name)):
            place.remove(copy.name, copy.version)
    except PlaceError as error:
        raise PlaceError(
            f"a vault of secrets could never be removed from there again: {error.message}", place=place.name
        ) from error


def _put_file(place: Place, name: str, vault: Vault, key: StructureKey) -> None:
    called = name.rpartition("/")[2]
    place.put(name, MemoryFile(name, seal(vault, key, called)))
    place.commit()
