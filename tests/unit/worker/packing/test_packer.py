"""Packing: what is stored is the content, once; a file that changes while it is read is told from it."""

from __future__ import annotations

import base64
import random

import pytest
from blake3 import blake3

from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.columns import pack_deltas
from mailhaul.proto.archive.contents import IndexRow
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, MessageUnavailable
from mailhaul.proto.records import ArchiveId, Piece
from mailhaul.tests.archives import (
    MemoryFile,
    MemoryOpened,
    MemorySink,
    archive_header,
    encoded,
    frames_of,
    message,
    remapped,
    unfinished_in,
)
from mailhaul.worker.packing import packer as packing
from mailhaul.worker.packing.packer import Packed, Packer


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def attachment(data: bytes, head: bytes = b"Subject: x\n") -> bytes:
    part = b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(data)
    return head + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + part + b"--b--\n"


class Work:
    """A packer, its archive, and what comes out of it again."""

    def __init__(self) -> None:
        self.sink = MemorySink()
        self.archive = ArchiveWriter(self.sink, archive_header())
        self.packer = Packer(self.archive)

    def store(self, data: bytes) -> Packed:
        return self.packer.store(MemoryOpened(data))

    def read(self, packed: Packed) -> bytes:
        self.archive.finish()
        reader = open_sealed(MemoryFile(bytes(self.sink.data)))
        size, digest, pieces = packed
        return b"".join(Contents(lambda _: reader).message(message(1, bytes(size), pieces, digest)))


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.mark.parametrize(
    "data", [b"", b"x", b"no blank line", b"h: x\n\n" + noise(5000), attachment(noise(600_000))]
)
def test_what_is_stored_comes_back(work: Work, data: bytes) -> None:
    packed = work.store(data)
    assert packed[:2] == (len(data), blake3(data).digest(length=16))
    assert work.read(packed) == data


def test_the_same_content_is_stored_once(work: Work) -> None:
    first = work.store(attachment(noise(3000)))
    stored = work.archive.data_bytes
    second = work.store(attachment(noise(3000), b"Delivered-To: somebody else\n"))
    assert work.archive.data_bytes - stored < 500
    assert {one for one in first[2] if one.recipe} == {one for one in second[2] if one.recipe} != set()
    assert work.read(second) == attachment(noise(3000), b"Delivered-To: somebody else\n")


class TestLinks:
    """Names of one file: it is read once."""

    def opened(self, data: bytes, inode: int = 7, mtime_ns: int = 5) -> MemoryOpened:
        return MemoryOpened(data, identity=(1, inode), mtime_ns=mtime_ns)

    def test_the_second_name_is_not_read(self, work: Work) -> None:
        packed = work.packer.store_message(self.opened(b"content"))
        again = self.opened(b"content")
        assert work.packer.store_message(again) == packed
        assert again.reads == 0

    @pytest.mark.parametrize(
        ("inode", "mtime_ns", "data"), [(8, 5, b"another"), (7, 6, b"another"), (7, 5, b"longer text")]
    )
    def test_another_file_is_read_even_where_its_inode_was_that_of_one(
        self, work: Work, inode: int, mtime_ns: int, data: bytes
    ) -> None:
        work.packer.store_message(self.opened(b"content"))
        packed, _ = work.packer.store_message(self.opened(data, inode, mtime_ns))
        assert packed[1] == blake3(data).digest(length=16)

    def test_a_file_that_changed_is_not_remembered(self, work: Work) -> None:
        with pytest.raises(MessageUnavailable):
            work.packer.store_message(MemoryOpened(b"content", 9, identity=(1, 7)))
        assert work.packer.store_message(MemoryOpened(b"content", identity=(1, 7)))[0][0] == 7

    def test_no_more_are_remembered_than_fit(self, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packing, "_MOST_LINKS", 2)
        for inode in range(5):
            work.packer.store_message(self.opened(b"content", inode))
        late, early = self.opened(b"content", 4), self.opened(b"content", 0)
        work.packer.store_message(late)
        work.packer.store_message(early)
        assert (late.reads, early.reads > 0) == (0, True)


class TestWindows:
    """Contents larger than a window are stored window by window."""

    @pytest.fixture(autouse=True)
    def small_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packing, "WINDOW_BYTES", 10_000)

    @pytest.mark.parametrize(
        "data",
        [
            b"h: x\n\n" + noise(35_000),
            b"h: x\n\n" + b"\n" * 35_000,
            noise(35_000).replace(b"\n", b""),
            b"line\n" * 2000 + noise(25_000).replace(b"\n", b""),
            b"x" * 10_000 + b"\n" + b"y" * 10_000 + b"\n" + b"z" * 10_000,
            attachment(noise(50_000)),
            attachment(noise(50_000)).replace(b"\n", b"\r\n"),
            bytes(30_000),
            b"x" * 10_001,
            b"x" * 20_000,
        ],
    )
    def test_they_come_back(self, work: Work, data: bytes) -> None:
        packed = work.store(data)
        assert packed[:2] == (len(data), blake3(data).digest(length=16))
        assert work.read(packed) == data

    def test_base64_stays_in_step(self, work: Work) -> None:
        work.store(attachment(noise(50_000)))
        assert work.archive.data_bytes < 51_000

    def test_no_more_is_asked_for_at_once_than_a_window(self, work: Work) -> None:
        opened = MemoryOpened(b"h: x\n\n" + noise(95_000))
        work.packer.store(opened)
        assert opened.reads == 11

    def test_a_content_of_too_many_pieces_is_not_cut_any_further(
        self, work: Work, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(packing, "MOST_PIECES", 50)
        data = b"h: x\n\n" + b"".join(b"\n--b\n\n" + base64.encodebytes(noise(300, n)) for n in range(500))
        packed = work.store(data)
        assert 50 <= len(packed[2]) < 150
        assert work.read(packed) == data


@pytest.mark.parametrize("window", [100, 1 << 20])
@pytest.mark.parametrize("told", [0, 999, 1001, 5000])
def test_a_file_that_grows_or_shrinks_is_said_to_have_changed(
    work: Work, monkeypatch: pytest.MonkeyPatch, window: int, told: int
) -> None:
    monkeypatch.setattr(packing, "WINDOW_BYTES", window)
    with pytest.raises(MessageUnavailable) as caught:
        work.packer.store(MemoryOpened(noise(1000), told))
    assert caught.value.reason == "changed"
    assert work.read(work.store(b"h: x\n\n" + noise(1000))) == b"h: x\n\n" + noise(1000)


def test_a_file_that_grows_without_end_is_left_soon(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "WINDOW_BYTES", 100)

    class Endless(MemoryOpened):
        def read(self, size: int) -> bytes:
            self.reads += 1
            return b"x" * size

    opened = Endless(b"", 1000)
    with pytest.raises(MessageUnavailable):
        work.packer.store(opened)
    assert opened.reads < 20


def test_a_read_that_fails_is_passed_on(work: Work) -> None:
    class Broken(MemoryOpened):
        def read(self, size: int) -> bytes:
            raise MessageUnavailable("Input/output error", reason="io-error")

    with pytest.raises(MessageUnavailable) as caught:
        work.packer.store(Broken(b"content"))
    assert caught.value.reason == "io-error"


class TestGoingOn:
    """Behind what an earlier attempt left of the archive."""

    def left(self, contents: list[bytes]) -> bytes:
        work = Work()
        for data in contents:
            work.store(data)
        work.archive.end_mailbox("anna", b"", 0, 0, ())
        return bytes(work.sink.data)

    def test_what_is_stored_already_is_not_stored_again(self) -> None:
        data = b"Subject: x\n\n" + noise(5000)
        draft = unfinished_in(self.left([data, attachment(noise(300_000))]))
        assert draft is not None
        archive = ArchiveWriter(MemorySink(), archive_header(), draft=draft)
        packer, before = Packer(archive), archive.data_bytes
        packer.recall(draft.archive)
        packer.store(MemoryOpened(b"Subject: another\n\n" + data.partition(b"\n\n")[2]))
        packer.store(MemoryOpened(attachment(noise(300_000), b"Subject: other\n")))
        assert archive.data_bytes - before < 1000

    def test_an_index_of_what_is_not_there_is_damage(self) -> None:
        data = self.left([b"Subject: x\n\n" + noise(5000)])
        (index,) = frames_of(data, FrameType.INDEX)
        changed = remapped(index.payload, offset=pack_deltas([5000]))
        draft = unfinished_in(data[: index.at] + encoded(index.header, changed) + data[index.end :])
        assert draft is not None
        with pytest.raises(DamagedError):
            Work().packer.recall(draft.archive)


class TestKnown:
    """Contents that other archives hold."""

    OTHER = ArchiveId(b"o" * 16)

    def test_a_content_that_is_as_it_was_keeps_its_pieces(self, work: Work) -> None:
        data = attachment(noise(3000))
        pieces = (Piece(self.OTHER, 17, len(data)),)
        known = len(data), blake3(data).digest(length=16), pieces
        assert work.packer.store(MemoryOpened(data), known) == known
        assert work.archive.data_bytes == 0
        again, terms = work.packer.store_message(MemoryOpened(data), known)
        assert (again, terms.subject) == (known, b"x")

    def test_another_content_of_the_same_size_is_stored(self, work: Work) -> None:
        data = attachment(noise(3000))
        known = len(data), bytes(16), (Piece(self.OTHER, 17, len(data)),)
        packed = work.packer.store(MemoryOpened(data), known)
        assert packed[1] == blake3(data).digest(length=16)
        assert work.read(packed) == data

    def test_a_content_that_grows_is_not_taken_for_what_was_known(self, work: Work) -> None:
        data = noise(1000)
        known = 1000, blake3(data).digest(length=16), (Piece(self.OTHER, 0, 1000),)
        with pytest.raises(MessageUnavailable):
            work.packer.store(MemoryOpened(data + b"more", 1000), known)

    def test_segments_of_other_archives_are_referred_to(self) -> None:
        """They are asked for once, when there is a segment that might be one of them."""
        body = noise(3000)
        asked = []

        def earlier() -> list[tuple[ArchiveId, IndexRow]]:
            asked.append(True)
            return [(self.OTHER, IndexRow(blake3(body).digest(length=16), [4711], [len(body)]))]

        archive = ArchiveWriter(MemorySink(), archive_header())
        packer = Packer(archive, earlier)
        packer.store(MemoryOpened(b"too short to be looked up"))
        assert asked == []
        for _ in range(2):
            _, _, pieces = packer.store(MemoryOpened(b"Subject: x\n\n" + body))
            assert pieces[-1] == Piece(self.OTHER, 4711, len(body))
        assert asked == [True]
        assert archive.data_bytes < 100

    def test_what_a_message_can_be_found_by(self, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
        data = b"From: a@b\nSubject: hello\n\n" + noise(30_000)
        opened = MemoryOpened(data, identity=(1, 7))
        _, terms = work.packer.store_message(opened)
        assert (terms.sender, terms.subject) == (b"a@b", b"hello")
        assert work.packer.store_message(MemoryOpened(data, identity=(1, 7)))[1] == terms, "of its links too"
        monkeypatch.setattr(packing, "WINDOW_BYTES", 10_000)
        assert work.packer.store_message(MemoryOpened(data))[1] == terms
