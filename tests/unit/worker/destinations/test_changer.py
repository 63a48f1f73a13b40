"""What ``mtx`` prints, and whether a move is believed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailhaul.proto.errors import PlaceError, PlaceUnavailableError
from mailhaul.worker.destinations.tape.changer import Bay, Changer, Slot, parse_status

STATUS = """\
  Storage Changer /dev/sg3:2 Drives, 5 Slots ( 1 Import/Export )
Data Transfer Element 0:Full (Storage Element 2 Loaded):VolumeTag = TAPE0002
Data Transfer Element 1:Empty
      Storage Element 1:Full :VolumeTag=TAPE0001
      Storage Element 2:Empty
      Storage Element 3:Full
      Storage Element 4:Full :VolumeTag=TAPE0004:AlternateVolumeTag=OTHER
      Storage Element 5 IMPORT/EXPORT:Full :VolumeTag=TAPE0005
"""


class Robot:
    """What mtx would do: moves that ``works`` happen; text and exit status say nothing."""

    def __init__(self, works: bool = True) -> None:
        self.works = works
        self.slots = {1: "A", 2: "B", 3: ""}
        self.bays = {0: "", 1: ""}
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str]) -> str:
        assert command[:3] == ["mtx", "-f", "/dev/changer"]
        if command[3] == "status":
            drives = [
                f"Data Transfer Element {n}:{'Full' if tag else 'Empty'}" for n, tag in self.bays.items()
            ]
            slots = [f"Storage Element {n}:{'Full' if tag else 'Empty'}" for n, tag in self.slots.items()]
            return "\n".join((*drives, *slots))
        self.commands.append(command[3:])
        slot, other = int(command[4]), int(command[5])
        if self.works and command[3] == "load":
            self.bays[other], self.slots[slot] = self.slots[slot], ""
        if self.works and command[3] == "unload":
            self.slots[slot], self.bays[other] = self.bays[other], ""
        return "done" if not self.works else "some warning"


def test_all_elements_are_read() -> None:
    elements = parse_status(STATUS)
    assert elements.bays == (
        Bay(number=0, full=True, tag="TAPE0002", slot=2),
        Bay(number=1, full=False),
    )
    assert elements.slots == (
        Slot(number=1, full=True, tag="TAPE0001"),
        Slot(number=2, full=False),
        Slot(number=3, full=True),
        Slot(number=4, full=True, tag="TAPE0004"),
        Slot(number=5, full=True, tag="TAPE0005", mail=True),
    )
    with pytest.raises(PlaceError):
        elements.bay(2)
    with pytest.raises(PlaceError):
        elements.slot(6)


@pytest.mark.parametrize(
    ("line", "bay"),
    [
        ("Data Transfer Element 7:Full (Unknown Storage Element Loaded)", Bay(number=7, full=True)),
        (
            "Data Transfer Element 0:Full (Unknown Storage Element Loaded):VolumeTag = A1L8  ",
            Bay(number=0, full=True, tag="A1L8"),
        ),
        ("Data Transfer Element 0:Full (Storage Element 12 Loaded)", Bay(number=0, full=True, slot=12)),
    ],
)
def test_drives_in_their_states(line: str, bay: Bay) -> None:
    assert parse_status(line).bays == (bay,)


@pytest.mark.parametrize("text", ["", "mtx: Request Sense: Sense Key=Not Ready", "Storage Element x:Full"])
def test_a_robot_that_says_something_else_does_not_answer(text: str) -> None:
    with pytest.raises(PlaceUnavailableError):
        Changer("/dev/changer", lambda _: text).look()


def test_moves_that_happened() -> None:
    robot = Robot()
    changer = Changer("/dev/changer", robot)
    changer.load(1, 1)
    changer.unload(1, 3)
    assert robot.slots == {1: "", 2: "B", 3: "A"}
    assert robot.commands == [["load", "1", "1"], ["unload", "3", "1"]]


def test_a_move_that_did_not_happen_is_an_error_whatever_was_said() -> None:
    robot = Robot(works=False)
    with pytest.raises(PlaceUnavailableError):
        Changer("/dev/changer", robot).load(1, 0)
    assert robot.commands


def test_what_can_not_happen_is_not_tried() -> None:
    robot = Robot()
    changer = Changer("/dev/changer", robot)
    with pytest.raises(PlaceUnavailableError):
        changer.load(3, 0)
    with pytest.raises(PlaceUnavailableError):
        changer.unload(0, 3)
    assert robot.commands == []
