"""Archives that are written anew: what remains is the same, and damage is left alone."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.proto.archive.frames import Codec, FrameType
from mailhaul.proto.archive.places import FramePlace
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.rewriting import Rewritten
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.ports import ArchiveSink
from mailhaul.proto.records import STAGING, ArchiveId, Location
from mailhaul.tests.archives import in_files
from mailhaul.worker.archives.opened import opened_archives
from mailhaul.worker.archives.places import open_local
from mailhaul.worker.purging.bounds import unpacked
from mailhaul.worker.purging.compaction import NoSink, Remains, compact
from mailhaul.worker.purging.liveness import LiveData, NeededArchive, live_data, shares
from mailhaul.worker.staging.sinks import StagedFile

from ....archives import ARCHIVE, frames_of, read_archive, write_archive

USERS = frozenset({"jane", "john"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = random.Random(1)
    mail = {user: {"INBOX": [rng.randbytes(5000) for _ in range(100)]} for user in sorted(USERS)}
    path = tmp_path / "whole.mha"
    path.write_bytes(write_archive(mail))
    return path


def alive(file: Path, users: frozenset[str], references: tuple[ArchiveId, ...] = ()) -> LiveData:
    needed = NeededArchive(archive=ARCHIVE, users=users, references=references)
    with opened_archives(in_files({ARCHIVE: file})) as archives:
        return live_data((needed,), archives, lambda _: None)


def remains(file: Path, users: frozenset[str], live: LiveData | None = None) -> Remains:
    found = live or alive(file, users)
    return Remains(
        archive=ARCHIVE,
        location=Location(STAGING, file.name),
        stretches=found.stretches.get(ARCHIVE, b""),
        users=users,
        mailboxes=found.mailboxes.get(ARCHIVE, frozenset()),
        frames=found.frames.get(ARCHIVE, frozenset()),
    )


def compacted(
    what: Remains, sink: ArchiveSink, place: Path, on_bytes: Callable[[int], object] = lambda _: None
) -> Rewritten:
    with closing(open_local(str(place / what.location.name))) as file:
        return compact(what, open_sealed(file), sink, codec=Codec.LZ4, level=3, on_bytes=on_bytes)


def rewritten(what: Remains, target: Path) -> ArchiveReader:
    told: list[int] = []
    written = compacted(what, StagedFile(target), target.parent, told.append)
    assert written.archive_bytes == told[-1] == target.stat().st_size
    counted = compacted(what, NoSink(), target.parent)
    assert counted == written, "what is announced is what comes out"
    return open_sealed(open_local(str(target)))


def share(archive: ArchiveReader, file: Path, users: frozenset[str]) -> float:
    what = remains(file, users)
    found = shares(archive, unpacked(what.stretches), what.metadata)
    return found.live_bytes / found.size_bytes


def test_all_of_an_archive_is_alive(file: Path) -> None:
    archive = open_sealed(open_local(str(file)))
    live = alive(file, USERS)
    assert list(unpacked(live.stretches[ARCHIVE])) == [0, archive.directory.data_bytes]
    assert share(archive, file, USERS) == 1.0
    archive.close()


def test_half_of_an_archive_remains(file: Path, tmp_path: Path) -> None:
    half = frozenset({"john"})
    archive = open_sealed(open_local(str(file)))
    assert 0.48 < share(archive, file, half) < 0.52
    new = rewritten(remains(file, half), tmp_path / "new.mha")
    assert new.file.size < 0.53 * archive.file.size
    before, after = read_archive(archive)[0], read_archive(new)
    assert after == ({key: mail for key, mail in before.items() if key[0] == "john"}, [])
    # Of what was written anew, nothing is dead: it is not written again and again.
    assert share(new, tmp_path / "new.mha", half) == 1.0
    archive.close()
    new.close()


def test_scattered_messages_remain(file: Path, tmp_path: Path) -> None:
    """Data alone, as for another archive's metadata: each third stretch of 700 bytes."""
    archive = open_sealed(open_local(str(file)))
    wanted = array("Q", [end for at in range(0, 900_000, 2100) for end in (at, at + 700)])
    here = Location(STAGING, file.name)
    what = Remains(archive=ARCHIVE, location=here, stretches=wanted.tobytes(), users=frozenset())
    live = shares(archive, wanted, what.metadata)
    new = rewritten(what, tmp_path / "new.mha")
    assert live.live_bytes == pytest.approx(300_000, rel=0.02)
    again = shares(new, wanted, what.metadata)
    assert again.live_bytes == pytest.approx(again.size_bytes, rel=0.001)
    for begin in range(0, 900_000, 2100):
        number = new.block_at(begin)
        start = begin - new.directory.blocks.data[number]
        old_number = archive.block_at(begin)
        old_start = begin - archive.directory.blocks.data[old_number]
        assert new.block(number)[start : start + 10] == archive.block(old_number)[old_start : old_start + 10]
    archive.close()
    new.close()


def test_an_attempt_that_was_broken_off_is_begun_anew(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.mha"
    (tmp_path / "new.mha.0.partial").write_bytes(file.read_bytes()[:400_000])
    rewritten(remains(file, frozenset({"john"})), target).close()
    assert not list(tmp_path.glob("*.partial"))


def damaged(file: Path, kind: FrameType, number: int = 0) -> None:
    data = bytearray(file.read_bytes())
    frame = frames_of(bytes(data), kind)[number]
    data[frame.end - 1] ^= 1
    file.write_bytes(data)


def test_damaged_data_is_left_alone(file: Path, tmp_path: Path) -> None:
    what = remains(file, USERS)
    damaged(file, FrameType.BLOCK, 1)
    with pytest.raises(DamagedError, match="is damaged"):
        compacted(what, StagedFile(tmp_path / "new.mha"), tmp_path)
    assert not (tmp_path / "new.mha").exists()


def test_data_that_is_dead_may_be_damaged(file: Path, tmp_path: Path) -> None:
    what = remains(file, frozenset({"john"}))
    damaged(file, FrameType.BLOCK, 0)
    new = rewritten(what, tmp_path / "new.mha")
    assert read_archive(new)[1] == []
    new.close()


@pytest.mark.parametrize("kind", [FrameType.MESSAGES, FrameType.FOOTER])
def test_nothing_is_known_dead_that_damaged_metadata_may_need(file: Path, kind: FrameType) -> None:
    other = ArchiveId(b"other archive id")
    damaged(file, kind)
    live = alive(file, USERS, (other,))
    assert ARCHIVE in live.untouchable
    assert (other in live.untouchable) == (kind is FrameType.FOOTER)  # the directory names none
    file.unlink()
    assert alive(file, USERS, (other,)).untouchable == {ARCHIVE, other}


def test_the_copy_stands_for_a_damaged_mailbox_frame(file: Path) -> None:
    whole = alive(file, USERS)
    damaged(file, FrameType.MAILBOX, 0)
    assert alive(file, USERS) == whole


def test_a_damaged_mailbox_is_left_alone(file: Path, tmp_path: Path) -> None:
    what = remains(file, USERS)
    damaged(file, FrameType.MAILBOX, 0)
    damaged(file, FrameType.MAILBOX, 1)
    assert alive(file, USERS).untouchable
    with pytest.raises(DamagedError, match="metadata of 1 mailbox"):
        compacted(what, StagedFile(tmp_path / "new.mha"), tmp_path)


def test_each_frame_is_read_once(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten archives with the same metadata, the metadata of one is read."""
    read: list[FramePlace] = []
    plain = ArchiveReader.frame

    def counted(self: ArchiveReader, place: FramePlace, kind: FrameType, position: int) -> object:
        read.append(place)
        return plain(self, place, kind, position)

    monkeypatch.setattr(ArchiveReader, "frame", counted)
    needed = NeededArchive(archive=ARCHIVE, users=USERS)
    with opened_archives(in_files({ARCHIVE: file})) as archives:
        live_data((needed,) * 10, archives, lambda _: None)
    assert len(read) == len(set(read)) == 4
