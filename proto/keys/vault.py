"""The vault: the secrets of mailboxes that are erasable, in one file that is rewritten, never added to.

KEYS.md, "Vaults", is the specification; it is sealed as FORMAT.md, "Sealed files", has it. Where it lies, and
when it is written, is not decided here.
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgpack

from ..errors import DamagedError
from ..structs import Record, field, replace
from .records import KEY_BYTES, KEY_ID_BYTES, VAULT_ENDING, Keyring, MailboxSecret, StructureKey
from .sealed_files import open_sealed_file, seal_file


class Vault(Record, kw_only=True):
    """All secrets of a staging area, by partition and user; the ``former`` ones of the same mailboxes, which
    open what was written with them; and of those that were destroyed the ids, with the time (seconds since
    1970). ``number`` is greater in each version of it. Its text has no secret in it."""

    number: int = 0
    secrets: Mapping[tuple[str, str], MailboxSecret] = field(default_factory=dict)
    former: tuple[MailboxSecret, ...] = ()
    erased: Mapping[bytes, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Vault({self.number}, {len(self.secrets)}, {len(self.erased)})"

    @property
    def keyring(self) -> Keyring:
        """What it opens."""
        return Keyring(
            secrets={secret.id: secret.secret for secret in self.all}, erased=frozenset(self.erased)
        )

    @property
    def all(self) -> tuple[MailboxSecret, ...]:
        """All secrets; of each mailbox the last one is for what is written."""
        return *self.former, *self.secrets.values()

    def with_secrets(self, mailboxes: Iterable[tuple[str, str]]) -> Vault:
        """The same, with a new secret for each of these mailboxes that has none; itself if none lacks one."""
        new = [mailbox for mailbox in dict.fromkeys(mailboxes) if mailbox not in self.secrets]
        if not new:
            return self
        made = {
            (partition, user): MailboxSecret(
                id=secrets.token_bytes(KEY_ID_BYTES),
                partition=partition,
                user=user,
                secret=secrets.token_bytes(KEY_BYTES),
            )
            for partition, user in new
        }
        return replace(self, number=self.number + 1, secrets={**self.secrets, **made})

    def without(self, mailbox: tuple[str, str], now: float) -> Vault:
        """The same when all secrets of a mailbox are destroyed; itself if it has none."""
        gone = {secret.id: int(now) for secret in self.all if (secret.partition, secret.user) == mailbox}
        if not gone:
            return self
        return _vault(self.number + 1, self.all, {**self.erased, **gone})

    def joined(self, other: Vault) -> Vault:
        """Both, of which neither may be newer in all: what either knows to be destroyed is. No other secret
        is lost: of a mailbox that has one in each, as in a lost house whose nights went on before its vault
        came back, that of the greater number is for what is written. It has a number of its own unless it is
        one of the two."""
        newer, older = (self, other) if self.number >= other.number else (other, self)
        both = _vault(newer.number, (*older.all, *newer.all), {**older.erased, **newer.erased})
        return newer if both.holds_same(newer) else replace(both, number=newer.number + 1)

    def holds_same(self, other: Vault) -> bool:
        """Whether two vaults open the same, and know the same to be destroyed."""
        return {one.id for one in self.all} == {one.id for one in other.all} and (
            self.erased.keys() == other.erased.keys()
        )


def _vault(number: int, found: Iterable[MailboxSecret], erased: Mapping[bytes, int]) -> Vault:
    """A vault with these secrets but for those that were destroyed; of each mailbox the last one is for what
    is written."""
    kept = {secret.id: secret for secret in found if secret.id not in erased}
    newest = {
        (mailbox_secret.partition, mailbox_secret.user): mailbox_secret for mailbox_secret in kept.values()
    }
    former = tuple(one for one in kept.values() if newest[one.partition, one.user] is not one)
    return Vault(number=number, secrets=newest, former=former, erased=erased)


def vault_name(area: str) -> str:
    """What the file with the vault of the staging area with this id is called; at destinations the number of
    the vault stands behind the id."""
    return f"{area}{VAULT_ENDING}"


def seal(vault: Vault, key: StructureKey, name: str) -> bytes:
    """A file with the vault, which is called ``name``, for who has the structure key."""
    rows = [[secret.id, secret.partition, secret.user, secret.secret] for secret in vault.all]
    erased = list(map(list, vault.erased.items()))
    document = {"number": vault.number, "mailboxes": rows, "erased": erased}
    plain = cast(bytes, msgpack.packb(document, unicode_errors="surrogateescape"))
    return b"".join(seal_file(name, (plain,), key))


def open_vault(data: bytes, keys: Keyring, name: str) -> Vault:
    """The vault in a file of this name. Raises DamagedError, UnsupportedError; EncryptedError without the
    structure key."""
    plain = b"".join(open_sealed_file(io.BytesIO(data), keys, name))
    try:
        row = msgpack.unpackb(plain, unicode_errors="surrogateescape", strict_map_key=True)
        erased = {bytes(one): int(time) for one, time in row["erased"]}
        return _vault(int(row["number"]), map(_mailbox, row["mailboxes"]), erased)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise DamagedError(f"{name}: it is no vault of secrets", reason="keys") from error


def _mailbox(row: list[Any]) -> MailboxSecret:
    name, partition, user, secret = row
    if (len(name), len(secret)) != (KEY_ID_BYTES, KEY_BYTES) or not (partition and user):
        raise ValueError("no secret of a mailbox")
    return MailboxSecret(id=bytes(name), partition=str(partition), user=str(user), secret=bytes(secret))
