"""Names that somebody may have meant who wrote one that there is not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

_MOST_NAMES = 100_000
"""So many are compared: about a second. A hint is not worth more."""


def hint(name: str, known: Iterable[str]) -> str:
    """``; is it jane or joan?``: the nearest of the known names, the likeliest first; empty where none is
    near. Who wrote a user without a domain may mean one with: the names before the domain are compared then.
    """
    from difflib import get_close_matches  # for those who mistyped something

    names = set(known) - {name}
    local = name.partition("@")[0]
    alike = sorted(one for one in names if one.partition("@")[0] == local)
    compared: dict[str, list[str]] = {}
    for one in names:
        compared.setdefault(one if "@" in name else one.partition("@")[0], []).append(one)
    similar = islice((one for one in compared if abs(len(one) - len(name)) <= 3), _MOST_NAMES)
    close = get_close_matches(name, list(similar), n=3, cutoff=0.65)
    near = list(dict.fromkeys((*alike, *(one for text in close for one in sorted(compared[text])))))[:3]
    return f"; is it {' or '.join(near)}?" if near else ""
