"""Many archives read at a time: few files open, few directories in memory, and the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId
from mailhaul.worker.archives import opened as archives
from mailhaul.worker.archives import places
from mailhaul.worker.archives.opened import OpenArchives, opened_archives
from mailhaul.worker.archives.places import open_local

from ....archives import (
    in_files,
    messages_of,
    write_archive,
)

MAIL = [b"Subject: %d\n\n" % number + b"text " * 200 for number in range(5)]


class Opener:
    """Opens files, and knows which are open."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.opened = 0

    def __call__(self, path: str, start: int = 0, size_bytes: int | None = None) -> LocalFile:
        self.opened += 1
        file = open_local(path, start, size_bytes)
        close: Callable[[], None] = file.close
        number = self.opened
        self.open.add(number)

        def closing() -> None:
            self.open.discard(number)
            close()

        file.close = closing  # type: ignore[method-assign]
        return file


@pytest.fixture
def files(tmp_path: Path) -> dict[ArchiveId, Path]:
    found = {}
    for number, data in enumerate(MAIL):
        archive = ArchiveId(bytes([number]) * 16)
        path = tmp_path / f"{number}.mha"
        path.write_bytes(write_archive({"ann": {"INBOX": [data]}, "ben": {"INBOX": []}}, archive=archive))
        found[archive] = path
    return found


def contents(opened: OpenArchives, archive: ArchiveId) -> bytes:
    reader = opened(archive)
    entry = reader.entry("ann")
    assert entry is not None
    (folder,) = reader.mailbox(entry.home.number).folders
    (message,) = messages_of(reader, entry, folder)
    return b"".join(Contents(opened.data).message(message))


def test_few_files_are_open(files: dict[ArchiveId, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_FILES", 2)
    opener = Opener()
    monkeypatch.setattr(places, "open_local", opener)
    with opened_archives(in_files(files)) as opened:
        for _ in range(2):
            assert [contents(opened, file) for file in files] == MAIL
            assert len(opener.open) <= 2
    assert not opener.open
    assert opener.opened > len(files)


def test_few_directories_are_kept(files: dict[ArchiveId, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_ENTRIES", 4)
    with opened_archives(in_files(files)) as opened:
        first, *others = files
        reader = opened(first)
        assert opened(first) is reader
        for archive_id in others:
            opened(archive_id)
        assert opened(first) is not reader
        assert opened.data(first).directory.mailboxes == ()
        assert opened.data(first) is opened.data(first)
        # One that others have displaced can still be used.
        assert reader.entry("ben") is not None
        assert [contents(opened, file) for file in files] == MAIL


def test_what_is_not_there(files: dict[ArchiveId, Path]) -> None:
    with opened_archives(in_files({**files, ArchiveId(b"x" * 16): "/nowhere"})) as opened:
        for archive in (ArchiveId(b"x" * 16), ArchiveId(b"y" * 16)):
            for way in (opened, opened.data):
                with pytest.raises(DamagedError) as caught:
                    way(archive)
                assert caught.value.facts["reason"] == "missing"


def test_a_file_that_is_gone_meanwhile(files: dict[ArchiveId, Path]) -> None:
    """A file that is gone when it has to be opened again is missing, as any other."""
    (first, *_) = files
    with opened_archives(in_files({first: files[first]})) as opened:
        reader = opened(first)
        opened._pool.close()
        files[first].unlink()
        entry = reader.entry("ann")
        assert entry is not None
        with pytest.raises(DamagedError):
            reader.mailbox(entry.home.number)
