"""Reads from afar: few requests for what follows one another, none larger than needed for what does not."""

from __future__ import annotations

import random

import pytest

from mailhaul.proto.archive.files import ReadOnward
from mailhaul.proto.errors import DamagedError
from mailhaul.tests.archives import MemoryFile

MIB = 1 << 20
DATA = random.Random(1).randbytes(40 * MIB)


class Afar(MemoryFile):
    """Counts requests; nothing of what lies behind ``bad`` can be read."""

    bad = 1 << 60

    def __init__(self) -> None:
        super().__init__(DATA)
        self.asked: list[tuple[int, int]] = []

    def read_at(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        if offset + length > self.bad:
            raise DamagedError("it is lost", reason="io-error")
        return super().read_at(offset, length)


def test_what_follows_is_asked_for_in_ever_larger_parts() -> None:
    afar = Afar()
    file = ReadOnward(afar)
    for at in range(0, len(DATA), MIB // 2):
        assert file.read_at(at, MIB // 2) == DATA[at : at + MIB // 2]
    assert len(afar.asked) < 12
    assert max(length for _, length in afar.asked) == 8 * MIB
    assert sum(min(length, len(DATA) - at) for at, length in afar.asked) == len(DATA)


def test_what_lies_elsewhere_is_asked_for_exactly() -> None:
    afar = Afar()
    file = ReadOnward(afar)
    wanted = [(30 * MIB, 5000), (2 * MIB, 400_000), (20 * MIB, 1), (5 * MIB, MIB)]
    for at, length in wanted:
        assert file.read_at(at, length) == DATA[at : at + length]
    assert afar.asked == wanted


def test_a_gap_is_passed_over_and_the_end_is_the_end() -> None:
    afar = Afar()
    file = ReadOnward(afar)
    end = len(DATA)
    assert file.read_at(end - 3000, 100) == DATA[end - 3000 : end - 2900]
    assert file.read_at(end - 2000, 100) == DATA[end - 2000 : end - 1900]
    assert file.read_at(end - 500, 400) == DATA[end - 500 : end - 100]
    assert file.read_at(end - 100, 400) == DATA[end - 100 :]
    assert file.read_at(end, 10) == b""
    assert len(afar.asked) <= 4


def test_what_is_lost_behind_does_not_take_what_is_asked_for_with_it() -> None:
    afar = Afar()
    afar.bad = 2 * MIB
    file = ReadOnward(afar)
    for at in range(0, 2 * MIB, MIB // 2):
        assert file.read_at(at, MIB // 2) == DATA[at : at + MIB // 2]
    with pytest.raises(DamagedError):
        file.read_at(2 * MIB, 10)
