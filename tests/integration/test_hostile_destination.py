"""A destination that changes what it has, knows the format, and makes checksums right: nothing that it gives
back is made the reason, or the source, of what becomes of good copies elsewhere."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.erasing.record import FOLDER as ERASURES
from mailhaul.coordinator.erasing.record import new_erasure, write_erasure
from mailhaul.proto.archive import frames
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType
from mailhaul.proto.archive.slots import read_slots
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.records import RunId
from mailhaul.proto.structs import replace
from mailhaul.worker.archives.names import EXCERPTS, generation_name
from mailhaul.worker.archives.opened import read_beginning

from ..archives import MemorySink, frames_of
from ..trees import differences
from ..verifying import command
from .guarded import LAYOUT, USERS, GuardedSite, mail_in
from .servers.object_storage import S3Server

HOSTILE, GOOD = "vault", "depot"
NO_SERVER = S3Server.__new__(S3Server)


class TwoPlaces(GuardedSite):
    """All archives have left the staging area, for two directories: one of them is hostile."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, NO_SERVER, (HOSTILE, GOOD))
        for _ in range(2):
            self.night()
            self.run("sweep")
        self.run("sweep")
        assert not list(self.staging.glob("primary/*/*.mha")), "all has left"

    def destination(self, name: str) -> str:
        """The table of one of them."""
        path = json.dumps(str(self.place / name))
        return f'[[destination]]\nname = "{name}"\nkind = "directory"\npath = {path}\n'

    def lose_house(self, place: Path) -> tuple[Path, Path]:
        """A blank machine: its configuration, and the private key."""
        (place / "staging").mkdir(parents=True)
        here, self.place = self.place, place
        for name in self.names:
            (place / name).symlink_to(here / name)
        config = self.configured(place)
        self.place = here
        return config, self.paper(place)

    def check(self, target: Path, without: str = "nobody") -> None:
        """The newest moment comes back, but for somebody's mail."""
        run = max(self.moments)
        words = ("--at", run, "--to", f"maildir:{target}/{LAYOUT}", "--identity", self.paper(self.place))
        self.run("restore", "/", *words)
        mail = {where: one for where, one in self.moments[run].items() if without.encode() not in where}
        assert differences(mail, mail_in(target)) == []


@pytest.fixture
def site(tmp_path: Path) -> TwoPlaces:
    return TwoPlaces(tmp_path)


def forge(archive: Path, kind: FrameType) -> None:
    """Change a bit of each frame of a kind, and make its checksum right."""
    data = bytearray(archive.read_bytes())
    for frame in frames_of(bytes(data)):
        if frame.header.type is kind:
            start = frame.at + HEADER_BYTES
            data[start + 20] ^= 1
            header = frame.header._replace(checksum=frames.checksum(data[start : frame.end]))
            data[frame.at : start] = frames.pack_header(header)
    archive.write_bytes(data)


@pytest.mark.parametrize("kind", [FrameType.BLOCK, FrameType.SEARCH], ids=lambda one: one.name)
def test_an_erasure_does_not_write_anew_what_a_destination_has_changed(
    site: TwoPlaces, tmp_path: Path, kind: FrameType
) -> None:
    """Else good copies of everybody's mail would be removed for it."""
    for archive in (tmp_path / HOSTILE / "primary" / "user").iterdir():
        forge(archive, kind)
    words = ("--reason", "r", "--yes", "--identity", site.paper(tmp_path))
    site.run("erase", USERS[3], *words)
    site.run("sweep")
    site.check(tmp_path / "restored", USERS[3].partition("@")[0])
    site.run("verify", "--from", HOSTILE)
    site.run("find", "/", "--subject", "Uebernahme", "--identity", site.paper(tmp_path))


def test_what_is_not_made_of_the_frames_that_were_sealed_is_not_written_anew(
    site: TwoPlaces, tmp_path: Path
) -> None:
    """Nor removed anywhere: as where a copy came back that no catalog knew a checksum of."""
    site.run("recall", "/")
    for archive in site.staging.glob("primary/user/*.mha"):
        forge(archive, FrameType.BLOCK)
    words = ("--reason", "r", "--yes", "--identity", site.paper(tmp_path))
    (told,) = site.run("erase", USERS[3], *words, status=(3,))["erasures"]
    assert {one["reason"] for one in told["undone"]} == {"damaged"}
    for archive in site.staging.glob("primary/user/*.mha"):
        archive.unlink()
    site.run("restore", "/", "--from", GOOD, "--to", f"maildir:{tmp_path}/restored/{LAYOUT}", *words[3:])


def test_a_record_of_an_erasure_that_a_destination_has_made_up_erases_nothing(
    site: TwoPlaces, tmp_path: Path
) -> None:
    """All archives, at all destinations, would go with the next purge."""
    erasure = RunId(max(site.moments).replace("2", "3", 1))
    made_up = new_erasure(erasure, datetime.now(UTC), "r", [("primary", user) for user in USERS])
    (tmp_path / "elsewhere").mkdir()
    write_erasure(tmp_path / "elsewhere", made_up)
    shutil.copytree(tmp_path / "elsewhere" / ERASURES, tmp_path / HOSTILE / ERASURES)
    for catalog in (site.staging / ".mailhaul").glob("catalog.sqlite*"):
        catalog.unlink()
    told = site.run("catalog rebuild", "--from", HOSTILE, status=(4,))
    assert [(one["path"], one["reason"]) for one in told["damaged"]] == [
        (f"{HOSTILE}:{ERASURES}/{erasure}.json", "clear")
    ]
    site.run("purge")
    site.check(tmp_path / "restored")


def test_a_generation_in_clear_takes_the_place_of_no_encrypted_archive(
    site: TwoPlaces, tmp_path: Path
) -> None:
    """Else the next sweeps would remove the good copies everywhere, as outdated ones."""
    for archive in list((tmp_path / HOSTILE / "primary" / "user").iterdir()):
        header = read_beginning(str(archive))
        sink = MemorySink()
        ArchiveWriter(sink, replace(header, generation=9, sealed=False)).finish()
        Path(generation_name(str(archive), 9)).write_bytes(sink.data)
    told = site.run("catalog rebuild", "--from", HOSTILE, status=(3,))
    assert [one["reason"] for one in told["refused"]] == ["clear", "clear"]
    site.run("sweep")
    site.run("sweep")
    assert len(list((tmp_path / GOOD / "primary" / "user").iterdir())) == 2
    site.check(tmp_path / "restored")


def in_clear(archive: Path) -> bytes:
    """An archive with the beginning of this one, as large, that is not encrypted and holds nobody's mail."""
    header = replace(read_beginning(str(archive)), sealed=False)
    wanted, length = archive.stat().st_size, 0
    for turn in range(99):
        sink = MemorySink()
        # Some sizes no length of data gives, as numbers get longer in the directory.
        writer = ArchiveWriter(sink, replace(header, host=turn // 5 * "x"))
        writer.append(random.Random(0).randbytes(length))
        writer.finish()
        if len(sink.data) == wanted:
            return bytes(sink.data)
        length += wanted - len(sink.data)
    raise AssertionError("no archive of this size")


def put_in_clear(site: TwoPlaces) -> None:
    """All archives of the hostile place, where neither an excerpt nor a checksum tells."""
    for archive in (site.place / HOSTILE / "primary" / "user").iterdir():
        archive.write_bytes(in_clear(archive))
    shutil.rmtree(site.staging / EXCERPTS)
    with closing(sqlite3.connect(site.staging / ".mailhaul" / "catalog.sqlite")) as catalog, catalog:
        assert catalog.execute("SELECT encrypted FROM archives").fetchall() == [(1,), (1,)]
        catalog.execute("UPDATE locations SET checksum = x''")


def test_a_restore_reads_no_archive_in_clear_in_the_place_of_an_encrypted_one(
    site: TwoPlaces, tmp_path: Path
) -> None:
    """The next copy is read; a place that has no other has a damaged one."""
    put_in_clear(site)
    words = ("--to", f"maildir:{tmp_path}/none/{LAYOUT}", "--identity", site.paper(tmp_path))
    told = site.run("restore", "/", "--from", HOSTILE, *words, status=(3, 4))
    assert len(told["damaged"]) == len(USERS)
    assert all("it is in clear" in one["detail"] for one in told["damaged"]), told["damaged"]
    site.check(tmp_path / "restored")


def test_what_is_in_clear_is_not_verified_as_an_encrypted_archive(site: TwoPlaces) -> None:
    put_in_clear(site)
    told = site.run("verify", "--from", HOSTILE, status=(0, 3, 4))
    assert {one["reason"] for one in told["damaged"]} == {"clear"}, told


def test_what_is_in_clear_is_not_recalled_as_an_encrypted_archive(site: TwoPlaces, tmp_path: Path) -> None:
    put_in_clear(site)
    site.run("recall", "/")
    for archive in site.staging.glob("primary/user/*.mha"):
        assert read_slots(LocalFile(str(archive)))
    site.check(tmp_path / "restored")


def test_the_program_of_a_destination_does_not_come_back(site: TwoPlaces, tmp_path: Path) -> None:
    """Nor does it go on to others, where somebody would give it a private key."""
    (program,) = (tmp_path / HOSTILE).glob("mailhaul-restore-*.py")
    own = program.read_bytes()
    program.write_bytes(b"print('give me your key')\n")
    config, typed = site.lose_house(tmp_path / "new")
    command(f"--config {config} catalog rebuild", "--from", HOSTILE, "--identity", typed)
    assert (tmp_path / "new" / "staging" / program.name).read_bytes() == own


def test_records_of_runs_are_not_written_in_clear_before_recipients_are_known(
    site: TwoPlaces, tmp_path: Path
) -> None:
    """A lost house has the structure key again, and no run has told it the recipients."""
    for record in (tmp_path / HOSTILE / "_runs").glob("*/*.mhr"):
        record.unlink()
    config, typed = site.lose_house(tmp_path / "new")
    command(f"--config {config} catalog rebuild", "--from", HOSTILE, "--identity", typed)
    command(f"--config {config} verify", "--fix", "--identity", typed)
    command(f"--config {config} sweep")
    assert not list((tmp_path / HOSTILE).glob("_runs/*/*.mhr"))
    command(f"--config {config} backup")
    command(f"--config {config} sweep")
    written = list((tmp_path / HOSTILE).glob("_runs/*/*.mhr"))
    assert len(written) == 3
    assert all(read_slots(LocalFile(str(path))) for path in written)
