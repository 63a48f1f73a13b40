"""What messages can be found by: it comes back line by line, within limits, and lies about nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import frames, search
from mailhaul.proto.archive.messages import MOST_MESSAGES
from mailhaul.proto.archive.search import MOST_BYTES, TermsColumns
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import Terms
from mailhaul.tests.archives import remapped, unpacked

FULL = Terms(b"a@x", b"b@x\0c@x", b"Hello", b"<1@x>", b"1 Jan 2026", b"a.pdf\0b.pdf")


def encode(*rows: Terms) -> bytes:
    gathered = TermsColumns()
    for row in rows:
        gathered.add(row)
    return gathered.take()


values = st.binary(max_size=30).map(lambda value: value.replace(b"\n", b""))


@given(st.lists(st.builds(Terms, *[values] * 6) | st.just(Terms()), min_size=1, max_size=10))
def test_terms_come_back(rows: list[Terms]) -> None:
    assert search.decode(encode(*rows)) == rows


def test_taking_empties_the_gatherer() -> None:
    gathered = TermsColumns()
    gathered.add(FULL)
    first = gathered.take()
    gathered.add(FULL)
    assert gathered.take() == first
    assert gathered.take() == search.LOST


def test_what_nobody_has_takes_no_bytes() -> None:
    row = unpacked(encode(Terms(subject=b"x"), Terms()))
    assert row == {"n": 2, "subject": b"x\n", **dict.fromkeys(set(Terms._fields) - {"subject"})}


@pytest.mark.parametrize("name", Terms._fields)
def test_what_is_long_is_cut_off(name: str) -> None:
    limit = MOST_BYTES[name]
    found = search.decode(encode(Terms(**{name: b"x" * (limit + 1)}), Terms(**{name: b"y" * limit}), FULL))
    assert [getattr(terms, name) for terms in found] == [b"x" * limit, b"y" * limit, getattr(FULL, name)]


def test_a_value_is_one_line_whatever_it_was() -> None:
    odd = Terms(sender=b"a\nb", subject=b"\n\n\r\n" + b"x" * 300 + b"\n")
    found = search.decode(encode(odd, FULL))
    assert found == [Terms(sender=b"a b", subject=b"  \r " + b"x" * 296), FULL]


def test_any_messages_fit_a_frame() -> None:
    longest = Terms(*(b"x" * MOST_BYTES[name] for name in Terms._fields))
    assert len(encode(*[longest] * MOST_MESSAGES)) <= frames.LARGEST_FRAME


def test_terms_that_were_lost_are_none() -> None:
    assert search.decode(search.LOST) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n", None),
        ("n", -1),
        ("n", 3),
        ("n", MOST_MESSAGES + 1),
        ("n", 1 << 62),
        ("n", True),
        ("subject", b"one line"),
        ("subject", b"three\nlines\n"),
        ("subject", "text"),
        ("subject", [b"x", b"y"]),
        ("sender", 7),
    ],
)
def test_what_contradicts_itself_is_damage(key: str, value: object) -> None:
    good = encode(FULL, Terms())
    assert key in unpacked(good)
    with pytest.raises(DamagedError):
        search.decode(remapped(good, **{key: value}))


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80", b"nonsense"])
def test_nonsense_is_damage(payload: bytes) -> None:
    with pytest.raises(DamagedError):
        search.decode(payload)
