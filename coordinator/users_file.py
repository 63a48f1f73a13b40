"""Files of user ids, one a line: a run over just these users, whatever groups they are in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..proto.errors import ConfigError
from ..proto.structs import Record


class UserList(Record):
    """The users that a file names, and which file that was."""

    source: str
    users: frozenset[str]

    def missing(self, found: Iterable[str]) -> tuple[str, ...]:
        """Those that are not among the users that were found, sorted: who asked for them must be told."""
        return tuple(sorted(self.users.difference(found)))


def read_users(file: Path) -> UserList:
    """Read a file of user ids. Raises ConfigError, which names the file, and the line if it is to blame."""
    try:
        return parse_users(file.read_bytes(), str(file))
    except OSError as error:
        raise ConfigError(
            f"{file}: expected a file that can be read: {error.strerror}", file=str(file)
        ) from None


def parse_users(content: bytes, source: str) -> UserList:
    """The user ids of a file's content, as the mail store has them: whole, and nothing in them escaped.

    Blanks around an id do not count, nor do empty lines and those that start with ``#``; an id may come
    again. Bytes that are no UTF-8 are kept, as those of file names are. Raises ConfigError, also where no
    user is left: a list that names nobody is a mistake, and not a run of nothing.
    """
    users = set()
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        user = line.decode(errors="surrogateescape").strip()
        if not user or user.startswith("#"):
            continue
        if user.startswith("/") or not _is_text(user):
            raise ConfigError(
                f"{source}, line {number}: expected a user id such as jane@example.org, found {user!r}",
                file=source,
                line=number,
                value=user,
            )
        users.add(user)
    if not users:
        raise ConfigError(f"{source}: expected user ids, one a line, found none", file=source)
    return UserList(source, frozenset(users))


def _is_text(user: str) -> bool:
    return all(char >= " " and char != "\x7f" for char in user)
