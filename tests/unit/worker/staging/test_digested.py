"""The digest of an archive, from the bytes that were written."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from mailhaul.proto.errors import StagingError
from mailhaul.tests.archives import write_archive
from mailhaul.worker.staging.digested import DigestedSink
from mailhaul.worker.staging.sinks import StagedFile

ARCHIVE = write_archive({"alice": {"INBOX": [b"Subject: a\n\none"]}, "bob": {"INBOX": [b"two"]}})
PIECE_BYTES = 500


def write(sink: DigestedSink, data: bytes = ARCHIVE) -> None:
    for at in range(0, len(data), PIECE_BYTES):
        sink.write(memoryview(data)[at : at + PIECE_BYTES])


def test_it_is_that_of_the_sealed_file(tmp_path: Path) -> None:
    sink = DigestedSink(StagedFile(tmp_path / "a.mha"))
    assert sink.begin() is None
    write(sink)
    assert sink.sha256 == b""
    sink.seal()
    assert sink.sha256 == sha256((tmp_path / "a.mha").read_bytes()).digest()


def test_what_an_earlier_attempt_wrote_has_not_been_seen(tmp_path: Path) -> None:
    first = StagedFile(tmp_path / "a.mha", epoch=1)
    first.begin()
    first.write(ARCHIVE[:-1])
    first.checkpoint()
    first.abort()
    sink = DigestedSink(StagedFile(tmp_path / "a.mha", epoch=2))
    draft = sink.begin()
    assert draft is not None
    write(sink, ARCHIVE[draft.size_bytes :])
    sink.seal()
    assert (tmp_path / "a.mha").read_bytes() == ARCHIVE
    assert sink.sha256 == b""


def test_one_that_begins_anew_is_seen_from_its_start(tmp_path: Path) -> None:
    first = StagedFile(tmp_path / "a.mha", epoch=1)
    first.begin()
    first.write(ARCHIVE)
    first.checkpoint()
    first.abort()
    sink = DigestedSink(StagedFile(tmp_path / "a.mha", epoch=2))
    assert sink.begin() is not None
    sink.restart()
    write(sink)
    sink.seal()
    assert sink.sha256 == sha256(ARCHIVE).digest()


def test_what_was_not_written_does_not_count(tmp_path: Path) -> None:
    class Full(StagedFile):
        """Has no room for the first thing."""

        is_full = True

        def write(self, data: bytes | bytearray | memoryview) -> None:
            if self.is_full:
                raise StagingError("no room")
            super().write(data)

    inner = Full(tmp_path / "a.mha")
    sink = DigestedSink(inner)
    sink.begin()
    with pytest.raises(StagingError):
        write(sink, b"lost")
    inner.is_full = False
    write(sink)
    sink.seal()
    assert sink.sha256 == sha256((tmp_path / "a.mha").read_bytes()).digest() == sha256(ARCHIVE).digest()
