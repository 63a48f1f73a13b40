"""Somebody who holds the private key of a recipient, on a machine of his own."""

from __future__ import annotations

import secrets
from pathlib import Path

from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.slots import read_slots
from mailhaul.proto.keys.derivation import wrap_info
from mailhaul.proto.keys.recipients import recipient, write_recipient
from mailhaul.proto.keys.records import Kem, Slot
from mailhaul.proto.keys.secret_files import ScryptCost, Secret, write_secret
from mailhaul.proto.keys.wrapping import public_of, unwrap

_PASSPHRASE = "correct horse"


class Keyholder:
    """``public`` is a file for the configuration; with the options ``with_key`` a command opens archives."""

    def __init__(self, place: Path, name: str = "ops") -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.private = secrets.token_bytes(32)
        ours = recipient(name, Kem.X25519, public_of(Kem.X25519, self.private))
        self.public = write_recipient(place, ours)
        identity, passphrase = place / f"{name}.secret", place / f"{name}.passphrase"
        secret = Secret(name=name, kem=Kem.X25519, recipient=ours.id, private=self.private)
        write_secret(identity, secret, _PASSPHRASE, ScryptCost(n=2, r=1))
        passphrase.touch(0o600)
        passphrase.write_text(f"{_PASSPHRASE}\n")
        self.with_key = ("--identity", str(identity), "--passphrase-file", str(passphrase))

    def opened(self, slot: Slot) -> tuple[bytes, bytes]:
        """The content key and the structure key of a slot."""
        (wrap,) = slot.wraps
        info = wrap_info(slot.archive, slot.salt, wrap.recipient)
        both = unwrap(wrap.kem, self.private, wrap.sealed, info)
        return both[:32], both[32:]


def slots_of(archive: Path) -> tuple[Slot, ...]:
    """The slots of an archive; none if it is not encrypted."""
    file = LocalFile(str(archive))
    try:
        return read_slots(file)
    finally:
        file.close()
