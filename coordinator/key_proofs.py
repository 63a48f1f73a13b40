"""Whether private keys open what is written: proven by who has them, on the archives themselves."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from ..proto.archive.files import RandomAccess
from ..proto.archive.reader import open_sealed
from ..proto.archive.sidecars import with_sidecars
from ..proto.archive.slots import read_slots
from ..proto.errors import BackupError, DamagedError, EncryptedError
from ..proto.keys.identities import Identity
from ..proto.keys.opening import open_slot
from ..proto.keys.records import Kem, Keyring, Recipient, Slot, Wrap
from ..proto.records import STAGING, Location
from ..proto.structs import Mutable, Record, replace
from ..worker.archives.excerpts import Excerpt
from ..worker.archives.holdings import EXCERPTS, PlaceSettings
from ..worker.archives.names import archive_of_excerpt, is_excerpt
from ..worker.archives.places import Places
from .catalog import Catalog
from .key_checks import Check
from .unknown import archives_and_excerpts

_CANARY_INFO = b"mailhaul canary"
_CANARY_BYTES = 64
_NEWEST = 10
_SAMPLE = 20
"""So many archives are opened: the newest ones, and some of the others, each time others."""


class Failure(Record, kw_only=True):
    """What did not open, and why. ``archive`` is empty where it was the canary."""

    recipient: str
    archive: str
    code: str
    message: str


class Opened(Record, kw_only=True):
    """How many archives the private key of a recipient opens: all of them, or only ``in_part``, where some
    keys are wrapped for others only."""

    whole: int = 0
    in_part: int = 0


class Proof(Record, kw_only=True):
    """What an identity opened. ``checks`` are of recipients of which nothing failed; ``encrypted`` is how
    many archives were looked at, ``opened`` how many of them each recipient (by its name) opens."""

    checks: tuple[Check, ...]
    failures: tuple[Failure, ...]
    encrypted: int
    opened: Mapping[str, Opened]


class Seen(Mutable):
    """A recipient that keys of archives are wrapped for: all keys of so many, some keys of others."""

    name: str
    kem: Kem
    whole: int = 0
    in_part: int = 0


def staged_copies(staging: Path) -> list[Location]:
    """The archives of a staging area, the newest first: themselves, or excerpts of those that have left
    it."""
    names = (str(file.relative_to(staging)) for file in archives_and_excerpts(staging))
    return _newest_first(
        Location(EXCERPTS, archive_of_excerpt(name)) if is_excerpt(name) else Location(STAGING, name)
        for name in names
    )


def copies_at(staging: Path, destination: str) -> list[Location]:
    """The copies at a destination that the catalog knows, the newest first. Raises NotFoundError without a
    catalog."""
    with Catalog.open(staging) as catalog:
        return _newest_first(
            Location(copy.place, copy.name, copy.version, copy.size_bytes)
            for archive in catalog.archives()
            for copy in archive.copies
            if copy.place == destination and copy.state != "lost"
        )


def chosen(copies: Sequence[Location]) -> list[Location]:
    """The newest of some copies, and some of the others."""
    rest = copies[_NEWEST:]
    return [*copies[:_NEWEST], *random.sample(rest, min(_SAMPLE, len(rest)))]


def prove(
    identity: Identity,
    recipients: Sequence[Recipient],
    copies: Iterable[Location],
    places: Iterable[PlaceSettings],
    now: datetime,
) -> Proof:
    """Open what is wrapped for the recipients of an identity: a canary with each public key that is
    configured, and of each encrypted one among these archives all keys, the directory, and mail. What can't
    be read at all proves nothing, and is a failure."""
    public = {recipient.id: recipient for recipient in recipients}
    tried = {id_: _Tried(name=public[id_].name if id_ in public else "") for id_ in identity.recipients}
    failures: list[Failure] = []
    for id_ in identity.recipients:
        found = list(_canary(identity, public[id_])) if id_ in public else []
        tried[id_].failed = bool(found)
        failures += found
    encrypted = 0
    with closing(Places(places)) as opened:
        for copy in copies:
            where = opened.described(copy)
            try:
                with closing(opened.open(copy)) as file:
                    slots = with_sidecars(read_slots(file), opened.keys)
                    if not slots:
                        continue
                    encrypted += 1
                    for id_ in identity.recipients:
                        failures += _try_archive(identity, id_, file, slots, tried[id_], where, opened.keys)
            except BackupError as error:
                failures.append(Failure(recipient="", archive=where, code=error.code, message=error.message))
    checks = tuple(
        Check(recipient=id_, name=one.name, at=now, archive=one.newest)
        for id_, one in tried.items()
        if not one.failed and (id_ in public or one.newest)
    )
    opens = {one.name: Opened(whole=one.whole, in_part=one.in_part) for one in tried.values() if one.name}
    return Proof(checks=checks, failures=tuple(failures), encrypted=encrypted, opened=opens)


def addressed(copies: Iterable[Location], places: Iterable[PlaceSettings]) -> tuple[int, dict[bytes, Seen]]:
    """How many of these archives are encrypted, and for whom, without any key: the recipients by their ids,
    also those that are configured no more. What can't be read is passed over: ``verify`` looks at that."""
    encrypted, seen = 0, dict[bytes, Seen]()
    with closing(Places(places)) as opened:
        for copy in copies:
            with suppress(BackupError), closing(opened.open(copy)) as file:
                slots = with_sidecars(read_slots(file), opened.keys)
                encrypted += bool(slots)
                for id_, wrap in {w.recipient: w for slot in slots for w in slot.wraps}.items():
                    recipient = seen.setdefault(id_, Seen(name=wrap.name, kem=wrap.kem))
                    if all(_own(slot, id_) for slot in slots):
                        recipient.whole += 1
                    else:
                        recipient.in_part += 1
    return encrypted, seen


class _Tried(Mutable):
    """What the private key of a recipient did so far. It is called as the recipient is: a key that was typed
    from paper has no name."""

    name: str
    newest: str = ""
    whole: int = 0
    in_part: int = 0
    failed: bool = False


def _try_archive(
    identity: Identity,
    id_: bytes,
    file: RandomAccess,
    slots: Sequence[Slot],
    tried: _Tried,
    where: str,
    area: Keyring,
) -> Iterator[Failure]:
    own = [replace(slot, wraps=wraps) for slot in slots if (wraps := _own(slot, id_))]
    if not own:
        return
    tried.name = tried.name or own[0].wraps[0].name
    try:
        # Secrets of mailboxes are no part of what is proven: they lie in a vault, not with the recipients.
        keys = Keyring(secrets=area.secrets, erased=area.erased)
        for slot in own:
            content, structure = open_slot(slot, identity)
            keys = keys.and_those(Keyring({slot.structure: structure}, {slot.content: content}))
        _read_some(file, keys)
    except EncryptedError:
        pass  # what was tried is wrapped for others, or its secret was destroyed
    except BackupError as error:
        tried.failed = True
        yield Failure(recipient=tried.name, archive=where, code=error.code, message=error.message)
        return
    tried.newest = tried.newest or where
    if len(own) == len(slots):
        tried.whole += 1
    else:
        tried.in_part += 1


def _read_some(file: RandomAccess, keys: Keyring) -> None:
    """Decrypt the directory, and mail: the first block, where there is one. Raises BackupError."""
    reader = open_sealed(file, keys=keys)
    if reader.directory.blocks.data and not isinstance(file, Excerpt):
        reader.block(0)


def _own(slot: Slot, id_: bytes) -> tuple[Wrap, ...]:
    return tuple(wrap for wrap in slot.wraps if wrap.recipient == id_)


def _canary(identity: Identity, recipient: Recipient) -> Iterator[Failure]:
    from ..proto.keys.wrapping import wrap

    secret = os.urandom(_CANARY_BYTES)
    try:
        sealed = Wrap(recipient.id, recipient.name, recipient.kem, wrap(recipient, secret, _CANARY_INFO))
        if identity.unwrap(sealed, _CANARY_INFO) != secret:
            raise DamagedError("what was wrapped did not come back", reason="wrapped-key")
    except BackupError as error:
        yield Failure(recipient=recipient.name, archive="", code=error.code, message=error.message)


def _newest_first(copies: Iterable[Location]) -> list[Location]:
    """The names of archives begin with the id of their run, which is a time."""
    return sorted(copies, key=lambda copy: copy.name.rpartition("/")[2], reverse=True)
