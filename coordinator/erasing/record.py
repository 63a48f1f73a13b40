"""That mailboxes were erased, on record beside the archives: ``_erasures/ID.json``, which is never changed.

It goes to every destination as what else lies beside archives does, and comes back from there; so whoever
makes the catalog again, be it from an old copy, leaves out what was erased. It holds no name: a salt, and a
digest of that with partition and user. Who has the record and guesses an address can confirm the guess; so
where archives are encrypted it is sealed, as ``_erasures/ID.json.sealed``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from ...proto.directories import make_directories, sync_directory
from ...proto.erased import SALT_BYTES, Erased, ErasedMailbox, digest_of
from ...proto.errors import DamagedError, StagingError
from ...proto.keys.records import Keyring
from ...proto.keys.sealed_files import SUFFIX, open_sealed_file, seal_file
from ...proto.records import RunId
from ...proto.structs import Record
from ..clock import RUN_ID
from ..structure_keys import area_at, key_beside

FOLDER = "_erasures"
"""Below the staging area; no partition can be called so."""

_DONE = ".done.json"
_FORMAT = 1


class Erasure(Record, kw_only=True):
    """An erasure: of these ``mailboxes`` all that earlier runs have stored. Its id is given out as those of
    runs are, so each run is before it or after it, whatever the clock says. ``asked`` is aware."""

    erasure: RunId
    asked: datetime
    reason: str
    mailboxes: tuple[ErasedMailbox, ...]


def new_erasure(
    erasure: RunId, asked: datetime, reason: str, mailboxes: Iterable[tuple[str, str]]
) -> Erasure:
    """The record of an erasure of these mailboxes: partition and user."""
    salt = os.urandom(SALT_BYTES)
    return Erasure(
        erasure=erasure,
        asked=asked,
        reason=reason,
        mailboxes=tuple(
            ErasedMailbox(before=erasure, salt=salt, digest=digest_of(salt, partition, user))
            for partition, user in mailboxes
        ),
    )


def write_erasure(staging: Path, erasure: Erasure) -> None:
    """Put it on record, durably. Raises StagingError."""
    document = {
        "format": _FORMAT,
        "erasure": erasure.erasure,
        "asked": erasure.asked.isoformat(),
        "reason": erasure.reason,
        "mailboxes": [
            {"before": mailbox.before, "salt": mailbox.salt.hex(), "digest": mailbox.digest.hex()}
            for mailbox in erasure.mailboxes
        ],
    }
    put_beside(staging / FOLDER / f"{erasure.erasure}.json", document)


def put_beside(path: Path, document: object) -> None:
    """A file in the folder: whole and durable under its name, or not there; sealed, and called so, where
    archives are encrypted. Raises StagingError, AccessError if the key for that is gone."""
    content: Iterable[bytes] = [(json.dumps(document, indent=1) + "\n").encode("ascii")]
    if key := key_beside(path.parent.parent):
        path = path.with_name(path.name + SUFFIX)
        content = seal_file(path.name, content, key)
    new = path.with_name(f".{path.name}.new")
    try:
        make_directories(path.parent)
        new.touch(mode=0o600)
        with new.open("wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error


def read_erasures(staging: Path) -> tuple[Erasure, ...]:
    """All that are on record, oldest first. Raises DamagedError, StagingError, EncryptedError without the
    structure key of one that is sealed: without a record what was erased could come back."""
    keys = area_at(staging).keys
    return tuple(_read(path, keys) for path in _files(staging) if _erasure_in(path))


def erased_mailboxes(staging: Path) -> Erased:
    """All mailboxes that were erased in a staging area. Raises as ``read_erasures``."""
    return Erased(mailbox for erasure in read_erasures(staging) for mailbox in erasure.mailboxes)


def erasure_ids(staging: Path) -> list[RunId]:
    """The ids of all that are on record, by the names of their files."""
    return [erasure for path in _files(staging) if (erasure := _erasure_in(path))]


def certificate_file(staging: Path, erasure: RunId) -> Path:
    """Where it lies beside the archives what was done, when all was."""
    return staging / FOLDER / f"{erasure}{_DONE}"


def _files(staging: Path) -> list[Path]:
    return sorted(path for path in (staging / FOLDER).glob("*.json*") if path.name[0] != ".")


def _erasure_in(path: Path) -> RunId | None:
    """Which erasure a file is the record of; None for any other file."""
    name = path.name.removesuffix(SUFFIX).removesuffix(".json")
    return RunId(name) if RUN_ID.fullmatch(name) else None


def _read(path: Path, keys: Keyring) -> Erasure:
    try:
        with path.open("rb") as file:
            sealed = path.name.endswith(SUFFIX)
            row = json.loads(b"".join(open_sealed_file(file, keys, path.name)) if sealed else file.read())
        if row["format"] != _FORMAT:
            raise ValueError(f"format {row['format']!r}")
        return Erasure(
            erasure=_run_id(row["erasure"]),
            asked=datetime.fromisoformat(row["asked"]),
            reason=str(row["reason"]),
            mailboxes=tuple(
                ErasedMailbox(
                    before=_run_id(mailbox["before"]),
                    salt=bytes.fromhex(mailbox["salt"]),
                    digest=bytes.fromhex(mailbox["digest"]),
                )
                for mailbox in row["mailboxes"]
            ),
        )
    except OSError as error:
        raise StagingError(f"{path}: can't be read: {error.strerror}", path=str(path)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"{path} is damaged ({error!r}): bring it back from a destination; without it what was erased "
            "may come back",
            path=str(path),
        ) from error


def _run_id(value: object) -> RunId:
    if not isinstance(value, str) or not RUN_ID.fullmatch(value):
        raise ValueError(f"no id: {value!r}")
    return RunId(value)
