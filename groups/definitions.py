"""Backup groups as ``backup-groups.conf`` defines them: names, and regular expressions over user ids.

Owns the syntax of that file and the meaning of its expressions: those of Python's ``re``, in which the
POSIX classes (``[[:alpha:]]``, ASCII letters only) are understood as well. Reading the file is not done here.

The file is the administrator's own, so its expressions are trusted not to be made to stall: only the plain
case of a repeated repetition, ``(a+)+``, is refused. An expression that backtracks in another way makes
assigning slow for the user ids that provoke it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..proto.errors import ConfigError
from .paths import EVERYBODY

SAFE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What the name of a group or partition looks like: it also names a directory of the staging area."""

_POSIX_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": r"\x21-\x7e",
    "lower": "a-z",
    "print": r"\x20-\x7e",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}
_CLASS = re.compile(r"\[:(\^?[a-zA-Z]*):\]")
_COLLATING = re.compile(r"\[([.=])(?:[A-Za-z-]+|.)\1\]")
_RANGE = re.compile(r"(\\.|[^\\])-(\\.|[^\\\]])", re.DOTALL)
_SPECIAL_IN_SET = frozenset("[]&~|-")
_REPEATED_REPETITION = re.compile(r"\((?:\?:)?(?:\\.|\[(?:\\.|[^\]\\])+\]|[^()\\\[])[*+]\)[*+]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GroupDefinition:
    """A group and its expressions; it holds the users whose whole id matches any of them."""

    name: str
    patterns: tuple[re.Pattern[str], ...]

    def matches(self, user: str) -> bool:
        return any(pattern.fullmatch(user) for pattern in self.patterns)


def parse_definitions(text: str, source: str) -> tuple[GroupDefinition, ...]:
    """The groups that the text of a ``backup-groups.conf`` defines, in the order they first appear in.

    A line is ``name=regex``, empty, or a comment that starts with ``#``; blanks around name and expression
    do not count, and several lines of one name add up. Raises ConfigError, which names ``source`` (the file)
    and the line.
    """
    patterns: dict[str, list[re.Pattern[str]]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            name, pattern = _parse_line(line)
        except ConfigError as error:
            raise ConfigError(
                f"{source}, line {number}: {error.message}", file=source, line=number, **error.facts
            ) from None
        patterns.setdefault(name, []).append(pattern)
    return tuple(GroupDefinition(name, tuple(found)) for name, found in patterns.items())


def _parse_line(line: str) -> tuple[str, re.Pattern[str]]:
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


def compile_expression(expression: str) -> re.Pattern[str]:
    """Compile an expression over user ids. Raises ConfigError."""
    try:
        translated = _translate(expression)
        if repeated := _REPEATED_REPETITION.search(translated):
            raise ValueError(f"{repeated[0]!r} repeats a repetition; one of the two is enough")
        return re.compile(translated)
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"expected a regular expression, found {expression!r}: {error}", value=expression
        ) from None


def _translate(expression: str) -> str:
    """Rewrite the sets of an expression for Python; all else stays as it is."""
    pieces = []
    position = 0
    while position < len(expression):
        if expression[position] == "[":
            piece, position = _translate_set(expression, position)
        else:
            width = 2 if expression[position] == "\\" else 1
            piece, position = expression[position : position + width], position + width
        pieces.append(piece)
    return "".join(pieces)


def _translate_set(expression: str, start: int) -> tuple[str, int]:
    """The set that opens at ``start`` in Python's syntax, and where it ends.

    Signs that Python may one day read as set operations are escaped: it warns of them today.
    """
    if alone := _CLASS.match(expression, start):
        raise ValueError(f"{alone[0]} has a meaning only inside a set: write [{alone[0]}]")
    position = first = start + 2 if expression.startswith("[^", start) else start + 1
    pieces = [expression[start:first]]
    while position < len(expression):
        if expression[position] == "]" and position > first:
            return "".join([*pieces, "]"]), position + 1
        if named := _CLASS.match(expression, position):
            pieces.append(_posix_class(named))
            position = named.end()
        elif collating := _COLLATING.match(expression, position):
            raise ValueError(f"{collating[0]} (a collating element) is not understood")
        elif span := _RANGE.match(expression, position):
            pieces.append(f"{_escaped(span[1])}-{_escaped(span[2])}")
            position = span.end()
        else:
            width = 2 if expression[position] == "\\" else 1
            pieces.append(_escaped(expression[position : position + width]))
            position += width
    raise ValueError(f"the set that begins with {expression[start : start + 10]!r} is not closed")


def _posix_class(named: re.Match[str]) -> str:
    if named[1] not in _POSIX_CLASSES:
        raise ValueError(f"{named[0]} is no class; there are {', '.join(_POSIX_CLASSES)}")
    return _POSIX_CLASSES[named[1]]


def _escaped(item: str) -> str:
    return "\\" + item if item in _SPECIAL_IN_SET else item
