"""Plots are well-formed SVG without anything that a strict page would refuse, whatever is drawn."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.overview.plots import Bar, bars

SVG = ElementTree.Element


def drawn(values: list[Bar]) -> SVG:
    """The plot, parsed."""
    return ElementTree.fromstring(bars("new", "New <mail>", 'of "all" & more', values, "{:.0f}".format))


@given(st.lists(st.floats(0, 1e15), max_size=40))
def test_bars_stay_within_the_plot(heights: list[float]) -> None:
    plot = drawn([Bar(label=str(at), value=value, hint="") for at, value in enumerate(heights)])
    _, _, width, height = map(float, plot.attrib["viewBox"].split())
    found = plot.findall("rect")
    assert len(found) == sum(value > 0 for value in heights)
    for one in found:
        x, y, wide, tall = (float(one.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + wide <= width
        assert 0 <= y <= y + tall <= height


def test_the_highest_bar_is_twice_as_high_as_that_of_half_its_value() -> None:
    low, high = drawn([Bar(label="a", value=300, hint=""), Bar(label="b", value=600, hint="")]).findall(
        "rect"
    )
    assert float(high.attrib["height"]) == pytest.approx(2 * float(low.attrib["height"]), rel=0.01)


def test_it_says_what_it_is_and_escapes_what_it_says() -> None:
    plot = drawn([Bar(label="<b>", value=1, hint="</title><script>", kind='bad" onload="x')])
    assert plot.attrib["role"] == "img"
    title, desc = plot.find("title"), plot.find("desc")
    assert title is not None
    assert desc is not None
    assert (title.text, desc.text) == ("New <mail>", 'of "all" & more')
    assert plot.attrib["aria-labelledby"].split() == [title.attrib["id"], desc.attrib["id"]]
    (bar,) = plot.findall("rect")
    assert set(bar.attrib) == {"class", "x", "y", "width", "height"}
    assert not {"style", "script"} & {one.tag for one in plot.iter()}
    assert all("style" not in one.attrib for one in plot.iter())
