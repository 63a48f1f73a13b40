"""Excerpts of archives, and twins: files that hold the same bytes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.files import RandomAccess, Twins
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.reader import ArchiveReader
from mailhaul.proto.errors import DamagedError, PlaceUnavailableError
from mailhaul.proto.records import ArchiveId
from mailhaul.tests.archives import ARCHIVE, MemoryFile, frames_of, messages_of, write_archive
from mailhaul.tests.format_examples import example_archive
from mailhaul.worker.archives.excerpts import Excerpt, write_excerpt
from mailhaul.worker.archives.opened import open_archive
from mailhaul.worker.archives.places import open_local

_RANDOM = random.Random(9)
MAIL = {
    user: {"INBOX": [b"Subject: %d\n\n" % number + _RANDOM.randbytes(300_000) for number in range(8)]}
    for user in ("ann", "ben")
}
DATA = write_archive(MAIL)
BLOCKS = frames_of(DATA, FrameType.BLOCK)


class Away(MemoryFile):
    """A file in a place that can't be reached."""

    def read_at(self, offset: int, length: int) -> bytes:
        raise PlaceUnavailableError("it is away")


class Counted(MemoryFile):
    """Knows what is read of it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read_at(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read_at(offset, length)


@pytest.fixture
def excerpt(tmp_path: Path) -> Iterator[Excerpt]:
    path = tmp_path / "_metadata" / "a.mhx"
    write_excerpt(MemoryFile(DATA), path)
    with closing(Excerpt(open_local(str(path)))) as made:
        yield made


def damaged(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def mail_in(archive: ArchiveReader) -> list[bytes]:
    contents = Contents(lambda _: archive)
    return [
        b"".join(contents.message(message))
        for entry in archive.directory.mailboxes
        for folder in archive.mailbox(entry.home.number).folders
        for message in messages_of(archive, entry, folder)
    ]


WHOLE = [one for folders in MAIL.values() for messages in folders.values() for one in messages]


def test_an_excerpt_has_all_but_the_blocks(excerpt: Excerpt, tmp_path: Path) -> None:
    archive = open_archive(excerpt, archive=ARCHIVE)
    assert excerpt.size == len(DATA)
    assert [mailbox.user for mailbox in archive.directory.mailboxes] == ["ann", "ben"]
    assert len(list(archive.index())) == len(list(open_archive(MemoryFile(DATA)).index()))
    blocks = sum(block.end - block.at for block in BLOCKS)
    assert (tmp_path / "_metadata" / "a.mhx").stat().st_size < len(DATA) - blocks + 200
    for frame in frames_of(DATA):
        if frame.header.type is FrameType.BLOCK:
            with pytest.raises(DamagedError) as caught:
                excerpt.read_at(frame.at, frame.end - frame.at)
            assert caught.value.facts["reason"] == "elsewhere"
        else:
            assert excerpt.read_at(frame.at, frame.end - frame.at) == DATA[frame.at : frame.end]
    with pytest.raises(DamagedError):
        archive.block(0)


def test_it_is_as_the_document_says(tmp_path: Path, root: Path) -> None:
    document = (root / "proto" / "archive" / "FORMAT.md").read_text()
    told = re.search(r"## Excerpts.*?```hex\n(.*?)```", document, re.DOTALL)
    assert told
    end = b"".join(bytes.fromhex(line.split("  ")[0]) for line in told[1].splitlines())
    whole = example_archive()
    write_excerpt(MemoryFile(whole), tmp_path / "x.mhx")
    written = (tmp_path / "x.mhx").read_bytes()
    assert written == b"MHXCERPT\1\0\0\0" + whole[:805] + whole[1175:] + end


def test_an_excerpt_is_written_once(excerpt: Excerpt, tmp_path: Path) -> None:
    path = tmp_path / "_metadata" / "a.mhx"
    before = path.stat().st_ino
    write_excerpt(MemoryFile(DATA), path)
    assert path.stat().st_ino == before
    assert [one.name for one in path.parent.iterdir()] == ["a.mhx"]


def test_of_an_archive_without_end_there_is_no_excerpt(tmp_path: Path) -> None:
    with pytest.raises(DamagedError):
        write_excerpt(MemoryFile(DATA[:-1]), tmp_path / "a.mhx")
    assert not list(tmp_path.iterdir())


def test_an_excerpt_that_was_changed_is_none(excerpt: Excerpt, tmp_path: Path) -> None:
    written = (tmp_path / "_metadata" / "a.mhx").read_bytes()
    for cut in (written[:-1], written[:4], b"", damaged(written, 3), damaged(written, len(written) - 20)):
        with pytest.raises(DamagedError):
            Excerpt(MemoryFile(cut))
    for at in range(len(written) - 120, len(written)):
        with pytest.raises(DamagedError):
            Excerpt(MemoryFile(damaged(written, at)))


def test_data_comes_from_the_twin_of_an_excerpt(excerpt: Excerpt) -> None:
    there = Counted(DATA)
    assert mail_in(open_archive(Twins([excerpt, there]), archive=ARCHIVE)) == WHOLE
    assert there.reads == [(block.at, block.end - block.at) for block in BLOCKS], "blocks, and each once"


@pytest.mark.parametrize("kind", [FrameType.BLOCK, FrameType.MESSAGES, FrameType.DIRECTORY, FrameType.FOOTER])
def test_what_is_damaged_in_one_twin_is_read_from_the_next(kind: FrameType) -> None:
    files: list[RandomAccess] = [
        MemoryFile(damaged(DATA, frames_of(DATA, kind)[0].end - 1)),
        MemoryFile(damaged(DATA, frames_of(DATA, kind)[-1].end - 2)),
        MemoryFile(DATA),
    ]
    assert mail_in(open_archive(Twins(files), archive=ARCHIVE)) == WHOLE


def test_an_archive_of_another_id_is_passed_over() -> None:
    other = write_archive(MAIL, archive=ArchiveId(ARCHIVE[::-1]))
    assert mail_in(open_archive(Twins([MemoryFile(other), MemoryFile(DATA)]), archive=ARCHIVE)) == WHOLE
    with pytest.raises(DamagedError, match="it holds archive"):
        open_archive(Twins([MemoryFile(other), MemoryFile(other)]), archive=ARCHIVE)


def test_what_can_not_be_reached_now_is_not_damaged(excerpt: Excerpt) -> None:
    archive = open_archive(Twins([excerpt, Away(DATA)]), archive=ARCHIVE)
    with pytest.raises(PlaceUnavailableError):
        archive.block(0)
    near = open_archive(Twins([Away(DATA), MemoryFile(DATA)]), archive=ARCHIVE)
    assert mail_in(near) == WHOLE
