"""What is read of a header, whatever stands there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.worker.exports.message_head import read_head


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        (b"Subject: hi\n", "hi"),
        (b"subject:  a\r\n b\r\n", "a b"),
        (b"Subject: =?utf-8?q?f=C3=BCr?= =?iso-8859-1?q?_dich=FC?=\n", "für dichü"),
        (b"Subject: f\xc3\xbcr\n", "für"),
        (b"Subject: f\xfcr\n", "für"),
        (b"Subject: =?none?q?x?=\n", "=?none?q?x?="),
        (b"X: y\n", ""),
    ],
)
def test_subjects(header: bytes, subject: str) -> None:
    head, content = read_head([header[:3], header[3:] + b"\nSubject: no\n"])
    assert head.subject() == subject
    assert b"".join(content) == header + b"\nSubject: no\n"


@given(st.lists(st.binary(max_size=50)))
def test_nothing_is_an_error(pieces: list[bytes]) -> None:
    head, content = read_head([b"Subject: ", *pieces, b"\nFrom: ", *pieces])
    assert head.sender()
    head.subject()
    assert b"".join(content) == b"Subject: " + b"".join(pieces) + b"\nFrom: " + b"".join(pieces)
