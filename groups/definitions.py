"""Backup groups as ``backup-groups.conf`` defines them: names, and regular expressions over user ids.

Owns the syntax of that file, but not that of its expressions (``expressions``). Reading it is not done here.
"""

from __future__ import annotations

import re

from ..proto.errors import ConfigError
from ..proto.structs import Record
from .expressions import Expression, compile_expression
from .paths import EVERYBODY

SAFE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What the name of a group or partition looks like: it also names a directory of the staging area."""


class GroupDefinition(Record):
    """A group and its expressions; it holds the users whose whole id matches any of them."""

    name: str
    expressions: tuple[Expression, ...]

    def matches(self, user: str) -> bool:
        return any(expression.matches(user) for expression in self.expressions)


def parse_definitions(text: str, source: str) -> tuple[GroupDefinition, ...]:
    """The groups that the text of a ``backup-groups.conf`` defines, in the order they first appear in.

    A line is ``name=regex``, empty, or a comment that starts with ``#``; blanks around name and expression
    do not count, and several lines of one name add up. Raises ConfigError, which names ``source`` (the file)
    and the line.
    """
    expressions: dict[str, list[Expression]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            name, expression = _parse_line(line)
        except ConfigError as error:
            raise ConfigError(
                f"{source}, line {number}: {error.message}", file=source, line=number, **error.facts
            ) from None
        expressions.setdefault(name, []).append(expression)
    return tuple(GroupDefinition(name, tuple(found)) for name, found in expressions.items())


def _parse_line(line: str) -> tuple[str, Expression]:
    name, equals, expression = (part.strip() for part in line.partition("="))
    if not equals:
        raise ConfigError(f"expected name=regex, found {line!r}", value=line)
    if not re.fullmatch(SAFE_NAME, name):
        raise ConfigError(
            f"the group name {name!r}: expected at most 100 letters, digits, '.', '_', '-', beginning with a "
            "letter or digit",
            value=name,
        )
    if name == EVERYBODY:
        raise ConfigError(
            f"the group {EVERYBODY!r} is predefined (it holds everybody): expected another name", value=name
        )
    if not expression:
        raise ConfigError(f"the group {name!r}: expected a regular expression after '='", value=line)
    return name, compile_expression(expression)
