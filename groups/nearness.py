"""Names that somebody may have meant who wrote one that there is not."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

_MOST_NAMES = 100_000
"""So many are compared: about a second. A hint is not worth more."""


def hint(name: str, known: Iterable[str]) -> str:
    """``; is it jane or joan?``: the nearest of the known names, the likeliest first; empty where none is
    near. Who wrote a user without a domain may mean one with."""
    names = set(known) - {name}
    alike = sorted(one for one in names if one.partition("@")[0] == name.partition("@")[0])
    similar = islice((one for one in names if abs(len(one) - len(name)) <= 3), _MOST_NAMES)
    near = list(dict.fromkeys((*alike, *get_close_matches(name, list(similar), n=3, cutoff=0.65))))[:3]
    return f"; is it {' or '.join(near)}?" if near else ""
