"""What keys there are: records that tasks carry and archives name. No cryptography is done here.

FORMAT.md, "Encryption", is the specification; docs/threat-model.md says who holds what.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from ..records import ArchiveId
from ..structs import Record, field, replace

VAULTS = "_vault"
"""At destinations: where the copy of a vault lies, relative to the archives."""

VAULT_ENDING = ".vault.sealed"
"""How the file of a vault is called, behind the id of its staging area."""

SIDECARS = "_keys"
"""What directories of sidecars are called: below the staging area, and beside archives elsewhere. No
partition can be called so."""

KEY_BYTES = 32
KEY_ID_BYTES = 16


class Kem(IntEnum):
    """How a key is wrapped for a recipient. A retired number is never used again."""

    X25519 = 1
    """HPKE (RFC 9180), base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM."""
    HYBRID = 2
    """HPKE with ML-KEM-768 and X25519 together, HKDF-SHA256, AES-256-GCM."""
    AGE = 3
    """An age file for one age recipient."""


class Cipher(IntEnum):
    """How frames are encrypted. A retired number is never used again."""

    AES_256_GCM = 1
    CHACHA20_POLY1305 = 2


class Recipient(Record, kw_only=True):
    """For whom keys are wrapped: the public half of a pair. ``id`` (16 bytes) is made of the others but the
    name (``derivation.recipient_id``); ``name`` is for people."""

    name: str
    kem: Kem
    public: bytes
    id: bytes


class Wrap(Record):
    """A key as it is wrapped for the recipient with this id (16 bytes); ``name`` is for people."""

    recipient: bytes
    name: str
    kem: Kem
    sealed: bytes


class Slot(Record, kw_only=True):
    """A pair of keys that frames of an archive are encrypted with: one for each attempt that wrote some.

    ``number`` counts from 1 in the archive, ``archive`` is that for which the keys were made: another one if
    frames of it were copied. ``salt`` (32 bytes) is random, ``structure`` the id of the structure key,
    ``content`` that of the content key; both keys are in each of the ``wraps``."""

    number: int
    archive: ArchiveId
    salt: bytes
    cipher: Cipher
    structure: bytes
    content: bytes
    wraps: tuple[Wrap, ...]


class MailboxSlot(Record, kw_only=True):
    """The keys of what an archive holds of one mailbox, made of those of the slot ``parent`` and the secret
    of the mailbox with the id ``secret`` (16 bytes): when that is destroyed, they are. ``number`` counts as
    that of a slot does."""

    number: int
    parent: int
    secret: bytes


class KeySlots(Record):
    """All slots that an archive, or a frame of it, tells of: ``wrapped`` ones, and those of ``mailboxes``."""

    wrapped: tuple[Slot, ...] = ()
    mailboxes: tuple[MailboxSlot, ...] = ()

    @classmethod
    def by_number(cls, wrapped: Mapping[int, Slot], mailboxes: Mapping[int, MailboxSlot]) -> KeySlots:
        """These slots, each kind ascending by its number."""
        return cls(
            tuple(wrapped[number] for number in sorted(wrapped)),
            tuple(mailboxes[number] for number in sorted(mailboxes)),
        )

    def __bool__(self) -> bool:
        return bool(self.wrapped or self.mailboxes)

    @property
    def last(self) -> int:
        """The greatest number of a slot; 0 if there are none."""
        wrapped = max((slot.number for slot in self.wrapped), default=0)
        return max(wrapped, *(mailbox.number for mailbox in self.mailboxes), 0)


class MailboxSecret(Record, kw_only=True):
    """What makes a mailbox erasable: random (32 bytes), with a random ``id`` (16 bytes). Its text has no
    secret in it."""

    id: bytes
    partition: str
    user: str
    secret: bytes

    def __repr__(self) -> str:
        return f"MailboxSecret({self.id.hex()})"


class StructureKey(Record):
    """The key of the structure of all archives of a staging area. ``id`` (16 bytes) is made of the secret
    (32 bytes): ``derivation.structure_key``. Its text, as that of a keyring, has no secret in it."""

    id: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"StructureKey({self.id.hex()})"


class Keyring(Record):
    """Keys at hand for reading, by their ids: structure keys, content keys of archives, and the secrets of
    mailboxes; and the ids of secrets that were destroyed (``erased``). ``sidecars`` are directories of this
    host with further wraps of keys, for who has none of these; ``tried`` the names of the recipients whose
    private keys were tried."""

    structures: Mapping[bytes, bytes] = field(default_factory=dict)
    contents: Mapping[bytes, bytes] = field(default_factory=dict)
    sidecars: tuple[str, ...] = ()
    secrets: Mapping[bytes, bytes] = field(default_factory=dict)
    erased: frozenset[bytes] = frozenset()
    tried: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Keyring({len(self.structures)}, {len(self.contents)}, {len(self.secrets)})"

    def __hash__(self) -> int:
        return hash(tuple(map(frozenset, (self.structures, self.contents, self.secrets, self.erased))))

    def only(self, secrets: Iterable[MailboxSecret]) -> Keyring:
        """The same with just these secrets of mailboxes: for a host that has to do with no others."""
        return replace(self, secrets={secret.id: secret.secret for secret in secrets}, erased=frozenset())

    def and_those(self, other: Keyring) -> Keyring:
        """The keys of both. What either knows to be destroyed is."""
        erased = self.erased | other.erased
        secrets = {**self.secrets, **other.secrets}
        return Keyring(
            {**self.structures, **other.structures},
            {**self.contents, **other.contents},
            tuple(dict.fromkeys((*self.sidecars, *other.sidecars))),
            {one: secret for one, secret in secrets.items() if one not in erased} if erased else secrets,
            erased,
            tuple(dict.fromkeys((*self.tried, *other.tried))),
        )

    def lacking(self, names: Iterable[str]) -> str:
        """What an error says of something that takes the private key of one of these recipients."""
        encrypted = f"encrypted, for {', '.join(names) or 'nobody'}"
        if self.tried:
            return f"{encrypted}; the private key that was given ({', '.join(self.tried)}) does not open it"
        return f"{encrypted} (--identity FILE names a private key)"


NO_KEYS = Keyring()
"""Of who can read archives that are not encrypted, and nothing else."""


class Sealing(Record, kw_only=True):
    """What it takes to write an encrypted archive: the structure key, and for whom keys are wrapped, at least
    one. With ``mailboxes``, their secrets by partition and user, all that is of one mailbox is erasable, and
    no other mailbox can be written; with None nothing is. ``rewritable`` are the secrets, by id, of mailboxes
    in archives that are written anew."""

    structure: StructureKey
    recipients: tuple[Recipient, ...]
    mailboxes: Mapping[tuple[str, str], MailboxSecret] | None = None
    rewritable: Mapping[bytes, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Sealing({self.structure}, {len(self.recipients)})"

    def __hash__(self) -> int:
        return hash((self.structure, self.recipients, frozenset(self.mailboxes or ())))

    def only(self, mailboxes: Iterable[tuple[str, str]]) -> Sealing:
        """The same with the secrets of just these mailboxes."""
        if self.mailboxes is None:
            return replace(self, rewritable={})
        found = {mailbox: self.mailboxes[mailbox] for mailbox in mailboxes if mailbox in self.mailboxes}
        return replace(self, mailboxes=found, rewritable={})

    @property
    def secrets(self) -> dict[bytes, bytes]:
        """All secrets of mailboxes that are at hand, by id."""
        return {
            **self.rewritable,
            **{mailbox.id: mailbox.secret for mailbox in (self.mailboxes or {}).values()},
        }
