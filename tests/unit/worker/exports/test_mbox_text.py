"""The text of an mbox, however its messages come in pieces."""

from __future__ import annotations

import io

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.records import DIGEST_BYTES
from mailhaul.proto.structs import replace
from mailhaul.worker.exports.mbox_text import Held, count_messages, entry, strange_keywords

from ....maildirs import message

LINES = st.sampled_from(
    [
        b"From ",
        b">From ",
        b">>From x",
        b"From",
        b"Fro",
        b">",
        b"",
        b"x",
        b"\r",
        b" From ",
        b"\0",
        b"Status: R",
    ]
)
CONTENTS = st.builds(
    lambda lines, end: b"\n".join(lines) + end, st.lists(LINES), st.sampled_from([b"", b"\n"])
)


def whole(*contents: bytes) -> bytes:
    return b"".join(b"".join(entry(message(content=one), [one])) for one in contents)


@given(st.lists(CONTENTS, max_size=4), st.integers(1, 9))
def test_pieces_make_no_difference(contents: list[bytes], size: int) -> None:
    cut = b"".join(
        b"".join(entry(message(content=one), [one[at : at + size] for at in range(0, len(one), size)]))
        for one in contents
    )
    assert cut == whole(*contents)


@given(st.lists(CONTENTS, max_size=4))
def test_what_it_holds_is_known_again(contents: list[bytes]) -> None:
    held = Held(io.BytesIO(whole(*contents)))
    digests = [blake3(one).digest(length=DIGEST_BYTES) for one in contents]
    assert [held.take(digest) for digest in digests] == [True] * len(contents)
    assert not any(held.take(one) for one in digests)


def test_the_mbox_of_another_program() -> None:
    text = b"From a Sat Jan  3 01:05:34 1996\nStatus: RO\nSubject: x\n\n>From me\n\nFrom b x\nhi\n"
    held = Held(io.BytesIO(text))
    for content in (b"Status: RO\nSubject: x\n\nFrom me\n", b"hi\n"):
        assert held.take(blake3(content).digest(length=DIGEST_BYTES))
    with pytest.raises(ValueError, match="From_"):
        Held(io.BytesIO(b"\n"))
    Held(io.BytesIO(b""))


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        (b"Return-Path: <joe@example.org>\nFrom: jim@example.org\n", b"joe@example.org"),
        (b"Return-Path: <>\nFrom: Jim <jim@example.org>\n", b"jim@example.org"),
        (b"From: =?utf-8?q?J=C3=BCrgen?=\n <j@example.org>\n", b"j@example.org"),
        (b"From: \n", b"MAILER-DAEMON"),
        (b"From: j\xc3\xbcrgen@example.org\n", b"MAILER-DAEMON"),
        (b"\nFrom: body@example.org\n", b"MAILER-DAEMON"),
        (b"", b"MAILER-DAEMON"),
    ],
)
def test_senders(header: bytes, sender: bytes) -> None:
    first = whole(header + b"\nx\n").partition(b"\n")[0]
    assert first == b"From %s Sun Sep 13 12:26:40 2020" % sender


def test_state() -> None:
    one = replace(message(flags="FPRS"), keywords=("$Junk", "two words", "\udcff"))
    assert b"".join(entry(one, [b"x\n"])).split(b"\n", 1)[1] == (
        b"Status: RO\nX-Status: AF\nX-Keywords: $Junk \xff\n"
        b"X-Mozilla-Status: 1007\nX-Mozilla-Keys: $Junk \xff\nx\n\n"
    )
    assert strange_keywords(one) == ("two words",)
    fresh = message(flags="T", place="new")
    assert b"Status:\nX-Status: D\nX-Keywords:\nX-Mozilla-Status: 0000\n" in b"".join(entry(fresh, [b"x\n"]))


@pytest.mark.parametrize("piece", [1, 5, 6, 7, 11])
def test_counted_whatever_pieces_it_is_read_in(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr("mailhaul.worker.exports.mbox_text._READ_BYTES", piece)
    for content, count in ((b"", 0), (b"From a\n\nFrom b\n\n>From c\n From d\n\nFrom e\n", 3)):
        assert count_messages(io.BytesIO(content)) == count
    with pytest.raises(ValueError, match="From_"):
        count_messages(io.BytesIO(b"Fro"))
