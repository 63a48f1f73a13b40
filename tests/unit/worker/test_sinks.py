"""Where archives are written: a file has its final name only when it is whole."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.proto.errors import FencedError, StagingError
from mailhaul.tests.archives import read_archive, taken_up, write_archive
from mailhaul.worker.staging.partial import open_partial, partial_path
from mailhaul.worker.staging.sinks import StagedFile, StreamSink
from mailhaul.worker.staging.space import FULL, Space

MAILBOXES = {"alice": {"INBOX": [b"Subject: a\n\none", b"two"]}, "bob": {"INBOX": [b"three"]}}
ARCHIVE = write_archive(MAILBOXES)


def begun(path: Path, epoch: int = 0, **options: object) -> StagedFile:
    sink = StagedFile(path, epoch=epoch, **options)  # type: ignore[arg-type]
    assert sink.begin() is None
    return sink


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


class TestStagedFile:
    def test_it_gets_its_name_when_it_is_sealed(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "unit.mha"
        sink = begun(path, 3)
        for data in (b"one ", bytearray(b"two "), memoryview(b"three")):
            sink.write(data)
            sink.checkpoint()
        assert names(path.parent) == ["unit.mha.3.partial"]
        assert sink.seal() == str(path)
        assert names(path.parent) == ["unit.mha"]
        assert path.read_bytes() == b"one two three"
        sink.abort()
        assert path.exists()

    def test_giving_up_keeps_what_is_complete(self, tmp_path: Path) -> None:
        sink = begun(tmp_path / "unit.mha")
        sink.write(b"data")
        sink.checkpoint()
        sink.write(b"half a mailbox")
        sink.abort()
        sink.abort()
        assert names(tmp_path) == ["unit.mha.0.partial"]
        assert (tmp_path / "unit.mha.0.partial").read_bytes() == b"data"

    def test_one_that_was_never_begun_can_be_given_up(self, tmp_path: Path) -> None:
        StagedFile(tmp_path / "unit.mha").abort()
        assert names(tmp_path) == []

    def test_writing_goes_on_behind_the_last_mailbox(self, tmp_path: Path) -> None:
        path = tmp_path / "unit.mha"
        partial_path(path, 1).write_bytes(ARCHIVE[:-1])
        sink = StagedFile(path, epoch=2)
        draft = taken_up(sink)
        assert draft is not None
        assert [mailbox.user for mailbox in draft.archive.directory.mailboxes] == ["alice", "bob"]
        assert partial_path(path, 2).read_bytes() == ARCHIVE[: draft.size_bytes]
        sink.write(ARCHIVE[draft.size_bytes :])
        assert read_archive(draft.archive)[1] == [], "the draft can be read while writing goes on"
        sink.seal()
        assert path.read_bytes() == ARCHIVE

    def test_what_is_of_no_use_is_written_over(self, tmp_path: Path) -> None:
        path = tmp_path / "unit.mha"
        partial_path(path, 1).write_bytes(b"something longer than this, and no archive")
        sink = begun(path, 1)
        sink.write(b"data")
        sink.seal()
        assert path.read_bytes() == b"data"

    def test_a_draft_can_be_dropped(self, tmp_path: Path) -> None:
        path = tmp_path / "unit.mha"
        partial_path(path, 1).write_bytes(ARCHIVE)
        sink = StagedFile(path, epoch=1)
        assert sink.begin() is not None
        sink.restart()
        sink.write(b"data")
        sink.seal()
        assert path.read_bytes() == b"data"

    def test_a_sealed_archive_is_not_begun_again(self, tmp_path: Path) -> None:
        (tmp_path / "unit.mha").write_bytes(b"the first")
        with pytest.raises(StagingError, match="sealed already") as caught:
            StagedFile(tmp_path / "unit.mha").begin()
        assert caught.value.retryable
        assert names(tmp_path) == ["unit.mha"]

    def test_a_place_that_can_not_be_written_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StagingError) as caught:
            StagedFile(tmp_path / "file" / "unit.mha").begin()
        assert caught.value.facts["errno"] in (errno.ENOTDIR, errno.EEXIST)


class Disk:
    """The system call that writes, of a disk that is full ``times`` times; and a clock that runs only while
    somebody waits."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.number = errno.ENOSPC
        self.seconds = 0.0
        self._pwrite = os.pwrite

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        if self.times:
            self.times -= 1
            self._pwrite(fd, bytes(data)[:2], offset)
            raise OSError(self.number, os.strerror(self.number))
        return self._pwrite(fd, data, offset)

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Disk]:
    def make(times: int) -> Disk:
        disk = Disk(times)
        monkeypatch.setattr(os, "pwrite", disk.pwrite)
        return disk

    return make


class TestFullDisk:
    def test_it_is_an_error_without_patience(self, tmp_path: Path, full: Callable[[int], Disk]) -> None:
        sink = begun(tmp_path / "unit.mha")
        sink.write(b"before")
        full(1)
        with pytest.raises(StagingError, match="No space left on device") as caught:
            sink.write(b"data")
        assert caught.value.facts["errno"] == errno.ENOSPC
        assert caught.value.retryable
        assert (tmp_path / "unit.mha.0.partial").read_bytes() == b"before"

    def test_it_waits_for_room_and_loses_nothing(self, tmp_path: Path, full: Callable[[int], Disk]) -> None:
        disk = full(0)
        space = Space(tmp_path, clock=lambda: disk.seconds, sleep=disk.wait)
        told: list[str] = []
        sink = StagedFile(
            tmp_path / "unit.mha",
            space=space,
            patience_seconds=10,
            on_wait=told.append,
            clock=lambda: disk.seconds,
        )
        sink.begin()
        sink.write(b"one ")
        disk.times = 3
        sink.write(b"two")
        sink.seal()
        assert (tmp_path / "unit.mha").read_bytes() == b"one two"
        assert (told[0], told[-1]) == (FULL, "")
        assert told.count(FULL) == 3

    def test_its_patience_ends(self, tmp_path: Path, full: Callable[[int], Disk]) -> None:
        """Also where the file system tells of room, as with a quota."""
        disk = full(10**9)
        disk.number = errno.EDQUOT
        space = Space(tmp_path, clock=lambda: disk.seconds, sleep=disk.wait)
        sink = StagedFile(tmp_path / "unit.mha", space=space, patience_seconds=10, clock=lambda: disk.seconds)
        sink.begin()
        with pytest.raises(StagingError, match="Disk quota exceeded"):
            sink.write(b"data")
        assert 10 <= disk.seconds < 15

    def test_it_does_not_wait_when_it_was_fenced_off(
        self, tmp_path: Path, full: Callable[[int], Disk]
    ) -> None:
        disk = full(10**9)
        path = tmp_path / "unit.mha"

        def sleep(seconds: float) -> None:
            disk.wait(seconds)
            with pytest.raises(StagingError, match="still writes"):
                open_partial(path, 2)

        space = Space(tmp_path, clock=lambda: disk.seconds, sleep=sleep)
        sink = StagedFile(path, epoch=1, space=space, patience_seconds=10**6, clock=lambda: disk.seconds)
        sink.begin()
        with pytest.raises(FencedError):
            sink.write(b"data")
        assert disk.seconds < 10

    def test_a_reserve_is_kept(self, tmp_path: Path) -> None:
        sink = begun(tmp_path / "unit.mha", space=Space(tmp_path, 1 << 60))
        with pytest.raises(StagingError, match="No space left"):
            sink.write(b"data")


class TestStream:
    def test_it_is_written_to_and_flushed(self) -> None:
        stream = io.BytesIO()
        sink = StreamSink(stream, "-")
        assert sink.begin() is None
        sink.write(b"data")
        sink.checkpoint()
        assert sink.seal() == "-"
        sink.abort()
        assert stream.getvalue() == b"data"

    def test_a_reader_that_went_away_is_an_error(self) -> None:
        class Gone(io.BytesIO):
            def write(self, data: object) -> int:
                raise BrokenPipeError(errno.EPIPE, "Broken pipe")

            def flush(self) -> None:
                raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        sink = StreamSink(Gone(), "-")
        for work in (lambda: sink.write(b"data"), sink.seal):
            with pytest.raises(StagingError, match="Broken pipe"):
                work()
