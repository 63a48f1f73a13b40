"""What records are made of."""

from __future__ import annotations

import pickle

import pytest

from mailhaul.proto.records import Message, Ownership
from mailhaul.proto.structs import Mutable, Record, asdict, field, field_names, replace


class Point(Record, kw_only=True):
    x: int
    y: int = 0
    names: list[str] = field(default_factory=list)


class Place(Point, kw_only=True):
    z: int


class Count(Mutable):
    messages: int = 0


def test_a_record_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Point(x=1).x = 2  # type: ignore[misc]


def test_records_are_equal_by_all_fields_and_only_within_a_class() -> None:
    assert Point(x=1) == Point(x=1)
    assert Point(x=1) != Point(x=1, y=1)
    assert Point(x=1) != Place(x=1, z=0)
    assert Count(1) == Count(1)


def test_no_two_records_share_a_default() -> None:
    point = Point(x=1)
    point.names.append("a")
    assert Point(x=1).names == []


def test_fields_of_a_derived_record_come_behind_those_of_its_base() -> None:
    place = Place(x=1, z=3)
    assert field_names(place) == field_names(Place) == ("x", "y", "names", "z")
    assert asdict(place) == {"x": 1, "y": 0, "names": [], "z": 3}


def test_replaced_is_what_was_named() -> None:
    assert replace(Place(x=1, z=3), y=2) == Place(x=1, y=2, z=3)
    with pytest.raises(TypeError):
        replace(Point(x=1), w=2)  # type: ignore[call-arg]


def test_a_record_goes_to_another_process_and_back() -> None:
    place = Place(x=1, z=3, names=["a"])
    assert pickle.loads(pickle.dumps(place)) == place


def test_the_inode_is_no_part_of_a_message() -> None:
    message = Message(
        uid=1,
        base=b"b",
        suffix=b"",
        place="cur",
        flags="S",
        fields=b"",
        date_ns=0,
        owner=Ownership(0, 0, 0o600),
        size=1,
        digest=b"d",
        pieces=(),
    )
    other = replace(message, inode=7)
    assert other.inode == 7
    assert other == message
    assert hash(other) == hash(message)
    assert replace(message, link=1) != message
