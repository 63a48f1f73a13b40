"""Which flags and keywords a message is to have: those of a moment, beside what was done to it since.

Each flag and each keyword is decided by itself (docs/decisions/0040-state-only.md). Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...proto.state import Flags

_DELETED = "T"


def merged(now: Flags, *, then: Flags, later: Flags | None = None) -> Flags:
    """What a message that has ``now`` is to have: as it had ``then``, but for what was changed after it had
    ``later``, which is how a backup of a time between tells of it. Without one nobody can tell damage from
    work: what it had and what it has are put together.

    A mark for deletion is taken away, or left, and never given back: the next expunge would take the message.
    """
    letters = {
        letter
        for letter in {*then.letters, *now.letters}
        if _decided(
            letter in then.letters, letter in now.letters, None if later is None else letter in later.letters
        )
        and (letter != _DELETED or letter in now.letters)
    }
    if later is None and _DELETED not in then.letters:
        letters.discard(_DELETED)
    return Flags("".join(sorted(letters)), _merged_keywords(now, then, later))


def restored(_now: Flags, *, then: Flags) -> Flags:
    """What a message is to have that is to be just as it was."""
    return then


def are_same(flags: Flags, other: Flags) -> bool:
    """Whether two messages show the same: the case of keywords does not count."""
    return flags.letters == other.letters and _folded(flags.keywords) == _folded(other.keywords)


def _decided(then: bool, now: bool, later: bool | None) -> bool:
    if then == now:
        return now
    if later is None:
        return True
    return then if later == now else now


def _merged_keywords(now: Flags, then: Flags, later: Flags | None) -> tuple[str, ...]:
    names = {keyword.lower(): keyword for keyword in (*then.keywords, *now.keywords)}
    had, has = _folded(then.keywords), _folded(now.keywords)
    between = None if later is None else _folded(later.keywords)
    kept = (
        name
        for key, name in names.items()
        if _decided(key in had, key in has, None if between is None else key in between)
    )
    return tuple(sorted(kept))


def _folded(keywords: Iterable[str]) -> frozenset[str]:
    return frozenset(keyword.lower() for keyword in keywords)
