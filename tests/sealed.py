"""Keys for tests of encrypted archives: fixed ones, and everything that is written encrypted with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from unittest.mock import patch

from blake3 import blake3

from mailhaul.coordinator import mailbox_secrets, structure_keys
from mailhaul.coordinator.cli import backup_run, restore_run
from mailhaul.proto.archive import draft, reader, run_end, salvage, slots
from mailhaul.proto.archive.codec import FrameCodec
from mailhaul.proto.archive.files import RandomAccess
from mailhaul.proto.archive.reader import ArchiveReader
from mailhaul.proto.archive.rewriting import rewrite
from mailhaul.proto.archive.run_end import write_run_end
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.keys.derivation import recipient_id, structure_key, wrap_info
from mailhaul.proto.keys.records import (
    NO_KEYS,
    Kem,
    Keyring,
    KeySlots,
    MailboxSecret,
    Recipient,
    Sealing,
    Slot,
)
from mailhaul.proto.keys.wrapping import public_of, unwrap
from mailhaul.proto.records import ArchiveId
from mailhaul.proto.structs import replace
from mailhaul.worker.archives.opened import open_archive
from mailhaul.worker.backup import back_up
from mailhaul.worker.comparing import known
from mailhaul.worker.comparing.known import OpenParents

STRUCTURE = structure_key(bytes(range(32)))
PRIVATE = bytes(range(100, 132))


def recipient(kem: Kem = Kem.X25519, private: bytes = PRIVATE, name: str = "ops") -> Recipient:
    """The public half of a private key."""
    public = public_of(kem, private)
    return Recipient(name=name, kem=kem, public=public, id=recipient_id(kem, public))


SEALING = Sealing(structure=STRUCTURE, recipients=(recipient(),))


class Erasable:
    """The secrets of the mailboxes of these users, of which one after the other is destroyed; who comes back
    has another one."""

    def __init__(self, *users: str, partition: str = "primary") -> None:
        self._secrets = {(partition, user): secret_of(partition, user) for user in users}
        self._erased: set[bytes] = set()

    def destroy(self, user: str) -> None:
        """The secret of a mailbox goes."""
        for (partition, name), secret in list(self._secrets.items()):
            if name == user:
                self._erased.add(secret.id)
                made = secret_of(partition, f"{user} again {len(self._erased)}")
                self._secrets[partition, name] = replace(made, user=user)

    @property
    def sealing(self) -> Sealing:
        """What is written with."""
        return replace(SEALING, mailboxes=dict(self._secrets))

    @property
    def resealing(self) -> Sealing:
        """What archives are written anew with."""
        return replace(SEALING, rewritable=self.keys.secrets)

    @property
    def keys(self) -> Keyring:
        """What is left in the vault."""
        secrets = {secret.id: secret.secret for secret in self._secrets.values()}
        return Keyring(secrets=secrets, erased=frozenset(self._erased))


def secret_of(partition: str, user: str) -> MailboxSecret:
    """The secret of a mailbox."""
    made = blake3(f"{partition}/{user}".encode()).digest(length=48)
    return MailboxSecret(id=made[:16], partition=partition, user=user, secret=made[16:])


def erasable(*users: str, partition: str = "primary") -> Sealing:
    """What these mailboxes are encrypted with, each erasable."""
    found = {(partition, user): secret_of(partition, user) for user in users}
    return replace(
        SEALING, mailboxes=found, rewritable={secret.id: secret.secret for secret in found.values()}
    )


OF_A_HOST = Keyring(structures={STRUCTURE.id: STRUCTURE.secret})
"""What a mail host has of earlier archives."""


def opened_keys(found: tuple[Slot, ...], private: bytes = PRIVATE) -> Keyring:
    """All keys of some slots, with the private key of the first recipient."""
    contents, structures = {}, {}
    for slot in found:
        wrap = slot.wraps[0]
        both = unwrap(wrap.kem, private, wrap.sealed, wrap_info(slot.archive, slot.salt, wrap.recipient))
        contents[slot.content], structures[slot.structure] = both[:32], both[32:]
    return Keyring(structures, contents)


@contextmanager
def everything_encrypted(*, contents: bool = True, mailboxes: Erasable | None = None) -> Iterator[None]:
    """All archives that this process writes in this time are encrypted, and who reads them without saying
    with which keys has the structure key, and the private key unless ``contents`` is false. Nights have the
    structure key only, as on a mail host, and, where ``mailboxes`` are erasable, the secrets that their tasks
    name."""
    chosen, opened = slots.codec_for, open_archive
    by_a_night = ContextVar("by_a_night", default=False)

    def choose(archive: ArchiveId, found: KeySlots, keys: Keyring) -> FrameCodec:
        if found and not keys.contents:
            secrets = NO_KEYS if mailboxes is None else mailboxes.keys
            if by_a_night.get():
                secrets = Keyring(secrets=keys.secrets, erased=keys.erased)
            opens = contents and not by_a_night.get()
            keys = (opened_keys(found.wrapped) if opens else OF_A_HOST).and_those(secrets)
        return chosen(archive, found, keys)

    def open_for_a_night(*files: RandomAccess, **named: Any) -> ArchiveReader:
        token = by_a_night.set(True)
        try:
            return opened(*files, **named)
        finally:
            by_a_night.reset(token)

    def keys_at(_staging: Path) -> structure_keys.AreaKeys:
        if mailboxes is None:
            return structure_keys.AreaKeys(keys=OF_A_HOST, sealing=SEALING, resealing=SEALING)
        keys = OF_A_HOST.and_those(mailboxes.keys)
        return structure_keys.AreaKeys(keys=keys, sealing=mailboxes.sealing, resealing=mailboxes.resealing)

    with ExitStack() as stack:
        for function in (ArchiveWriter.__init__, rewrite, write_run_end, back_up):
            defaults = {**(function.__kwdefaults__ or {}), "sealing": SEALING}
            stack.enter_context(patch.object(function, "__kwdefaults__", defaults))
        stack.enter_context(patch.object(OpenParents.__init__, "__defaults__", (OF_A_HOST, SEALING)))
        stack.enter_context(patch.object(known, "open_archive", open_for_a_night))
        for module in (structure_keys, mailbox_secrets, backup_run):
            stack.enter_context(patch.object(module, "keys_at", keys_at))
        stack.enter_context(patch.object(restore_run, "refuse_locked", lambda _archives, _slots: None))
        for module in (reader, salvage, draft, run_end):
            stack.enter_context(patch.object(module, "codec_for", choose))
        yield
