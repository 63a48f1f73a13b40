"""The secrets of the mailboxes of a staging area, which make these erasable: read from its vault on this
host, and made for those that have none. The files are those of ``vaults``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..proto.keys.records import Keyring, StructureKey
from ..proto.records import Unit
from ..proto.structs import replace
from ..worker.staging.area import StagingArea
from .area_id import area_id
from .keys_directory import keys_directory
from .structure_keys import has_vault_file, keys_at, structure_keys_of, vault_in

if TYPE_CHECKING:
    from ..proto.keys.vault import Vault


def has_vault(staging: Path) -> bool:
    """Whether a staging area has a vault on this host."""
    directory = keys_directory(staging)
    return directory is not None and has_vault_file(directory, area_id(staging))


def vault_of(staging: Path) -> Vault | None:
    """The secrets of the mailboxes of a staging area, as this host has them; None where there are none.
    Raises AccessError, StagingError, DamagedError."""
    directory, found = keys_directory(staging), structure_keys_of(staging)
    if directory is None or not found:
        return None
    keys = Keyring(structures={key.id: key.secret for key in found})
    return vault_in(directory, area_id(staging), keys)


def key_of_vault(staging: Path) -> StructureKey | None:
    """What the vault of a staging area is sealed with; None where the key is not on this host."""
    found = structure_keys_of(staging)
    return found[-1] if found else None


def make_secrets(staging: Path, mailboxes: Iterable[tuple[str, str]]) -> None:
    """Where mailboxes are to be erasable, each of these (partition and user) has a secret, made if it has
    none, on the disk. Raises AccessError, StagingError, DamagedError."""
    directory, sealing = keys_directory(staging), keys_at(staging).sealing
    if directory is None or sealing is None or sealing.mailboxes is None:
        return
    from ..proto.keys.vault import Vault
    from .vaults import changing, write_vault

    area = area_id(staging)
    with changing(directory, area):
        vault = vault_of(staging) or Vault()
        with_all = vault.with_secrets(mailboxes)
        if with_all is not vault:
            write_vault(directory, area, with_all, sealing.structure)


def with_secrets(area: StagingArea, staging: Path, units: Iterable[Unit]) -> StagingArea:
    """The staging area for who backs up these units: with a secret for each mailbox, where these are to be
    erasable. Raises as ``make_secrets``."""
    if area.sealing is None or area.sealing.mailboxes is None:
        return area
    make_secrets(staging, ((unit.partition.name, user) for unit in units for user in unit.users))
    at_hand = keys_at(staging)
    return replace(area, keys=at_hand.keys, sealing=at_hand.sealing, resealing=at_hand.resealing)
