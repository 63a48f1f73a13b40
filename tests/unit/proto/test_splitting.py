"""Several archives in one file: each is found, and what is broken in one does not hide another."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import pytest

from mailhaul.proto.archive.frames import HEADER_BYTES, Codec, FrameType
from mailhaul.proto.archive.scanning import owner_of
from mailhaul.proto.archive.splitting import Part, archives_in, split
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId
from mailhaul.tests.archives import (
    Found,
    MemoryFile,
    encoded,
    expected,
    frames_of,
    read_archive,
    write_archive,
)
from mailhaul.worker.archives.opened import open_archive

MAIL = {"alice": {"INBOX": [b"h: %d\n\n" % n + b"alice's words " * 9 for n in range(4)], "Sent": [b"a"]}}
OTHERS = {"bob": {"INBOX": [b"bob's"]}, "carol": {"INBOX": [b"carol's"], "Sent": [b"x"]}}
DATA = write_archive(MAIL)
OTHER = write_archive(OTHERS, archive=ArchiveId(b"another archive!"))
THIRD = write_archive({"dora": {"INBOX": [b"dora's"]}}, archive=ArchiveId(b"a third archive!"))
FRAMES = frames_of(DATA)


def mail_in(data: bytes) -> Found:
    """All that the archives of a file hold; parts of one archive are read together."""
    found: Found = {}
    parts: dict[ArchiveId, list[MemoryFile]] = {}
    for one in split(MemoryFile(data)):
        part = MemoryFile(data[one.start : one.end])
        with suppress(DamagedError):
            parts.setdefault(owner_of(part), []).append(part)
    for copies in parts.values():
        try:
            archive = open_archive(*copies)
        except DamagedError:
            continue
        for folder, messages in read_archive(archive)[0].items():
            found.setdefault(folder, []).extend(messages)
    return found


class TestSeveralArchivesInOneFile:
    def found(self, tmp_path: Path, data: bytes) -> list[tuple[int, int]]:
        path = tmp_path / "file"
        path.write_bytes(data)
        files = archives_in(str(path))
        for file in files:
            file.close()
        return [(local_file.start, local_file.size) for local_file in files]

    def test_they_are_found_from_the_end(self, tmp_path: Path) -> None:
        assert self.found(tmp_path, DATA) == [(0, len(DATA))]
        assert self.found(tmp_path, DATA + OTHER + DATA) == [
            (0, len(DATA)),
            (len(DATA), len(OTHER)),
            (len(DATA) + len(OTHER), len(DATA)),
        ]

    @pytest.mark.parametrize("damaged", [0, 1, 2, 3])
    @pytest.mark.parametrize("place", [3, 100, -90, -5])
    def test_damage_in_one_does_not_hide_the_others(self, tmp_path: Path, damaged: int, place: int) -> None:
        parts = [bytearray(one) for one in (DATA, OTHER, DATA, OTHER)]
        parts[damaged][place] ^= 1
        assert self.found(tmp_path, b"".join(parts)) == [
            (0, len(DATA)),
            (len(DATA), len(OTHER)),
            (len(DATA) + len(OTHER), len(DATA)),
            (2 * len(DATA) + len(OTHER), len(OTHER)),
        ]

    def test_one_that_was_cut_off_at_the_end_is_the_last(self, tmp_path: Path) -> None:
        assert self.found(tmp_path, DATA + OTHER + DATA[:700]) == [
            (0, len(DATA)),
            (len(DATA), len(OTHER)),
            (len(DATA) + len(OTHER), 700),
        ]

    def test_a_file_without_any_is_damage(self, tmp_path: Path) -> None:
        for data in (b"", b"x", b"no archive" * 1000):
            with pytest.raises(DamagedError):
                self.found(tmp_path, data)

    def test_what_is_no_archive_does_not_hide_those_beside_it(self, tmp_path: Path) -> None:
        assert self.found(tmp_path, b"garbage" * 50 + DATA) == [(0, 350), (350, len(DATA))]
        assert self.found(tmp_path, DATA + OTHER + b"garbage" * 50) == [
            (0, len(DATA)),
            (len(DATA), len(OTHER)),
            (len(DATA) + len(OTHER), 350),
        ]

    def test_a_footer_that_is_none_does_not_stop_the_search(self, tmp_path: Path) -> None:
        footer = frames_of(DATA, FrameType.FOOTER)[0]
        lying = DATA[: footer.at] + encoded(footer.header, bytes(32))
        assert self.found(tmp_path, lying) == [(0, len(lying))]

    def test_no_file_stays_open_when_it_fails(self, tmp_path: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for data in (b"x", b"x" + DATA, DATA + b"x"):
            path = tmp_path / "file"
            path.write_bytes(data)
            try:
                for archive in archives_in(str(path)):
                    archive.close()
            except DamagedError:
                pass
        assert len(os.listdir("/proc/self/fd")) == before

    def test_zeros_behind_an_archive_are_no_damage(self, tmp_path: Path) -> None:
        zeros = bytes(100_000)
        assert self.found(tmp_path, DATA + zeros) == [(0, len(DATA))]
        assert self.found(tmp_path, DATA + zeros + OTHER + zeros) == [
            (0, len(DATA)),
            (len(DATA) + len(zeros), len(OTHER)),
        ]
        broken = bytearray(OTHER)
        broken[-5] ^= 1
        assert self.found(tmp_path, DATA + zeros + broken + zeros + THIRD) == [
            (0, len(DATA)),
            (len(DATA) + len(zeros), len(OTHER)),
            (len(DATA) + len(OTHER) + 2 * len(zeros), len(THIRD)),
        ]

    def test_zeros_alone_are_no_archive(self, tmp_path: Path) -> None:
        with pytest.raises(DamagedError):
            self.found(tmp_path, bytes(200_000))


class TestDamage:
    """What is done to the first, the middle or the last of three costs none of the others anything."""

    def told_apart(self, broken: bytes, number: int) -> None:
        parts = [OTHER, THIRD]
        parts.insert(number, broken)
        found = mail_in(b"".join(parts))
        for folder, messages in (expected(OTHERS) | {("dora", "INBOX"): [b"dora's"]}).items():
            assert found.get(folder) == messages, (number, folder)

    @pytest.mark.parametrize("number", [0, 1, 2])
    @pytest.mark.parametrize("size", [1, 7, HEADER_BYTES, 300])
    def test_bytes_that_were_inserted_repeated_or_lost(self, number: int, size: int) -> None:
        for at in range(0, len(DATA), 41):
            extra = random.Random(at).randbytes(size)
            self.told_apart(DATA[:at] + extra + DATA[at:], number)
            self.told_apart(DATA[: at + size] + DATA[at:], number)
            self.told_apart(DATA[:at] + DATA[at + size :], number)
            self.told_apart(DATA[:at], number)

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_frames_that_come_twice_or_in_another_order_cost_nothing(self, number: int) -> None:
        parts = [DATA[frame.at : frame.end] for frame in FRAMES]
        everything = expected(MAIL) | expected(OTHERS) | {("dora", "INBOX"): [b"dora's"]}
        for seed in range(30):
            rng = random.Random(seed)
            doubled = [*parts, *rng.sample(parts[1:], 3)]
            rng.shuffle(doubled)
            together = [OTHER, THIRD]
            together.insert(number, parts[0] + b"".join(doubled))
            assert mail_in(b"".join(together)) == everything
        for part in parts:
            together = [OTHER, THIRD]
            together.insert(number, DATA.replace(part, part + part, 1))
            assert mail_in(b"".join(together)) == everything

    def test_bytes_that_were_inserted_between_frames_cost_nothing(self) -> None:
        everything = expected(MAIL) | expected(OTHERS)
        for frame in FRAMES:
            for size in (1, 72, 5000):
                data = DATA[: frame.at] + random.Random(size).randbytes(size) + DATA[frame.at :]
                assert mail_in(data + OTHER) == everything
                assert mail_in(OTHER + data) == everything


class TestArchivesInMail:
    """Somebody sends an archive by mail: it is no archive of the file, whatever is damaged around it."""

    NESTED = write_archive({"root": {"INBOX": [b"planted"]}}, archive=ArchiveId(b"another archive!"))
    MAIL: ClassVar = {
        "eve": {"INBOX": [b"h: x\n\n" + NESTED + bytes(range(1, 256)) * 40]},
        "bob": {"INBOX": [b"b"]},
    }
    DATA = write_archive(MAIL, codec=Codec.NONE)

    def test_it_is_found_nowhere(self) -> None:
        at = self.DATA.index(self.NESTED)
        block = frames_of(self.DATA, FrameType.BLOCK)[0]
        assert block.at < at < at + len(self.NESTED) < block.end
        for place in range(0, len(self.DATA), 97):
            broken = bytearray(self.DATA)
            broken[place] ^= 4
            assert ("root", "INBOX") not in mail_in(bytes(broken)), place
            assert ("root", "INBOX") not in mail_in(bytes(broken) + THIRD), place

    def test_nor_where_the_file_ends_within_it_or_just_behind(self) -> None:
        at = self.DATA.index(self.NESTED)
        for end in (at + 10, at + len(self.NESTED) - 1, at + len(self.NESTED), at + len(self.NESTED) + 1):
            assert ("root", "INBOX") not in mail_in(self.DATA[:end])
            assert mail_in(self.DATA[:end] + bytes(50_000)).keys() <= expected(self.MAIL).keys()

    def test_an_archive_behind_one_that_was_cut_is_found(self) -> None:
        long = write_archive(
            {"zoe": {"INBOX": [random.Random(1).randbytes(100_000)]}}, archive=ArchiveId(bytes(16))
        )
        for end in range(0, len(self.DATA), 131):
            assert mail_in(self.DATA[:end] + long)["zoe", "INBOX"]


def test_the_parts_are_all_of_a_file_in_order() -> None:
    data = OTHER + b"garbage" * 9 + DATA[:500] + THIRD[90:] + b"x"
    parts = split(MemoryFile(data))
    assert parts[0] == Part(0, len(OTHER))
    assert [part.end for part in parts] == [*(one.start for one in parts[1:]), len(data)]
