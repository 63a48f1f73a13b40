"""Which tags are open where HTML is written: each is ended before what it is in, and none is left open.

A browser mends what is nested wrongly by opening again what was cut off: a few hundred styles of letters, for
each of a hundred thousand paragraphs. What is nested well needs no mending.
"""

from __future__ import annotations

from collections.abc import Collection


def names(told: str) -> frozenset[str]:
    """Names of tags or attributes, with blanks between."""
    return frozenset(told.split())


_DEEPEST = 200
"""What is nested deeper loses its tags, not its text."""

_SECTIONS = names("tbody thead tfoot")
_CELLS = names("td th")
_IN_TABLES = names("caption colgroup col tr") | _SECTIONS | _CELLS
_HOLDS_NO_TEXT = names("table tr colgroup") | _SECTIONS
_HEADINGS = names("h1 h2 h3 h4 h5 h6")
_BLOCKS = _HEADINGS | names(
    "address article aside blockquote center dd details div dl dt figcaption figure footer header hr li main "
    "ol p pre section summary table ul"
)

# A tag that is opened ends the nearest one of these, unless one of the others lies between.
_TABLE = names("table")
_PARAGRAPH = names("p")
_ENDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (names("li"), names("ul ol table")),
    "dd": (names("dd dt"), names("dl table")),
    "dt": (names("dd dt"), names("dl table")),
    "a": (names("a"), _TABLE),
    **dict.fromkeys(_HEADINGS, (_HEADINGS, _TABLE)),
}


class Nesting:
    """The tags that are open. Methods return what has to be written before."""

    def __init__(self) -> None:
        self._open: list[str] = []

    def opens(self, name: str) -> str | None:
        """A tag is to be opened; None if it can't be where it would come."""
        if len(self._open) >= _DEEPEST:
            return None
        if name in _IN_TABLES:
            before = self._in_table(name)
        else:
            before = self._in_cell()
            if name in _BLOCKS:
                before += self._ends_nearest(_PARAGRAPH, _TABLE)
            if name in _ENDS:
                before += self._ends_nearest(*_ENDS[name])
        if before is not None:
            self._open.append(name)
        return before

    def empty(self, name: str) -> str | None:
        """The same, of a tag that holds nothing."""
        if name == "col":
            return self._in_table(name)
        before = self._in_cell()
        return before + self._ends_nearest(_PARAGRAPH, _TABLE) if name in _BLOCKS else before

    def text(self) -> str:
        """Some text comes."""
        return self._in_cell()

    def closes(self, name: str) -> str:
        """A tag is closed, with all in it; nothing if it is not open, or outside of the table around."""
        if name not in self._open:
            return ""
        return self._ends_nearest((name,), _TABLE - {name})

    def end(self) -> str:
        """All is closed."""
        return self._pop(0)

    def _in_table(self, name: str) -> str | None:
        if "table" not in self._open:
            return None
        if name in _CELLS:
            before = self._pop_to(("tr", "table", *_SECTIONS))
            return before + ("" if self._open[-1] == "tr" else self._push("tr"))
        return self._pop_to(("table", *_SECTIONS) if name == "tr" else ("table",))

    def _in_cell(self) -> str:
        """Text and all else that stands in a table between its cells gets one of its own."""
        if not self._open or self._open[-1] not in _HOLDS_NO_TEXT:
            return ""
        before = self._pop_to(("table",)) if self._open[-1] == "colgroup" else ""
        return before + ("" if self._open[-1] == "tr" else self._push("tr")) + self._push("td")

    def _ends_nearest(self, names: Collection[str], barriers: Collection[str]) -> str:
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at] in names:
                return self._pop(at)
            if self._open[at] in barriers:
                break
        return ""

    def _pop_to(self, names: Collection[str]) -> str:
        """Close down to the nearest of these, which stays open."""
        at = len(self._open) - 1
        while self._open[at] not in names:
            at -= 1
        return self._pop(at + 1)

    def _pop(self, to: int) -> str:
        ended = "".join(f"</{name}>" for name in reversed(self._open[to:]))
        del self._open[to:]
        return ended

    def _push(self, name: str) -> str:
        self._open.append(name)
        return f"<{name}>"
