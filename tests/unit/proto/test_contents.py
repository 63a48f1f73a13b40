"""Header, footer, index, directory: what comes back, what is refused, what fits a frame."""

from __future__ import annotations

from array import array
from typing import Any

import msgpack
import pytest

from mailhaul.proto.archive import contents, directory, frames
from mailhaul.proto.archive.contents import LAST, ArchiveDirectory, Footer, IndexRow, MailboxEntry
from mailhaul.proto.archive.places import BlockTable, FramePlace, MailboxPlace, MessagesPlace
from mailhaul.proto.archive.pointers import MailboxPointer
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.proto.records import ArchiveId, Losses, Skipped, Stretch
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import archive_header, remapped, unpacked

HEADER = contents.encode_header(archive_header())


class TestHeader:
    def test_it_comes_back(self) -> None:
        odd = replace(
            archive_header(), partition="p\udcff", run_started=0.25, shard=(1 << 63) - 1, generation=7
        )
        for header in (archive_header(), odd):
            assert contents.decode_header(contents.encode_header(header)) == header

    def test_a_whole_number_of_seconds_is_written_as_any_other(self) -> None:
        header = replace(archive_header(), run_started=1_785_542_400)
        assert contents.decode_header(contents.encode_header(header)) == header

    def test_a_newer_version_is_refused_as_such(self) -> None:
        newer = remapped(HEADER, read_version=contents.READ_VERSION + 1, group=None)
        with pytest.raises(UnsupportedError, match=f"version {contents.READ_VERSION + 1}"):
            contents.decode_header(newer)

    def test_what_a_newer_writer_added_is_ignored(self) -> None:
        found = contents.decode_header(remapped(HEADER, write_version=9, later=1))
        assert found == replace(archive_header(), write_version=9)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("read_version", 0),
            ("read_version", "1"),
            ("read_version", None),
            ("archive", b"short"),
            ("archive", "0123456789abcdef"),
            ("run", ""),
            ("run", None),
            ("run_started", 1_785_542_400),
            ("run_started", float("nan")),
            ("run_started", float("inf")),
            ("run_started", -1.0),
            ("run_started", 253_402_300_800.0),  # the year 10000
            ("host", b"mail1"),
            ("partition", ""),
            ("group", ""),
            ("format", 7),
            ("shard", -1),
            ("shard", 1 << 63),
            ("shard", 0.0),
            ("program", None),
            ("generation", None),
            ("generation", -1),
        ],
    )
    def test_one_that_is_not_complete_is_damage(self, key: str, value: object) -> None:
        with pytest.raises(DamagedError):
            contents.decode_header(remapped(HEADER, **{key: value}))


class TestFooter:
    def test_it_comes_back_in_a_fixed_length(self) -> None:
        footer = Footer(directory=1 << 40, footer=1 << 41, frames=9)
        payload = contents.encode_footer(footer)
        assert len(payload) == contents.FOOTER_BYTES == 32
        assert contents.decode_footer(payload) == footer

    @pytest.mark.parametrize(
        "footer", [Footer(directory=5, footer=5, frames=1), Footer(directory=6, footer=5, frames=1)]
    )
    def test_one_that_lies_before_its_directory_is_damage(self, footer: Footer) -> None:
        with pytest.raises(DamagedError):
            contents.decode_footer(contents.encode_footer(footer))

    @pytest.mark.parametrize("payload", [b"", bytes(31), bytes(32), bytes(33)])
    def test_anything_else_is_damage(self, payload: bytes) -> None:
        with pytest.raises(DamagedError):
            contents.decode_footer(payload)


class TestIndex:
    GOOD = contents.encode_index(IndexRow(bytes(range(32)), [9, 4], [5, (1 << 32) - 1]))

    def test_it_comes_back(self) -> None:
        assert contents.decode_index(self.GOOD) == IndexRow(bytes(range(32)), [9, 4], [5, (1 << 32) - 1])

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("n", 1),
            ("n", -1),
            ("n", None),
            ("n", 1 << 62),
            ("digest", bytes(31)),
            ("digest", 7),
            ("offset", b""),
            ("length", None),
        ],
    )
    def test_one_that_contradicts_itself_is_damage(self, key: str, value: object) -> None:
        with pytest.raises(DamagedError):
            contents.decode_index(remapped(self.GOOD, **{key: value}))


ARCHIVES = tuple(ArchiveId(bytes([number]) * 16) for number in range(3))


def place(number: int, messages: int = 2) -> MailboxPlace:
    return MailboxPlace(
        number=number,
        frames=(FramePlace(10, 80), FramePlace(200, 80)),
        parts=((FramePlace(90, 10), FramePlace(100, 10)),),
        messages=tuple(MessagesPlace(300 + 20 * one, 12, 8) for one in range(messages)),
    )


def entry(number: int) -> MailboxEntry:
    return MailboxEntry(
        user=f"user{number}",
        home=MailboxPointer(ARCHIVES[number % 3], number),
        folders=1,
        listed=3,
        stored=2,
        size_bytes=1 << 40,
        place=b"x\xff",
        archives=ARCHIVES[number % 3 :],
        rows=((ARCHIVES[number % 3], number),),
        added=number,
        vanished=1,
        changed=bool(number % 2),
    )


def table(*data: int) -> BlockTable:
    return BlockTable(data=array("Q", data), file=array("Q", range(len(data))), size=array("I", data))


def whole(mailboxes: int = 2, blocks: int = 3) -> ArchiveDirectory:
    return ArchiveDirectory(
        mailboxes=tuple(entry(number) for number in range(mailboxes)),
        places=tuple(place(3 * number) for number in range(mailboxes)),
        blocks=table(*(100 * block for block in range(blocks))),
        data_bytes=100 * blocks,
        index_frames=(7, 8),
        departed_frames=((70, 900), (80, 980)),
        unopened=(Skipped("/primary/user/eve", "mailbox", "why"),),
    )


def again(whole: ArchiveDirectory, most_frames: int = 1 << 30) -> ArchiveDirectory:
    parts = [directory.decode(directory.encode(part)).part for part in directory.parts(whole)]
    return directory.join(parts, most_frames)


ROW = ["user", 0, 0, 0, 0, 0, 0, b"", [0], [[0, 0]], 0, 0, True]
PLACE = [0, [5, 72], [[5, 72]], [5, 72, 72]]


class TestDirectory:
    @pytest.mark.parametrize(
        ("mailboxes", "blocks"), [(0, 0), (1, 0), (0, 1), (2, 3), (20_000, 70_000), (1, 65_536)]
    )
    def test_it_comes_back_however_large(self, mailboxes: int, blocks: int) -> None:
        assert again(whole(mailboxes, blocks)) == whole(mailboxes, blocks)

    def test_no_part_is_larger_than_a_frame_can_be(self) -> None:
        wide = ArchiveDirectory(
            mailboxes=(),
            places=tuple(place(number, 30_000) for number in range(10)),
            blocks=table(*range(200_000)),
            data_bytes=200_000,
            index_frames=tuple(range(1000)),
        )
        parts = list(directory.parts(wide))
        assert len(parts) > 5
        assert all(len(directory.encode(part)) < frames.LARGEST_FRAME // 4 for part in parts)
        assert again(wide) == wide

    def test_the_last_part_tells_of_header_and_parts(self) -> None:
        frame = directory.decode(directory.encode(whole(), HEADER, [3, 4]))
        assert (frame.header, frame.before) == (HEADER, (3, 4))
        assert directory.join([frame.part], 1 << 30) == whole()

    def test_what_is_lost_stands_in_the_last_part(self) -> None:
        lost = Losses((Stretch(0, 5), Stretch(9, LAST - 9)), (Stretch(1 << 32, 1 << 32),))
        told = replace(whole(20_000, 70_000), lost=lost)
        assert again(told) == told

    def test_of_too_many_losses_the_last_one_stands_for_the_rest(self) -> None:
        many = tuple(Stretch(2 * number, 1) for number in range(directory.MOST_LOST + 7))
        found = again(replace(whole(), lost=Losses(many))).lost.data
        assert found[:-1] == many[: directory.MOST_LOST - 1]
        begin = many[directory.MOST_LOST - 1].offset
        assert found[-1] == Stretch(begin, LAST - begin)

    @pytest.mark.parametrize("value", [[[0, 0]], [[5, 2], [6, 1]], [[0, -1]], [[1, LAST]], [[1]], [7], None])
    def test_losses_that_are_none_are_refused(self, value: object) -> None:
        row = {**unpacked(directory.encode(whole())), "lost": value}
        with pytest.raises(DamagedError):
            directory.decode(msgpack.packb(row))

    def test_it_counts_the_frames_it_names(self) -> None:
        assert whole().frames == 2 * (2 + 2 + 2 * 2) + 3 + 2 + 4
        assert again(whole(), whole().frames) == whole()
        with pytest.raises(DamagedError):
            again(whole(), whole().frames - 1)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("block_size", b"x"),
            ("places", None),
            ("places", [7]),
            ("places", [[]]),
            ("places", [[-1, *PLACE[1:]]]),
            ("places", [[1 << 31, *PLACE[1:]]]),
            ("places", [[*PLACE, 0]]),
            ("places", [[0, [5], *PLACE[2:]]]),
            ("places", [[0, 5, *PLACE[2:]]]),
            ("places", [[0, [5, -1], *PLACE[2:]]]),
            ("places", [[0, [5, 72], [5, 72], [5, 72, 72]]]),
            ("places", [[0, [5, 72], [[5]], [5, 72, 72]]]),
            ("places", [[0, [5, 72], [[5, 72]], [5, 72]]]),
            ("places", [[0, [5, 72], [[5, 72]], [5, 72, 1 << 63]]]),
            ("blocks", 2),
            ("blocks", -1),
            ("blocks", 1 << 62),
            ("blocks", "3"),
            ("block_data", None),
            ("block_file", b"x"),
            ("data_bytes", -1),
            ("data_bytes", 1 << 63),
            ("index", 7),
            ("index", [2, 1]),
            ("index", [-1]),
            ("index", [1 << 63]),
            ("header", None),
            ("parts", [1, 1]),
            ("parts", None),
            ("mailboxes", None),
            ("mailboxes", 7),
            ("mailboxes", [7]),
            ("mailboxes", [[]]),
            ("mailboxes", [["", *ROW[1:]]]),
            ("mailboxes", [[b"user", *ROW[1:]]]),
            ("mailboxes", [["user", 3, *ROW[2:]]]),
            ("mailboxes", [["user", None, *ROW[2:]]]),
            ("mailboxes", [["user", 0, -1, *ROW[3:]]]),
            ("mailboxes", [["user", 0, 0, -1, *ROW[4:]]]),
            ("mailboxes", [[*ROW, 0]]),
            ("mailboxes", [ROW[:-1]]),
            ("mailboxes", [[*ROW[:6], True, *ROW[7:]]]),
            ("mailboxes", [[*ROW[:7], "text", *ROW[8:]]]),
            ("mailboxes", [[*ROW[:8], [3], *ROW[9:]]]),
            ("mailboxes", [[*ROW[:8], [-1], *ROW[9:]]]),
            ("mailboxes", [[*ROW[:8], 0, *ROW[9:]]]),
            ("mailboxes", [[*ROW[:9], [[3, 0]], *ROW[10:]]]),
            ("mailboxes", [[*ROW[:9], [[0, -1]], *ROW[10:]]]),
            ("mailboxes", [[*ROW[:9], [0], *ROW[10:]]]),
            ("mailboxes", [[*ROW[:10], -1, *ROW[11:]]]),
            ("mailboxes", [[*ROW[:11], None, True]]),
            ("mailboxes", [[*ROW[:12], 1]]),
            ("archives", [b"short"]),
            ("archives", None),
            ("holes", 1),
            ("holes", -1),
            ("hole_data", bytes(8)),
            ("hole_length", bytes(8)),
            ("departed", [["user", "removed"]]),
            ("departed", [["user", "removed", b""]]),
            ("departed", None),
            ("unopened", [[1, 2, 3]]),
            ("unopened", 7),
        ],
    )
    def test_a_frame_that_contradicts_itself_is_damage(self, key: str, value: object) -> None:
        good = directory.encode(whole(), HEADER)
        assert set(unpacked(good)) >= {key}
        with pytest.raises(DamagedError):
            directory.decode(remapped(good, **{key: value}))

    @pytest.mark.parametrize(
        "changes",
        [
            {"data_bytes": 200},
            {"data_bytes": 0},
            {"blocks": table()},
            {"blocks": table(1, 2)},
            {"blocks": table(0, 5, 5)},
            {"blocks": table(0, 9, 5)},
            {"blocks": BlockTable(data=array("Q", [0, 5]), file=array("Q", [9, 9]), size=array("I", [1, 1]))},
            {"blocks": BlockTable(data=array("Q", [0]), file=array("Q", [1 << 63]), size=array("I", [1]))},
            {"places": (place(0), place(0))},
            {"places": (place(1), place(0))},
            {"holes": (Stretch(0, 100),)},  # where a block begins
            {"holes": (Stretch(50, 60),)},  # into the next block
            {"holes": (Stretch(50, 10),)},  # nothing behind it
            {"holes": (Stretch(50, 50), Stretch(50, 50))},
            {"holes": (Stretch(250, 60),)},  # beyond the data
            {"holes": (Stretch(50, 20), Stretch(70, 30))},  # side by side
            {"holes": (Stretch(250, 50), Stretch(50, 50))},
            {"holes": (Stretch(100, 0),)},
            {"holes": (Stretch(50, 1 << 64),)},
            {"holes": (Stretch(1 << 63, 5),)},
            {"unopened": (Skipped("x", "mailbox"),) * (directory.MOST_UNOPENED + 1)},
        ],
    )
    def test_parts_that_do_not_fit_together_are_damage(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DamagedError):
            directory.join([replace(whole(), **changes)], 1 << 30)

    @pytest.mark.parametrize(
        ("blocks", "holes"),
        [
            ((0, 100, 200), ((50, 50), (150, 50), (250, 50))),
            ((0, 100, 200), ((299, 1),)),
            ((10, 100, 200), ((0, 10),)),
            ((100, 200), ((0, 100),)),
            ((0,), ((100, 200),)),
            ((), ((0, 300),)),
        ],
    )
    def test_holes_come_back(self, blocks: tuple[int, ...], holes: tuple[tuple[int, int], ...]) -> None:
        holed = replace(
            whole(), blocks=table(*blocks), holes=tuple(Stretch(*one) for one in holes), data_bytes=300
        )
        found = again(holed)
        assert found == holed
        covered = [
            *((begin, found.block_end(number)) for number, begin in enumerate(blocks)),
            *((offset, offset + length) for offset, length in holes),
        ]
        assert [begin for begin, _ in sorted(covered)] == [0, *(end for _, end in sorted(covered)[:-1])]
        for at in range(300):
            hole = found.hole_at(at)
            assert (hole in found.holes) == any(a <= at < a + n for a, n in holes)
            assert hole is None or hole.offset <= at < hole.offset + hole.length

    def test_what_is_large_is_split(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(directory, "_PART_BYTES", 200)
        large = replace(
            whole(50, 60),
            holes=tuple(Stretch(100 * number + 50, 50) for number in range(60)),
            departed_frames=tuple((number, 100 + number) for number in range(30)),
            unopened=tuple(Skipped(f"/p/g/{number}", "mailbox", "x" * 20) for number in range(30)),
            index_frames=tuple(range(100)),
        )
        parts = list(directory.parts(large))
        assert len(parts) > 30
        assert all(len(directory.encode(part)) < 1000 for part in parts)
        assert again(large) == large

    def test_holes_are_not_gathered_beyond_the_blocks_that_there_may_be(self) -> None:
        part = replace(whole(0, 0), holes=(Stretch(0, 5),) * 50, data_bytes=0)
        with pytest.raises(DamagedError, match="names more"):
            directory.join([part] * 2, 60)

    def test_parts_in_another_order_are_damage(self) -> None:
        parts = list(directory.parts(whole(1, 150_000)))
        assert len(parts) == 3
        with pytest.raises(DamagedError):
            directory.join([parts[1], parts[0], parts[2]], 1 << 30)


class TestHeldSegments:
    """Which segments of an index can be referred to."""

    HOLED = replace(whole(0, 3), holes=(Stretch(50, 50), Stretch(250, 50)))

    def test_not_those_that_lie_in_a_hole_even_in_part(self) -> None:
        rows = [
            (0, 50),
            (0, 51),
            (50, 1),
            (99, 1),
            (99, 2),
            (100, 150),
            (249, 1),
            (249, 2),
            (60, 240),
            (30, 0),
        ]
        index = IndexRow(
            b"".join(bytes([number]) * 16 for number in range(len(rows))),
            [offset for offset, _ in rows],
            [length for _, length in rows],
        )
        held = self.HOLED.held(index)
        assert list(zip(held.offsets, held.lengths, strict=True)) == [(0, 50), (100, 150), (249, 1), (30, 0)]
        assert held.digests == b"".join(bytes([number]) * 16 for number in (0, 5, 6, 9))

    def test_without_holes_all(self) -> None:
        index = IndexRow(bytes(32), [0, 299], [300, 1])
        assert whole(0, 3).held(index) is index

    @pytest.mark.parametrize(("offset", "length"), [(299, 2), (300, 1), ((1 << 64) - 1, 1)])
    def test_one_beyond_the_data_is_damage(self, offset: int, length: int) -> None:
        for directory_ in (whole(0, 3), self.HOLED):
            with pytest.raises(DamagedError):
                directory_.held(IndexRow(bytes(16), [offset], [length]))
