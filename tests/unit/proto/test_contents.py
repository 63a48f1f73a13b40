"""Header, footer, index, directory: what comes back, what is refused, what fits a frame."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest

from mailhaul.proto.archive import contents, directory, frames
from mailhaul.proto.archive.contents import ArchiveDirectory, BlockTable, Footer, IndexRow, MailboxEntry
from mailhaul.proto.errors import DamagedError, UnsupportedError
from mailhaul.tests.archives import archive_header, remapped, unpacked

HEADER = contents.encode_header(archive_header())


class TestHeader:
    def test_it_comes_back(self) -> None:
        odd = replace(archive_header(), partition="p\udcff", run_started=0.25, shard=(1 << 63) - 1)
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
        assert contents.decode_header(remapped(HEADER, write_version=9, later=1)) == archive_header()

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


def entry(number: int, message_frames: tuple[int, ...] = (5, 9)) -> MailboxEntry:
    return MailboxEntry(
        number=number,
        user=f"user{number}",
        frames=(10, 20),
        message_frames=message_frames,
        folders=1,
        listed=3,
        stored=2,
        size_bytes=1 << 40,
    )


def table(*data: int) -> BlockTable:
    return BlockTable(data=array("Q", data), file=array("Q", range(len(data))))


def whole(mailboxes: int = 2, blocks: int = 3) -> ArchiveDirectory:
    return ArchiveDirectory(
        mailboxes=tuple(entry(number) for number in range(mailboxes)),
        blocks=table(*(100 * block for block in range(blocks))),
        data_bytes=100 * blocks,
        index_frames=(7, 8),
    )


def again(whole: ArchiveDirectory, most_frames: int = 1 << 30) -> ArchiveDirectory:
    parts = [directory.decode(directory.encode(part)).part for part in directory.parts(whole)]
    return directory.join(parts, most_frames)


class TestDirectory:
    @pytest.mark.parametrize(
        ("mailboxes", "blocks"), [(0, 0), (1, 0), (0, 1), (2, 3), (20_000, 70_000), (1, 65_536)]
    )
    def test_it_comes_back_however_large(self, mailboxes: int, blocks: int) -> None:
        assert again(whole(mailboxes, blocks)) == whole(mailboxes, blocks)

    def test_no_part_is_larger_than_a_frame_can_be(self) -> None:
        wide = ArchiveDirectory(
            mailboxes=tuple(entry(number, tuple(range(1 << 40, (1 << 40) + 50_000))) for number in range(10)),
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

    def test_it_counts_the_frames_it_names(self) -> None:
        assert whole().frames == 2 * (2 + 2) + 3 + 2
        assert again(whole(), whole().frames) == whole()
        with pytest.raises(DamagedError):
            again(whole(), whole().frames - 1)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("first", -1),
            ("first", None),
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
            ("mailboxes", [["", [1], [], 0, 0, 0, 0]]),
            ("mailboxes", [[b"user", [1], [], 0, 0, 0, 0]]),
            ("mailboxes", [["user", [], [], 0, 0, 0, 0]]),
            ("mailboxes", [["user", 1, [], 0, 0, 0, 0]]),
            ("mailboxes", [["user", [1], [3, 2], 0, 0, 0, 0]]),
            ("mailboxes", [["user", [1], [], -1, 0, 0, 0]]),
            ("mailboxes", [["user", [1], [], 0, 0, 0, 0, 0]]),
            ("mailboxes", [["user", [1], [], 0, 0, 0, True]]),
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
            {"blocks": BlockTable(data=array("Q", [0, 5]), file=array("Q", [9, 9]))},
            {"blocks": BlockTable(data=array("Q", [0]), file=array("Q", [1 << 63]))},
            {"mailboxes": (entry(1),)},
            {"mailboxes": (entry(0), entry(0))},
        ],
    )
    def test_parts_that_do_not_fit_together_are_damage(self, changes: dict[str, Any]) -> None:
        with pytest.raises(DamagedError):
            directory.join([replace(whole(), **changes)], 1 << 30)

    def test_parts_in_another_order_are_damage(self) -> None:
        parts = list(directory.parts(whole(1, 150_000)))
        assert len(parts) == 3
        with pytest.raises(DamagedError):
            directory.join([parts[1], parts[0], parts[2]], 1 << 30)
