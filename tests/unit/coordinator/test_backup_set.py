"""What bare archives of several groups say together. (What stays in the files is read by the independent
reader, too, after each test.)"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from mailhaul.coordinator.backup_set import from_files
from mailhaul.groups.paths import EVERYBODY, LogicalPath
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import NotFoundError
from mailhaul.proto.records import ArchiveId, Departed, RunId
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import MemorySink, archive_header, write_mailbox
from mailhaul.worker.packing.packer import Packer

MAIL = {"INBOX": [b"Subject: 1\n\none"]}


def run_of(day: int) -> RunId:
    return RunId(f"202608{day:02}T020000Z-0001")


def archive(
    place: Path, day: int, group: str, mail: Mapping[str, Mapping[str, list[bytes]]], *gone: Departed
) -> Path:
    """A file with an archive of a group."""
    name = f"{day}{group}"
    header = replace(archive_header(ArchiveId(name.encode().ljust(16))), run=run_of(day), group=group)
    sink = MemorySink()
    writer = ArchiveWriter(sink, header, departed=gone)
    packer = Packer(writer)
    for user, folders in mail.items():
        write_mailbox(writer, packer, user, folders)
    writer.finish()
    file = place / f"{name}.mha"
    file.write_bytes(sink.data)
    return file


def test_who_left_the_partition_has_left_every_group(tmp_path: Path) -> None:
    """Whatever is lost of what the first group told."""
    first = archive(tmp_path, 1, "user", {"jane": MAIL, "ola": MAIL})
    left = Departed("jane", "left-group", "now in group sales")
    told = archive(tmp_path, 2, "user", {"ola": MAIL}, left)
    there = archive(tmp_path, 2, "sales", {"jane": MAIL})
    last = archive(tmp_path, 3, "sales", {}, Departed("jane", "removed"))

    def found(*files: Path) -> list[tuple[str, str, RunId]]:
        return sorted((version.group, version.user, version.run) for version in from_files(files).versions)

    ola = ("user", "ola", run_of(1))
    ola_too = ("user", "ola", run_of(2))
    assert found(first, told, there) == [("sales", "jane", run_of(2)), ola, ola_too]
    assert found(first, there) == [("sales", "jane", run_of(2)), ("user", "jane", run_of(1)), ola]
    assert found(first, told, there, last) == [ola, ola_too]
    assert found(first, there, last) == found(first, last) == [ola]
    for group in ("user", EVERYBODY):
        with pytest.raises(NotFoundError, match=f"run {run_of(3)} found it gone"):
            from_files([first, last]).select(LogicalPath("primary", group, "jane"))


def test_who_came_back_is_there(tmp_path: Path) -> None:
    files = [
        archive(tmp_path, 1, "user", {"jane": MAIL}),
        archive(tmp_path, 3, "sales", {}, Departed("jane", "removed", "", run_of(2))),
        archive(tmp_path, 2, "user", {"jane": MAIL}),
    ]
    assert [version.run for version in from_files(files).versions] == [run_of(2)]


@pytest.mark.parametrize("group", ["staff", EVERYBODY])
def test_who_left_a_group_is_in_the_other_one_however_the_first_is_called(tmp_path: Path, group: str) -> None:
    left = Departed("jane", "left-group", "now in group sales")
    files = [
        archive(tmp_path, 1, group, {"jane": MAIL}),
        archive(tmp_path, 1, "sales", {"jane": MAIL}),
        archive(tmp_path, 2, group, {"ola": MAIL}, left),
    ]
    found = sorted((version.group, version.user) for version in from_files(files).versions)
    assert found == sorted([("sales", "jane"), (group, "ola")])
