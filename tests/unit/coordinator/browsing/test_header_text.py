"""Header values as people read them, whatever was done to them on the way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.browsing.header_text import file_name, header_date, header_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        ("Grüße".encode(), "Grüße"),
        ("Grüße".encode("latin-1"), "Grüße"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?= from here", "Grüße from here"),
        (b"Re: =?ISO-8859-1?Q?Gr=FC=DFe?=", "Re: Grüße"),
        (b"=?utf-8?B?R3LDvMOfZQ==?= =?utf-8?Q?_all?=", "Grüße all"),
        # A character that two words share.
        (b"=?utf-8?B?R3LD?= =?utf-8?B?vMOfZQ==?=", "Grüße"),
        (b"=?utf-8?Q?a?= =?iso-8859-1?Q?=FC?=", "aü"),
        (b"=?koi8-r?B?89DJ08/L?=", "Список"),
        (b"=?utf-8*de?Q?Hallo?=", "Hallo"),
        # Cut off within a word.
        (b"=?utf-8?B?R3LDvMOfZSBub2", "Grüße no"),
        (b"=?utf-8?Q?Gr=C3=BC=C3", "Grü\ufffd"),
        (b"=?utf-8?Q?fetch=28=2", "fetch("),
        # What is no encoded word.
        (b"=?nonsense?Q?a?=", "a"),
        (b"=?utf-8?X?a?= 1 =? 2", "=?utf-8?X?a?= 1 =? 2"),
        (b"=?hex?Q?a?=", "a"),
    ],
)
def test_text(value: bytes, text: str) -> None:
    assert header_text(value) == text


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"UTF-8''na%C3%AFve%20plan.pdf", "naïve plan.pdf"),
        (b"iso-8859-1'de'Gr%FC%DFe.txt", "Grüße.txt"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe=2Etxt?=", "Grüße.txt"),
        (b"it's plain.txt", "it's plain.txt"),
    ],
)
def test_names_of_attachments(value: bytes, name: str) -> None:
    assert file_name(value) == name


def test_dates() -> None:
    noon = datetime(2026, 11, 17, 12, tzinfo=UTC)
    assert header_date(b"Tue, 17 Nov 2026 13:00:00 +0100") == noon
    assert header_date(b"Tue, 17 Nov 2026 12:00:00 -0000") == noon
    assert header_date(b"17 Nov 2026 04:30:00 -0730 (local)") == noon
    assert header_date(b"Tuesday, 17 Nov 26 12:00:00 GMT") == noon
    for nothing in (b"", b"yesterday", b"Tue, 99 Nov 2026 13:00:00 +0100", b"\xff", b"1 Jan 0 00:00 +9999"):
        assert header_date(nothing) is None


@given(st.binary(max_size=80), st.sampled_from([b"", b"=?utf-8?B?", b"=?utf-7?Q?", b"=?idna?Q?", b"u''%"]))
def test_nothing_fails(value: bytes, before: bytes) -> None:
    header_text(before + value)
    file_name(before + value)
    header_date(before + value)
