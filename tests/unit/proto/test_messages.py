"""The columns of messages: every value comes back, and a frame that contradicts itself is damage."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import claims, columns, messages, recipes
from mailhaul.proto.archive.messages import (
    MOST_MESSAGES,
    MOST_PIECES,
    MOST_TEXT_BYTES,
    MessageColumns,
    MessageRows,
)
from mailhaul.proto.errors import DamagedError, StoreError
from mailhaul.proto.records import ArchiveId, Listed, Message, Ownership, Piece
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import ARCHIVE, OWNER, message, remapped

OTHER = ArchiveId(b"another archive!")
PLAIN = message(1, b"abc", (Piece(ARCHIVE, 0, 3),), bytes(16))


def encode(*stored: Message) -> bytes:
    gathered = MessageColumns()
    for one in stored:
        gathered.add(one)
    return gathered.take()


pieces = st.builds(
    Piece,
    st.sampled_from([ARCHIVE, OTHER]),
    st.integers(0, (1 << 64) - 1),
    st.integers(0, (1 << 32) - 1),
    st.integers(1, recipes.RECIPE_LIMIT - 1),
    st.booleans(),
) | st.builds(
    Piece, st.just(ARCHIVE), st.integers(0, 1000), st.integers(0, 1000), st.just(recipes.RAW), st.just(False)
)
stored_messages = st.builds(
    Message,
    uid=st.integers(1, (1 << 32) - 1),
    base=st.binary(max_size=30),
    suffix=st.sampled_from([b"", b":2,", b":2,FS", b"\xff\n"]),
    place=st.sampled_from(["cur", "new", "\udcff"]),
    flags=st.sampled_from(["", "FS", "T"]),
    keywords=st.sampled_from([(), ("$Forwarded",), ("a", "b"), tuple(f"k{n:03}" for n in range(300))]),
    attributes=st.sampled_from(
        [(), (("user.note", b"\xff"),), (("system.posix_acl_access", b"\2"), ("user.b", b""))]
    ),
    link=st.sampled_from([0, 0, 7, (1 << 64) - 1]),
    inode=st.sampled_from([0, 5, (1 << 64) - 1]),
    fields=st.sampled_from([b"", b"G1 W2"]),
    date_ns=st.integers(-(1 << 63), (1 << 63) - 1),
    owner=st.builds(Ownership, st.integers(0, 0o7777), *[st.integers(0, (1 << 32) - 1)] * 2),
    size=st.integers(0, (1 << 63) - 1),
    digest=st.binary(min_size=16, max_size=16),
    pieces=st.lists(pieces, max_size=5).map(tuple),
)


@given(st.lists(stored_messages, max_size=10))
def test_messages_come_back(stored: list[Message]) -> None:
    found = messages.decode(encode(*stored))
    assert found == stored
    assert [one.inode for one in found] == [one.inode for one in stored]  # no part of what is compared


def test_taking_empties_the_gatherer() -> None:
    gathered = MessageColumns()
    gathered.add(PLAIN)
    assert len(gathered) == 1
    first = gathered.take()
    assert len(gathered) == 0
    gathered.add(PLAIN)
    assert gathered.take() == first


@pytest.mark.parametrize("uid", [-1, 1 << 32, 10**30])
def test_a_uid_that_imap_can_not_have_becomes_unknown(uid: int) -> None:
    assert messages.decode(encode(replace(PLAIN, uid=uid)))[0].uid == 0


@pytest.mark.parametrize(
    ("date_ns", "kept"),
    [
        (-1, -1),
        (-86_400 * 10**9, -86_400 * 10**9),
        (32_503_680_000 * 10**9, (1 << 63) - 1),  # the year 3000
        (-(10**30), -(1 << 63)),
    ],
)
def test_a_date_out_of_range_becomes_the_nearest(date_ns: int, kept: int) -> None:
    stored = [replace(PLAIN, date_ns=date_ns), PLAIN]
    assert [one.date_ns for one in messages.decode(encode(*stored))] == [kept, PLAIN.date_ns]


def test_a_frame_is_full_by_messages() -> None:
    gathered = MessageColumns()
    for _ in range(MOST_MESSAGES):
        assert not gathered.full
        gathered.add(PLAIN)
    assert gathered.full
    assert len(messages.decode(gathered.take())) == MOST_MESSAGES
    assert not gathered.full


def test_a_frame_is_full_by_pieces() -> None:
    gathered = MessageColumns()
    gathered.add(replace(PLAIN, pieces=(Piece(ARCHIVE, 0, 1),) * MOST_PIECES))
    assert gathered.full


def test_a_frame_is_full_by_names() -> None:
    gathered = MessageColumns()
    for _ in range(2):
        assert not gathered.full
        gathered.add(replace(PLAIN, fields=bytes(MOST_TEXT_BYTES // 2)))
    assert gathered.full


def test_a_frame_is_full_by_archives() -> None:
    gathered = MessageColumns()
    ids = [ArchiveId(number.to_bytes(16, "big")) for number in range(1 << 15)]
    gathered.add(replace(PLAIN, pieces=tuple(Piece(archive_id, 0, 1) for archive_id in ids)))
    assert gathered.full
    assert [piece.archive for piece in messages.decode(gathered.take())[0].pieces] == ids


def test_a_message_with_endless_notes_is_refused_and_leaves_nothing() -> None:
    gathered = MessageColumns()
    gathered.add(PLAIN)
    with pytest.raises(StoreError):
        gathered.add(replace(PLAIN, fields=bytes(MOST_TEXT_BYTES)))
    assert messages.decode(gathered.take()) == [PLAIN]


def test_metadata_of_many_messages_is_small() -> None:
    """Below 100 bytes a message, as the design promises; what compresses is left to the frame."""
    many = [replace(PLAIN, uid=i, pieces=(Piece(ARCHIVE, 3 * i, 3),)) for i in range(1, 1000)]
    assert len(encode(*many)) < 120 * len(many)


class TestJoiningPieces:
    def joined(self, *pieces: Piece) -> list[Piece]:
        found: list[Piece] = []
        for piece in pieces:
            messages.join_pieces(found, piece)
        return found

    def test_raw_pieces_in_a_row_become_one(self) -> None:
        assert self.joined(Piece(ARCHIVE, 5, 3), Piece(ARCHIVE, 8, 2), Piece(ARCHIVE, 10, 1)) == [
            Piece(ARCHIVE, 5, 6)
        ]

    @pytest.mark.parametrize(
        "second",
        [
            Piece(ARCHIVE, 9, 2),
            Piece(ARCHIVE, 7, 2),
            Piece(OTHER, 8, 2),
            Piece(ARCHIVE, 8, 2, 39),
            Piece(ARCHIVE, 8, (1 << 32) - 3),
        ],
    )
    def test_others_stay_apart(self, second: Piece) -> None:
        assert self.joined(Piece(ARCHIVE, 5, 3), second) == [Piece(ARCHIVE, 5, 3), second]

    def test_encoded_pieces_stay_apart(self) -> None:
        run = [Piece(ARCHIVE, 5, 3, 39), Piece(ARCHIVE, 8, 3, 39, True), Piece(ARCHIVE, 11, 3)]
        assert self.joined(*run) == run


GOOD = encode(PLAIN, replace(PLAIN, uid=2))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n", 3),
        ("n", 1),
        ("n", -1),
        ("n", 1 << 62),
        ("n", MOST_MESSAGES + 1),
        ("n", None),
        ("n", 2.0),
        ("uid", b"1234567"),
        ("uid", [1, 2]),
        ("uid", None),
        ("mark", columns.pack("I", [0, 1])),
        ("marks", []),
        ("marks", None),
        ("marks", {}),
        ("marks", [["S", [], None]]),
        ("marks", [["S", [], None, ["cur", b"", 0o600, 1000]]]),
        ("marks", [["S", [], None, ["cur", b"", 0o600, 1000, 1000, 1]]]),
        ("marks", [["S", [], None, ["cur", "", 0o600, 1000, 1000]]]),
        ("marks", [["S", [], None, [b"cur", b"", 0o600, 1000, 1000]]]),
        ("marks", [[b"S", [], None, ["cur", b"", 0o600, 1000, 1000]]]),
        ("marks", [["S", [], None, ["cur", b"", -1, 1000, 1000]]]),
        ("marks", [["S", [], None, ["cur", b"", 1 << 16, 1000, 1000]]]),
        ("marks", [["S", [], None, ["cur", b"", 0o600, 1 << 32, 1000]]]),
        ("marks", [["S", [], None, ["cur", b"", 0o600, 1000, -5]]]),
        ("marks", [["S", [], None, ["cur", b"", 0o600, 1000, "0"]]]),
        ("marks", [["S", [0], None, ["cur", b"", 0o600, 1000, 1000]]]),
        ("marks", [["S", [-1], None, ["cur", b"", 0o600, 1000, 1000]]]),
        ("marks", [["S", None, None, ["cur", b"", 0o600, 1000, 1000]]]),
        ("marks", [["S", [], 0, ["cur", b"", 0o600, 1000, 1000]]]),
        ("marks", [["S", [], False, ["cur", b"", 0o600, 1000, 1000]]]),
        ("keywords", [""]),
        ("keywords", [b"x"]),
        ("attributes", [[["user.a"]]]),
        ("attributes", [[["user.a", "text"]]]),
        ("attributes", [[["", b""]]]),
        ("attributes", [[["user.a", b""], ["user.a", b"x"]]]),
        ("attributes", [{"user.a": b""}]),
        ("link", b"1234567"),
        ("inode", b"1234567"),
        ("date", b""),
        ("size", columns.pack("Q", [0, 1 << 63])),
        ("name", columns.pack_strings([b"only one"])),
        ("name", [columns.pack("I", [1 << 31, 1 << 31]), b"x"]),
        ("notes", [b"", b""]),
        ("digest", bytes(31)),
        ("digest", "x" * 32),
        ("pieces", columns.pack("I", [1, 2])),
        ("pieces", columns.pack("I", [1 << 31, 1 << 31])),
        ("archives", []),
        ("archives", [b"too short"]),
        ("archives", ["0123456789abcdef"]),
        ("archive", columns.pack("H", [0, 1])),
        ("gap", b""),
        ("length", b"\0"),
        ("recipe", columns.pack("H", [0, recipes.RECIPE_LIMIT])),
        ("recipe", columns.pack("H", [0, 0x8000])),  # joined, but not encoded
    ],
)
def test_a_frame_that_contradicts_itself_is_damage(key: str, value: object) -> None:
    with pytest.raises(DamagedError):
        messages.decode(remapped(GOOD, **{key: value}))


@pytest.mark.parametrize("key", sorted(set(claims.unpack_map(GOOD)) - {"notes", "link", "inode"}))
def test_a_frame_without_one_of_its_columns_is_damage(key: str) -> None:
    row = claims.unpack_map(GOOD)
    del row[key]
    with pytest.raises(DamagedError):
        messages.decode(msgpack.packb(row))


def test_a_later_column_is_ignored_and_notes_may_be_left_out() -> None:
    row: dict[str, Any] = claims.unpack_map(GOOD)
    del row["notes"], row["link"]
    assert messages.decode(msgpack.packb({**row, "later": 1})) == messages.decode(GOOD)


def test_a_message_always_has_something_to_be_called_by() -> None:
    """A file called ``:2,S`` has no lasting name; the name of the file stays what it is."""
    nameless = replace(PLAIN, uid=0, base=b"")
    (kept,) = messages.decode(encode(nameless))
    assert (kept.base, kept.suffix) == (b":2,S", b"")
    with pytest.raises(StoreError):
        encode(replace(nameless, suffix=b""))
    assert messages.decode(encode(replace(PLAIN, base=b""), replace(PLAIN, uid=0)))
    with pytest.raises(DamagedError):
        messages.decode(remapped(GOOD, uid=bytes(8), name=columns.pack_strings([b"x", b""])))


def called(stored: Message) -> Listed:
    return Listed(
        stored.base, stored.suffix, stored.place, stored.uid, stored.flags, stored.fields, stored.keywords
    )


class TestAddingRows:
    """Messages of a stored frame go into another one without being decoded."""

    @given(
        st.lists(st.lists(stored_messages, max_size=6), max_size=3),
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.booleans()), max_size=8),
    )
    def test_it_is_as_if_each_were_added(
        self, stored: list[list[Message]], chosen: list[tuple[int, int, bool]]
    ) -> None:
        frames = [(MessageRows(encode(*one)), one) for one in stored if one]
        plain, gathered = MessageColumns(), MessageColumns()
        for number, (first, end, renamed) in enumerate(chosen if frames else ()):
            rows, every = frames[number % len(frames)]
            wanted = every[first:end]
            if not wanted:
                continue
            if renamed:
                wanted = [replace(one, uid=7, suffix=b":2,T", flags="T", place="cur") for one in wanted]
            assert gathered.has_room_for(rows, first, list(map(called, wanted)))
            gathered.add_rows(rows, first, list(map(called, wanted)))
            for one in wanted:
                plain.add(one)
        assert gathered.archives == plain.archives
        assert gathered.take() == plain.take()

    def test_there_is_room_up_to_what_makes_a_frame_full(self) -> None:
        gathered, name = MessageColumns(), called(PLAIN)
        rows = MessageRows(encode(*[PLAIN] * 3))
        for _ in range(MOST_MESSAGES - 2):
            gathered.add(PLAIN)
        assert not gathered.has_room_for(rows, 0, [name] * 3)
        assert gathered.has_room_for(rows, 1, [name] * 2)
        gathered.add_rows(rows, 1, [name] * 2)
        assert gathered.full

    def test_there_is_no_room_for_more_pieces_names_or_archives(self) -> None:
        ids = [ArchiveId(number.to_bytes(16, "big")) for number in range(1 << 15)]
        for full in (
            replace(PLAIN, pieces=(Piece(ARCHIVE, 0, 1),) * MOST_PIECES),
            replace(PLAIN, fields=bytes(MOST_TEXT_BYTES - 100)),
            replace(PLAIN, pieces=tuple(Piece(archive_id, 0, 1) for archive_id in ids)),
        ):
            rows, gathered = MessageRows(encode(full)), MessageColumns()
            assert gathered.has_room_for(rows, 0, [called(full)]), "a message alone always fits"
            gathered.add(replace(PLAIN, fields=bytes(100)))
            assert not gathered.has_room_for(rows, 0, [called(full)])

    def test_keywords_and_attributes_count_once_for_all_that_share_them(self) -> None:
        large = (("user.note", bytes(MOST_TEXT_BYTES // 2)),)
        shared = [replace(PLAIN, uid=uid, attributes=large) for uid in (1, 2, 3)]
        gathered = MessageColumns()
        for one in shared:
            gathered.add(one)
        assert not gathered.full
        other = replace(PLAIN, attributes=(("user.note", b"x" * (MOST_TEXT_BYTES // 2)),))
        rows = MessageRows(encode(other))
        assert not gathered.has_room_for(rows, 0, [called(other)])
        gathered.add(other)
        assert gathered.full
        assert messages.decode(gathered.take()) == [*shared, other]

    def test_more_than_a_frame_can_hold_of_them_is_refused(self) -> None:
        for change in (
            {"attributes": (("user.note", bytes(MOST_TEXT_BYTES)),)},
            {"keywords": tuple(f"{number:09}" for number in range(MOST_TEXT_BYTES // 20))},
        ):
            gathered = MessageColumns()
            with pytest.raises(StoreError):
                gathered.add(replace(PLAIN, **change))
            gathered.add(PLAIN)
            assert messages.decode(gathered.take()) == [PLAIN]

    def test_a_name_that_no_frame_can_hold_is_refused(self) -> None:
        long = called(PLAIN)._replace(fields=bytes(MOST_TEXT_BYTES))
        with pytest.raises(StoreError):
            MessageColumns().has_room_for(MessageRows(encode(PLAIN)), 0, [long])


class TestClaims:
    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"\xc1",
            b"\x80more",
            msgpack.packb(7),
            msgpack.packb([1]),
            msgpack.packb({1: 2}),
            msgpack.packb({b"n": 2}),
            msgpack.packb({"n": 2})[:-1],
            b"\x81\xa1n" + b"\x91" * 100_000,
            b"\x81\xa1n\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\x81\xa1n\xc6\xff\xff\xff\xff",
            msgpack.packb({"n": msgpack.ExtType(5, b"x")}),
            b"\x81\xa1n\xd6\xff\0\0\0\0",
            b"\x81\xa1n\xc7\0\x05",  # an extension without content
            b"\x82\xa1n\0\xa1n\0",  # a key twice
            b"\x82\xa1n\0\xa1x\x82\xa1y\0\xd9\x01y\0",  # also within, encoded in two ways
            msgpack.packb({"n": 0}) + b"\xc0",
        ],
    )
    def test_what_is_not_a_map_with_text_keys_is_damage(self, payload: bytes) -> None:
        with pytest.raises(DamagedError):
            claims.unpack_map(payload)

    def test_a_payload_of_nothing_but_lists_is_refused_before_it_takes_much_memory(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claims, "MOST_CONTAINERS", 1000)
        payload = msgpack.packb({"n": [[[]]] * 100_000})
        tracemalloc.start()
        try:
            with pytest.raises(DamagedError, match="more than 1000 lists and maps"):
                claims.unpack_map(payload)
            assert tracemalloc.get_traced_memory()[1] < 1_500_000
        finally:
            tracemalloc.stop()

    def test_text_that_is_not_utf8_comes_back(self) -> None:
        packed = msgpack.packb({"name": "a\udcff"}, unicode_errors="surrogateescape")
        assert claims.unpack_map(packed) == {"name": "a\udcff"}

    def test_what_is_shown_of_a_value_is_short(self) -> None:
        assert len(claims.shown("x" * 100_000)) < 250
        with pytest.raises(DamagedError) as caught:
            claims.text(bytes(100_000))
        assert len(caught.value.message) < 300

    def test_owners_are_in_the_range_of_system_calls(self) -> None:
        assert claims.ownership(0o600, 1000, 1000) == OWNER
        for wrong in [(None, 0, 0), (0, True, 0), (0, 0, 1 << 32), (1 << 16, 0, 0), (-1, 0, 0), (0, 0, 0.0)]:
            with pytest.raises(DamagedError):
                claims.ownership(*wrong)


class TestWithoutDecoding:
    """What can be told of a frame from its columns alone."""

    @given(st.lists(stored_messages, max_size=10))
    def test_it_is_what_decoding_tells(self, stored: list[Message]) -> None:
        payload = encode(*stored)
        found = messages.names(payload)
        assert list(found.uid) == [one.uid for one in stored]
        for name in ("base", "suffix", "place", "flags", "fields", "keywords", "owner", "attributes"):
            assert list(getattr(found, name)) == [getattr(one, name) for one in stored]
        assert messages.totals(payload) == (len(stored), sum(one.size for one in stored))
        assert set(messages.archives_of(payload)) == {piece.archive for one in stored for piece in one.pieces}

    def test_an_empty_frame_stands_for_one_that_is_lost(self) -> None:
        assert messages.decode(messages.LOST) == []
        assert (messages.totals(messages.LOST), messages.archives_of(messages.LOST)) == ((0, 0), ())
        assert len(messages.names(messages.LOST)) == 0

    @pytest.mark.parametrize(
        ("tell", "key", "value"),
        [
            (messages.names, "uid", b"x"),
            (messages.names, "name", None),
            (messages.names, "mark", bytes([1, 0, 0, 0])),
            (messages.names, "marks", []),
            (messages.names, "marks", [[1]]),
            (messages.names, "notes", 7),
            (messages.names, "n", 1 << 40),
            (messages.names, "n", -1),
            (messages.totals, "n", None),
            (messages.totals, "n", MOST_MESSAGES + 1),
            (messages.totals, "size", b"\xff" * 8),
            (messages.totals, "size", b""),
            (messages.archives_of, "archives", [b"short"]),
            (messages.archives_of, "archives", None),
        ],
    )
    def test_what_contradicts_itself_is_damage(self, tell: Any, key: str, value: object) -> None:
        tell(encode(PLAIN))
        with pytest.raises(DamagedError):
            tell(remapped(encode(PLAIN), **{key: value}))


def test_a_message_in_too_many_archives_is_refused() -> None:
    many = tuple(
        Piece(ArchiveId(number.to_bytes(16, "big")), 0, 1) for number in range(messages._MOST_ARCHIVES + 1)
    )
    gathered = MessageColumns()
    with pytest.raises(StoreError, match="archives"):
        gathered.add(replace(PLAIN, pieces=many))
    gathered.add(replace(PLAIN, pieces=many[1:]))
    gathered.add(replace(PLAIN, pieces=many[:-1]))
    assert gathered.full
    assert [one.pieces for one in messages.decode(gathered.take())] == [many[1:], many[:-1]]
