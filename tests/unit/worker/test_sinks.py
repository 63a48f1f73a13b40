"""Where archives are written: a file has its final name only when it is whole."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from mailhaul.proto.errors import StagingError
from mailhaul.worker.staging import sinks
from mailhaul.worker.staging.sinks import PARTIAL, StagedFile, StreamSink


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir())


class TestStagedFile:
    def test_it_gets_its_name_when_it_is_sealed(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "unit.mha"
        sink = StagedFile(path)
        for data in (b"one ", bytearray(b"two "), memoryview(b"three")):
            sink.write(data)
            sink.checkpoint()
        assert names(path.parent) == ["unit.mha" + PARTIAL]
        assert sink.seal() == str(path)
        assert names(path.parent) == ["unit.mha"]
        assert path.read_bytes() == b"one two three"
        sink.abort()
        assert path.exists()

    def test_only_its_owner_may_read_it(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "unit.mha"
        StagedFile(path).seal()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700

    def test_giving_up_leaves_nothing(self, tmp_path: Path) -> None:
        sink = StagedFile(tmp_path / "unit.mha")
        sink.write(b"data")
        sink.abort()
        sink.abort()
        assert names(tmp_path) == []

    def test_what_an_earlier_attempt_left_is_written_over(self, tmp_path: Path) -> None:
        (tmp_path / ("unit.mha" + PARTIAL)).write_bytes(b"something longer than this")
        sink = StagedFile(tmp_path / "unit.mha")
        sink.write(b"data")
        sink.seal()
        assert (tmp_path / "unit.mha").read_bytes() == b"data"

    def test_a_sealed_archive_is_never_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "unit.mha").write_bytes(b"the first")
        sink = StagedFile(tmp_path / "unit.mha")
        sink.write(b"the second")
        with pytest.raises(StagingError):
            sink.seal()
        assert (tmp_path / "unit.mha").read_bytes() == b"the first"

    def test_a_place_that_can_not_be_written_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StagingError) as caught:
            StagedFile(tmp_path / "file" / "unit.mha")
        assert caught.value.facts["errno"] in (errno.ENOTDIR, errno.EEXIST)

    def test_a_short_write_is_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
        sink = StagedFile(tmp_path / "unit.mha")
        sink.write(b"0123456789")
        monkeypatch.undo()
        sink.seal()
        assert (tmp_path / "unit.mha").read_bytes() == b"0123456789"

    @pytest.mark.parametrize("call", ["write", "fdatasync", "rename"])
    def test_what_fails_is_told_and_leaves_no_final_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        sink = StagedFile(tmp_path / "unit.mha")
        monkeypatch.setattr(os, call, full)

        def work() -> None:
            sink.write(b"data")
            sink.seal()

        with pytest.raises(StagingError, match="No space left on device") as caught:
            work()
        assert caught.value.facts["errno"] == errno.ENOSPC
        assert caught.value.retryable
        sink.abort()
        assert "unit.mha" not in names(tmp_path)

    def test_much_data_is_made_durable_at_checkpoints(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sinks, "_SYNC_BYTES", 10)
        synced: list[int] = []
        monkeypatch.setattr(os, "fdatasync", synced.append)
        sink = StagedFile(tmp_path / "unit.mha")
        for _ in range(3):
            sink.write(b"123456")
            sink.checkpoint()
        assert len(synced) == 1
        sink.seal()
        assert len(synced) == 2


class TestStream:
    def test_it_is_written_to_and_flushed(self) -> None:
        stream = io.BytesIO()
        sink = StreamSink(stream, "-")
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
