"""The structure keys of a staging area, and what it takes to read and to write its archives.

They lie in the directory of keys, never in the staging area, by its id: ``ID.structure``, mode 0600, a key in
hexadecimal digits a line (the last one is for what is written, all are for reading). Beside them lie the
recipients (``noted_recipients``) and the vault (``vaults``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..proto.directories import make_private, sync_directory
from ..proto.errors import AccessError
from ..proto.keys.derivation import structure_key
from ..proto.keys.records import (
    KEY_BYTES,
    NO_KEYS,
    SIDECARS,
    VAULT_ENDING,
    VAULTS,
    Keyring,
    Recipient,
    Sealing,
    StructureKey,
)
from ..proto.structs import Record, replace
from ..worker.staging.area import StagingArea
from .area_id import area_id
from .durable import replace_durably
from .keys_directory import keys_directory, point_to, refuse_inside
from .noted_recipients import note_recipients, noted_recipients

if TYPE_CHECKING:
    from ..proto.keys.vault import Vault

_MOST_FILE_BYTES = 1 << 20
_KEY = re.compile(rb"[0-9a-f]{64}", re.ASCII)


class AreaKeys(Record, kw_only=True):
    """The structure keys of a staging area; the ``sealing`` of new archives, None where they are not
    encrypted; and the ``resealing`` of those that are, when they are written anew."""

    keys: Keyring = NO_KEYS
    sealing: Sealing | None = None
    resealing: Sealing | None = None


def prepare(staging: Path, keys: Path, recipients: Sequence[Recipient], *, erasable: bool = False) -> None:
    """Before anything is written: with recipients there is a structure key, made if there is none, and they
    are on record; with ``erasable`` there is a vault, too. Repeatable. Raises AccessError, StagingError,
    ConfigError for a directory of keys inside the staging area."""
    known = keys_directory(staging)
    if not recipients:
        if known is not None:
            note_recipients(known, area_id(staging), ())
        return
    refuse_inside(keys, staging)
    area = area_id(staging)
    path = _file(keys, area)
    if known is not None and not path.exists():
        # What is written with another key can't be compared with what is there.
        raise _missing(path if known == keys else known / path.name)
    if not path.exists():
        _make(path)
    key = read_structure_keys(path)[-1]
    if not has_vault_file(keys, area):
        if noted_recipients(keys, area).vault:
            # With other secrets nothing that is there could be read.
            raise _missing_vault(keys / f"{area}{VAULT_ENDING}")
        if erasable:
            from ..proto.keys.vault import Vault
            from .vaults import changing, write_vault

            with changing(keys, area):
                if not has_vault_file(keys, area):
                    write_vault(keys, area, Vault(), key)
    note_recipients(keys, area, recipients, erasable=erasable)
    point_to(keys, staging)


def area_at(staging: Path, *, reserve_bytes: int = 0, patience_seconds: float = 0.0) -> StagingArea:
    """A staging area of this host, with its keys as far as they are at hand. Raises AccessError for a file of
    keys that lies open to others or is none."""
    at_hand = keys_at(staging)
    return StagingArea(
        path=str(staging),
        reserve_bytes=reserve_bytes,
        patience_seconds=patience_seconds,
        keys=at_hand.keys,
        sealing=at_hand.sealing,
        resealing=at_hand.resealing,
    )


def keys_at(staging: Path) -> AreaKeys:
    """The keys of a staging area: none where they are not on this host. Raises as ``area_at``."""
    directory = keys_directory(staging)
    added = Keyring(sidecars=(str(staging / SIDECARS),))
    found = structure_keys_of(staging)
    if directory is None or not found:
        return AreaKeys(keys=added)
    area = area_id(staging)
    noted = noted_recipients(directory, area)
    keys = added.and_those(Keyring(structures={key.id: key.secret for key in found}))
    vault = vault_in(directory, area, keys)
    sealing = None
    if noted.recipients:
        secrets = vault.keyring.secrets if vault is not None else {}
        sealing = Sealing(structure=found[-1], recipients=noted.recipients, rewritable=secrets)
        if noted.erasable:
            sealing = replace(sealing, mailboxes=vault.secrets if vault is not None else {})
    return AreaKeys(
        keys=keys.and_those(vault.keyring) if vault is not None else keys,
        sealing=sealing if noted.encrypts else None,
        resealing=replace(sealing, mailboxes=None) if sealing is not None else None,
    )


def structure_keys_of(staging: Path) -> tuple[StructureKey, ...]:
    """Those of a staging area, the last for what is written; none where they are not on this host. Raises as
    ``area_at``."""
    directory = keys_directory(staging)
    path = _file(directory, area_id(staging)) if directory is not None else None
    return read_structure_keys(path) if path is not None and path.exists() else ()


def has_vault_file(directory: Path, area: str) -> bool:
    """Whether a directory of keys has the vault of the staging area with this id, or a copy of it."""
    return any(directory.glob(f"{area}*{VAULT_ENDING}"))


def vault_in(directory: Path, area: str, keys: Keyring) -> Vault | None:
    """What is in that vault; None if there is none. Raises as ``vaults.read_vault``."""
    if not has_vault_file(directory, area):
        return None
    from .vaults import read_vault  # who has no mailbox that is erasable does without

    return read_vault(directory, area, keys)


def encrypts(staging: Path) -> bool:
    """Whether archives of a staging area are encrypted, be the key at hand or not. Raises as ``area_at``."""
    if keys_at(staging).sealing is not None:
        return True
    directory = keys_directory(staging)
    return directory is not None and noted_recipients(directory, area_id(staging)).are_encrypted


def key_beside(staging: Path) -> StructureKey | None:
    """What the files beside archives are sealed with; None where archives are not encrypted. Raises as
    ``area_at``, and AccessError if archives are encrypted and the key is gone."""
    sealing = keys_at(staging).sealing
    directory = keys_directory(staging)
    if sealing is not None or directory is None:
        return sealing.structure if sealing else None
    area = area_id(staging)
    if not noted_recipients(directory, area).are_encrypted:
        return None
    found = structure_keys_of(staging)
    if not found:
        raise _missing(_file(directory, area))
    return found[-1]


def bring_back(staging: Path, directory: Path, found: Sequence[StructureKey]) -> None:
    """Put structure keys that came out of archives into a directory of keys, and let the staging area say
    that they are there. The last is for what is written, unless there is one that is. Call it under the run
    lock. Raises AccessError, StagingError, ConfigError for a directory inside the staging area."""
    refuse_inside(directory, staging)
    path = _file(directory, area_id(staging))
    there = read_structure_keys(path) if path.exists() else ()
    lines = [one.secret.hex() for one in (*(one for one in found if one not in there), *there)]
    replace_durably(path, "".join(f"{line}\n" for line in lines).encode("ascii"))
    point_to(directory, staging)


def keys_in(directory: Path) -> Keyring:
    """The structure keys in a directory of keys, whosever they are, as far as they can be read: for who does
    not know yet of which staging area archives are."""
    found: dict[bytes, bytes] = {}
    for path in sorted(directory.glob("*.structure")):
        with suppress(AccessError):
            found.update((key.id, key.secret) for key in read_structure_keys(path))
    return Keyring(structures=found)


def take_up(staging: Path, directory: Path) -> None:
    """Let a staging area that says of no directory of keys say that its keys are in this one, if they are:
    somebody has brought the file back. Raises StagingError, ConfigError as ``bring_back``."""
    if keys_directory(staging) is None and _file(directory, area_id(staging)).exists():
        refuse_inside(directory, staging)
        point_to(directory, staging)


def read_structure_keys(path: Path) -> tuple[StructureKey, ...]:
    """The keys in a file, at least one. Raises AccessError."""
    from ..proto.wire.files import read_small  # loads ZeroMQ, which who has no keys does without

    lines = read_small(path, _MOST_FILE_BYTES, secret=True).split()
    if not lines or not all(map(_KEY.fullmatch, lines)):
        raise AccessError(f"{path}: is no file with structure keys", path=str(path))
    return tuple(structure_key(bytes.fromhex(line.decode("ascii"))) for line in lines)


def _file(directory: Path, area: str) -> Path:
    return directory / f"{area}.structure"


def _missing(path: Path) -> AccessError:
    return AccessError(
        f"{path}: the structure key of the staging area is gone, and with another nothing that is stored "
        "could be compared: bring the file back from a copy, or take the key out of archives with "
        "`mailhaul keys structure recover --identity FILE`",
        path=str(path),
    )


def _missing_vault(path: Path) -> AccessError:
    return AccessError(
        f"{path}: the vault with the secrets of the mailboxes is gone: put a copy into this directory, under "
        f"the name that it has at a destination, in {VAULTS}/; without it nothing can be read of mailboxes "
        "that are erasable",
        path=str(path),
    )


def _make(path: Path) -> None:
    """Under a name of its own first: whoever sees the final name sees all of the key. Nothing is
    overwritten."""
    import secrets  # takes longer to load than a command that makes no key should

    from ..proto.wire.files import new_file

    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        make_private(path.parent)
        try:
            with new_file(draft, 0o600) as write:
                write(secrets.token_hex(KEY_BYTES).encode("ascii") + b"\n")
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise AccessError(f"{path}: can't be made: {error.strerror}", path=str(path)) from error
