"""What every adapter of Drive promises (worker/destinations/tape/drive.py): the one made of a file, and that
of a real drive, where ``MAILHAUL_TAPE_DEVICE`` names one whose volume may be written over."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailhaul.proto.errors import PlaceError, PlaceUnavailableError
from mailhaul.worker.destinations.tape.drive import Drive, EndOfTapeError, Mark
from mailhaul.worker.destinations.tape.file_drive import FileDrive, TapeEnd
from mailhaul.worker.destinations.tape.st_drive import StDrive

RECORD = 64 << 10
CAPACITY = 4 << 20
DEVICE = os.environ.get("MAILHAUL_TAPE_DEVICE", "")
Open = Callable[[], Drive]


def _file(end: TapeEnd) -> Callable[[Path], Open]:
    def made(place: Path) -> Open:
        path = place / "volume.tap"
        path.touch()
        return lambda: FileDrive(str(path), end)

    return made


ADAPTERS: dict[str, Callable[[Path], Open]] = {
    "file": _file(TapeEnd(capacity_bytes=CAPACITY, warning_bytes=4 * RECORD)),
    "file that keeps what it refuses": _file(
        TapeEnd(capacity_bytes=CAPACITY, warning_bytes=4 * RECORD, keeps_refused=True)
    ),
}
if DEVICE:
    ADAPTERS["device"] = lambda _: lambda: StDrive(DEVICE)


@pytest.fixture(params=sorted(ADAPTERS))
def open_drive(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """How to open the same drive again."""
    made: Open = ADAPTERS[request.param](tmp_path)
    return made


@pytest.fixture
def drive(open_drive: Open) -> Iterator[Drive]:
    """A drive at the beginning of its volume."""
    opened = open_drive()
    yield opened
    opened.close()


def record(number: int, size: int = RECORD) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


def write(drive: Drive, *files: int) -> None:
    """Files of so many records, each told by its block."""
    block = 0
    for records in files:
        for _ in range(records):
            drive.write_record(record(block))
            block += 1
        drive.write_filemark()
        block += 1


def read_all(drive: Drive) -> list[bytes | Mark]:
    found: list[bytes | Mark] = []
    while not found or found[-1] is not Mark.END:
        found.append(drive.read_record())
        assert len(found) < 200
    return found


def test_what_is_written_is_read(open_drive: Open) -> None:
    drive = open_drive()
    write(drive, 1, 3)
    assert drive.position() == 6
    drive.close()
    drive = open_drive()
    expected = [record(0), Mark.FILEMARK, record(2), record(3), record(4), Mark.FILEMARK, Mark.END]
    assert drive.position() == 0
    assert read_all(drive) == expected
    assert drive.read_record() is Mark.END
    drive.rewind()
    assert read_all(drive) == expected
    drive.close()


def test_records_keep_their_sizes(drive: Drive) -> None:
    records = [record(7, size) for size in (4096, 10_240, RECORD, 256 << 10)]
    for one in records:
        drive.write_record(one)
    drive.write_filemark()
    drive.rewind()
    assert read_all(drive) == [*records, Mark.FILEMARK, Mark.END]


def test_any_block_is_found(drive: Drive) -> None:
    write(drive, 2, 1, 4)
    for block in (8, 3, 0, 6, 5, 7):
        drive.locate(block)
        assert drive.position() == block
        assert drive.read_record() == record(block)
    drive.locate(2)
    assert drive.read_record() is Mark.FILEMARK
    drive.locate(10)
    assert drive.read_record() is Mark.END
    with pytest.raises(PlaceError):
        drive.locate(11)
    drive.locate(1)
    assert drive.read_record() == record(1)


def test_the_end_is_found(drive: Drive) -> None:
    write(drive, 2, 1)
    drive.rewind()
    drive.locate_end()
    assert drive.position() == 5
    drive.write_record(record(5))
    drive.write_filemark()
    drive.locate(5)
    assert drive.read_record() == record(5)


def test_writing_gives_up_what_is_behind(drive: Drive) -> None:
    write(drive, 2, 5)
    drive.locate(3)
    drive.write_record(record(99))
    drive.write_filemark()
    drive.rewind()
    assert read_all(drive) == [record(0), record(1), Mark.FILEMARK, record(99), Mark.FILEMARK, Mark.END]


def test_two_filemarks_are_no_end(drive: Drive) -> None:
    """Not for who writes them: they are seen by who reads one block after the other from before them."""
    write(drive, 1, 1)
    drive.locate(1)
    assert drive.read_record() is Mark.FILEMARK
    assert drive.read_record() == record(2)


def test_a_volume_with_something_on_it_is_not_blank(drive: Drive) -> None:
    write(drive, 1)
    assert not drive.is_blank()
    drive.rewind()
    assert drive.read_record() == record(0)


def test_a_drive_is_for_one(open_drive: Open, drive: Drive) -> None:
    with pytest.raises(PlaceUnavailableError):
        open_drive()


def test_the_end_of_the_tape_is_told(drive: Drive) -> None:
    """What is behind a filemark that was written after the warning is all there: a record that was refused
    may be there, too."""
    block = 0
    try:
        while block < 2000:
            drive.write_record(record(block))
            block += 1
    except EndOfTapeError:
        pass
    assert 8 < block < 2000
    told = drive.position()
    assert told in (block, block + 1, None)
    for _ in range(2):
        try:
            drive.write_filemark()
        except EndOfTapeError:
            continue
        break
    drive.rewind()
    for number in range(block):
        assert drive.read_record() == record(number)
    rest = [drive.read_record(), drive.read_record()]
    assert Mark.FILEMARK in rest
    assert rest[0] in (record(block), Mark.FILEMARK)
    if told is not None:
        assert (rest[0] == record(block)) == (told == block + 1)


def test_closing_can_be_repeated(open_drive: Open) -> None:
    drive = open_drive()
    drive.close()
    drive.close()
    open_drive().close()
