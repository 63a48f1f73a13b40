"""What goes over the wire and what comes back, without a server: addresses, answers, messages, names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.tests.maildirs import message
from mailhaul.worker.stores.address import Address, parse_address
from mailhaul.worker.stores.imap.access_lists import Grant, grants_of
from mailhaul.worker.stores.imap.answers import Answer, answer_of, numbers, sequence
from mailhaul.worker.stores.imap.likeness import Likeness
from mailhaul.worker.stores.imap.names import FolderNames
from mailhaul.worker.stores.imap.outgoing import internal_date, outgoing
from mailhaul.worker.stores.imap.subscriptions import subscribed
from mailhaul.worker.stores.line_ends import with_crlf


def test_addresses() -> None:
    assert parse_address("imap://mail") == Address(host="mail", port=143, tls=False)
    assert parse_address("imaps://mail:1993/") == Address(host="mail", port=1993, tls=True)
    assert parse_address("imap://[::1]:144").is_here
    assert parse_address("imap://127.0.0.9").is_here
    assert not parse_address("imap://127.example.org").is_here


@pytest.mark.parametrize(
    "text",
    ["imap://", "imap://mail:x", "imap://jane@mail", "imap://mail/INBOX", "imap://mail?x", "pop3://mail"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_address(text)


def test_answers() -> None:
    assert answer_of("ok", "[APPENDUID 38505 3955:3957] done").appended() == (38505, [3955, 3956, 3957])
    assert answer_of("OK", "done").appended() is None
    assert answer_of("OK", "[APPENDUID x y]").appended() is None
    assert answer_of("OK", "[APPENDUID 1 1:4294967295]").appended() is None, "more than anybody sent"
    assert answer_of("NO", "[OVERQUOTA] full").is_full
    assert answer_of("NO", "[TRYCREATE] none").lacks_folder
    assert not answer_of("NO", "[LIMIT] too many copies").is_full
    assert answer_of("NO", "Server Unavailable. 15").is_passing
    assert not answer_of("NO", "Message contains bare newlines").is_passing


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Suggested Backoff Time: 299961 milliseconds", 299.961),
        ("suggested backoff time: 1500", 1.5),
        ("Suggested Backoff Time: 30 seconds", 30.0),
        ("later", 0.0),
    ],
)
def test_how_long_to_wait(words: str, seconds: float) -> None:
    assert Answer("NO", words=words).wait_seconds == seconds


@given(st.sets(st.integers(1, 200), min_size=1))
def test_sequences(uids: set[int]) -> None:
    assert numbers(sequence(sorted(uids))) == sorted(uids)


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"\0", b""])), st.integers(1, 4))
def test_line_ends(parts: Sequence[bytes], size: int) -> None:
    """However it is cut: each LF has a CR before it, and nothing else is another."""
    whole = b"".join(parts)
    cut = [whole[at : at + size] for at in range(0, len(whole), size)]
    sent = b"".join(with_crlf(cut))
    assert sent == whole.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    one = outgoing(message(content=whole), cut)
    assert b"".join(one.pieces()) == sent
    assert one.size == len(sent)
    assert one.stray_returns == sent.count(b"\r") - sent.count(b"\n")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_likeness(size: int) -> None:
    """What servers alter does not count, in whatever pieces it comes; everything else does."""

    def likeness(content: bytes) -> tuple[bytes, bool]:
        found = Likeness()
        for at in range(0, len(content), size):
            found.update(content[at : at + size])
        return found.digest(), found.is_plain

    mail = b"Subject: caf\xe9\r\n\r\nX\0\r\r\nend\r"
    assert likeness(mail)[0] == likeness(b"Subject: cafX\r\n\r\nX\x80\r\nend")[0]
    assert likeness(mail)[0] != likeness(b"Subject: caf\xe9\r\n\r\n?\0\r\r\nend\r")[0], "the body counts"
    assert [likeness(one)[1] for one in (mail, b"A: b\r\n\r\n\xe9\r\n", b"A: \xe9\r\n")] == [
        False,
        True,
        False,
    ]


def test_a_large_message_is_not_in_memory() -> None:
    one = outgoing(message(), (b"x" * 65_535 + b"\n" for _ in range(100)))
    assert not isinstance(one.content, bytes)
    assert sum(map(len, one.pieces())) == sum(map(len, one.pieces())) == one.size == 65_537 * 100
    one.close()


def test_dates() -> None:
    assert internal_date(-1) == "31-Dec-1969 23:59:59 +0000"
    assert internal_date(10**18) == "09-Sep-2001 01:46:40 +0000"
    assert internal_date(10**30) == ""


def test_names() -> None:
    names = FolderNames("INBOX.", ".", ["INBOX", "a/b.c", "a/b_c", "INBOX/x", "\udcff"])
    said = [names.on_server(name) for name in ("INBOX", "a/b_c", "a/b.c", "INBOX/x", "\udcff", "new")]
    assert said == ["INBOX", "INBOX.a.b_c", "INBOX.a.b_c~2", "INBOX.INBOX.x", "INBOX._", "INBOX.new"]
    assert [names.is_altered(name) for name in ("INBOX", "a/b_c", "a/b.c")] == [False, False, True]
    assert FolderNames("", "", ["a/b"]).on_server("a/b") == "a_b"


def test_lists_of_subscriptions() -> None:
    assert list(subscribed(b"V\t2\n\nA.b\tc\nEntw&APw-rfe\n", dotted=True)) == ["A.b/c", "Entwürfe"]
    assert list(subscribed(b"inbox\nA.b\n", dotted=True)) == ["INBOX", "A/b"]
    assert list(subscribed(b"A.b/c\n", dotted=False)) == ["A.b/c"]


def test_access_lists() -> None:
    content = (
        b'user=bob lrwstipekxa\n"user=jim jones" lr :write-seen\n-user=eve w\nanyone l\nowner lra\n'
        b"owner lrwstipekxa\ngroup=staff lr\nauthenticated r\nuser=x lq\nuser=y :sing\n\n# nothing\nuser=z\n"
    )
    assert list(grants_of(content)) == [
        Grant("bob", "aeiklprstwx"),
        Grant("jim jones", "lrs"),
        Grant("-eve", "w"),
        Grant("anyone", "l"),
        "owner lra",
        "group=staff lr",
        "authenticated r",
        "user=x lq",
        "user=y :sing",
        Grant("z", ""),
    ]
