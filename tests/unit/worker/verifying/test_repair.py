"""A damaged archive is written anew: with all of it that is whole, and with what can be had elsewhere."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.contents import LAST
from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType
from mailhaul.proto.archive.reader import ArchiveReader, open_sealed
from mailhaul.proto.archive.recipes import RAW
from mailhaul.proto.archive.slots import read_slots
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.errors import DamagedError, StagingError
from mailhaul.proto.keys.derivation import structure_key
from mailhaul.proto.keys.records import Keyring, Sealing, StructureKey
from mailhaul.proto.records import STAGING, ArchiveId, Location, Piece, Stretch
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import (
    ARCHIVE,
    MemoryFile,
    MemorySink,
    archive_header,
    expected,
    frames_of,
    messages_of,
    open_any,
    read_archive,
    write_archive,
    write_mailbox,
)
from mailhaul.tests.checking import kept_mailboxes, losses_of
from mailhaul.tests.sealed import OF_A_HOST, SEALING, STRUCTURE, opened_keys
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.archives.opened import open_archive
from mailhaul.worker.archives.places import Places
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.staging.area import StagingArea
from mailhaul.worker.tasks import verifying as verify_tasks
from mailhaul.worker.tasks.verifying import RepairTask, run_repair
from mailhaul.worker.verifying import fillings
from mailhaul.worker.verifying.fillings import (
    Filler,
    Filling,
    runs_of,
    segment_fillings,
    stored_bytes,
    twin_fillings,
)
from mailhaul.worker.verifying.repair import RepairReport, repair
from mailhaul.worker.verifying.spares import Spare, covered, find_spares
from mailhaul.worker.verifying.verify import broken_stretches, verify_archive

RNG = random.Random(3)
ATTACHMENT = RNG.randbytes(120_000)
OTHER = ArchiveId(b"another archive.")
MAIL = (
    b"Subject: with an attachment\nMIME-Version: 1.0\n"
    b'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\nsee there\n--b\n'
    b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
    + base64.encodebytes(ATTACHMENT)
    + b"--b--\n"
)
MAILBOXES = {
    "alice": {"INBOX": [MAIL, b"h: 1\n\n" + RNG.randbytes(300_000), b"h: 2\n\nshort"]},
    "bob": {"INBOX": [b"h: 3\n\n" + RNG.randbytes(400_000)]},
}
DATA = write_archive(MAILBOXES)


def damaged(data: bytes, *blocks: int) -> bytes:
    """With these blocks damaged; none: all of them."""
    changed = bytearray(data)
    for number, block in enumerate(frames_of(data, FrameType.BLOCK)):
        if not blocks or number in blocks:
            changed[block.at + HEADER_BYTES + 5] ^= 1
    return bytes(changed)


def opener(*archives: ArchiveReader) -> Mapping[ArchiveId, ArchiveReader]:
    return {archive.header.archive: archive for archive in archives}


def repaired(data: bytes, *found: Filling, dead: tuple[Stretch, ...] = ()) -> tuple[bytes, RepairReport]:
    source, sink = open_any(data), MemorySink()
    report = repair(source, sink, broken=broken_stretches(source), dead=dead, fillings=found)
    written = bytes(sink.data)
    assert verify_archive(MemoryFile(written), lambda _: None).damaged == ()
    assert open_sealed(MemoryFile(written)).header.generation == report.generation
    return written, report


def test_what_is_whole_stays_and_what_is_not_is_a_hole() -> None:
    hurt = damaged(DATA, 1)
    before, _ = read_archive(open_any(hurt))
    written, report = repaired(hurt)
    after, damage = read_archive(open_sealed(MemoryFile(written)))
    assert after == before
    assert damage
    block = frames_of(DATA, FrameType.BLOCK)[1].header
    assert report.holes == report.lost.data == (Stretch(block.position, block.plain_bytes),)
    assert (report.generation, report.filled_bytes, report.size_bytes) == (1, 0, len(written))
    assert (report.users, report.references) == ((), ())


def test_a_broken_directory_is_made_anew() -> None:
    hurt = bytearray(DATA)
    hurt[frames_of(DATA, FrameType.DIRECTORY)[0].at + 1] ^= 1
    written, report = repaired(bytes(hurt))
    assert read_archive(open_sealed(MemoryFile(written))) == (expected(MAILBOXES), [])
    end = open_sealed(MemoryFile(DATA)).directory.data_bytes
    assert report.lost.data == (Stretch(end, LAST - end),), "nothing tells that no block is gone at the end"


def test_metadata_that_is_lost_is_told() -> None:
    hurt = bytearray(DATA)
    for frame in frames_of(DATA, FrameType.MAILBOX):
        if frame.header.position >> 32 == 0:
            hurt[frame.at + HEADER_BYTES] ^= 1
    written, report = repaired(bytes(hurt))
    assert report.users == ("alice",)
    assert [mailbox.user for mailbox in open_sealed(MemoryFile(written)).directory.mailboxes] == ["bob"]


def test_what_nobody_needs_stays_a_hole_and_is_not_lost() -> None:
    dead = (Stretch(0, 1000),)
    _, report = repaired(damaged(DATA, 1), dead=dead)
    assert len(report.holes) == 2
    assert len(report.lost.data) == 1


def second_archive(*mails: bytes) -> ArchiveReader:
    """Another archive with these messages of alice, all stored in it."""
    sink = MemorySink()
    archive = ArchiveWriter(sink, replace(archive_header(OTHER), run=archive_header().run))
    write_mailbox(archive, Packer(archive), "alice", {"INBOX": mails})
    archive.finish()
    return open_sealed(MemoryFile(bytes(sink.data)))


def test_a_message_with_the_same_content_fills_the_gaps() -> None:
    hurt = open_any(damaged(DATA))
    other = second_archive(*MAILBOXES["alice"]["INBOX"])
    known = opener(hurt, other)
    broken = {ARCHIVE: broken_stretches(hurt)}
    mailboxes = kept_mailboxes(hurt, other)
    found = twin_fillings(ARCHIVE, mailboxes, known.__getitem__, broken)
    written, report = repaired(damaged(DATA), *found)
    losses = losses_of(open_sealed(MemoryFile(written))).losses
    assert [loss.path for loss in losses] == ["/primary/user/bob/INBOX/1"]
    assert report.filled_bytes > 400_000
    assert 400_000 <= sum(stretch.length for stretch in report.lost.data) <= 410_000


def test_a_twin_that_is_damaged_itself_gives_nothing() -> None:
    hurt, other = open_any(damaged(DATA)), second_archive(MAIL)
    file = other.file
    assert isinstance(file, MemoryFile)
    twin = open_any(damaged(file.data))
    known = opener(hurt, twin)
    broken = {ARCHIVE: broken_stretches(hurt)}
    assert twin_fillings(ARCHIVE, kept_mailboxes(hurt, twin), known.__getitem__, broken) == []


def place(path: Path, data: bytes) -> Location:
    path.write_bytes(data)
    return Location(STAGING, path.name)


def test_segments_are_found_by_their_digests_and_fill_the_gaps(tmp_path: Path) -> None:
    hurt = open_any(damaged(DATA))
    other = second_archive(b"From: somebody else\n" + MAIL)
    known = opener(hurt, other)
    lost = {ARCHIVE: broken_stretches(hurt)}
    copies = {ARCHIVE: (place(tmp_path / "hurt", damaged(DATA)),)}
    places = Places((StagingArea(path=str(tmp_path)),))
    spares = find_spares(lost, copies, places, [ARCHIVE, OTHER], known.__getitem__, lost)
    (spare,) = spares[ARCHIVE]
    assert (spare.archive, spare.length) == (OTHER, len(ATTACHMENT))
    _, report = repaired(damaged(DATA), *segment_fillings(spares[ARCHIVE], known.__getitem__))
    assert report.filled_bytes == len(ATTACHMENT)
    # Other bytes than the digest says are no filling.
    wrong = segment_fillings([spare._replace(at=spare.at + 1)], known.__getitem__)
    assert repaired(damaged(DATA), *wrong)[1].filled_bytes == 0
    assert find_spares(lost, {}, places, [OTHER], known.__getitem__, lost) == {ARCHIVE: ()}
    assert find_spares(lost, copies, places, [OTHER], known.__getitem__, {OTHER: (Stretch(0, 1 << 20),)}) == {
        ARCHIVE: ()
    }


class TestEncryptedArchives:
    """What others hold fills the gaps where there is a private key; without it the rest is kept."""

    DATA = write_archive(MAILBOXES, sealing=SEALING)
    HURT = damaged(DATA)

    def other(self, *mails: bytes, of: StructureKey = STRUCTURE) -> bytes:
        sealing = Sealing(structure=of, recipients=SEALING.recipients)
        return write_archive({"alice": {"INBOX": mails}}, archive=OTHER, sealing=sealing)

    def opened(self, data: bytes, keys: Keyring | None = None) -> ArchiveReader:
        file = MemoryFile(data)
        return open_archive(file, keys=opened_keys(read_slots(file)) if keys is None else keys)

    def repaired(
        self, keys: Keyring | None, fillings: Callable[..., list[Filling]]
    ) -> tuple[ArchiveReader, RepairReport]:
        """What is written anew, read with the private key."""
        source, sink = self.opened(self.HURT, keys), MemorySink()
        found, broken = fillings(source), broken_stretches(source)
        report = repair(source, sink, broken=broken, dead=(), fillings=found, sealing=SEALING)
        written = self.opened(bytes(sink.data))
        assert verify_archive(written.file, lambda _: None, OF_A_HOST).damaged == ()
        return written, report

    @pytest.mark.parametrize("keys", [None, OF_A_HOST])
    def test_segments(self, tmp_path: Path, keys: Keyring | None) -> None:
        other = self.opened(self.other(b"From: somebody else\n" + MAIL), keys)
        places = Places((StagingArea(path=str(tmp_path), keys=OF_A_HOST),))
        copies = {ARCHIVE: (place(tmp_path / "hurt", self.HURT),)}

        def spares(source: ArchiveReader) -> list[Filling]:
            lost = {ARCHIVE: broken_stretches(source)}
            known = opener(source, other).__getitem__
            (spare,) = find_spares(lost, copies, places, [ARCHIVE, OTHER], known, lost)[ARCHIVE]
            assert (spare.archive, spare.length) == (OTHER, len(ATTACHMENT))
            return segment_fillings([spare], known)

        written, report = self.repaired(keys, spares)
        assert report.filled_bytes == (0 if keys else len(ATTACHMENT))
        if keys is None:
            (segment,) = [
                one
                for row in written.index()
                for one in zip(row.offsets, row.lengths, strict=True)
                if one[1] == len(ATTACHMENT)
            ]
            contents = Contents(lambda _: written)
            assert contents.stored(Piece(ARCHIVE, *segment)) == ATTACHMENT

    @pytest.mark.parametrize("keys", [None, OF_A_HOST])
    def test_messages_with_the_same_content(self, keys: Keyring | None) -> None:
        other = self.opened(self.other(*MAILBOXES["alice"]["INBOX"]), keys)

        def twins(source: ArchiveReader) -> list[Filling]:
            broken = {ARCHIVE: broken_stretches(source)}
            return twin_fillings(
                ARCHIVE, kept_mailboxes(source, other), opener(source, other).__getitem__, broken
            )

        written, report = self.repaired(keys, twins)
        assert (report.filled_bytes > 400_000) == (keys is None)
        found, _ = read_archive(written)
        kept = expected({"alice": MAILBOXES["alice"]}) if keys is None else {}
        assert {whose: mails for whose, mails in found.items() if mails} == kept

    def test_with_another_structure_key_nothing_seems_to_be_the_same(self, tmp_path: Path) -> None:
        source = self.opened(self.HURT)
        other = self.opened(self.other(MAIL, of=structure_key(bytes(32))))
        places = Places((StagingArea(path=str(tmp_path), keys=OF_A_HOST),))
        copies = {ARCHIVE: (place(tmp_path / "hurt", self.HURT),)}
        lost = {ARCHIVE: broken_stretches(source)}
        found = find_spares(lost, copies, places, [OTHER], opener(source, other).__getitem__, lost)
        assert found == {ARCHIVE: ()}


def test_a_stretch_is_covered_by_spares_in_a_row() -> None:
    spares = [Spare(at, 10, bytes(16), OTHER, 0) for at in (0, 10, 30, 40)]
    assert covered(Stretch(5, 10), spares) == spares[:2]
    assert covered(Stretch(32, 8), spares) == spares[2:3]
    assert covered(Stretch(15, 10), spares) == []
    assert covered(Stretch(50, 1), spares) == []
    assert covered(Stretch(35, 20), spares) == []
    assert covered(Stretch(5, 5), []) == []


def test_a_filler_gives_what_is_covered_as_a_whole() -> None:
    def broken() -> bytes:
        raise DamagedError("it went away", reason="missing")

    filler = Filler(
        [
            Filling(10, 5, lambda: b"abcde"),
            Filling(13, 4, lambda: b"defg"),
            Filling(11, 2, broken),  # lies within another, so that nobody asks for it
            Filling(30, 5, broken),
        ]
    )
    assert filler(Stretch(10, 7)) == b"abcdefg"
    assert filler(Stretch(12, 2)) == b"cd"
    assert filler(Stretch(12, 6)) is None
    assert filler(Stretch(9, 2)) is None
    assert filler(Stretch(30, 1)) is None
    assert Filler([])(Stretch(0, 1)) is None


def test_a_content_is_cut_again_as_its_recipes_say() -> None:
    reader = open_sealed(MemoryFile(DATA))
    entry = reader.directory.mailboxes[0]
    first = next(messages_of(reader, entry, reader.mailbox(entry.home.number).folders[0]))
    runs = list(runs_of(first.pieces))
    assert [run.at for run in runs] == [sum(one.length for one in runs[:n]) for n in range(len(runs))]
    assert sum(one.length for one in runs) == len(MAIL)
    (encoded,) = [one for one in runs if one.recipe != RAW]
    assert stored_bytes(MAIL[encoded.at : encoded.at + encoded.length], encoded.recipe) == ATTACHMENT
    with pytest.raises(DamagedError):
        stored_bytes(b"no base64", encoded.recipe)
    joined = [Piece(ARCHIVE, 0, 30, 3), Piece(ARCHIVE, 99, 31, 3, True), Piece(ARCHIVE, 200, 5)]
    assert [(len(one.pieces), one.at, one.length) for one in runs_of(joined)] == [(2, 0, 104), (1, 104, 5)]


def test_what_is_too_large_for_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fillings, "_MOST_BYTES", 1000)
    hurt, other = open_any(damaged(DATA)), second_archive(*MAILBOXES["alice"]["INBOX"])
    broken = {ARCHIVE: broken_stretches(hurt)}
    found = twin_fillings(ARCHIVE, kept_mailboxes(hurt, other), opener(hurt, other).__getitem__, broken)
    assert [filling.length for filling in found] == [len(b"h: 2\n\nshort")]
    assert segment_fillings([Spare(0, 2000, bytes(16), OTHER, 0)], opener(other).__getitem__) == []


# As a task


def repair_task(archive: ArchiveId, location: Location, target: Path) -> RepairTask:
    area = StagingArea(path=str(target.parent))
    return RepairTask(
        archive=archive,
        location=location,
        staging=area,
        name=target.name,
        archives=Holdings(locations={archive: (location,)}, places=(area,)),
        broken={},
    )


def test_the_task_writes_and_checks_a_file(tmp_path: Path) -> None:
    target = tmp_path / "a.g1.mha"
    task = repair_task(ARCHIVE, place(tmp_path / "a.mha", damaged(DATA, 0)), target)
    report = run_repair(task, lambda _: None)
    assert report.size_bytes == target.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.g1.mha", "a.mha"]


def test_the_task_refuses_what_is_no_such_archive(tmp_path: Path) -> None:
    task = repair_task(OTHER, place(tmp_path / "a", DATA), tmp_path / "new.mha")
    with pytest.raises(DamagedError, match="it holds archive"):
        run_repair(task, lambda _: None)
    place(tmp_path / "a", b"nothing")
    with pytest.raises(DamagedError):
        run_repair(task, lambda _: None)
    assert not (tmp_path / "new.mha").exists()


def test_what_was_written_and_is_not_whole_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = repair_task(ARCHIVE, place(tmp_path / "a.mha", DATA), tmp_path / "new.mha")

    def repaired_badly(*arguments: object, **more: object) -> RepairReport:
        report: RepairReport = repair(*arguments, **more)  # type: ignore[arg-type]
        written = tmp_path / "new.mha"
        written.write_bytes(damaged(written.read_bytes(), 0))
        return report

    monkeypatch.setattr(verify_tasks, "repair", repaired_badly)
    with pytest.raises(StagingError):
        run_repair(task, lambda _: None)
    assert not (tmp_path / "new.mha").exists()
