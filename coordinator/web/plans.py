"""Restores and undeletes that are asked for here: first as a plan, then as an operation in the queue.

The plan is what ``restore --dry-run --json`` and ``undelete --list --json`` print: the same command line,
with nothing carried out, in a process of its own. What somebody has seen the plan of is remembered here;
nothing else can be put in the queue.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from ...groups.paths import LogicalPath
from ...proto.errors import (
    EXIT_DAMAGED,
    EXIT_OK,
    EXIT_USAGE,
    BackupError,
    BusyError,
    EncryptedError,
    NotFoundError,
    UsageError,
)
from ...proto.structs import Record
from ..people.roles import Who
from .crowds import Crowd

_AT_ONCE = 2
"""So many plans are made at the same time: each takes a process."""

_WAITING_EACH = 4
_WAITING = 12
"""So many plans of an account, and of all together, are made or wait for that: each holds a thread."""

_PATIENCE_SECONDS = 30.0
_RETRY_SECONDS = 10
_LONGEST_SECONDS = 180.0
_LARGEST_BYTES = 16 << 20
"""A plan that is larger than this is none for a page."""

_MOST_REMEMBERED = 1000
_LASTS_SECONDS = 3600.0
_MOST_PATHS = 200

_DRY: dict[str, tuple[str, ...]] = {"restore": ("--dry-run", "--json"), "undelete": ("--list", "--json")}


KeyWords = Callable[[], AbstractContextManager[tuple[Sequence[str], Sequence[int]]]]
"""Words that name private keys to a command, and the file descriptors which that inherits, while the context
lasts."""


class Wish(Record, kw_only=True):
    """What is to be brought back: ``paths`` of one mailbox as they were ``at`` a moment (restore), or what
    was deleted from one path between ``since`` and ``until`` (undelete; empty: the oldest, the newest).
    ``into`` is a folder for it; empty: where it was, and for an undelete one that is named after the day."""

    kind: Literal["restore", "undelete"]
    paths: tuple[LogicalPath, ...]
    at: str = ""
    since: str = ""
    until: str = ""
    into: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words behind the name of the command."""
        options = {"--at": self.at, "--from": self.since, "--until": self.until, "--into": self.into}
        return (*map(str, self.paths), *(f"{name}={value}" for name, value in options.items() if value))

    @property
    def on(self) -> str:
        """What it is about, for the audit log."""
        return " ".join(map(str, self.paths))


class Plan(Record, kw_only=True):
    """What would be done by a command with these ``arguments``, as the command says it (``document``), or why
    nothing can be (``problem``); with ``is_locked`` that is a private key which is not here. ``number`` is
    what it is asked for by; empty where it can't be carried out."""

    number: str
    kind: str
    arguments: tuple[str, ...]
    document: Mapping[str, object]
    problem: str
    is_locked: bool = False


class _Kept(Record):
    wish: Wish
    name: str
    session: str
    seconds: float


class Plans:
    """Plans that were shown, each to somebody. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._crowd = Crowd(
            "plans that are being made", each=_WAITING_EACH, in_all=_WAITING, retry_seconds=_RETRY_SECONDS
        )
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def make(self, wish: Wish, who: Who, config_file: Path | None, now: float, keys: KeyWords) -> Plan:
        """The plan of a wish, with the private keys that there are for it. Raises UsageError for what is no
        wish, BusyError where too many wait, BackupError."""
        _check(wish)
        with self._crowd.entered(who.name):
            if not self._slots.acquire(timeout=_PATIENCE_SECONDS):
                raise BusyError(
                    "too many plans are being made at the moment: try again in a minute", retry_seconds=60
                )
            try:
                with keys() as (words, descriptors):
                    answer = _asked(wish, config_file, words, descriptors)
            finally:
                self._slots.release()
        document, problem = answer.document, answer.problem
        number = "" if problem else secrets.token_urlsafe(12)
        if number:
            with self._lock:
                self._kept[number] = _Kept(wish, who.name, who.session, now)
                while len(self._kept) > _MOST_REMEMBERED:
                    self._kept.popitem(last=False)
        return Plan(
            number=number, kind=wish.kind, arguments=wish.arguments, document=document, problem=problem,
            is_locked=answer.is_locked,
        )  # fmt: skip

    def find(self, number: str, who: Who, now: float) -> Wish:
        """What was wished in the plan that was shown to somebody under this number. Raises NotFoundError,
        also for others'."""
        with self._lock:
            return self._found(number, who, now).wish

    def take(self, number: str, who: Who, now: float) -> Wish:
        """The same, once: what is carried out is not carried out again."""
        with self._lock:
            found = self._found(number, who, now)
            del self._kept[number]
            return found.wish

    def _found(self, number: str, who: Who, now: float) -> _Kept:
        kept = self._kept.get(number)
        if kept is None or (kept.name, kept.session) != (who.name, who.session):
            raise NotFoundError("There is no such plan any more, or it was carried out: look at it again.")
        if now - kept.seconds > _LASTS_SECONDS:
            del self._kept[number]
            raise NotFoundError("The plan is too old to be carried out: look at it again.")
        return kept


def _check(wish: Wish) -> None:
    if not wish.paths or len(wish.paths) > _MOST_PATHS:
        raise UsageError(f"select something, at most {_MOST_PATHS} folders or messages at once")
    if wish.kind == "undelete" and len(wish.paths) != 1:
        raise UsageError("what was deleted is looked for in one mailbox or folder")
    if len({(path.partition, path.user) for path in wish.paths}) > 1 or any(
        logical_path.user is None for logical_path in wish.paths
    ):
        raise UsageError("one mailbox at a time")
    if any(ord(char) < 32 for word in wish.arguments for char in word):
        raise UsageError("names of folders have no control characters")


class Answer(Record):
    """What the command says, and why it can't be done, if it can't; ``is_locked`` for want of a key."""

    document: dict[str, object]
    problem: str = ""
    is_locked: bool = False


def _asked(
    wish: Wish, config_file: Path | None, key_words: Sequence[str], descriptors: Sequence[int]
) -> Answer:
    place = () if config_file is None else ("--config", str(config_file))
    command = (wish.kind, *wish.arguments, *_DRY[wish.kind], *key_words)
    words = (sys.executable, "-P", "-m", "mailhaul", *place, *command)
    try:
        with subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=descriptors,
        ) as process:
            end = threading.Timer(_LONGEST_SECONDS, process.kill)
            end.start()
            try:
                output = process.stdout.read(_LARGEST_BYTES + 1) if process.stdout else b""
                if len(output) > _LARGEST_BYTES:
                    process.kill()
            finally:
                end.cancel()
    except OSError as error:
        raise BackupError(f"can't make the plan: {error.strerror}") from error
    if len(output) > _LARGEST_BYTES or process.returncode < 0:
        return Answer(
            {}, "that is too much for this page: ask for a folder, for less time, or on the command line"
        )
    return _read(process.returncode, output)


def _read(status: int, output: bytes) -> Answer:
    try:
        document = json.loads(output)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return Answer({}, f"the command ended with exit code {status} and did not say why")
    error = document.get("error")
    if isinstance(error, dict):
        is_locked = error.get("code") == EncryptedError.code
        return Answer({}, str(error.get("message", "it can't be done")), is_locked)
    if status not in (EXIT_OK, EXIT_DAMAGED):
        conflicts = document.get("conflicts") if status == EXIT_USAGE else None
        told = "two mailboxes would become one" if conflicts else f"exit code {status}"
        return Answer(document, f"it can't be carried out: {told}")
    locked = str(document.get("locked", ""))
    return Answer(document, locked, bool(locked))
