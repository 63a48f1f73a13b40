"""The files of the receiver's streams: written only when checked, sealed only when they have an end."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from mailhaul.proto.archive.draft import decode_draft
from mailhaul.tests.archives import frames_of, write_archive
from mailhaul.worker.staging.files import StreamFiles
from mailhaul.worker.staging.partial import PartialArchive, partial_path
from mailhaul.worker.staging.space import Space
from mailhaul.worker.staging.stream import (
    Append,
    Appended,
    Asked,
    CloseFile,
    Done,
    Failed,
    FileClosed,
    FileOpened,
    FileSealed,
    OpenFile,
    SealFile,
)

FILE = "primary/user/20261121T031500Z-4f3a.0.0123456789abcdef.mha"
RANDOM = random.Random(5)
ARCHIVE = write_archive({user: {"INBOX": [RANDOM.randbytes(60_000)]} for user in ("anna", "bert", "cleo")})
FRAMES = frames_of(ARCHIVE)
PARTS = [memoryview(ARCHIVE)[frame.at : frame.end] for frame in FRAMES]


class Disk:
    """The files of an area, and how much room there is."""

    def __init__(self, root: Path) -> None:
        self.area = root / "area"
        self.area.mkdir()
        self.room = 1 << 40
        self.files = StreamFiles(self.area, self._space)

    def _space(self, directory: Path) -> Space:
        disk = self

        class Room(Space):
            def room_for(self, size_bytes: int) -> bool:
                return size_bytes <= disk.room

        return Room(directory)

    def open(self, stream: int = 1, *, epoch: int = 1, have: int = -1, file: str = FILE) -> Done:
        asked = Asked(client=b"c", number=1, host="store01", file=file, epoch=epoch, have=have)
        return self.files.perform(OpenFile(stream, asked))

    def append(self, *batches: memoryview, stream: int = 1, checkpoint: bool = False) -> Done:
        return self.files.perform(Append(stream, batches, checkpoint))

    def seal(self, stream: int = 1) -> Done:
        return self.files.perform(SealFile(stream, len(ARCHIVE)))

    def close(self, stream: int = 1) -> Done:
        return self.files.perform(CloseFile(stream))

    def written(self, epoch: int = 1) -> bytes:
        return partial_path(self.area / FILE, epoch).read_bytes()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def reason(done: Done) -> str:
    assert isinstance(done, Failed)
    return done.error.code


def test_an_archive(disk: Disk) -> None:
    assert disk.open() == FileOpened(1, 0, 0, b"")
    assert disk.append(*PARTS, checkpoint=True) == Appended(1, len(PARTS), True)
    assert disk.seal() == FileSealed(1, len(ARCHIVE))
    assert (disk.area / FILE).read_bytes() == ARCHIVE
    assert disk.open(2, epoch=2) == FileSealed(2, len(ARCHIVE))


def test_a_batch_is_written_as_a_whole_or_not_at_all(disk: Disk) -> None:
    disk.open()
    assert disk.append(PARTS[0]) == Appended(1, 1, True)
    broken = bytearray(b"".join(PARTS[1:4]))
    broken[-1] ^= 1
    assert reason(disk.append(PARTS[1], memoryview(broken))) == "damaged"
    assert disk.written() == b"".join(PARTS[:2])


def test_without_room_it_tells_how_far_it_came(disk: Disk) -> None:
    disk.open()
    disk.room = min(len(part) for part in PARTS[:2])
    assert disk.append(*PARTS) == Appended(1, 1 if len(PARTS[0]) <= disk.room else 0, False)
    done = disk.written()
    disk.room = 1 << 40
    assert disk.append(*PARTS[len(frames_of_bytes(done)) :]) == Appended(
        1, len(PARTS) - len(frames_of_bytes(done)), True
    )
    assert disk.written() == ARCHIVE


def frames_of_bytes(data: bytes) -> list[object]:
    return list(frames_of(data))


def test_a_write_that_finds_no_room_is_repeated(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.open()
    pwrite, calls = os.pwrite, []

    def full(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 1:
            return pwrite(descriptor, bytes(data)[:5], offset)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "pwrite", full)
    assert disk.append(PARTS[0]) == Appended(1, 0, False, errno.EDQUOT)
    assert disk.written() == b""
    monkeypatch.setattr(os, "pwrite", pwrite)
    assert disk.append(*PARTS) == Appended(1, len(PARTS), True)
    assert disk.written() == ARCHIVE


def test_a_disk_that_fails(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.open()

    def broken(_descriptor: int, _data: bytes, _offset: int) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    assert reason(disk.append(PARTS[0])) == "staging"


def test_whatever_goes_wrong_is_an_answer(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.open()

    def wrong(self: PartialArchive, data: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(PartialArchive, "append", wrong)
    assert reason(disk.append(PARTS[0])) == "staging"
    assert reason(disk.append(PARTS[0], stream=99)) == "staging"


def test_only_what_has_its_end_is_sealed(disk: Disk) -> None:
    disk.open()
    disk.append(*PARTS[:-1])
    assert reason(disk.seal()) == "damaged"
    disk.append(PARTS[-1])
    assert disk.seal() == FileSealed(1, len(ARCHIVE))


def test_a_new_attempt_gets_the_draft_and_continues(disk: Disk) -> None:
    disk.open()
    disk.append(*PARTS[:-4])
    assert disk.close() == FileClosed(1)
    assert disk.close() == FileClosed(1)
    opened = disk.open(2, epoch=2)
    assert isinstance(opened, FileOpened)
    there = partial_path(disk.area / FILE, 2)
    draft = decode_draft(opened.draft, there.name, there.stat().st_size)
    assert draft.size_bytes == opened.size_bytes
    assert draft.frames == opened.frames
    assert disk.append(*PARTS[opened.frames :], stream=2) == Appended(2, len(PARTS) - opened.frames, True)
    assert disk.seal(2) == FileSealed(2, len(ARCHIVE))
    assert (disk.area / FILE).read_bytes() == ARCHIVE


def test_going_on_after_a_crash_in_the_middle_of_a_frame(disk: Disk) -> None:
    disk.open()
    disk.append(*PARTS[:3])
    disk.close()
    with partial_path(disk.area / FILE, 1).open("ab") as file:
        file.write(PARTS[3][:-7])
    assert disk.open(2, have=FRAMES[1].at) == FileOpened(2, FRAMES[3].at, 3, b"")
    disk.append(*PARTS[3:], stream=2)
    assert disk.seal(2) == FileSealed(2, len(ARCHIVE))


def test_when_more_was_lost_than_the_worker_holds(disk: Disk) -> None:
    disk.open()
    disk.append(*PARTS[:3])
    disk.close()
    assert reason(disk.open(2, have=FRAMES[3].at + 1)) == "staging"
    assert disk.open(3, have=FRAMES[3].at) == FileOpened(3, FRAMES[3].at, 3, b"")


def test_from_the_start(disk: Disk) -> None:
    disk.open()
    disk.append(*PARTS[:-4])
    disk.close()
    assert disk.open(2, have=0) == FileOpened(2, 0, 0, b"")
    assert disk.written() == b""


def test_an_earlier_attempt_and_no_name(disk: Disk) -> None:
    disk.open(epoch=2)
    disk.close()
    assert reason(disk.open(2, epoch=1)) == "fenced"
    assert reason(disk.open(2, file="../x/y.0.0123456789abcdef.mha")) == "access"


def test_what_is_durable(disk: Disk) -> None:
    disk.open()
    disk.append(*PARTS)
    assert disk.files.durable() == {1: 0}
    disk.files.close()
    assert disk.files.durable() == {}
