"""CURVE key pairs in files: ``NAME.key`` may be known by all, ``NAME.key_secret`` by its owner alone.

A file is text: comments (lines that begin with ``# ``), then ``public KEY`` and, in a secret file, ``secret
KEY``, each key as 40 characters of Z85. The public files in the directory of a receiver say who is let in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import zmq
from zmq.utils import z85

from ..directories import sync_directory
from ..errors import AccessError
from ..structs import Record
from .envelopes import HOST_NAME
from .files import new_file, read_small

_PUBLIC = ".key"
_PRIVATE = ".key_secret"
_KEY = r"[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}"
_PUBLIC_LINES = re.compile(rf"(?:# [^\n]*\n)*public ({_KEY})\n?")
_SECRET_LINES = re.compile(rf"(?:# [^\n]*\n)*public ({_KEY})\nsecret ({_KEY})\n?")
_MOST_FILE_BYTES = 4096

_ABOUT_PUBLIC = "# mailhaul: the public key of {}. It may be known by all.\n"
_ABOUT_PAIR = "# mailhaul: the key pair of {}. Nobody else may read this file, and it stays on its host.\n"


class KeyPair(Record):
    """A public key and the secret that belongs to it, each as 40 characters of Z85."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair({self.public!r})"


def new_pair() -> KeyPair:
    """A pair that nobody has seen, in no file."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def make_pair(directory: Path, name: str) -> KeyPair:
    """Make a new pair in ``NAME.key`` and ``NAME.key_secret``; the directory is made if it is absent.

    Raises AccessError if one of the files is there already (both are left as they are), if they can't be
    written, or if no host can have this name.
    """
    if not is_name(name):
        raise AccessError(f"{name!r} can't name a key: letters, digits, '.', '_' and '-' only", name=name)
    pair = new_pair()
    public_line = f"public {pair.public}\n"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (
            new_file(directory / f"{name}{_PRIVATE}", 0o600) as write_secret,
            new_file(directory / f"{name}{_PUBLIC}", 0o644) as write_public,
        ):
            write_secret(f"{_ABOUT_PAIR.format(name)}{public_line}secret {pair.secret}\n".encode())
            write_public(f"{_ABOUT_PUBLIC.format(name)}{public_line}".encode())
        sync_directory(directory)
    except FileExistsError as error:
        raise AccessError(f"{error.filename}: is there already, and no key is ever overwritten") from error
    except OSError as error:
        raise AccessError(f"{error.filename or directory}: can't be written: {error.strerror}") from error
    return pair


def read_pair(directory: Path, name: str) -> KeyPair:
    """The pair in ``NAME.key_secret``.

    Raises AccessError if there is none, if it is no key file, if its halves don't belong together, or if
    others than its owner may read it.
    """
    path = directory / f"{name}{_PRIVATE}"
    found = _SECRET_LINES.fullmatch(_text(path, secret=True))
    if not found:
        raise AccessError(f"{path}: is no file with a key pair", path=str(path))
    pair = KeyPair(found[1], found[2])
    if not _belong_together(pair):
        raise AccessError(f"{path}: the two keys do not belong together", path=str(path))
    return pair


def read_public(directory: Path, name: str) -> str:
    """The key in ``NAME.key``. Raises AccessError if there is none, or if it is no key file."""
    path = directory / f"{name}{_PUBLIC}"
    found = _PUBLIC_LINES.fullmatch(_text(path, secret=False))
    if not found:
        raise AccessError(f"{path}: is no file with a public key", path=str(path))
    return found[1]


def read_allowed(directory: Path, report: Callable[[AccessError], object] | None = None) -> dict[str, str]:
    """Every ``NAME.key`` of a directory: the names by their public keys.

    A file that is broken, that no host can have the name of, or whose key has another name too lets nobody
    in: it is handed to ``report`` as an AccessError, and raised where there is no ``report``. AccessError
    is also raised if the directory can't be read.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if path.name.endswith(_PUBLIC))
    except OSError as error:
        raise AccessError(f"{directory}: can't be read: {error.strerror}", path=str(directory)) from error
    names: dict[str, list[str]] = {}
    for path in paths:
        name = path.name.removesuffix(_PUBLIC)
        try:
            if not is_name(name):
                raise AccessError(f"{path}: no host can have this name", path=str(path))
            names.setdefault(read_public(directory, name), []).append(name)
        except AccessError as error:
            if report is None:
                raise
            report(error)
    return {key: owners[0] for key, owners in names.items() if _is_one(directory, owners, report)}


def is_name(name: str) -> bool:
    """Whether a host, and so a key, can have this name."""
    return re.fullmatch(HOST_NAME, name, re.ASCII) is not None


def is_key(text: str) -> bool:
    """Whether this has the form of a key."""
    return re.fullmatch(_KEY, text) is not None


def raw_key(key: str) -> bytes:
    """The 32 bytes of a key: a public or a private one of X25519."""
    return bytes(z85.decode(key.encode("ascii")))


def _is_one(directory: Path, owners: list[str], report: Callable[[AccessError], object] | None) -> bool:
    if len(owners) == 1:
        return True
    error = AccessError(f"{directory}: {', '.join(owners)} have the same public key", path=str(directory))
    if report is None:
        raise error
    report(error)
    return False


def _text(path: Path, *, secret: bool) -> str:
    return read_small(path, _MOST_FILE_BYTES, secret=secret).decode("utf-8", "replace")


def _belong_together(pair: KeyPair) -> bool:
    try:
        return zmq.curve_public(pair.secret.encode()).decode() == pair.public
    except (zmq.ZMQError, ValueError):
        return False
