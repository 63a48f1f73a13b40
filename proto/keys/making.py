"""New recipients: a pair of keys in files, the private one whole or in shares."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..directories import make_directories
from ..errors import AccessError
from .recipients import PUBLIC, recipient, write_recipient
from .records import Kem, Recipient
from .secret_files import COST, ENDING, PRIVATE_BYTES, ScryptCost, Secret, Share, write_secret
from .shamir import split

_SET_BYTES = 4


def secret_paths(directory: Path, name: str, shares: int = 0) -> tuple[Path, ...]:
    """The files of the private key of a recipient: ``NAME.secret``, or ``NAME.share1.secret`` and so on."""
    if not shares:
        return (directory / f"{name}{ENDING}",)
    return tuple(directory / f"{name}.share{number}{ENDING}" for number in range(1, shares + 1))


def make_recipient(
    directory: Path,
    name: str,
    kem: Kem,
    passphrases: Sequence[str | None],
    threshold: int = 0,
    cost: ScryptCost = COST,
) -> Recipient:
    """Make ``NAME.pub`` and the files of ``secret_paths``, one for each passphrase (None: without). With a
    ``threshold`` they are shares, of which so many are needed. The directory is made if it is absent; nothing
    is overwritten, and what was made is removed if it can't all be. Raises AccessError, ValueError."""
    from .wrapping import public_of

    private = os.urandom(PRIVATE_BYTES[kem])
    made = recipient(name, kem, public_of(kem, private))
    paths = secret_paths(directory, name, len(passphrases) if threshold else 0)
    for path in (*paths, directory / f"{name}{PUBLIC}"):
        if path.exists() or path.is_symlink():
            raise AccessError(f"{path}: is there already, and no key is ever overwritten", path=str(path))
    try:
        make_directories(directory)
    except OSError as error:
        raise AccessError(f"{directory}: can't be made: {error.strerror}", path=str(directory)) from error
    done: list[Path] = []
    try:
        for path, secret, passphrase in zip(
            paths, _secrets(made, private, threshold, len(paths)), passphrases, strict=True
        ):
            write_secret(path, secret, passphrase, cost)
            done.append(path)
        # Last: what is in the configuration's list has a private half that is durable.
        write_recipient(directory, made)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    return made


def _secrets(made: Recipient, private: bytes, threshold: int, count: int) -> Sequence[Secret]:
    def secret(data: bytes, share: Share | None = None) -> Secret:
        return Secret(name=made.name, kem=made.kem, recipient=made.id, private=data, share=share)

    if not threshold:
        return (secret(private),)
    set_ = os.urandom(_SET_BYTES)
    return tuple(
        secret(data, Share(number=number, threshold=threshold, count=count, set=set_))
        for number, data in split(private, threshold, count).items()
    )
