"""The structure keys of a staging area, and for whom what is written there is encrypted.

They lie in the directory of keys, never in the staging area, by its id: ``ID.structure``, mode 0600, a key in
hexadecimal digits a line (the last one is for what is written, all are for reading), and ``ID.recipients``,
the public keys of the last run that had some, and whether the last run did. The staging area only tells
which directory that is (``.mailhaul/keys-directory``): so every command finds them, whatever it was told to
read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..proto.directories import make_private, sync_directory
from ..proto.errors import AccessError, ConfigError, StagingError
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
from ..proto.records import Unit
from ..proto.structs import Record, replace
from ..worker.staging.area import StagingArea
from .area_id import area_id
from .durable import replace_durably

if TYPE_CHECKING:
    from ..proto.keys.vault import Vault

POINTER = Path(".mailhaul", "keys-directory")
"""Below the staging area: in which directory its keys lie. Empty: no run has recipients, and it was said."""

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
    pointer = staging / POINTER
    if not recipients:
        if pointer.exists():
            _note_recipients(keys_directory(staging), area_id(staging), (), erasable=False)
        return
    _refuse_inside(keys, staging)
    area = area_id(staging)
    path = keys / f"{area}.structure"
    known = keys_directory(staging)
    if known is not None and not path.exists():
        # What is written with another key can't be compared with what is there.
        raise _missing(path if known == keys else known / path.name)
    if not path.exists():
        _make(path)
    key = read_structure_keys(path)[-1]
    if not _has_vault(keys, area):
        if _noted(keys, area).get("vault"):
            # With other secrets nothing that is there could be read.
            raise _missing_vault(keys / f"{area}{VAULT_ENDING}")
        if erasable:
            from ..proto.keys.vault import Vault
            from .vaults import write_vault

            write_vault(keys, area, Vault(), key)
    _note_recipients(keys, area, recipients, erasable=erasable)
    _point(staging, keys)


def was_said(staging: Path) -> bool:
    """Whether it was said that archives are not encrypted; from now on it was. Raises StagingError."""
    if (staging / POINTER).exists():
        return True
    replace_durably(staging / POINTER, b"")
    return False


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
    if directory is None:
        return AreaKeys(keys=added)
    area = area_id(staging)
    path = directory / f"{area}.structure"
    if not path.exists():
        return AreaKeys(keys=added)
    found = read_structure_keys(path)
    encrypts, recipients = _recipients(directory, area)
    keys = added.and_those(Keyring(structures={one.id: one.secret for one in found}))
    vault = _vault(directory, area, keys)
    sealing = None
    if recipients:
        secrets = vault.keyring.secrets if vault is not None else {}
        sealing = Sealing(structure=found[-1], recipients=recipients, rewritable=secrets)
        if _noted(directory, area).get("erasable"):
            sealing = replace(sealing, mailboxes=vault.secrets if vault is not None else {})
    return AreaKeys(
        keys=keys.and_those(vault.keyring) if vault is not None else keys,
        sealing=sealing if encrypts else None,
        resealing=replace(sealing, mailboxes=None) if sealing is not None else None,
    )


def make_secrets(staging: Path, mailboxes: Iterable[tuple[str, str]]) -> None:
    """Where mailboxes are to be erasable, each of these (partition and user) has a secret, made if it has
    none, on the disk. Raises as ``area_at``, StagingError."""
    directory, sealing = keys_directory(staging), keys_at(staging).sealing
    if directory is None or sealing is None or sealing.mailboxes is None:
        return
    from ..proto.keys.vault import Vault
    from .vaults import write_vault

    area = area_id(staging)
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


def has_vault(staging: Path) -> bool:
    """Whether a staging area has a vault on this host."""
    directory = keys_directory(staging)
    return directory is not None and _has_vault(directory, area_id(staging))


def vault_of(staging: Path) -> Vault | None:
    """The secrets of the mailboxes of a staging area, as this host has them; None where there are none.
    Raises as ``area_at``, and DamagedError."""
    directory = keys_directory(staging)
    if directory is None:
        return None
    area = area_id(staging)
    path = directory / f"{area}.structure"
    if not path.exists():
        return None
    return _vault(
        directory, area, Keyring(structures={one.id: one.secret for one in read_structure_keys(path)})
    )


def key_of_vault(staging: Path) -> StructureKey | None:
    """What the vault of a staging area is sealed with; None where the key is not on this host."""
    directory = keys_directory(staging)
    path = directory / f"{area_id(staging)}.structure" if directory is not None else None
    return read_structure_keys(path)[-1] if path is not None and path.exists() else None


def _has_vault(directory: Path, area: str) -> bool:
    return any(directory.glob(f"{area}*{VAULT_ENDING}"))


def _vault(directory: Path, area: str, keys: Keyring) -> Vault | None:
    if not _has_vault(directory, area):
        return None
    from .vaults import read_vault  # who has no mailbox that is erasable does without

    return read_vault(directory, area, keys)


def encrypts(staging: Path) -> bool:
    """Whether archives of a staging area are encrypted, be the key at hand or not. Raises as ``area_at``."""
    if keys_at(staging).sealing is not None:
        return True
    directory = keys_directory(staging)
    return directory is not None and _encrypts(directory, area_id(staging))


def key_beside(staging: Path) -> StructureKey | None:
    """What the files beside archives are sealed with; None where archives are not encrypted. Raises as
    ``area_at``, and AccessError if archives are encrypted and the key is gone."""
    sealing = keys_at(staging).sealing
    directory = keys_directory(staging)
    if sealing is not None or directory is None:
        return sealing.structure if sealing else None
    area = area_id(staging)
    path = directory / f"{area}.structure"
    if not _encrypts(directory, area):
        return None
    if not path.exists():
        raise _missing(path)
    return read_structure_keys(path)[-1]


def bring_back(staging: Path, directory: Path, found: Sequence[StructureKey]) -> None:
    """Put structure keys that came out of archives into a directory of keys, and let the staging area say
    that they are there. The last is for what is written, unless there is one that is. Call it under the run
    lock. Raises AccessError, StagingError, ConfigError for a directory inside the staging area."""
    _refuse_inside(directory, staging)
    path = directory / f"{area_id(staging)}.structure"
    there = read_structure_keys(path) if path.exists() else ()
    lines = [one.secret.hex() for one in (*(one for one in found if one not in there), *there)]
    replace_durably(path, "".join(f"{line}\n" for line in lines).encode("ascii"))
    _point(staging, directory)


def keys_directory(staging: Path) -> Path | None:
    """Where the keys of a staging area lie, by what it says itself: never inside of it, where who may write
    to it could put others."""
    try:
        told = (staging / POINTER).read_bytes().rstrip(b"\n")
    except OSError:
        return None
    directory = Path(os.fsdecode(told))
    return directory if told and directory.is_absolute() and not _is_inside(directory, staging) else None


def read_structure_keys(path: Path) -> tuple[StructureKey, ...]:
    """The keys in a file, at least one. Raises AccessError."""
    from ..proto.wire.files import read_small  # loads ZeroMQ, which who has no keys does without

    lines = read_small(path, _MOST_FILE_BYTES, secret=True).split()
    if not lines or not all(map(_KEY.fullmatch, lines)):
        raise AccessError(f"{path}: is no file with structure keys", path=str(path))
    return tuple(structure_key(bytes.fromhex(line.decode("ascii"))) for line in lines)


def _point(staging: Path, keys: Path) -> None:
    """Let the staging area say where its keys are."""
    pointer = staging / POINTER
    told = f"{keys}\n".encode(errors="surrogateescape")
    if not pointer.exists() or pointer.read_bytes() != told:
        replace_durably(pointer, told)


def _refuse_inside(keys: Path, staging: Path) -> None:
    if _is_inside(keys, staging):
        raise ConfigError(
            f"the directory of keys {keys} lies inside the staging area: who copies archives would copy "
            "their keys; say where else by keys in [staging]"
        )


def _is_inside(directory: Path, staging: Path) -> bool:
    return Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(staging))


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


def _note_recipients(
    directory: Path | None, area: str, recipients: Sequence[Recipient], *, erasable: bool
) -> None:
    if directory is None:
        return
    path = directory / f"{area}.recipients"
    from ..proto.keys.recipients import text_of

    # Without any, those before are still needed: what is encrypted stays so when it is written anew.
    noted = recipients or _recipients(directory, area)[1]
    document = {
        "encrypts": bool(recipients),
        "recipients": [[one.name, text_of(one)] for one in noted],
        "erasable": erasable,
        "vault": erasable or bool(_noted(directory, area).get("vault")),
    }
    data = json.dumps(document).encode("ascii")
    try:
        same = path.read_bytes() == data
    except OSError:
        same = False
    if not same:
        replace_durably(path, data)


def _encrypts(directory: Path, area: str) -> bool:
    """Whether the last run had recipients; where none are on record the key came out of an archive."""
    encrypted, recipients = _recipients(directory, area)
    return encrypted or not recipients


def _recipients(directory: Path, area: str) -> tuple[bool, tuple[Recipient, ...]]:
    """Whether the last run had recipients, and those of the last one that did."""
    from ..proto.keys.recipients import recipient_of_text

    document = _noted(directory, area)
    if not document:
        return False, ()
    try:
        found = tuple(recipient_of_text(name, text) for name, text in document["recipients"])
        return bool(document["encrypts"]), found
    except (ValueError, TypeError, KeyError) as error:
        path = directory / f"{area}.recipients"
        raise StagingError(f"{path}: can't be read: {error}", path=str(path)) from error


def _noted(directory: Path, area: str) -> dict[str, Any]:
    """What is on record of the last run; empty if nothing is."""
    path = directory / f"{area}.recipients"
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StagingError(f"{path}: can't be read: {error}", path=str(path)) from error
    return document if isinstance(document, dict) else {}
