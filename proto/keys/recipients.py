"""Recipients in files: ``NAME.pub``, the public half of a pair, one line of text. KEYS.md, "NAME.pub".

A damaged public key would wrap keys for nobody: the line holds the id that is made of the rest, and is read
only if that is right.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

from ..errors import AccessError
from ..wire.files import read_small
from .derivation import recipient_id
from .new_files import write_new
from .records import Kem, Recipient

PUBLIC = ".pub"
"""How the name of the file ends."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""Of a recipient, and of its files."""

KINDS = {"x25519": Kem.X25519, "hybrid": Kem.HYBRID, "age": Kem.AGE}
"""The kinds by their names in files and on the command line."""

KIND_NAMES = {kem: name for name, kem in KINDS.items()}
PUBLIC_BYTES = {Kem.X25519: 32, Kem.HYBRID: 1184 + 32}

_MOST_FILE_BYTES = 16384
_LINE = re.compile(r"mailhaul-recipient 1 (x25519|hybrid) ([0-9a-f]{32}) ([A-Za-z0-9+/]+={0,2})")
_SECRETS = ("mailhaul_secret", "mailhaul paper key", "AGE-SECRET-KEY-")
"""What stands in files of private keys, one of which may be named by mistake."""
_AGE_LINE = re.compile(r"age1[02-9ac-hj-np-z]{10,4000}")


def recipient(name: str, kem: Kem, public: bytes) -> Recipient:
    """A recipient with its id. Raises ValueError if nobody can have this name, or this is no public key."""
    if not re.fullmatch(NAME, name, re.ASCII):
        raise ValueError(f"{name!r} can't name a recipient: letters, digits, '.', '_' and '-' only")
    if kem is Kem.AGE:
        _check_age(public.decode("ascii"))
    elif len(public) != PUBLIC_BYTES[kem]:
        raise ValueError(f"a public key of kind {KIND_NAMES[kem]} has {PUBLIC_BYTES[kem]} bytes")
    return Recipient(name=name, kem=kem, public=public, id=recipient_id(kem, public))


def read_recipient(path: Path) -> Recipient:
    """The recipient in a file, called as the file is. Raises AccessError."""
    text = read_small(path, _MOST_FILE_BYTES, secret=False).decode("utf-8", "replace")
    try:
        return recipient_of_text(name_of(path), text)
    except ValueError as error:
        raise AccessError(f"{path}: {error}", path=str(path)) from error


def name_of(path: Path) -> str:
    """How the recipient in a file is called, be it readable or not."""
    return path.name.removesuffix(PUBLIC)


def write_recipient(directory: Path, one: Recipient) -> Path:
    """Make ``NAME.pub``, durably; nothing is overwritten. Returns its path. Raises AccessError."""
    path = directory / f"{one.name}{PUBLIC}"
    write_new(path, text_of(one).encode("ascii"), 0o644)
    return path


def text_of(one: Recipient) -> str:
    """What ``NAME.pub`` holds."""
    about = f"# mailhaul: the recipient {one.name}, {fingerprint(one.id)}. It may be known by all.\n"
    if one.kem is Kem.AGE:
        return f"{about}{one.public.decode('ascii')}\n"
    key = base64.b64encode(one.public).decode("ascii")
    return f"{about}mailhaul-recipient 1 {KIND_NAMES[one.kem]} {one.id.hex()} {key}\n"


def recipient_of_text(name: str, text: str) -> Recipient:
    """The inverse: comments (lines that begin with ``#``), and one line with a key. Raises ValueError."""
    if any(sign in text for sign in _SECRETS):
        raise ValueError("holds a secret key: where a recipient is named, its public half (.pub) belongs")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1:
        raise ValueError(
            f"is no file with one public key of a recipient: {len(lines)} lines besides comments"
        )
    if _AGE_LINE.fullmatch(lines[0]):
        return recipient(name, Kem.AGE, lines[0].encode("ascii"))
    found = _LINE.fullmatch(lines[0])
    if found is None:
        raise ValueError("is no file with the public key of a recipient")
    one = recipient(name, KINDS[found[1]], base64.b64decode(found[3], validate=True))
    # Base64 has letters of which some bits mean nothing: a file of which any letter is another is refused.
    if one.id.hex() != found[2] or base64.b64encode(one.public).decode("ascii") != found[3]:
        raise ValueError("the public key is damaged: it is not that of the id beside it")
    return one


def fingerprint(id_: bytes) -> str:
    """The id of a recipient for people: all of it, in groups of four digits."""
    digits = id_.hex()
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def _check_age(text: str) -> None:
    try:
        import pyrage  # only for who has such recipients
    except ImportError as error:
        raise ValueError("for an age recipient pyrage is needed: pip install 'mailhaul[age]'") from error
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ValueError(f"is no age recipient: {error}") from error
