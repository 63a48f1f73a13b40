"""Private keys in files: ``NAME.secret``, mode 0600, and shares of them. KEYS.md, "NAME.secret".

What is there is what HPKE wants (``wrapping``), or a share of that, as it is or encrypted with a passphrase.
Files of others are hostile until they were checked: no memory and no time is given for parameters that are
out of bounds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from ..errors import AccessError
from ..structs import Record
from ..wire.files import lies_open, read_with_mode
from .new_files import write_new
from .recipients import KIND_NAMES, KINDS
from .records import Kem

ENDING = ".secret"
"""Of the names of the files."""

PRIVATE_BYTES = {Kem.X25519: 32, Kem.HYBRID: 64 + 32}

_VERSION = 1
_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
_MOST_FILE_BYTES = 65536
_MOST_MEMORY_BYTES = 1 << 30
_MOST_PARALLEL = 4


class ScryptCost(Record, kw_only=True):
    """What guessing a passphrase costs: 128 * ``n`` * ``r`` bytes and about as much work, ``p`` times."""

    n: int = 1 << 17
    r: int = 8
    p: int = 1

    def check(self) -> None:
        """Raises ValueError for what scrypt can't do, and for more than a gigabyte or four times that."""
        if self.n < 2 or self.n & (self.n - 1) or self.r < 1 or not 1 <= self.p <= _MOST_PARALLEL:
            raise ValueError("scrypt has wrong parameters")
        if 128 * self.n * self.r > _MOST_MEMORY_BYTES:
            raise ValueError("scrypt is to take more than 1 GiB of memory: refused")


COST = ScryptCost()


class Share(Record, kw_only=True):
    """Which share a secret is: ``number`` from 1 of ``count``, of which ``threshold`` are needed; all that
    were made together have the same ``set`` (4 bytes)."""

    number: int
    threshold: int
    count: int
    set: bytes


class Secret(Record, kw_only=True):
    """A private key, or a share of one, of the recipient with this id."""

    name: str
    kem: Kem
    recipient: bytes
    private: bytes
    share: Share | None = None

    def __repr__(self) -> str:
        return f"Secret({self.name!r}, {self.recipient.hex()})"


class SecretFile(Record, kw_only=True):
    """A secret as it lies in a file: ``open`` gives it. ``cost`` is None where it has no passphrase."""

    path: Path
    name: str
    kem: Kem
    recipient: bytes
    share: Share | None
    cost: ScryptCost | None
    salt: bytes
    nonce: bytes
    sealed: bytes
    lies_open: bool

    def __repr__(self) -> str:
        return f"SecretFile({str(self.path)!r})"

    def open(self, passphrase: str | None) -> Secret:
        """Raises AccessError for a wrong passphrase, or none where there has to be one."""
        private = self.sealed if self.cost is None else self._decrypted(self.cost, passphrase)
        return Secret(
            name=self.name, kem=self.kem, recipient=self.recipient, private=private, share=self.share
        )

    def _decrypted(self, cost: ScryptCost, passphrase: str | None) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if passphrase is None:
            raise AccessError(f"{self.path}: a passphrase is needed", path=str(self.path))
        key = _passphrase_key(passphrase, cost, self.salt)
        about = _about(self.kem, self.recipient, self.share)
        try:
            return AESGCM(key).decrypt(self.nonce, self.sealed, about)
        except InvalidTag:
            raise AccessError(
                f"{self.path}: the passphrase is wrong, or the file is damaged", path=str(self.path)
            ) from None


def write_secret(path: Path, secret: Secret, passphrase: str | None, cost: ScryptCost = COST) -> None:
    """Make the file, mode 0600, durably; nothing is overwritten. Without a passphrase whoever has the file
    has the key. Raises AccessError."""
    data = (json.dumps(_document(secret, passphrase, cost), indent=1) + "\n").encode("ascii")
    write_new(path, data, 0o600)


def without_passphrase(secret: Secret) -> bytes:
    """What a file with the secret would hold that has no passphrase: for a process that is to have it."""
    return json.dumps(_document(secret, None, COST)).encode("ascii")


def read_key_file(path: Path) -> tuple[bytes, bool]:
    """The bytes of a file with a secret, and whether others may read or write it: on a stick that was carried
    somewhere all files lie open, and that is no reason not to restore. Raises AccessError."""
    data, mode = read_with_mode(path, _MOST_FILE_BYTES)
    return data, lies_open(mode)


def read_secret(path: Path) -> SecretFile:
    """The file, checked; its secret is not decrypted yet. Raises AccessError."""
    data, is_open = read_key_file(path)
    return parse_secret(path, data, lies_open=is_open)


def parse_secret(path: Path, data: bytes, *, lies_open: bool) -> SecretFile:
    """What a file with these bytes holds. Raises AccessError."""
    if not data.lstrip().startswith(b"{"):
        raise AccessError(f"{path}: is no file with a secret key, as NAME.secret is", path=str(path))
    try:
        return _parsed(path, json.loads(data), lies_open)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise AccessError(f"{path}: is no file with a secret key: {what}", path=str(path)) from error


def _document(secret: Secret, passphrase: str | None, cost: ScryptCost) -> dict[str, object]:
    share = secret.share
    head: dict[str, object] = {
        "mailhaul_secret": _VERSION,
        "name": secret.name,
        "kind": KIND_NAMES[secret.kem],
        "recipient": secret.recipient.hex(),
        "share": share
        and {
            "number": share.number,
            "threshold": share.threshold,
            "count": share.count,
            "set": share.set.hex(),
        },
    }
    if passphrase is None:
        return {**head, "scrypt": None, "key": _text(secret.private)}
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    key = _passphrase_key(passphrase, cost, salt)
    sealed = AESGCM(key).encrypt(nonce, secret.private, _about(secret.kem, secret.recipient, share))
    scrypt = {"n": cost.n, "r": cost.r, "p": cost.p, "salt": _text(salt)}
    return {**head, "scrypt": scrypt, "nonce": _text(nonce), "key": _text(sealed)}


def _parsed(path: Path, document: object, lies_open: bool) -> SecretFile:
    rows = _table(document)
    version = _number(rows["mailhaul_secret"])
    if version != _VERSION:
        raise ValueError(f"its version is {version}, this program reads version {_VERSION}")
    name, kem = str(rows["name"]), KINDS.get(str(rows["kind"]), Kem.AGE)
    if kem is Kem.AGE:
        raise ValueError(f"{rows['kind']!r} is no kind of key")
    scrypt = None if rows["scrypt"] is None else _table(rows["scrypt"])
    cost = scrypt and ScryptCost(n=_number(scrypt["n"]), r=_number(scrypt["r"]), p=_number(scrypt["p"]))
    if cost:
        cost.check()
    return SecretFile(
        path=path,
        name=name,
        kem=kem,
        recipient=_sized(bytes.fromhex(str(rows["recipient"])), 16, "recipient"),
        share=None if rows["share"] is None else _share(_table(rows["share"])),
        cost=cost or None,
        salt=_bytes(scrypt["salt"], _SALT_BYTES, "salt") if scrypt else b"",
        nonce=_bytes(rows["nonce"], _NONCE_BYTES, "nonce") if scrypt else b"",
        sealed=_bytes(rows["key"], PRIVATE_BYTES[kem] + (_TAG_BYTES if scrypt else 0), "key"),
        lies_open=lies_open,
    )


def _share(rows: Mapping[str, object]) -> Share:
    share = Share(
        number=_number(rows["number"]),
        threshold=_number(rows["threshold"]),
        count=_number(rows["count"]),
        set=_sized(bytes.fromhex(str(rows["set"])), 4, "set"),
    )
    if not (2 <= share.threshold <= share.count <= 255 and 1 <= share.number <= share.count):
        raise ValueError("it can't be a share of a key")
    return share


def _about(kem: Kem, recipient: bytes, share: Share | None) -> bytes:
    """What is authenticated beside the key: nothing of it can pass for something else."""
    which = bytes((share.number, share.threshold, share.count)) + share.set if share else b""
    return b"mailhaul secret 1 " + bytes((kem,)) + recipient + which


def _passphrase_key(passphrase: str, cost: ScryptCost, salt: bytes) -> bytes:
    # However the letters were typed: an accent may be part of a letter, or follow it.
    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
    room = 128 * cost.r * (cost.n + cost.p + 2) + (1 << 20)
    return hashlib.scrypt(text, salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=room, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("no table where there should be one")
    return value


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError("no whole number where there should be one")
    return value


def _bytes(value: object, size_bytes: int, what: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{what} is no text")
    return _sized(base64.b64decode(value, validate=True), size_bytes, what)


def _sized(data: bytes, size_bytes: int, what: str) -> bytes:
    if len(data) != size_bytes:
        raise ValueError(f"{what} has {len(data)} bytes instead of {size_bytes}")
    return data
