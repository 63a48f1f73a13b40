"""The accounts of people who use the page: in a file of the staging area that its owner alone may read.

Several processes may change it, one after the other; whoever reads it sees a change at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from ...proto.errors import DamagedError, NotFoundError, StagingError, UsageError
from ...proto.structs import Record, replace
from ..durable import replace_durably
from ..flocks import flocked
from . import passwords
from .passwords import Cost, Password
from .roles import ROLES, Role

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_PATIENCE_SECONDS = 10.0
_TOKEN_BYTES = 32
_TOKEN_PREFIX = "mh_"  # noqa: S105 (what tokens begin with, so that scanners for secrets know them)


class Account(Record, kw_only=True):
    """Somebody who may use the page. A helpdesk acts for ``groups``.

    Without a ``password`` nobody logs in with it: a proxy says who it is, or a token does, of which the
    SHA-256 is on record as ``token`` (empty: there is none). ``mark`` is another one after each change:
    sessions that were begun before are over.
    """

    name: str
    role: Role
    groups: tuple[str, ...] = ()
    password: Password | None = None
    token: bytes = b""
    mark: str


class Accounts:
    """The accounts of a staging area. For any thread. All methods raise DamagedError, StagingError."""

    def __init__(self, staging: Path, cost: Cost | None = None) -> None:
        self._path = staging / ".mailhaul" / "accounts.json"
        self._cost = cost or Cost()
        self._read: tuple[object, dict[str, Account]] = (None, {})

    def all(self) -> tuple[Account, ...]:
        """Every account, by name."""
        return tuple(sorted(self._known().values(), key=lambda one: one.name))

    def find(self, name: str) -> Account | None:
        """The account of this name."""
        return self._known().get(name)

    def get(self, name: str) -> Account:
        """The account of this name. Raises NotFoundError."""
        return _existing(self._known(), name)

    def check_new(self, name: str, role: Role, groups: Iterable[str]) -> None:
        """Raises UsageError for an account that can't be added: there is one, or there can't be."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name for an account: expected at most 100 letters, digits, '.', '_', '@', "
                "'-', beginning with a letter or digit"
            )
        _groups_for(role, groups)
        if self.find(name) is not None:
            raise UsageError(f"there is an account {name} already")

    def log_in(self, name: str, password: str) -> Account | None:
        """The account, if the password is its own. What there is not takes as long as what is wrong."""
        account = self.find(name)
        kept = (account and account.password) or passwords.nobodys(self._cost)
        return account if passwords.matches(password, kept) else None

    def of_token(self, token: str) -> Account | None:
        """The account whose token this is."""
        digest = _token_digest(token)
        found = None
        for account in self._known().values():
            if account.token and hmac.compare_digest(account.token, digest):
                found = account
        return found

    def add(self, name: str, role: Role, groups: Iterable[str], password: str | None) -> Account:
        """Add an account. Raises UsageError as ``check_new``, and for a password that can't be one."""
        self.check_new(name, role, groups)
        account = Account(
            name=name,
            role=role,
            groups=_groups_for(role, groups),
            password=None if password is None else passwords.keep(password, self._cost),
            mark=secrets.token_hex(8),
        )

        def added(known: dict[str, Account]) -> None:
            if name in known:
                raise UsageError(f"there is an account {name} already")
            known[name] = account

        self._change(added)
        return account

    def remove(self, name: str) -> None:
        """Remove an account: its sessions and its token are worth nothing any more. Raises NotFoundError."""

        def removed(known: dict[str, Account]) -> None:
            del known[_existing(known, name).name]

        self._change(removed)

    def set_password(self, name: str, password: str) -> None:
        """Give an account another password. Raises NotFoundError, UsageError."""
        kept = passwords.keep(password, self._cost)
        self._replace(name, lambda account: replace(account, password=kept))

    def set_role(self, name: str, role: Role, groups: Iterable[str]) -> None:
        """Give an account another role. Raises NotFoundError, UsageError."""
        theirs = _groups_for(role, groups)
        self._replace(name, lambda account: replace(account, role=role, groups=theirs))

    def make_token(self, name: str) -> str:
        """A token for the API, in the place of an earlier one; nobody can look it up later. Raises
        NotFoundError."""
        token = _TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        self._replace(name, lambda account: replace(account, token=_token_digest(token)))
        return token

    def _replace(self, name: str, change: Callable[[Account], Account]) -> None:
        def replaced(known: dict[str, Account]) -> None:
            known[name] = replace(change(_existing(known, name)), mark=secrets.token_hex(8))

        self._change(replaced)

    def _change(self, change: Callable[[dict[str, Account]], None]) -> None:
        lock = self._path.with_suffix(".lock")
        with flocked(lock, "accounts are being changed", patience_seconds=_PATIENCE_SECONDS):
            known = dict(self._known())
            change(known)
            document = {"accounts": [_encoded(known[name]) for name in sorted(known)]}
            replace_durably(self._path, (json.dumps(document, indent=1) + "\n").encode("ascii"))

    def _known(self) -> dict[str, Account]:
        """By name. The file is read again when it is another one than before: it is always replaced."""
        try:
            status = os.stat(self._path)
            signature = (status.st_ino, status.st_mtime_ns, status.st_size)
            before, known = self._read
            if signature != before:
                rows = json.loads(self._path.read_bytes())["accounts"]
                known = {account.name: account for account in map(_decoded, rows)}
                self._read = (signature, known)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StagingError(
                f"{self._path}: can't be read: {error.strerror}", path=str(self._path)
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            # The error itself may hold what is on record of a password.
            raise DamagedError(
                f"{self._path} is damaged: mend it by hand, or remove it, which removes all accounts",
                path=str(self._path),
            ) from error
        return known


def _existing(known: Mapping[str, Account], name: str) -> Account:
    if name not in known:
        raise NotFoundError(f"there is no account {name}", account=name)
    return known[name]


def _groups_for(role: Role, groups: Iterable[str]) -> tuple[str, ...]:
    named = tuple(sorted(set(groups)))
    if (role == "helpdesk") != bool(named):
        raise UsageError("a helpdesk acts for groups that are named, and nobody else does")
    return named


def _token_digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _encoded(account: Account) -> dict[str, object]:
    kept = account.password
    return {
        "name": account.name,
        "role": account.role,
        "groups": list(account.groups),
        "mark": account.mark,
        "token": account.token.hex(),
        "password": kept
        and {
            "scrypt": {"n": kept.cost.n, "r": kept.cost.r, "p": kept.cost.p},
            "salt": kept.salt.hex(),
            "digest": kept.digest.hex(),
        },
    }


def _decoded(row: Mapping[str, Any]) -> Account:
    if row["role"] not in ROLES:
        raise ValueError("no role")
    kept = row["password"]
    return Account(
        name=str(row["name"]),
        role=cast(Role, row["role"]),
        groups=tuple(map(str, row["groups"])),
        mark=str(row["mark"]),
        token=bytes.fromhex(row["token"]),
        password=kept
        and Password(
            salt=bytes.fromhex(kept["salt"]),
            digest=bytes.fromhex(kept["digest"]),
            cost=Cost(n=int(kept["scrypt"]["n"]), r=int(kept["scrypt"]["r"]), p=int(kept["scrypt"]["p"])),
        ),
    )
