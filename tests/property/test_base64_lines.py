"""Lines of base64 text are the same in C and without it, and those that mail has."""

from __future__ import annotations

import base64
from importlib import import_module

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailhaul.proto.archive import base64_lines
from mailhaul.tests.conftest import IN_CI

# In CI it is built. Elsewhere, without C, there is nothing to compare.
native = (import_module if IN_CI else pytest.importorskip)("mailhaul.proto.archive._lines")

widths = st.integers(1, 1024).map(lambda groups: 4 * groups) | st.sampled_from([64, 72, 76])
line_ends = st.sampled_from([b"\n", b"\r\n"])
few = st.binary(max_size=300)
many = st.builds(lambda some, times: some * times, st.binary(min_size=1, max_size=90), st.integers(700, 2000))


@given(few | many, widths, line_ends, st.booleans())
@example(b"", 76, b"\n", True)
@example(bytes(57), 76, b"\r\n", False)
@example(bytes(58), 76, b"\n", True)
def test_both_give_the_same(data: bytes, width: int, line_end: bytes, ended: bool) -> None:
    lines = [base64.b64encode(data)[at:][:width] for at in range(0, -(-len(data) // 3) * 4, width)]
    text = line_end.join(lines) + (line_end if ended and lines else b"")
    assert base64_lines._in_c(data, width, line_end, ended) == text
    assert base64_lines._with_library(memoryview(data), width, line_end, ended) == text


@given(st.binary(max_size=300), st.integers(1, 400), st.binary(max_size=3), st.booleans())
def test_any_text_is_broken(text: bytes, width: int, line_end: bytes, ended: bool) -> None:
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    broken = line_end.join(lines) + (line_end if ended and lines else b"")
    assert native.break_lines(text, width, line_end, ended) == broken


def spoiled(text: bytes, at: int, put: bytes) -> bytes:
    at %= len(text) + 1
    return text[:at] + put + text[at + 1 :]


@given(
    few | many,
    widths | st.integers(1, 9),
    line_ends
    | st.binary(min_size=1, max_size=6).filter(
        lambda end: not set(end) & set(base64.b64encode(bytes(range(256))))
    ),
    st.integers(0, 5000),
    st.sampled_from([None, b"", b"A", b"\n", b"\r", b"\r\n", b"=="]),
)
def test_lines_are_joined_alike(data: bytes, width: int, end: bytes, at: int, put: bytes | None) -> None:
    packed = base64.b64encode(data)
    text = end.join(packed[start : start + width] for start in range(0, len(packed), width))
    if put is None:
        assert native.join_lines(text, width, end) == base64_lines._joined(text, width, end) == packed
        return
    text = spoiled(text, at, put)
    joined, in_c = base64_lines._joined(text, width, end), native.join_lines(text, width, end)
    # Other line ends, within the lines, are no base64: whoever decodes finds that out.
    assert joined == in_c or (joined is None and end in in_c)


@given(st.binary(max_size=60), st.integers(1, 9), st.binary(min_size=1, max_size=6))
@example(b"x\n", 1, b"\n")
@example(b"x\nx", 1, b"\n")
@example(b"x\nxx", 1, b"\n")
def test_any_bytes_can_be_joined(text: bytes, width: int, end: bytes) -> None:
    in_c = native.join_lines(text, width, end)
    # Behind a line end there is a line, be it an empty one.
    lines = [text[at : at + width] for at in range(0, len(text) + 1, width + len(end))]
    assert in_c == (b"".join(lines) if end.join(lines) == text else None)


@pytest.mark.parametrize("width", [0, -1, -(1 << 63)])
def test_lines_of_no_width_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match="no width"):
        native.break_lines(b"text", width, b"\n", True)


def test_a_line_can_be_wider_than_any_text() -> None:
    assert native.break_lines(b"text", (1 << 63) - 1, b"\n", True) == b"text\n"
    with pytest.raises(OverflowError):
        native.break_lines(b"text", 1 << 63, b"\n", True)
