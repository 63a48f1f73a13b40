"""Tapes that end early, are damaged, were cut off by a power failure, are the wrong ones: what was committed
comes back, byte for byte, and nothing else is told to be there."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.proto.errors import (
    DamagedError,
    NotYetError,
    PlaceFullError,
    PlaceUnavailableError,
)
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.tape.file_drive import FileDrive, TapeEnd
from mailhaul.worker.destinations.tape.file_library import FileLibrary
from mailhaul.worker.destinations.tape.headers import decode
from mailhaul.worker.destinations.tape.opening import open_tape, open_tape_place, tape_place

from ..contract.putting import Failing
from ..tapes import RECORD, Tapes, damage, source

ARCHIVES = {
    "p/user/a.mha": 3 * RECORD + 5,
    "p/user/b.mha": 7 * RECORD,
    "p/user/c.mha": 0,
    "p/user/d.mha": 2 * RECORD - 1,
}
LONG = {"p/user/long.mha": 40 * RECORD + 17}
WARNING = 3 * (RECORD + 8)


@pytest.mark.parametrize("keeps_refused", [False, True])
@pytest.mark.parametrize("records", range(8, 36))
def test_a_tape_that_ends_early(tmp_path: Path, records: int, keeps_refused: bool) -> None:
    capacity = 4096 + 16 + records * (RECORD + 8) + 7
    end = TapeEnd(capacity_bytes=capacity, warning_bytes=WARNING, keeps_refused=keeps_refused)
    tapes = Tapes(tmp_path, end)
    tapes.put(ARCHIVES)
    tapes.check(ARCHIVES)
    tapes.put(LONG)
    assert len(tapes.volumes()) > 1
    tapes.check(ARCHIVES | LONG)
    # And from the tapes alone, on which an archive that was begun again may be twice.
    tapes.forget()
    tapes.take_stock()
    tapes.check(ARCHIVES | LONG)


def test_an_archive_is_split_only_if_no_volume_holds_it(tmp_path: Path) -> None:
    end = TapeEnd(capacity_bytes=20 * RECORD, warning_bytes=WARNING)
    tapes = Tapes(tmp_path, end)
    names = {f"p/user/{number}.mha": 5 * RECORD for number in range(6)}
    tapes.put(names)
    known = list(tapes.tape().inventory.all())
    assert len(known) == 3
    assert all(entry.whole for volume in known for entry in volume.contents.entries)
    # One volume lost costs only what is on it.
    lost = tapes.volumes()[0]
    on_it = {
        entry.name
        for known_volume in known
        if known_volume.tag == lost.stem
        for entry in known_volume.contents.entries
    }
    lost.unlink()
    tapes.forget()
    tapes.take_stock()
    tapes.check({name: size for name, size in names.items() if name not in on_it})


def test_power_that_is_cut_before_the_filemark(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": 2 * RECORD})
    (volume,) = tapes.volumes()
    committed = volume.stat().st_size
    place = tapes.open()
    place.put("p/second.mha", source("p/second.mha", 3 * RECORD))
    place.close()
    written = volume.read_bytes()
    assert len(written) > committed + 4 * RECORD
    for size in range(committed, len(written), 4093):
        with volume.open("r+b") as file:
            file.write(written)
            file.truncate(size)
        tapes.check({"p/first.mha": 2 * RECORD})
        assert tapes.take_stock()[0].problem == ""
        tapes.check({"p/first.mha": 2 * RECORD})
    tapes.put({"p/second.mha": 3 * RECORD})
    tapes.forget()
    tapes.take_stock()
    tapes.check({"p/first.mha": 2 * RECORD, "p/second.mha": 3 * RECORD})


def test_what_was_committed_and_not_recorded_is_found(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": 2 * RECORD})
    record = next((tmp_path / "state/volumes").iterdir())
    before = record.read_bytes()
    tapes.put({"p/second.mha": 3 * RECORD})
    record.write_bytes(before)
    tapes.put({"p/third.mha": RECORD})
    tapes.check({"p/first.mha": 2 * RECORD, "p/second.mha": 3 * RECORD, "p/third.mha": RECORD})


def test_a_damaged_block_costs_what_lies_in_it(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.put(ARCHIVES)
    (volume,) = tapes.volumes()
    with closing(tapes.open()) as place:
        copy = place.stat("p/user/b.mha")
        assert copy
        block = int(copy.version.partition(":")[2])
    damage(volume, block + 3)  # its third record of data
    for again in (False, True):
        if again:
            tapes.forget()
            tapes.take_stock()
        with closing(tapes.open()) as place, closing(place.open("p/user/b.mha")) as file:
            whole = source("p/user/b.mha", file.size)
            assert file.read_at(0, 2 * RECORD) == whole.read_at(0, 2 * RECORD)
            with pytest.raises(DamagedError) as damaged:
                file.read_at(2 * RECORD + 5, 1)
            assert damaged.value.facts["reason"] == "io-error"
            assert file.read_at(3 * RECORD, file.size) == whole.read_at(3 * RECORD, file.size)


@pytest.mark.parametrize("block", range(4, 26))
def test_any_damaged_block_costs_at_most_one_archive(tmp_path: Path, block: int) -> None:
    tapes = Tapes(tmp_path)
    tapes.put(ARCHIVES)
    (volume,) = tapes.volumes()
    damage(volume, block)
    tapes.forget()
    tapes.take_stock()
    with closing(tapes.open()) as place:
        whole = 0
        for copy in place.list():
            with closing(place.open(copy.name, copy.version)) as file:
                assert file.size == ARCHIVES[copy.name]
                try:
                    data = file.read_at(0, file.size)
                except DamagedError:
                    continue
                assert data == source(copy.name, file.size).read_at(0, file.size)
                whole += 1
        assert whole >= len(ARCHIVES) - 1


def test_a_volume_that_was_shortened_is_not_written_on(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": 2 * RECORD, "p/second.mha": 5 * RECORD})
    (volume,) = tapes.volumes()
    os.truncate(volume, volume.stat().st_size - 3 * RECORD)
    size = volume.stat().st_size
    tapes.put({"p/third.mha": RECORD})
    assert volume.stat().st_size == size
    assert len(tapes.volumes()) == 2
    (retired,) = [known_volume for known_volume in tapes.tape().inventory.all() if known_volume.retired]
    assert "ends before block" in retired.retired


def test_the_wrong_tape_is_not_read(tmp_path: Path) -> None:
    """One that has the name of another, and one that was labelled again."""
    tapes = Tapes(tmp_path, TapeEnd(capacity_bytes=15 * RECORD, warning_bytes=WARNING))
    tapes.put({"p/first.mha": 5 * RECORD})
    tapes.put({"p/second.mha": 6 * RECORD})
    first, second = tapes.volumes()
    aside = first.with_suffix(".aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    tapes.check({"p/first.mha": 5 * RECORD, "p/second.mha": 6 * RECORD})
    # A copy of the second stands where the first was: the first is gone.
    second.write_bytes(first.read_bytes())
    with closing(tapes.open()) as place:
        with pytest.raises(NotYetError) as gone:
            place.open("p/first.mha")
        assert gone.value.facts["label"] == "V00001"
        assert [wish.label for wish in tapes.tape().inventory.wanted()] == ["V00001"]


@pytest.mark.parametrize("content", [b"somebody's", b"", b"\0" * 40])
def test_nothing_is_written_over_what_somebody_else_wrote(tmp_path: Path, content: bytes) -> None:
    """A foreign tape, one that begins with a filemark, and a blank one, which is used."""
    tapes = Tapes(tmp_path)
    volume = tapes.directory / "FOREIGN.tap"
    drive = FileDrive(str(_touched(volume)), tapes.end)
    if content.startswith(b"\0"):
        drive.write_filemark()
    if content:
        drive.write_record(content)
        drive.write_filemark()
    drive.close()
    before = volume.read_bytes()
    tapes.put(ARCHIVES)
    tapes.check(ARCHIVES)
    assert (volume.read_bytes() == before) == bool(content)
    assert len(tapes.volumes()) == (2 if content else 1)


def test_unreadable_is_not_blank(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": RECORD})
    (volume,) = tapes.volumes()
    damage(volume, 0)
    tapes.forget()
    before = volume.read_bytes()
    (stock,) = tapes.take_stock()
    assert "can't be read" in stock.problem
    tapes.put(ARCHIVES)
    assert volume.read_bytes() == before
    tapes.check(ARCHIVES)


def test_a_volume_without_its_label_is_read_and_not_written_on(tmp_path: Path) -> None:
    """The archives on it tell whose it is."""
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": RECORD, "p/second.mha": 3 * RECORD})
    (volume,) = tapes.volumes()
    damage(volume, 0)
    before = volume.read_bytes()
    tapes.check({"p/first.mha": RECORD, "p/second.mha": 3 * RECORD})
    tapes.put({"p/third.mha": RECORD})
    assert volume.read_bytes() == before
    (retired,) = [known_volume for known_volume in tapes.tape().inventory.all() if known_volume.retired]
    assert (retired.tag, retired.retired) == ("V00001", "its label can't be read")

    for entry in retired.contents.entries:
        damage(volume, entry.block)
    with closing(tapes.open()) as place:
        with pytest.raises(NotYetError, match=r"can't be read: .* tape forget") as unread:
            place.open("p/first.mha")
        assert unread.value.facts["label"] == "V00001"
        with closing(place.open("p/third.mha")) as file:
            assert file.read_at(0, RECORD) == source("p/third.mha", RECORD).read_at(0, RECORD)


def test_a_write_protected_volume_is_read_and_not_written_on(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": RECORD})
    (volume,) = tapes.volumes()
    volume.chmod(0o444)
    before = volume.read_bytes()
    tapes.put({"p/second.mha": RECORD})
    assert volume.read_bytes() == before
    tapes.check({"p/first.mha": RECORD, "p/second.mha": RECORD})


def test_a_volume_that_is_away_is_asked_for(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": RECORD})
    (volume,) = tapes.volumes()
    tape = tapes.tape()
    away = Path(tape.library.eject(next(iter(tape.library.cartridges()))))
    with closing(tapes.open()) as place:
        assert [copy.name for copy in place.list()] == ["p/first.mha"]
        place.request([("p/first.mha", "")])
        place.request([("p/first.mha", "")])
        (wanted,) = tapes.tape().inventory.wanted()
        assert (wanted.label, wanted.pool) == ("V00001", "default")
        with pytest.raises(NotYetError) as not_yet:
            place.open("p/first.mha")
        assert not_yet.value.facts["label"] == "V00001"
        assert not_yet.value.facts["volume"] == wanted.volume
        away.rename(volume)
        place.open("p/first.mha").close()
    assert tapes.tape().inventory.wanted() == []


def test_a_library_that_is_gone_is_told(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": RECORD})
    tapes.directory.rename(tmp_path / "elsewhere")
    with closing(tapes.open()) as place:
        with pytest.raises(PlaceUnavailableError):
            place.open("p/first.mha")
        with pytest.raises(PlaceUnavailableError):
            place.put("p/second.mha", source("p/second.mha", RECORD))


def test_a_short_volume_warns_in_time_and_is_used(tmp_path: Path) -> None:
    """As the configuration allows it: not all of it is the end."""
    settings = replace(Tapes(tmp_path).settings, capacity_bytes=1 << 20)
    with closing(open_tape_place(settings)) as place:
        for number in range(4):
            place.put(f"p/user/{number}.mha", source(f"{number}", 300_000))
        place.commit()
    assert len(list((tmp_path / "tapes").glob("*.tap"))) == 2
    with closing(open_tape_place(settings)) as place:
        assert len(list(place.list())) == 4


def test_several_drives_at_once(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    places = [tapes.open() for _ in range(3)]
    names = [f"p/user/{number}.mha" for number in range(9)]
    for number, name in enumerate(names):
        places[number % 3].put(name, source(name, 3 * RECORD))
    for place in places:
        place.commit()
    for place in places:
        place.close()
    assert len(tapes.volumes()) == 3
    tapes.check(dict.fromkeys(names, 3 * RECORD))


def test_a_pool_without_room_says_what_it_needs(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)

    class Shelf(FileLibrary):
        def add_blank(self) -> None:
            return None

    tape = open_tape(tapes.settings, library=Shelf(str(tapes.directory), tapes.end))
    with closing(tape_place(tapes.settings, tape)) as place:
        with pytest.raises(PlaceFullError) as full:
            place.put("p/first.mha", source("p/first.mha", RECORD))
        assert full.value.facts["pool"] == "default"
        (wanted,) = tape.inventory.wanted()
        assert (wanted.pool, wanted.why) == ("default", "to be written on")
        _touched(tapes.directory / "NEW.tap")
        place.put("p/first.mha", source("p/first.mha", RECORD))
        place.commit()
        assert tape.inventory.wanted() == []


def test_a_new_volume_is_read_between_writes(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    with closing(tapes.open()) as place:
        for name in ("p/first.mha", "p/second.mha", "p/third.mha"):
            place.put(name, source(name, 2 * RECORD))
            with closing(place.open(name)) as file:
                assert file.read_at(0, file.size) == source(name, file.size).read_at(0, file.size)
        place.commit()
    tapes.check(dict.fromkeys(["p/first.mha", "p/second.mha", "p/third.mha"], 2 * RECORD))


def test_a_source_that_fails_in_the_middle_leaves_the_others(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    with closing(tapes.open()) as place:
        place.put("p/first.mha", source("p/first.mha", 2 * RECORD))
        failing = Failing(9 * RECORD, 5 * RECORD, DamagedError("gone", reason="io-error"))
        with pytest.raises(DamagedError):
            place.put("p/failing.mha", failing)
        place.put("p/second.mha", source("p/second.mha", RECORD))
        place.commit()
    tapes.forget()
    tapes.take_stock()
    tapes.check({"p/first.mha": 2 * RECORD, "p/second.mha": RECORD})


def test_a_record_of_an_archive_is_no_header(tmp_path: Path) -> None:
    """Not even one that was a header on this very volume."""
    tapes = Tapes(tmp_path)
    tapes.put({"p/first.mha": RECORD})
    (volume,) = tapes.volumes()
    drive = FileDrive(str(volume), tapes.end)
    drive.locate(4)
    record = drive.read_record()
    drive.close()
    assert isinstance(record, bytes)
    assert decode(record)

    class Planted:
        name = "planted"
        size = RECORD

        def read_at(self, offset: int, length: int) -> bytes:
            return record[offset : offset + length] if isinstance(record, bytes) else b""

        def close(self) -> None:
            pass

    with closing(tapes.open()) as place:
        place.put("p/planted.mha", Planted())
        place.commit()
    damage(volume, 8)  # its header
    tapes.forget()
    tapes.take_stock()
    with closing(tapes.open()) as place:
        assert {copy.name for copy in place.list()} <= {"p/first.mha", "p/planted.mha"}
        assert len(list(place.list("p/first"))) == 1


def _touched(path: Path) -> Path:
    path.touch()
    return path
