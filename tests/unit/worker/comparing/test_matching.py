"""Matching a listing with stored frames: every message comes out once, in order; what is said to be as it was
stored is; what is known by name is found."""

from __future__ import annotations

import random
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive.message_rows import Mark, Names
from mailhaul.proto.archive.pointers import FramePointer
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Listed, Ownership
from mailhaul.worker.comparing.matching import FEWEST_ROWS, UNKNOWN, KnownRows, Rows, SameRows, match
from mailhaul.worker.stores.listed_records import ListedRecords

OWNER = Ownership(0o600, 0, 0)


class Frames:
    """Stored frames of these messages; None stands for a frame that is damaged."""

    def __init__(self, *frames: list[Listed] | None) -> None:
        self.stored = frames
        self.frames = tuple(
            FramePointer(ArchiveId(bytes(16)), number, 0, len(rows or ()), 0, 0, 0, ())
            for number, rows in enumerate(frames)
        )
        self.decoded: list[int] = []

    def names(self, pointer: FramePointer) -> Names:
        self.decoded.append(pointer.position)
        rows = self.stored[pointer.position]
        if rows is None:
            raise DamagedError("broken", reason="metadata")
        return Names(
            uid=[row.uid for row in rows],
            base=[one.base for one in rows],
            fields=[one.fields for one in rows],
            inode=[one.inode for one in rows],
            mark=range(len(rows)),
            marks=[Mark(one.flags, one.keywords, (), one.place, one.suffix, OWNER) for one in rows],
        )


def listed(number: int, suffix: bytes = b":2,S") -> Listed:
    return Listed(b"%d.M1P1.mx1" % number, suffix, "cur", number, "S")


def steps(listing: list[Listed], *frames: list[Listed] | None) -> list[tuple[str, list[int]]]:
    """What a match comes to, in short: how it is taken, and the positions."""
    found = []
    for step in match(ListedRecords(listing), KnownRows(Frames(*frames))):
        if isinstance(step, SameRows):
            found.append(("same", [step.first, step.count]))
        else:
            found.append(("rows", [position for _, position in step.rows]))
    return found


FIRST, SECOND, THIRD = ([listed(number) for number in range(start, start + 5)] for start in (1, 6, 11))


def test_nothing_changed() -> None:
    frames = Frames(FIRST, SECOND, THIRD)
    found = list(match(ListedRecords([*FIRST, *SECOND, *THIRD]), KnownRows(frames)))
    assert [type(rows) for rows in found] == [SameRows] * 3
    assert [number for number, _ in groupby(frames.decoded)] == [0, 1, 2], "each frame once"


def test_new_mail_at_the_end() -> None:
    assert steps([*FIRST, *SECOND, listed(20)], FIRST, SECOND) == [
        ("same", [0, 5]),
        ("same", [5, 5]),
        ("rows", [UNKNOWN]),
    ]


def test_an_expunged_message_costs_its_frame_only() -> None:
    assert steps([*FIRST, *SECOND[:2], *SECOND[3:], *THIRD], FIRST, SECOND, THIRD) == [
        ("same", [0, 5]),
        ("rows", [5, 6, 8, 9]),
        ("same", [10, 5]),
    ]


def test_another_flag_uid_place_or_note() -> None:
    for change in (
        {"suffix": b":2,"},
        {"flags": "F"},
        {"uid": 99},
        {"place": "new"},
        {"fields": b"W1"},
        {"keywords": ("x",)},
    ):
        changed = [FIRST[0]._replace(**change), *FIRST[1:]]
        assert steps(changed, FIRST) == [("rows", [0, 1, 2, 3, 4])]


def test_a_frame_of_which_the_end_is_gone() -> None:
    assert steps(FIRST[:4], FIRST) == [("rows", [0, 1, 2, 3])]


def test_what_is_left_of_a_frame_stays_where_it_is_stored() -> None:
    """On both sides of a message that was marked, and of one that is gone; fewer do not."""
    few = FEWEST_ROWS
    frame = [listed(number) for number in range(5 * few)]
    marked = frame[few]._replace(suffix=b":2,RS", flags="RS")
    now = [
        *frame[:few],
        marked,
        *frame[few + 1 : 3 * few],
        *frame[3 * few + 1 : 4 * few],
        *frame[4 * few + 1 :],
    ]
    found = steps(now, frame)
    assert found == [
        ("same", [0, few]),
        ("rows", [few]),
        ("same", [few + 1, 2 * few - 1]),
        ("rows", [*range(3 * few + 1, 4 * few), *range(4 * few + 1, 5 * few)]),
    ]


def test_a_frame_of_which_the_first_messages_are_gone() -> None:
    first, second = ([listed(start + number) for number in range(2 * FEWEST_ROWS)] for start in (0, 1000))
    found = steps([*first, *second[1:]], first, second)
    size = len(first)
    assert found == [("same", [0, size]), ("same", [size + 1, size - 1])]


def test_frames_in_another_order() -> None:
    assert steps([*SECOND, *FIRST], FIRST, SECOND) == [("same", [5, 5]), ("same", [0, 5])]


def test_a_name_that_comes_twice_is_not_known() -> None:
    twin = FIRST[1]._replace(uid=50)
    assert steps([listed(99), twin, FIRST[0]], [*FIRST, twin]) == [("rows", [UNKNOWN, UNKNOWN, 0])]


def test_a_name_that_comes_twice_is_not_known_at_the_beginning_of_a_frame_either() -> None:
    twin = FIRST[0]._replace(uid=50)
    assert steps([twin, *FIRST[1:]], [*FIRST, twin]) == [("rows", [UNKNOWN, 1, 2, 3, 4])]


def test_stretches_of_a_frame() -> None:
    known = KnownRows(Frames(FIRST, SECOND))
    assert known.find(FIRST[0].base) == 0
    rows = [(FIRST[0], at) for at in (UNKNOWN, UNKNOWN, 0, 1, 3, 4, 5, 6, 6, 5, UNKNOWN)]
    assert [[at for _, at in stretch] for stretch in known.stretches(rows)] == [
        *([UNKNOWN], [UNKNOWN], [0, 1], [3, 4], [5, 6], [6], [5], [UNKNOWN])
    ]
    assert list(known.stretches([])) == []


def test_what_is_damaged_is_not_known() -> None:
    assert steps([*FIRST, *SECOND, *THIRD], None, SECOND, None) == [
        ("rows", [UNKNOWN] * 5),
        ("same", [0, 5]),
        ("rows", [UNKNOWN] * 5),
    ]


def test_nothing_was_stored() -> None:
    found = list(match(ListedRecords(FIRST), KnownRows(None)))
    assert found == [Rows([(one, UNKNOWN) for one in FIRST])]


def test_what_a_frame_can_not_hold_is_found_again() -> None:
    """As it is stored: without a UID that is out of range, and under what there is of a name."""
    odd = [Listed(b"", b":2,S", "cur", 0, "S"), Listed(b"x", b"", "new", 1 << 40)]
    stored = [Listed(b":2,S", b"", "cur", 0, "S"), Listed(b"x", b"", "new", 0)]
    assert steps(odd, stored) == [("same", [0, 2])]


def test_a_shuffled_folder_is_gone_through_in_few_passes() -> None:
    """Not a frame for each message: nothing but the first rows of frames is compared."""
    every = [listed(number) for number in range(20_000)]
    frames = Frames(*(every[start : start + 1000] for start in range(0, 20_000, 1000)))
    random.Random(1).shuffle(every)
    known = KnownRows(frames)
    found = list(match(ListedRecords(every), known))
    assert all(isinstance(one, Rows) for one in found)
    assert len(found) > 2, "not all at once"
    assert len(frames.decoded) < 100
    rows = [row for one in found if isinstance(one, Rows) for row in one.rows]
    assert [one for one, _ in rows] == every
    for one, position in rows:
        ordinal, row = known.place(position)
        assert frames.stored[ordinal] is not None
        assert (frames.stored[ordinal] or [])[row] == one


NUMBERS = st.integers(0, 12)


@given(st.lists(st.lists(NUMBERS, max_size=4)), st.lists(st.tuples(NUMBERS, st.booleans())))
def test_any_listing_over_any_frames(stored: list[list[int]], listing: list[tuple[int, bool]]) -> None:
    frames = Frames(*([listed(number) for number in numbers] for numbers in stored))
    messages = [listed(number, b":2,S" if same else b":2,") for number, same in listing]
    known, at = KnownRows(frames), 0
    every = [number for numbers in stored for number in numbers]
    for step in match(ListedRecords(messages), known):
        if isinstance(step, SameRows):
            rows = frames.stored[step.ordinal] or []
            assert step.listed() == rows[step.row : step.row + step.count]
            assert known.place(step.first) == (step.ordinal, step.row)
            assert step.is_whole == (step.count == len(rows))
            assert step.is_whole or step.count >= FEWEST_ROWS
        for one, position in step.rows if isinstance(step, Rows) else step.as_rows().rows:
            assert one == messages[at]
            if position != UNKNOWN:
                assert isinstance(step, SameRows) or every.count(one.uid) == 1
                ordinal, row = known.place(position)
                assert (frames.stored[ordinal] or [])[row].base == one.base
            else:
                assert every.count(one.uid) != 1, "what is there once is found"
            at += 1
    assert at == len(messages)
