"""A library of real drives and a real robot, as the kernel has them; ``make tape`` runs these in an emulated
machine (tests/emulated), in which ``MAILHAUL_TAPE_CHANGER`` names the robot."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.proto.errors import AccessError, DamagedError, NotYetError, PlaceError, PlaceUnavailableError
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.settings import TapeDestination
from mailhaul.worker.destinations.tape.opening import open_tape, tape_place
from mailhaul.worker.destinations.tape.place import TapePlace
from mailhaul.worker.destinations.tape.st_drive import StDrive, is_online
from mailhaul.worker.destinations.tape.stocktaking import check_volume, take_stock

from ..tapes import source

CHANGER = os.environ.get("MAILHAUL_TAPE_CHANGER", "")
DRIVES = tuple(f"/dev/tape/by-id/emulated-{number}-nst" for number in (0, 1))
MB = 1 << 20

pytestmark = pytest.mark.skipif(not CHANGER, reason="`make tape` runs these where there is a tape library")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TapeDestination:
    """One for all tests: the tapes remember what the tests before wrote."""
    staging = tmp_path_factory.mktemp("staging")
    (staging / "_catalog").mkdir()
    (staging / "_catalog" / "20261121T220000Z-4f3a.0.names.tsv.gz").write_bytes(gzip.compress(b"names\n"))
    return TapeDestination(
        name="library",
        state=str(tmp_path_factory.mktemp("state")),
        devices=DRIVES,
        changer=CHANGER,
        label_blanks=True,
        load_seconds=60,
        buffer_bytes=MB,
        beside=str(staging),
    )


@pytest.fixture
def place(settings: TapeDestination) -> Iterator[TapePlace]:
    with closing(tape_place(settings, open_tape(settings))) as opened:
        yield opened


def put(place: TapePlace, *names: str, size: int = MB) -> None:
    for name in names:
        place.put(name, source(name, size))
    place.commit()


def check(place: TapePlace, *names: str, size: int = MB) -> None:
    copies = [(name, "") for name in names]
    for name, version in place.reading_order(copies):
        with closing(place.open(name, version)) as file:
            whole = source(name, size)
            for offset in range(0, size, MB):
                assert file.read_at(offset, MB) == whole.read_at(offset, MB)
            assert file.read_at(size // 2, 100) == whole.read_at(size // 2, 100)


def test_an_empty_drive_is_told_at_once() -> None:
    began = time.monotonic()
    assert not is_online(DRIVES[0])
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("name", ["/dev/nst0", "/dev/st0", "/dev/tape/by-id/emulated-0", "/dev/null"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(AccessError):
        StDrive(name)


def test_what_is_put_comes_back(settings: TapeDestination, place: TapePlace) -> None:
    put(place, "p/a.mha", "p/b.mha")
    check(place, "p/a.mha", "p/b.mha")
    # Goes on behind what is there.
    put(place, "p/c.mha", size=MB // 2 + 1)
    check(place, "p/a.mha", "p/b.mha")
    check(place, "p/c.mha", size=MB // 2 + 1)
    (known,) = open_tape(settings).inventory.all()
    assert known.tag == known.label.label == "TAPE0001"


def test_two_drives_at_once(settings: TapeDestination, place: TapePlace) -> None:
    with closing(tape_place(settings, open_tape(settings))) as other:
        put(place, "p/d.mha")
        put(other, "p/e.mha")
        with closing(tape_place(settings, open_tape(settings))) as third:
            with pytest.raises(PlaceError):
                put(third, "p/f.mha")
    check(place, "p/d.mha", "p/e.mha")


def test_the_end_of_a_tape(settings: TapeDestination, place: TapePlace) -> None:
    """Archives go on on the next volume, whole; one that exceeds a volume in parts."""
    before = len(list(open_tape(settings).inventory.all()))
    names = [f"p/many-{number}.mha" for number in range(4)]
    put(place, *names, size=3 * MB)
    assert len(list(open_tape(settings).inventory.all())) > before
    check(place, *names, size=3 * MB)
    put(place, "p/long.mha", size=10 * MB)
    check(place, "p/long.mha", size=10 * MB)
    parts = [
        (known.label.label, entry)
        for known in open_tape(settings).inventory.all()
        for entry in known.contents.entries
        if entry.name == "p/long.mha"
    ]
    assert len(parts) == 2


def test_an_inventory_finds_all_again(settings: TapeDestination, tmp_path: Path, place: TapePlace) -> None:
    listed = sorted(place.list(), key=lambda copy: copy.name)
    place.close()
    anew = replace(settings, state=str(tmp_path / "anew"))
    tape = open_tape(anew)
    stock = list(take_stock(iter(tape.library.cartridges()), tape.mounts, tape.inventory))
    assert [one.problem for one in stock] == [""] * 6
    with closing(tape_place(anew, tape)) as other:
        assert sorted(other.list(), key=lambda copy: copy.name) == listed
        check(other, "p/a.mha", "p/e.mha")
        check(other, "p/long.mha", size=10 * MB)
    for known in tape.inventory.all():
        assert [checked.problem for checked in check_volume(known, tape.mounts, lambda _: None)] == [
            ""
        ] * len(known.contents.entries)
    tape.mounts.release()


def test_what_is_in_the_mail_slot_is_away(settings: TapeDestination, place: TapePlace) -> None:
    tape = open_tape(settings)
    cartridge = next(one for one in tape.library.cartridges() if one.tag == "TAPE0001")
    assert "mail slot" in tape.library.eject(cartridge)
    assert next(one for one in tape.library.cartridges() if one.tag == "TAPE0001").leaving
    with pytest.raises(NotYetError) as not_yet:
        place.open("p/a.mha")
    assert not_yet.value.facts["label"] == "TAPE0001"


def test_a_robot_that_is_not_there_is_told(settings: TapeDestination) -> None:
    gone = replace(settings, changer="/dev/null")
    with closing(tape_place(gone, open_tape(gone))) as place:
        with pytest.raises((PlaceUnavailableError, DamagedError)):
            place.open("p/b.mha")
