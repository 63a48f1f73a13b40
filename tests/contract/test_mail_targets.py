"""What every adapter of MailTarget promises (proto/ports.py), read back by other programs than ours."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.proto.errors import DamagedError, MessageUnavailable, StoreError
from mailhaul.proto.records import DIGEST_BYTES, Folder, Message, Skipped
from mailhaul.proto.structs import replace

from ..maildirs import DATE_NS, message
from .targets import KINDS, Found, Kind

USER = "jane@example.org"
INBOX = Folder(name="INBOX", path=b"", keywords=("$Forwarded", "projectX"))
ARCHIVE = Folder(name="Archive", path=b".Archive")
BELOW = Folder(name="Archive/2024", path=b".Archive.2024")
DATE = DATE_NS // 10**9
LONG = b"Subject: long\n\n" + b"0123456789" * 300_000 + b"\n"

CONTENTS = {
    "plain": b"Return-Path: <joe@example.org>\nSubject: a\n\nhi\n",
    "like the beginning of another one": b"Subject: b\n\nFrom joe\n>From jim\n>>From me\n From x\n\nFrom y\n",
    "with CRLF": b"From: joe@example.org\r\nSubject: c\r\n\r\nFrom joe\r\nhi\r\n",
    "with bare CRs and NULs": b"Subject: d\n\n\0\r\0\r\r\n\xff\n",
    "empty": b"",
    "one line end": b"\n",
    "no header": b"\nFrom there on\n",
    "that ends in blank lines": b"Subject: e\n\nx\n\n\n\n",
    "with fields of its own state": b"Status: RO\nX-Status: D\nX-Mozilla-Status: 0009\nSubject: f\n\nx\n",
    "from From_": b"From joe Sat Jan  3 01:05:34 1996\nSubject: g\n\nx\n",
    "of headers that can't be read": b"Subject: =?x-none?B?!!?=\nFrom: <\xff\xfe@\n\n.\n",
    "long": LONG,
}


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """A target in which there is nothing yet."""
    return KINDS[request.param](tmp_path / "place")


def stored(base: bytes, content: bytes, **facts: object) -> tuple[Message, bytes]:
    """A message as an archive tells of it, with its bytes."""
    made = message(base, content, **{"suffix": b":2,", **facts})  # type: ignore[arg-type]
    return replace(made, digest=blake3(content).digest(length=DIGEST_BYTES)), content


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def restore(
    kind: Kind,
    folders: Sequence[tuple[Folder, Sequence[tuple[Message, bytes]]]],
    *,
    user: str = USER,
    piece_bytes: int = 1 << 16,
) -> tuple[list[bool], Sequence[Skipped]]:
    """One restore of one mailbox: what ``add`` answered, and what was told."""
    target = kind.make()
    added = []
    try:
        with target.open_mailbox(user, b"", [one for one, _ in folders]) as mailbox:
            for folder, messages in folders:
                writer = mailbox.open_folder(folder)
                added += [writer.add(one, cut(content, piece_bytes)) for one, content in messages]
                writer.finish()
            mailbox.commit()
            told = mailbox.skipped()
        target.finish()
    finally:
        target.abandon()
    return added, told


def contents(kind: Kind, folder: str = "INBOX", user: str = USER) -> list[bytes]:
    return [found.content for found in kind.read()[user, folder]]


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 16])
def test_bytes_come_back(kind: Kind, piece_bytes: int) -> None:
    # A piece of one byte at a time is slow for the long one, which is there for the buffers.
    chosen = [one for one in CONTENTS.values() if piece_bytes > 7 or one is not LONG]
    messages = [stored(b"%d.host" % number, one, uid=number) for number, one in enumerate(chosen, 1)]
    added, told = restore(kind, [(INBOX, messages)], piece_bytes=piece_bytes)
    assert (added, list(told)) == ([True] * len(messages), [])
    assert contents(kind) == sorted(chosen)


def test_a_message_without_a_line_end(kind: Kind) -> None:
    _, told = restore(kind, [(INBOX, [stored(b"1", b"Subject: x\n\nhi"), stored(b"2", b"hi\n")])])
    if kind.ends_lines:
        assert [skip.reason for skip in told] == ["line-end"]
        assert contents(kind) == [b"Subject: x\n\nhi\n", b"hi\n"]
        # It is known again all the same.
        assert restore(kind, [(INBOX, [stored(b"1", b"Subject: x\n\nhi")])])[0] == [False]
    else:
        assert list(told) == []
        assert contents(kind) == [b"Subject: x\n\nhi", b"hi\n"]


def test_dates_flags_and_keywords_come_back(kind: Kind) -> None:
    seen = stored(b"1", b"a\n", uid=7, flags="FRS", suffix=b":2,FRS")
    marked = stored(b"2", b"b\n", uid=8, flags="DT", suffix=b":2,DTb", date_ns=5_000_000_000)
    marked = replace(marked[0], keywords=("projectX",)), marked[1]
    old = stored(b"3", b"c\n", uid=9, date_ns=-5_000_000_000)
    fresh = stored(b"4", b"d\n", uid=10, place="new", suffix=b"", date_ns=4_102_444_800 * 10**9)
    restore(kind, [(INBOX, [seen, marked, old, fresh])])
    assert kind.read() == {
        (USER, "INBOX"): [
            Found(b"a\n", DATE, frozenset({"\\Flagged", "\\Answered", "\\Seen"})),
            Found(b"b\n", 5, frozenset({"\\Draft", "\\Deleted", "projectX"})),
            Found(b"c\n", -5),
            Found(b"d\n", 4_102_444_800),
        ]
    }


def test_folders_lie_below_each_other_and_may_be_empty(kind: Kind) -> None:
    restore(kind, [(INBOX, []), (ARCHIVE, [stored(b"1", b"a\n")]), (BELOW, [stored(b"1", b"b\n")])])
    assert kind.read() == {
        (USER, "INBOX"): [],
        (USER, "Archive"): [Found(b"a\n", DATE)],
        (USER, "Archive/2024"): [Found(b"b\n", DATE)],
    }


def test_messages_that_are_alike_all_come(kind: Kind) -> None:
    twins = [stored(b"%d" % number, b"Subject: x\n\nx\n", uid=number) for number in (1, 2)]
    unnumbered = [stored(base, b"Subject: x\n\nx\n") for base in (b"3", b"4")]
    assert restore(kind, [(INBOX, [*twins, *unnumbered])])[0] == [True] * 4
    assert contents(kind) == [b"Subject: x\n\nx\n"] * 4


def test_what_is_there_stays_and_is_not_added_again(kind: Kind) -> None:
    first = [stored(b"%d" % number, b"Subject: x\n\nx\n", uid=number) for number in (1, 2)]
    more = stored(b"3", b"Subject: y\n\nFrom me\n", uid=3)
    restore(kind, [(INBOX, first)])
    if kind.holds_one_file:
        with pytest.raises(StoreError, match="exists"):
            restore(kind, [(INBOX, [more])])
        assert contents(kind) == [b"Subject: x\n\nx\n"] * 2
        return
    assert restore(kind, [(INBOX, [*first, more]), (ARCHIVE, [more])])[0] == [False, False, True, True]
    assert contents(kind) == [b"Subject: x\n\nx\n"] * 2 + [b"Subject: y\n\nFrom me\n"]
    assert restore(kind, [(INBOX, [more, *first])])[0] == [False] * 3
    assert contents(kind) == [b"Subject: x\n\nx\n"] * 2 + [b"Subject: y\n\nFrom me\n"]
    assert contents(kind, "Archive") == [b"Subject: y\n\nFrom me\n"]


def test_a_mailbox_may_be_opened_again_for_another_part(kind: Kind) -> None:
    target = kind.make()
    for number, folders in enumerate(([INBOX], [INBOX, ARCHIVE]), 1):
        with target.open_mailbox(USER, b"", [INBOX, ARCHIVE]) as mailbox:
            for folder in folders:
                writer = mailbox.open_folder(folder)
                one, content = stored(b"%d" % number, b"%d\n" % number, uid=number)
                assert writer.add(one, [content])
                writer.finish()
            mailbox.commit()
    target.finish()
    target.abandon()
    assert contents(kind) == [b"1\n", b"2\n"]
    assert contents(kind, "Archive") == [b"2\n"]


def _broken() -> Iterator[bytes]:
    yield b"Subject: half\n\n" + b"half of " * 200_000
    raise DamagedError("the other half is lost")


def test_what_is_damaged_leaves_nothing_behind(kind: Kind) -> None:
    target = kind.make()
    with target.open_mailbox(USER, b"", [INBOX]) as mailbox:
        writer = mailbox.open_folder(INBOX)
        for number in (1, 3):
            one, content = stored(b"%d" % number, b"%d\n" % number, uid=number)
            assert writer.add(one, [content])
            with pytest.raises(DamagedError):
                writer.add(message(b"2", b"never", uid=number + 1), _broken())
        writer.finish()
        mailbox.commit()
    target.finish()
    target.abandon()
    assert contents(kind) == [b"1\n", b"3\n"]


def test_what_is_not_committed_is_not_there(kind: Kind, tmp_path: Path) -> None:
    target = kind.make()
    one, content = stored(b"1", b"1\n", uid=1)
    with target.open_mailbox("jim", b"", [INBOX]) as mailbox:
        writer = mailbox.open_folder(INBOX)
        writer.add(one, [content])
        writer.finish()
        mailbox.commit()
    with target.open_mailbox(USER, b"", [INBOX]) as mailbox:
        writer = mailbox.open_folder(INBOX)
        writer.add(one, [content])
        writer.finish()
    target.finish()
    target.abandon()
    assert kind.read() == {("jim", "INBOX"): [Found(b"1\n", DATE)]}
    assert leftovers(tmp_path) == []


def test_what_is_not_finished_is_not_there_half(kind: Kind, tmp_path: Path) -> None:
    target = kind.make()
    with target.open_mailbox(USER, b"", [INBOX]) as mailbox:
        writer = mailbox.open_folder(INBOX)
        writer.add(*_given(stored(b"1", b"1\n", uid=1)))
        writer.finish()
        mailbox.commit()
    target.abandon()
    target.abandon()
    there = {} if kind.holds_one_file else {(USER, "INBOX"): [Found(b"1\n", DATE)]}
    assert kind.read() == there
    assert leftovers(tmp_path) == []


def _given(one: tuple[Message, bytes]) -> tuple[Message, list[bytes]]:
    return one[0], [one[1]]


def leftovers(place: Path) -> list[str]:
    return [name for _, names, files in os.walk(place) for name in (*names, *files) if "mailhaul" in name]


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/etc/x", "a//b", "a\0b", "."])
def test_no_folder_lies_elsewhere(kind: Kind, tmp_path: Path, name: str) -> None:
    restore(kind, [(INBOX, [])])
    before = sorted(os.listdir(tmp_path))
    target = kind.make() if not kind.holds_one_file else KINDS["tar"](tmp_path / "place" / "other").make()
    with target.open_mailbox(USER, b"", [INBOX]) as mailbox:
        with suppress(MessageUnavailable):
            writer = mailbox.open_folder(Folder(name=name, path=name.encode()))
            writer.add(*_given(stored(b"1", b"1\n")))
            writer.finish()
        mailbox.commit()
    target.finish()
    target.abandon()
    assert sorted(os.listdir(tmp_path)) == before


def test_it_is_counted_afterwards(kind: Kind) -> None:
    """By listing what is there then, beside what was there before."""
    for number in (1, 2):
        if kind.holds_one_file and number == 2:
            return
        target = kind.make()
        with target.open_mailbox(USER, b"", [INBOX, BELOW]) as mailbox:
            for folder, messages in ((INBOX, 2), (BELOW, 0)):
                writer = mailbox.open_folder(folder)
                for one in range(messages):
                    writer.add(*_given(stored(b"%d.%d" % (number, one), b"From me %d %d\n" % (number, one))))
                writer.finish()
            mailbox.commit()
            listed = mailbox.listed()
        target.finish()
        target.abandon()
        assert listed == ({} if kind.holds_one_file else {"INBOX": 2 * number, "Archive/2024": 0})
