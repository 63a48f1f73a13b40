r"""Where mailboxes go that do not come back to where they were: users who are called differently, partitions
that are spread over others or poured together. Owns the syntax of the file of ``restore --map``.

A line is ``[PARTITION:][USERS] = [PARTITION:][USER]``; the first line that matches a mailbox counts. USERS
is a user id, or a regular expression (RE2) that the whole id must match; empty: all. Right of it an empty
USER keeps the name, and ``\1`` to ``\9`` stand for what parentheses matched. Several partitions, with ``|``
between them, share the users by their names.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..proto.errors import ConfigError
from ..proto.structs import Record
from .definitions import SAFE_NAME
from .expressions import Rewriting, compile_rewriting

_SIDE = re.compile(rf"(?:({SAFE_NAME}):)?(.*)", re.DOTALL)
_EXPRESSION = re.compile(r"[*?()\[\]{}|\\^$]")
"""What no user id is taken to have: ``.`` and ``+`` stand for themselves in jane.doe+lists@example.org."""


class Whereabouts(NamedTuple):
    """Whose mailbox, in which partition."""

    partition: str
    user: str


class Rule(Record, kw_only=True):
    """One line. ``partition`` is the one that it is for ("": any), ``user`` the only id that it is for ("":
    those that ``rewriting`` matches; None: all); ``partitions`` are where the mail goes (none: it stays),
    ``to_user`` is what the user is called then ("": as before)."""

    partition: str = ""
    user: str = ""
    rewriting: Rewriting | None = None
    partitions: tuple[str, ...] = ()
    to_user: str = ""

    def apply(self, mailbox: Whereabouts) -> Whereabouts | None:
        """Where a mailbox goes; None if the rule is not for it."""
        if self.partition not in ("", mailbox.partition) or self.user not in ("", mailbox.user):
            return None
        user = self.to_user or mailbox.user
        if self.rewriting is not None:
            rewritten = self.rewriting.apply(mailbox.user)
            if rewritten is None:
                return None
            user = rewritten or mailbox.user
        return Whereabouts(_chosen(self.partitions, mailbox) or mailbox.partition, user)


class RenameMap(Record):
    """The rules of a map, in their order. ``source`` is the file."""

    source: str
    rules: tuple[Rule, ...]
    _by_user: Mapping[str, tuple[int, ...]]
    _of_many: tuple[int, ...]

    @property
    def partitions(self) -> frozenset[str]:
        """All partitions that it names as places."""
        return frozenset(name for rule in self.rules for name in rule.partitions)

    def place(self, partition: str, user: str) -> Whereabouts:
        """Where the mailbox of a user in a partition goes: as the first rule says that is for it, or where it
        was."""
        mailbox = Whereabouts(partition, user)
        for number in heapq.merge(self._by_user.get(user, ()), self._of_many):
            found = self.rules[number].apply(mailbox)
            if found is not None:
                return found
        return mailbox


def parse_renames(text: str, source: str) -> RenameMap:
    """The map that the text of a file gives. Lines that are empty or start with ``#`` do not count. Raises
    ConfigError, which names ``source`` and the line, also where there is no rule."""
    rules: list[Rule] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            rules.append(_rule(line))
        except ConfigError as error:
            raise ConfigError(
                f"{source}, line {number}: {error.message}", file=source, line=number, **error.facts
            ) from None
    if not rules:
        raise ConfigError(
            f"{source}: expected lines such as jane@old.example = jane@new.example", file=source
        )
    by_user: dict[str, list[int]] = {}
    for number, rule in enumerate(rules):
        if rule.user:
            by_user.setdefault(rule.user, []).append(number)
    of_many = tuple(number for number, rule in enumerate(rules) if not rule.user)
    return RenameMap(source, tuple(rules), {user: tuple(some) for user, some in by_user.items()}, of_many)


class Renamed(NamedTuple):
    """Users by what they were called, and what they are called now; and those of whom that can't be told, as
    they become several."""

    users: Mapping[str, str] = {}
    unclear: frozenset[str] = frozenset()


NOBODY = Renamed()
"""All are called as they were."""


def renamed_in(partition: str, places: Iterable[tuple[Whereabouts, Whereabouts]]) -> Renamed:
    """What the users are called now whom mail in a partition may name; ``places`` are all mailboxes, and
    where they go. Somebody with mailboxes in several partitions is called as in this one, or else as all
    others agree."""
    here: dict[str, str] = {}
    elsewhere: dict[str, set[str]] = {}
    for mailbox, place in places:
        if mailbox.partition == partition:
            here[mailbox.user] = place.user
        else:
            elsewhere.setdefault(mailbox.user, set()).add(place.user)
    names = {user: next(iter(now)) for user, now in elsewhere.items() if len(now) == 1} | here
    return Renamed(
        users={user: now for user, now in names.items() if user != now},
        unclear=frozenset(user for user in elsewhere if user not in names),
    )


def _rule(line: str) -> Rule:
    left, equals, right = (part.strip() for part in line.partition("="))
    if not equals or not left or not right:
        raise ConfigError(f"expected [PARTITION:][USERS] = [PARTITION:][USER], found {line!r}", value=line)
    partition, users = _side(left)
    places, user = _places(right)
    if not (users or partition):
        raise ConfigError(f"expected a partition or users before '=', found {line!r}", value=line)
    if _EXPRESSION.search(users):
        return Rule(partition=partition, partitions=places, rewriting=compile_rewriting(users, user))
    if "\\" in user:
        raise ConfigError(f"expected a user id after '=', as {users!r} is no expression", value=user)
    if user and not users:
        raise ConfigError(
            f"expected nothing but a partition after '=': not all users become {user!r}", value=line
        )
    return Rule(partition=partition, user=users, partitions=places, to_user=user)


def _side(text: str) -> tuple[str, str]:
    """A partition and what follows it."""
    found = _SIDE.fullmatch(text)
    return (found[1] or "", found[2].strip()) if found else ("", text)


def _places(text: str) -> tuple[tuple[str, ...], str]:
    """Partitions and what follows them: the last one has the user, or all are alone."""
    parts = [one.strip() for one in text.split("|")]
    if len(parts) == 1:
        partition, user = _side(text)
        return ((partition,) if partition else ()), user
    sides = [_side(part) for part in parts]
    if any(not partition for partition, _ in sides) or any(user for _, user in sides[:-1]):
        raise ConfigError(f"expected partitions, as in new1: | new2:, found {text!r}", value=text)
    return tuple(partition for partition, _ in sides), sides[-1][1]


def _chosen(partitions: tuple[str, ...], mailbox: Whereabouts) -> str:
    """One of the partitions, always the same for a user; with one more of them, few users move."""

    def weight(partition: str) -> bytes:
        told = f"{partition}\0{mailbox.user}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(told, digest_size=8).digest()

    return max(partitions, key=weight, default="")
