"""Regular expressions over user ids, and patterns of folder names: RE2's, which match in linear time.

Owns what an expression may say, and what is told of one that RE2 does not have. No expression can make a run
stall, whatever a user is called: RE2 never backtracks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..proto.errors import ConfigError
from ..proto.structs import Record

if TYPE_CHECKING:
    import re2

_SURROGATE = re.compile("[\ud800-\udfff]")
_STAND_IN = re.compile("[\U0010d800-\U0010dfff]")
_SET = re.compile(r"\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_RESULT = re.compile(r"([^\\]+)|\\([1-9])|\\(.?)", re.DOTALL)
_BARE_CLASS = re.compile(r"\[(:\^?\w+:)\]")

# RE2 says only which characters it stumbled over.
_MISSING = (
    (r"\(\?<?[=!]", "look-ahead and look-behind, such as {}"),
    (r"\\[1-9]|\(\?P=?|\\[gk]", "references to what a group matched, such as {}"),
    (r"\(\?>|[*+?}]\+", "possessive repetition and atomic groups, such as {}"),
    (r"\(\?\(", "conditions, such as {}"),
    (r"\(\?#", "comments, such as {}"),
    (r"\(\?(?:R|[0-9]|&)", "recursion, such as {}"),
    (r"\\Z", r"{}: write \z; the whole id must match in any case"),
    (r"\\[uUN]", r"{}: write \x{{10FFFF}} for a character by its number"),
)
_MISSING_CONSTRUCT = re.compile("|".join(f"({construct})" for construct, _ in _MISSING))


class Expression(Record):
    """An expression that a whole text must match. ``text`` is what was written."""

    text: str
    _compiled: re2._Regexp

    def __eq__(self, other: object) -> bool:
        return type(other) is Expression and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def matches(self, text: str) -> bool:
        # Bytes, as RE2 reads UTF-8: of a string it would tell positions in characters, for thrice the time.
        return self._compiled.fullmatch(_encoded(text)) is not None


class Rewriting(Record):
    """An expression that a whole text must match, and what the text becomes then: pieces of text, and the
    numbers of what pairs of parentheses matched."""

    _compiled: re2._Regexp
    _pieces: tuple[str | int, ...]

    def apply(self, text: str) -> str | None:
        """What becomes of a text; None if it does not match."""
        found = self._compiled.fullmatch(_encoded(text))
        if found is None:
            return None
        return "".join(
            piece if isinstance(piece, str) else _decoded(found[piece] or b"") for piece in self._pieces
        )


def compile_expression(expression: str) -> Expression:
    """Compile an expression in RE2's syntax. Raises ConfigError, which tells what RE2 does not have."""
    options = _options()
    options.never_capture = True
    return Expression(expression, _compiled(expression, options))


def compile_rewriting(expression: str, result: str) -> Rewriting:
    """Compile an expression, and what a text that it matches becomes: in ``result`` \\1 to \\9 stand for what
    the pairs of parentheses matched, \\\\ for a backslash. Raises ConfigError."""
    compiled = _compiled(expression, _options())
    pieces: list[str | int] = []
    for text, number, other in _RESULT.findall(result):
        if not (text or number) and other != "\\":
            raise ConfigError(f"expected \\1 to \\9 or \\\\, found \\{other} in {result!r}", value=result)
        if number and int(number) > compiled.groups:
            raise ConfigError(
                f"expected no \\{number} in {result!r}: {expression!r} has {compiled.groups} pairs of "
                "parentheses",
                value=result,
            )
        pieces.append(int(number) if number else text or other)
    return Rewriting(compiled, tuple(pieces))


def _compiled(expression: str, options: re2.Options) -> re2._Regexp:
    import re2  # here as below: most runs have no expression to compile

    if problem := _misread(expression):
        raise ConfigError(f"expected a regular expression, found {expression!r}: {problem}", value=expression)
    try:
        return re2.compile(_encoded(expression), options)
    except re2.error as error:
        told = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        raise ConfigError(
            f"expected a regular expression, found {expression!r}: {_explained(told)}", value=expression
        ) from None


def compile_wildcards(pattern: str) -> Expression:
    """Compile a pattern in which ``*`` stands for any characters and ``?`` for one."""
    import re2

    options = _options()
    options.never_capture = True
    options.dot_nl = True
    wildcards = {b"*": b".*", b"?": b"."}
    pieces = re.split(rb"(\*+|\?)", _encoded(pattern))
    translated = b"".join(wildcards.get(piece[:1], re2.escape(piece)) for piece in pieces)
    return Expression(pattern, re2.compile(translated, options))


def _options() -> re2.Options:
    import re2

    options = re2.Options()
    options.log_errors = False  # RE2 would write to stderr by itself
    return options


def _misread(expression: str) -> str:
    """A class that stands alone: RE2 takes it for a set of the letters of its name, and nobody means that."""
    for one in _SET.finditer(expression):
        if bare := _BARE_CLASS.fullmatch(one[0]):
            return f"[{bare[1]}] has a meaning only inside a set: write [[{bare[1]}]]"
    return ""


def _explained(told: str) -> str:
    """What RE2 says of an expression, and of a construct that it does not have, what that is."""
    _, _, place = told.partition(": ")
    found = _MISSING_CONSTRUCT.search(place)
    if found is None or found.lastindex is None:
        return told
    return f"{told}; RE2 does not have " + _MISSING[found.lastindex - 1][1].format(found[0])


def _encoded(text: str) -> bytes:
    """As UTF-8, the only thing that RE2 reads. A byte that is none becomes a character that nobody uses."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub(lambda one: chr(0x100000 + ord(one[0])), text).encode()


def _decoded(text: bytes) -> str:
    return _STAND_IN.sub(lambda one: chr(ord(one[0]) - 0x100000), text.decode())
