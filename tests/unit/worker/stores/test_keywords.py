"""dovecot-keywords, and letters on their way from one folder to another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.worker.stores.keywords import (
    LETTERS,
    Translation,
    flags_of,
    format_keywords,
    parse_keywords,
    with_flags,
)


def test_the_file_is_read_and_written() -> None:
    content = b"0 $Forwarded\n2 projectX\n25 last\n"
    assert parse_keywords(content) == ("$Forwarded", "", "projectX", *[""] * 22, "last")
    assert format_keywords(parse_keywords(content)) == content


def test_what_is_no_keyword_is_passed_over() -> None:
    assert parse_keywords(b"") == ()
    assert parse_keywords(b"\0\0\n1x y\n26 z\n-1 z\n0 a\xff\n\n1") == ("a\udcff",)
    assert format_keywords(["a\n1 b", "", "c\udcff", "d\0"]) == b"2 c\xff\n"
    assert format_keywords(["x"] * 30).count(b"\n") == 26


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(content: bytes) -> None:
    assert len(parse_keywords(content)) <= 26


@pytest.mark.parametrize(
    ("suffix", "flags"),
    [
        (b"", ""), (b":2,", ""), (b":2,SRS", "RS"), (b":2,aSFb", "FSab"), (b":2,S,x", "S"), (b":1,S", ""),
        (b":2,\xffSX!", "S"), (b":", ""), (b":2S", ""),
    ],
)  # fmt: skip
def test_flags_of_a_name(suffix: bytes, flags: str) -> None:
    assert flags_of(suffix) == flags


def test_other_flags_in_a_name() -> None:
    assert with_flags(b":2,SXa,tail", "SRb") == b":2,RSXb,tail"
    assert with_flags(b":2,\xffa", "") == b":2,\xff"
    assert with_flags(b":1,x", "S") == b":1,x"


def test_letters_of_another_folder() -> None:
    way = Translation(["$Forwarded", "projectX", "new"], "abc", ["own", "PROJECTx"])
    assert (way.keywords, way.left_out, way.grew) == (["own", "PROJECTx", "$Forwarded", "new"], [], True)
    assert way.suffix(b":2,FSac") == b":2,FScd"
    assert way.suffix(b":2,b") == b":2,b"
    assert way.suffix(b":2,SF") == b":2,SF"
    assert way.suffix(b"") == b""


def test_keywords_that_find_no_letter_are_left_out() -> None:
    full = [f"k{number}" for number in range(26)]
    way = Translation(["k3", "other"], "ab", full)
    assert (way.left_out, way.grew) == (["other"], False)
    assert way.suffix(b":2,Sab") == b":2,Sd"
    way = Translation(["x", "", "bad name", "line\nfeed"], "abcdz", ["x"])
    assert (way.keywords, way.left_out) == (["x"], ["b", "bad name", "line\nfeed", "z"])
    assert Translation(["x"], "a", ["y"], most=1).left_out == ["x"]
    assert not Translation([LETTERS], "a", [LETTERS]).grew
