"""Any change to an archive: it is told, it costs only what lay in the damaged place, and nothing that was
not stored ever comes out."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import framing, rewriting
from mailhaul.proto.archive import messages as messages_module
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import HEADER_BYTES, Codec, FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.rewriting import rewrite
from mailhaul.proto.archive.salvage import salvage
from mailhaul.proto.archive.scanning import owner_of
from mailhaul.proto.archive.splitting import split
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.records import ArchiveId, Stretch
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    Found,
    Frame,
    MemoryFile,
    MemorySink,
    encoded,
    expected,
    frames_of,
    messages_of,
    metadata_of,
    read_archive,
    recrafted,
    unpacked,
    write_archive,
)
from mailhaul.worker.archives.opened import open_archive
from mailhaul.worker.verifying.verify import verify_frames


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


MAILBOXES = {
    "alice": {
        "INBOX": [b"Subject: %d\n\n" % n + noise(n, 300) for n in range(12)],
        "Sent": [b"Subject: long\n\n" + noise(99, 4000), b"", b"Subject: 3\n\n" + noise(3, 300)],
    },
    "bob": {"INBOX": [b"bob's"], "Empty": []},
    "carol": {"INBOX": [b"h: %d\n\n" % n + b"carol's words " * 30 for n in range(5)]},
}
ALL = expected(MAILBOXES)
# Small blocks and frames, so that a small archive has many of them.
with patch.object(framing, "BLOCK_BYTES", 1500), patch.object(messages_module, "MOST_MESSAGES", 5):
    DATA = write_archive(MAILBOXES)
    PLAIN = write_archive(MAILBOXES, codec=Codec.NONE)
FRAMES = frames_of(DATA)


def written_anew() -> bytes:
    """Without bob, and without the data that only he had: with holes, in part in the middle of blocks."""
    source = open_sealed(MemoryFile(DATA))
    wanted: set[int] = set()
    for entry in source.directory.mailboxes:
        for folder in source.mailbox(entry.home.number).folders if entry.user != "bob" else ():
            for message in messages_of(source, entry, folder):
                for piece in message.pieces:
                    wanted.update(range(piece.offset, piece.offset + piece.length))
    sink = MemorySink()
    rewrite(
        source,
        sink,
        stretches=[Stretch(at, 1) for at in sorted(wanted)],
        metadata=metadata_of(source, MAILBOXES.keys() - {"bob"}),
    )
    return bytes(sink.data)


with patch.object(rewriting, "_SMALLEST_HOLE", 1):
    ANEW = written_anew()


def outcome(data: bytes) -> tuple[Found, list[str]]:
    """What can be read of an archive and what is said of the rest. No other error may come out."""
    try:
        try:
            reader = open_sealed(MemoryFile(data))
        except DamagedError:
            reader = salvage(MemoryFile(data))
    except (DamagedError, UnsupportedError) as error:
        return {}, [error.message]
    return read_archive(reader)


def lost(found: Found, everything: Found = ALL) -> dict[tuple[str, str], list[bytes]]:
    """The messages that did not come out; fails if anything else did."""
    missing: dict[tuple[str, str], list[bytes]] = {}
    for folder, messages in everything.items():
        left = iter(found.get(folder, []))
        current = next(left, None)
        for message in messages:
            if message == current:
                current = next(left, None)
            else:
                missing.setdefault(folder, []).append(message)
        assert current is None
    assert found.keys() <= everything.keys()
    return missing


def told(data: bytes) -> bool:
    try:
        return bool(verify_frames(MemoryFile(data)).damaged)
    except UnsupportedError:
        return True


places = st.integers(0, len(DATA) - 1)
sizes = st.one_of(st.integers(1, 100), st.integers(1, len(DATA)))


def flip(data: bytes, at: int, to: int = 5, size: int = 1) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << to % 8]) + data[at + 1 :] if at < len(data) else data


def cut_off(data: bytes, at: int, to: int, size: int) -> bytes:
    return data[:at]


def remove(data: bytes, at: int, to: int, size: int) -> bytes:
    return data[:at] + data[at + size :]


def insert(data: bytes, at: int, to: int, size: int) -> bytes:
    return data[:at] + noise(to, min(size, 300)) + data[at:]


def wipe(data: bytes, at: int, to: int, size: int) -> bytes:
    return data[:at] + bytes(len(data[at : at + size])) + data[at + size :]


def double(data: bytes, at: int, to: int, size: int) -> bytes:
    return data[:to] + data[at : at + size] + data[to:]


def swap(data: bytes, at: int, to: int, size: int) -> bytes:
    first, second = sorted((at, to))
    size = min(size, second - first)
    a, b = data[first : first + size], data[second : second + size]
    return data[:first] + b + data[first + size : second] + a + data[second + size :]


changes = st.tuples(
    st.sampled_from([flip, cut_off, remove, insert, wipe, double, swap]), places, places, sizes
)


@pytest.mark.parametrize("whole", [DATA, ANEW], ids=["as it was", "written anew"])
@given(made=st.lists(changes, min_size=1, max_size=3))
def test_any_change_is_told_and_nothing_wrong_comes_out(whole: bytes, made: list[Any]) -> None:
    data = whole
    for change, at, to, size in made:
        data = change(data, at, to, size)
    found, damage = outcome(data)
    left = {key: mail for key, mail in ALL.items() if whole is DATA or key[0] != "bob"}
    if lost(found, left):
        assert damage
    if data != whole:
        assert told(data)


def in_order(order: list[int]) -> bytes:
    return b"".join(DATA[FRAMES[number].at : FRAMES[number].end] for number in order)


NEIGHBOURS = {"dora": {"INBOX": [b"dora's words"], "Sent": [b"x"]}, "emil": {"INBOX": [noise(5, 2000)]}}
NEIGHBOUR = write_archive(NEIGHBOURS, archive=ArchiveId(b"another archive!"))


def mail_of(data: bytes, archive: bytes) -> Found:
    """What the parts of a file hold that are of one archive, used together."""
    parts = []
    for one in split(MemoryFile(data)):
        part = MemoryFile(data[one.start : one.end])
        with suppress(DamagedError):
            parts += [part] if owner_of(part) == archive else []
    try:
        return read_archive(open_archive(*parts))[0] if parts else {}
    except (DamagedError, UnsupportedError):
        return {}


@given(made=st.lists(changes, min_size=1, max_size=3), behind=st.booleans(), zeros=st.integers(0, 200))
def test_what_is_done_to_one_archive_of_a_file_costs_its_neighbour_nothing(
    made: list[Any], behind: bool, zeros: int
) -> None:
    data = DATA
    for change, at, to, size in made:
        data = change(data, at, to, size)
    parts = [data, NEIGHBOUR] if behind else [NEIGHBOUR, data]
    together = bytes(zeros).join(parts)
    assert mail_of(together, b"another archive!") == expected(NEIGHBOURS)
    lost(mail_of(together, FRAMES[0].header.archive))


@given(st.lists(changes, min_size=1, max_size=2), st.lists(changes, min_size=1, max_size=2))
def test_two_copies_give_at_least_what_each_gives(first: list[Any], second: list[Any]) -> None:
    copies = []
    for made in (first, second):
        data = DATA
        for change, at, to, size in made:
            data = change(data, at, to, size)
        copies.append(data)
    alone = [lost(mail_of(copy, FRAMES[0].header.archive)) for copy in copies]
    together = lost(mail_of(b"".join(copies), FRAMES[0].header.archive))
    for folder, messages in together.items():
        for message in messages:
            assert all(message in one.get(folder, []) for one in alone)


@given(st.permutations(range(len(FRAMES))) | st.lists(st.integers(0, len(FRAMES) - 1), max_size=40))
def test_frames_that_are_missing_doubled_or_in_another_order_are_told(order: list[int]) -> None:
    data = in_order(order)
    found, damage = outcome(data)
    if lost(found):
        assert damage
    assert told(data) or order == list(range(len(FRAMES)))
    if {*range(len(FRAMES))} == {*order}:
        assert not lost(found)


def messages_in(block: Frame) -> Iterator[bytes]:
    """The messages of which a piece lies in a block."""
    reader = open_sealed(MemoryFile(DATA))
    start, end = block.header.position, block.header.position + block.header.plain_bytes
    for entry in reader.directory.mailboxes:
        for folder in reader.mailbox(entry.home.number).folders:
            for number, message in enumerate(messages_of(reader, entry, folder)):
                if any(
                    piece.offset < end and piece.offset + piece.length > start
                    for piece in message.pieces
                    if piece.length
                ):
                    yield ALL[entry.user, folder.folder.name][number]


def told_by(frame: Frame) -> list[bytes]:
    """The messages whose metadata a MESSAGES frame holds."""
    found = messages_module.decode(frame.payload)
    user = list(MAILBOXES)[frame.header.position >> 32]
    everything = [message for messages in MAILBOXES[user].values() for message in messages]
    return [everything[one.uid - 1] for one in found]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda one: f"{one.header.sequence}-{one.header.type.name}")
@pytest.mark.parametrize("place", [0, 20, HEADER_BYTES - 1, HEADER_BYTES, -1])
def test_one_flipped_bit_costs_only_what_lay_there(frame: Frame, place: int, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(flip(DATA, frame.at + place if place >= 0 else frame.end - 1))
    file = LocalFile(str(path))
    found, _ = read_archive(open_archive(file))
    file.close()
    gone = [message for messages in lost(found).values() for message in messages]
    if frame.header.type is FrameType.BLOCK:
        assert gone == list(messages_in(frame)) != []
    elif frame.header.type is FrameType.MESSAGES:
        assert gone == told_by(frame) != []
    else:
        assert gone == []


# Crafted archives: every checksum is right, what is said is not.

ODD_VALUES: st.SearchStrategy[object] = st.one_of(
    st.sampled_from(
        [
            *(
                None,
                True,
                -1,
                0,
                1,
                7,
                255,
                1 << 16,
                1 << 31,
                1 << 32,
                1 << 60,
                (1 << 63) - 1,
                1 << 63,
                (1 << 64) - 1,
            ),
            *("", "..", "../../etc/passwd", "/", "a/../b", "\udcff", "\0", "x" * 3000),
            *(b"", b"..", b"../../etc/passwd", b"\xff" * 8, bytes(16), bytes(32), b"\0" * 3000),
            *(1.5, math.nan, math.inf, [], [[]], [0], [None] * 20, {}, {"a": []}),
            *(list(range(50)), [1 << 62] * 3, -(1 << 63)),
        ]
    ),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.binary(max_size=40),
)


def paths_in(value: object) -> Iterator[tuple[Any, ...]]:
    yield ()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        for path in paths_in(inner):
            yield (key, *path)


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


CRAFTABLE = [
    (number, path)
    for number, one in enumerate(frames_of(PLAIN))
    if one.header.type not in (FrameType.BLOCK, FrameType.FOOTER)
    for path in paths_in(unpacked(one.payload))
]


def no_wrong_mail(data: bytes) -> None:
    """Whatever an archive says, the content of each message that comes out is one that was stored."""
    found, _ = outcome(data)
    everything = {message for messages in ALL.values() for message in messages}
    assert {message for messages in found.values() for message in messages} <= everything
    found, _ = outcome(data[:-1])
    assert {message for messages in found.values() for message in messages} <= everything
    told(data)


@given(st.lists(st.tuples(st.sampled_from(CRAFTABLE), ODD_VALUES), min_size=1, max_size=2))
def test_metadata_that_lies(lies: list[tuple[tuple[int, tuple[Any, ...]], object]]) -> None:
    def change(frame: Frame) -> bytes | None:
        payload = frame.payload
        for (number, path), value in lies:
            if number == frame.header.sequence:
                try:
                    changed = replaced(unpacked(payload), path, value)
                except (KeyError, IndexError, TypeError, ValueError):
                    continue
                payload = msgpack.packb(changed, unicode_errors="surrogateescape")
        return payload

    no_wrong_mail(recrafted(PLAIN, change))


@given(st.sampled_from(range(len(FRAMES))), st.data())
def test_payloads_that_are_nonsense(number: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, 4000))
    nonsense = data.draw(st.binary(max_size=60))

    def change(frame: Frame) -> bytes | None:
        if frame.header.sequence != number:
            return None
        place = at % (len(frame.payload) + 1)
        return frame.payload[:place] + nonsense + frame.payload[place + len(nonsense) :]

    no_wrong_mail(recrafted(PLAIN, change))


@given(
    st.sampled_from(FRAMES),
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(FrameType),
            "sequence": st.integers(0, (1 << 64) - 1),
            "position": st.one_of(st.integers(0, 5), st.integers(0, (1 << 64) - 1)),
        },
    ),
)
def test_headers_that_lie(frame: Frame, fields: dict[str, Any]) -> None:
    no_wrong_mail(DATA[: frame.at] + encoded(frame.header, frame.payload, **fields) + DATA[frame.end :])


def test_a_message_that_claims_to_be_endless() -> None:
    def change(frame: Frame) -> bytes | None:
        if frame.header.type is not FrameType.MESSAGES:
            return None
        gathered = messages_module.MessageColumns()
        for stored in messages_module.decode(frame.payload):
            gathered.add(replace(stored, size=1 << 60, pieces=stored.pieces * 100))
        return gathered.take()

    found, damage = outcome(recrafted(PLAIN, change))
    assert not any(found.values())
    assert len(damage) == sum(map(len, ALL.values()))
