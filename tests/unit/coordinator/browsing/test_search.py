"""Whether a message matches: told without decoding what can't match, and the same with decoding."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.browsing.header_text import file_name, header_text
from mailhaul.coordinator.browsing.search import Matcher, Query
from mailhaul.proto.archive.search import TermsColumns, decode
from mailhaul.proto.records import Terms

WORDS = st.sampled_from(["Report", "ÄRGER", "ß", "ss", "2026", "it's", "K", "\u212a", ""])
RAW = st.sampled_from(
    [
        b"report",
        "Ärger".encode(),
        b"=?utf-8?q?=C3=84rger?=",
        b"stra\xdfe",
        b"2026",
        b"UTF-8''%C3%84rger",
        b"it's",
    ]
)
VALUES = st.lists(RAW, max_size=3).map(b" ".join)


@given(st.builds(Query, subject=WORDS, attachments=WORDS), st.lists(st.tuples(VALUES, VALUES), min_size=1))
def test_nothing_that_matches_is_passed_over(query: Query, values: list[tuple[bytes, bytes]]) -> None:
    columns = TermsColumns()
    for subject, attachment in values:
        columns.add(Terms(subject=subject, attachments=attachment))
    payload = columns.take()
    terms = decode(payload)
    expected = [
        row
        for row, one in enumerate(terms)
        if query.subject.casefold() in header_text(one.subject).casefold()
        and any(
            query.attachments.casefold() in file_name(name).casefold()
            for name in one.attachments.split(b"\0")
        )
    ]
    matcher = Matcher(query)
    assert matcher.rows(terms) == expected
    assert matcher.may_match(payload) or not expected


def test_frames_that_can_not_match_are_not_decoded() -> None:
    columns = TermsColumns()
    columns.add(Terms(subject=b"Weekly report"))
    payload = columns.take()
    assert Matcher(Query(subject="WEEKLY  report")).may_match(payload)
    assert not Matcher(Query(subject="monthly")).may_match(payload)
    assert not Matcher(Query(subject="wöchentlich")).may_match(payload)


def test_dates() -> None:
    terms = [
        Terms(date=b"Tue, 17 Nov 2026 12:00:00 +0000"),
        Terms(date=b"17 Nov 2026 14:00:00 +0200"),
        Terms(),
    ]
    noon = 1_794_916_800.0
    assert Matcher(Query(since=noon, until=noon)).rows(terms) == [0, 1, 2]
    assert Matcher(Query(since=noon + 1)).rows(terms) == [2]
    # Without a date in the header, that of arrival counts.
    assert Matcher(Query(since=noon)).is_in_time(Terms(), int(noon) * 10**9)
    assert not Matcher(Query(until=noon)).is_in_time(Terms(), (int(noon) + 1) * 10**9)
