"""Private keys as commands are given them: ``--identity``, and where passphrases come from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from ...proto.errors import AccessError, UsageError
from ...proto.keys.identities import Identity, open_identity
from .output import note

_MOST_FILE_BYTES = 4096
_PASSPHRASE_LETTERS = 8


def opened_identity(files: Sequence[Path], passphrase_files: Sequence[Path]) -> Identity:
    """What these private keys open together; who is at a terminal is asked for passphrases. Raises
    AccessError, UsageError without any key."""
    if not files:
        raise UsageError("a private key is needed: --identity FILE")
    return open_identity(files, passphrases(files, passphrase_files), note)


def configured_identity(files: Sequence[Path], passphrase_files: Sequence[Path]) -> Identity:
    """The same for private keys that are configured: nobody is there to be asked. Raises AccessError."""
    if passphrase_files:
        return opened_identity(files, passphrase_files)
    return open_identity(files, _nobody_asked, note)


def passphrases(keys: Sequence[Path], files: Sequence[Path]) -> Callable[[Path], str]:
    """The passphrase of each key: that in the one file that there is, those in as many files as there are
    keys, in their order; or what is typed. A file is read when its key wants it. Raises UsageError; what it
    gives raises AccessError."""
    if not files:
        return _typed
    if len(files) not in (1, len(keys)):
        raise UsageError(
            f"--passphrase-file: {len(files)} for {len(keys)} private keys; one does for all, else there is "
            f"one "
            "for each --identity, in the same order"
        )
    by_key = dict(zip(keys, files if len(files) > 1 else [files[0]] * len(keys), strict=True))
    return lambda key: passphrase_in(by_key[key])


def passphrase_in(file: Path) -> str:
    """The first line of a file. Raises AccessError."""
    from ...proto.keys.secret_files import read_key_file

    data, lies_open = read_key_file(file)
    if lies_open:
        note(f"{file}: others may read or write this passphrase: chmod 600 {file}")
    lines = data[:_MOST_FILE_BYTES].decode("utf-8", "surrogateescape").split("\n", 1)
    if not (passphrase := lines[0].removesuffix("\r")):
        raise AccessError(f"{file}: its first line, the passphrase, is empty", path=str(file))
    return passphrase


def new_passphrase(what: str) -> str:
    """A passphrase that was typed twice. Raises UsageError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody can be asked for a passphrase here: --passphrase-file FILE, or --no-passphrase"
        )
    while True:
        typed: str = click.prompt(
            f"New passphrase of {what}", hide_input=True, confirmation_prompt=True, err=True
        )
        if len(typed) >= _PASSPHRASE_LETTERS:
            return typed
        note(f"a passphrase has {_PASSPHRASE_LETTERS} letters at least; better are several words")


def _nobody_asked(key: Path) -> str:
    raise AccessError(f"{key}: a passphrase is needed, and no file with it is named", path=str(key))


def _typed(key: Path) -> str:
    if not sys.stdin.isatty():
        raise AccessError(f"{key}: a passphrase is needed: --passphrase-file FILE", path=str(key))
    return str(click.prompt(f"Passphrase of {key}", hide_input=True, err=True))
