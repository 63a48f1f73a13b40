"""Base64 text and back: decoded only where encoding again gives the very same bytes."""

from __future__ import annotations

import base64
import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailhaul.proto.archive import recipes


def wrapped(data: bytes, width: int, line_end: bytes = b"\n") -> bytes:
    text = base64.b64encode(data)
    return line_end.join(text[at : at + width] for at in range(0, len(text), width)) if width else text


def again(data: bytes, recipe: int, cuts: list[int] | None = None) -> bytes:
    ends = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    return b"".join(recipes.encode((data[a:b] for a, b in pairwise(ends)), recipe))


@given(
    data=st.binary(min_size=3, max_size=400),
    width=st.sampled_from([0, 4, 8, 60, 64, 72, 76, 100]),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.lists(st.integers(0, 1000), max_size=5),
)
def test_regular_base64_is_decoded_and_comes_back(
    data: bytes, width: int, line_end: bytes, cuts: list[int]
) -> None:
    text = wrapped(data, width, line_end)
    decoded = recipes.decode(text)
    assert decoded is not None
    assert decoded[0] == data
    assert again(*decoded, cuts) == text
    assert recipes.encoded_length(len(data), decoded[1]) == len(text)


@given(st.binary(max_size=300) | st.text("ABCab+/= \r\n", max_size=100).map(str.encode))
@example(b"QUJD\nREVG\r\n")
@example(b"QUJD\r\nREVGR0hJ")
@example(b"QUI=QUI=")
@example(b"QUJ=")
@example(b"QUI=\nQUI=")
def test_whatever_is_decoded_comes_back(text: bytes) -> None:
    decoded = recipes.decode(text)
    if decoded is not None:
        assert again(*decoded) == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"QUJ",
        b"QUJDR",
        b"QUI",
        b"QUJD\n",
        b"QUJD\r\n",
        b"QUJ=",  # decodes to what encodes as QUI=
        b"QU I",
        b"QUJD\n\nREVG",
        b"QUJD\nREVG\r\nR0hJ",
        b"QUJD\r\nREVG\nR0hJ",
        b"QUJDRE\nVG",
        b"QUJDREVG\nR0hJ\nSktM",
        b"QUJD\nREVGR0hJ",
        b"QUI=\nREVG",
        b"QUJD\rREVG",
        b"QUJD-_-_",
        b"QUJD\nREVG \nR0hJ",
        wrapped(bytes(4000), 4100),
    ],
)
def test_what_would_not_come_back_is_left_alone(text: bytes) -> None:
    assert recipes.decode(text) is None


def test_the_longest_line_there_is() -> None:
    text = wrapped(bytes(4000), 4096, b"\r\n")
    decoded = recipes.decode(text)
    assert decoded == (bytes(4000), recipes.RECIPE_LIMIT - 1)
    assert again(*decoded) == text


def test_the_numbers_of_recipes() -> None:
    """As FORMAT.md has them; they can never change."""
    data = bytes(range(90))
    assert recipes.decode(wrapped(data, 0)) == (data, 1)
    assert recipes.decode(wrapped(data, 76)) == (data, 39)
    assert recipes.decode(wrapped(data, 76, b"\r\n")) == (data, 40)
    assert recipes.decode(wrapped(data, 60)) == (data, 31)
    assert recipes.RECIPE_LIMIT == 2051


@pytest.mark.parametrize("recipe", [-1, 0, recipes.RECIPE_LIMIT])
def test_a_number_that_is_no_recipe_is_refused(recipe: int) -> None:
    with pytest.raises(ValueError, match="no such recipe"):
        b"".join(recipes.encode([b"abc"], recipe))


@pytest.mark.parametrize("recipe", [1, 2, 3, 4, 39, 40, recipes.RECIPE_LIMIT - 1])
def test_every_recipe_encodes_any_number_of_bytes(recipe: int) -> None:
    for size in (0, 1, 2, 3, 56, 57, 58, 114, 5000):
        data = random.Random(size).randbytes(size)
        text = again(data, recipe, [1, 2, 60])
        assert len(text) == recipes.encoded_length(size, recipe)
        assert base64.b64decode(text.replace(b"\r", b"").replace(b"\n", b"")) == data


def test_stored_bytes_that_are_not_encoded_keep_their_length() -> None:
    assert recipes.encoded_length(123, recipes.RAW) == 123
