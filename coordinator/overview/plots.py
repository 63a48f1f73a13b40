"""Plots as SVG, made here: nothing is loaded, nothing is computed in the browser. Every text is escaped;
colours come from the style sheet of the page, by the classes of what is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape, quoteattr

from ...proto.structs import Record

_WIDTH, _HEIGHT = 720, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 24
_TICKS = 3
_LEAST_TOP = 1e-3


class Bar(Record, kw_only=True):
    """One bar of a plot: where it stands along the axis (``label``), how high it is, what is said when
    pointed at, and the class of its colour."""

    label: str
    value: float
    hint: str
    kind: str = "bar"


def bars(
    name: str, title: str, description: str, values: Sequence[Bar], in_words: Callable[[float], str]
) -> str:
    """Bars beside each other, above an axis. ``name`` makes the ids within a page unique; ``in_words`` says a
    value of the axis. A value of 0 has no bar."""
    top = _rounded_up(max((one.value for one in values), default=0.0))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    each = width / max(1, len(values))
    drawn = []
    for place, bar in enumerate(values):
        if bar.value > 0:
            tall = max(1.0, height * bar.value / top)
            drawn.append(
                f'<rect class={quoteattr(bar.kind)} x="{_LEFT + place * each:.1f}"'
                f' y="{_TOP + height - tall:.1f}"'
                f' width="{max(1.0, each - min(2.0, each / 4)):.1f}" height="{tall:.1f}">'
                f"<title>{escape(bar.hint)}</title></rect>"
            )
    grid, below = [], ""
    for tick in range(_TICKS + 1):
        y = _TOP + height - height * tick / _TICKS
        words = in_words(top * tick / _TICKS)
        said = "" if words == below else escape(words)  # rounded to the same: that of the lower line stands
        below = words
        grid.append(
            f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{said}</text>'
        )
    labels = [
        f'<text x="{_LEFT + place * each + each / 2:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">'
        f"{escape(values[place].label)}</text>"
        for place, anchor in _labelled(len(values))
    ]
    return _plot(name, title, description, (*grid, *drawn, *labels))


def _plot(name: str, title: str, description: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _labelled(count: int) -> Sequence[tuple[int, str]]:
    """Which of so many places have a label, and how that stands at them."""
    if count < 2:
        return [(place, "middle") for place in range(count)]
    return [(0, "start"), *([(count // 2, "middle")] if count > 4 else []), (count - 1, "end")]


def _rounded_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 6, 10 times a power of ten: a top that thirds of are easy to read."""
    if value <= 0:
        return 1.0
    least = max(value, _LEAST_TOP)
    power = 10.0 ** math.floor(math.log10(least))
    return max(least, next((step * power for step in (1, 1.5, 2, 3, 6) if step * power >= least), 10 * power))
