"""Cutting: whatever the message, its segments put together again are the message; good mail is cut well."""

from __future__ import annotations

import base64
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import recipes
from mailhaul.worker.packing import hot_path
from mailhaul.worker.packing.scanning import DEEPEST, MOST_PARTS, SMALLEST_PART, Parts, continued_parts, scan
from mailhaul.worker.packing.segments import LARGE, Cutter


class Segment(NamedTuple):
    """What ``segments.Segment`` is made of."""

    data: bytes | memoryview
    recipe: int
    indexed: bool
    joined: bool


class _Cutter(Cutter):
    def named(self, data: bytes, parts: Parts) -> list[Segment]:
        """What it cuts, with names."""
        return [Segment(*one) for one in self.cut(data, parts)]


CUTTER = _Cutter()


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def together(cut: list[Segment]) -> bytes:
    """The bytes that segments stand for."""
    out: list[bytes] = []
    run: list[Segment] = []

    def end_run() -> None:
        if run:
            out.extend(recipes.encode([segment.data for segment in run], run[0].recipe))
            run.clear()

    for segment in cut:
        if not segment.joined:
            end_run()
        if segment.recipe == recipes.RAW:
            assert not segment.joined
            out.append(bytes(segment.data))
        else:
            assert not run or run[0].recipe == segment.recipe
            run.append(segment)
    end_run()
    return b"".join(out)


def parts_of(message: bytes) -> Parts:
    """Its parts, which whatever runs here finds as pure Python does."""
    found = scan(message)
    assert hot_path.scan(message) == found
    return found[1]


def check(message: bytes) -> list[Segment]:
    """Cut a message in both ways; returns the segments of the whole."""
    assert together(CUTTER.named(message, continued_parts(message))) == message
    cut = CUTTER.named(message, parts_of(message))
    assert together(cut) == message
    return cut


def multipart(*parts: bytes, boundary: bytes = b"=_b", end: bytes = b"\n") -> bytes:
    lines = [b"Content-Type: multipart/mixed; boundary=" + boundary, b"", b"preamble"]
    for part in parts:
        lines += [b"--" + boundary, part]
    return end.join([*lines, b"--" + boundary + b"--", b"epilogue", b""])


def base64_part(data: bytes, end: bytes = b"\n", width: int = 76) -> bytes:
    text = base64.b64encode(data)
    head = [b"Content-Type: application/pdf", b"Content-Transfer-Encoding: base64", b""]
    return end.join([*head, *(text[at : at + width] for at in range(0, len(text), width))])


def nested(levels: int, boundary: Callable[[int], bytes], *, closed: bool) -> bytes:
    opened = b"".join(
        b'Content-Type: multipart/mixed; boundary="%s"\n\n--%s\n' % (boundary(level), boundary(level))
        for level in range(levels)
    )
    ends = b"".join(b"\n--%s--\n" % boundary(level) for level in reversed(range(levels)))
    return opened + b"Content-Type: text/plain\n\n" + b"the heart of it\n" * 100 + (ends if closed else b"")


ODD: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"x",
    "line end": b"\n",
    "only line ends": b"\r\n" * 5000,
    "no blank line": b"Subject: x\nFrom: y" * 1000,
    "blank line first": b"\n" + b"body " * 100,
    "header only": b"Subject: x\n\n",
    "NULs": bytes(5000),
    "NULs in a body": b"h: x\n\n" + bytes(5000),
    "CR only": b"h: x\r\r" + b"body\r" * 1000,
    "CRLF": b"h: x\r\n\r\n" + b"body\r\n" * 1000,
    "mixed line ends": b"h: x\n\r\n" + b"a\r\nb\nc\r" * 500,
    "a boundary that never comes": b"Content-Type: multipart/mixed; boundary=x\n\n" + b"text\n" * 500,
    "a boundary and nothing else": b"Content-Type: multipart/mixed; boundary=x\n\n--x",
    "an empty boundary": b'Content-Type: multipart/mixed; boundary=""\n\n--\n\n' + b"text\n" * 500,
    "delimiters in a row": b"Content-Type: multipart/mixed; boundary=x\n\n"
    + b"--x" * 500
    + b"\n\n"
    + b"t" * 500,
    "a boundary that is a part of another": multipart(
        b"\n" + b"outer " * 100, multipart(b"\n" + b"inner " * 100, boundary=b"=_bb"), b"\n" + b"outer " * 100
    ),
    "the same boundary inside": multipart(multipart(base64_part(noise(900))), base64_part(noise(900))),
    "the header goes on into the body": b"Content-Type: multipart/mixed;\n\tboundary=x\nmore\n\n--x\n\n"
    + b"t" * 600,
    "truncated base64": multipart(base64_part(noise(3000)))[:3000],
    "base64 with bad padding": multipart(base64_part(noise(1000)).rstrip(b"=") + b"A"),
    "base64 with odd lines": multipart(base64_part(noise(1000), width=75)),
    "base64 with spaces": multipart(base64_part(noise(1000)).replace(b"\n", b" \n")),
    "signature": b"h: x\n\ntext\n--\nJane\n\n-- \nJohn\n" + b"words " * 200,
}
for closed in (True, False):
    ODD[f"deep, closed {closed}"] = nested(100_000, lambda level: b"b%d" % level, closed=closed)
    ODD[f"deep, one boundary, closed {closed}"] = nested(100_000, lambda level: b"b", closed=closed)
    ODD[f"deep, boundaries begin alike, closed {closed}"] = nested(
        2000, lambda level: b"b" * (level % 200 + 1), closed=closed
    )


@pytest.mark.parametrize("name", ODD)
def test_the_segments_of_an_odd_message_are_the_message(name: str) -> None:
    assert len(check(ODD[name])) < 1000


@given(st.binary(max_size=2000))
def test_the_segments_of_any_bytes_are_the_bytes(message: bytes) -> None:
    check(message)


fragments = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"\n\n",
        b"--x",
        b"\n--x\n",
        b"\n--x--\n",
        b"Content-Type: multipart/mixed; boundary=x\n",
        b'content-type: MULTIPART/mixed;\n boundary="x"\n',
        b"Content-Type: message/rfc822\n\n",
        b"text " * 80,
        base64_part(noise(600)),
        base64_part(noise(600), b"\r\n"),
        base64_part(noise(601, 2), width=60),
    ]
)


@given(st.lists(fragments, max_size=30).map(b"".join))
def test_the_segments_of_any_medley_of_mime_are_the_medley(message: bytes) -> None:
    check(message)


def test_a_plain_message_is_header_and_body() -> None:
    header, body = b"Subject: x\n\n", b"the body " * 100
    assert check(header + body) == [Segment(header, 0, False, False), Segment(body, 0, True, False)]


def test_small_parts_stay_with_their_neighbours() -> None:
    assert len(check(b"h: x\n\n" + b"x" * (SMALLEST_PART - 1))) == 1
    assert len(check(b"h: x\n\n" + b"x" * SMALLEST_PART)) == 2


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("width", [60, 72, 76])
def test_base64_parts_are_stored_decoded(end: bytes, width: int) -> None:
    first, second = noise(1000), noise(2001, 2)
    cut = check(multipart(base64_part(first, end, width), base64_part(second, end, width), end=end))
    decoded = [segment for segment in cut if segment.recipe]
    assert [bytes(one.data) for one in decoded] == [first, second]
    assert all(one.indexed and not one.joined for one in decoded)


def test_parts_inside_a_forwarded_message_are_found() -> None:
    forwarded = b"Content-Type: message/rfc822\n\n" + multipart(base64_part(noise(1000)), boundary=b"inner")
    assert [bytes(segment.data) for segment in check(multipart(forwarded)) if segment.recipe] == [noise(1000)]


def test_a_header_may_be_folded_and_quoted_and_in_any_case() -> None:
    for head in (
        b'CONTENT-TYPE:multipart/related;\n\ttype="text/html";\n Boundary = "a b:c"\nSubject: x\n\n',
        b'Subject: x\nContent-type : Multipart/mixed; charset=x ; boundary="a b:c"\n\n',
    ):
        cut = check(head + b"--a b:c\n" + base64_part(noise(1000)) + b"\n--a b:c--\n")
        assert [bytes(segment.data) for segment in cut if segment.recipe] == [noise(1000)]


def test_copies_with_other_headers_share_their_segments() -> None:
    message = multipart(b"\n" + b"words " * 100, base64_part(noise(3000)))
    plain = {bytes(segment.data) for segment in check(message) if segment.indexed}
    received = {
        bytes(one.data) for one in check(b"Delivered-To: jane\nReceived: by x\n" + message) if one.indexed
    }
    assert plain == received
    assert len(plain) == 2


def test_edited_copies_of_a_large_part_share_most_of_it() -> None:
    data = noise(8 * LARGE)
    edited = data[:LARGE] + b"changed" + data[LARGE + 5 :]
    first, second = (
        {bytes(segment.data) for segment in check(multipart(base64_part(each))) if segment.indexed}
        for each in (data, edited)
    )
    assert len(first & second) > len(first) * 3 / 4


def test_a_large_decoded_part_is_one_run() -> None:
    cut = [segment for segment in check(multipart(base64_part(noise(4 * LARGE)))) if segment.recipe]
    assert [one.joined for one in cut] == [False] + [True] * (len(cut) - 1)
    assert len(cut) > 4


class TestBounds:
    """Mail that was made to be slow: what is bounded is the work, seen by the number of segments."""

    def test_depth(self) -> None:
        deep = nested(1000, lambda level: b"<%d>" % level, closed=True)
        assert len(parts_of(deep)) <= 2 * DEEPEST + 1
        heart = nested(DEEPEST - 1, lambda level: b"<%d>" % level, closed=True)
        assert b"the heart of it\n" * 99 + b"the heart of it" in [
            heart[start:end] for start, end in parts_of(heart)
        ]

    @pytest.mark.parametrize(
        "message",
        [
            b'Content-Type: multipart/mixed; boundary="-"\n\n' + b"-" * 3_000_000,
            b'Content-Type: multipart/mixed; boundary="x"\n\n' + b"\n--x\n\n" * 1_000_000,
            b'Content-Type: multipart/mixed; boundary="x"\n\n' + (b"\n--x\n\n" + b"t" * 300) * 20_000,
            b'Content-Type: multipart/mixed; boundary="x"\n\n'
            + b'\n--x\nContent-Type: multipart/mixed; boundary="x"\n\n' * 100_000,
        ],
        ids=["dashes", "a million delimiters", "many parts", "many nested in a row"],
    )
    def test_delimiters(self, message: bytes) -> None:
        assert len(parts_of(message)) <= MOST_PARTS
        assert len(continued_parts(message)) <= MOST_PARTS + 1
        assert len(check(message)) <= 2 * MOST_PARTS + 1

    @pytest.mark.parametrize(
        "header",
        [
            b"Content-Type: multipart/mixed;\n" + b" boundary\n" * 400_000,
            b"Content-Type: multipart/mixed;" + (b" boundary" + b" " * 1000) * 4_000,
            b"Content-Type: multipart/mixed\n" * 130_000 + b" boundary\n",
            b"content-type:" * 300_000 + b" boundary\n",
            b'Content-Type: multipart/mixed; boundary="' + b"x" * 4_000_000,
        ],
        ids=["folded", "spaces", "repeated", "in one line", "a boundary without end"],
    )
    def test_headers_of_megabytes(self, header: bytes) -> None:
        assert len(check(header + b"\n\n" + b"body " * 100)) <= 2

    def test_line_ends_at_the_end_of_a_part(self) -> None:
        cut = check(b"h: x\n\n" + b"text " * 100 + b"\n" * 500)
        assert bytes(cut[1].data) == b"text " * 100
        check(b"h: x\n\n" + b"text " * 100 + b"\n" * 5_000_000)


class TestContinuing:
    """Windows of a message too large to be cut at once."""

    def test_every_line_that_looks_like_a_delimiter_begins_a_part(self) -> None:
        data, rest = noise(1000), noise(800, 2)
        window = base64.encodebytes(rest) + b"--b\n" + base64_part(data) + b"\n--b--\n"
        cut = CUTTER.named(window, continued_parts(window))
        assert [bytes(segment.data) for segment in cut if segment.recipe] == [rest, data]

    def test_a_window_without_any_is_one_part(self) -> None:
        assert continued_parts(b"x" * 1000) == [(0, 1000)]
        encoded = base64.encodebytes(noise(999))
        first, *_ = CUTTER.named(encoded, continued_parts(encoded))
        assert bytes(first.data) == noise(999)


@pytest.mark.parametrize("corpus", ["tricky", "sample"])
def test_the_segments_of_real_mail_are_the_mail(corpus: str, shared: Path) -> None:
    for message in members(shared / "corpus" / f"{corpus}.tar.xz"):
        check(message)


def members(path: Path) -> Iterator[bytes]:
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                yield file.read()
