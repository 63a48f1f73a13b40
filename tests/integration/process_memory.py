"""What a process holds in its memory, as root sees it, without a debugger: nothing is stopped by it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from itertools import groupby
from mmap import PAGESIZE
from pathlib import Path
from typing import NamedTuple

_ENTRY_BYTES = 8
"""Of a page in /proc/PID/pagemap; its two highest bits say that it is in memory, or swapped out."""


class Region(NamedTuple):
    """A stretch of memory; ``name`` is the file that is mapped there, or what the kernel calls it."""

    start: int
    end: int
    name: str
    writable: bool

    @property
    def is_program(self) -> bool:
        """Whether it is code, or constants, of a program or a library."""
        return not self.writable and (self.name.startswith(("/usr/", "/lib")) or ".so" in self.name)


def regions(pid: int) -> list[Region]:
    """All that can be read; none once the process has ended."""
    found = []
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, _, _, _, *name = line.split(maxsplit=5)
            if rights.startswith("r") and name != ["[vvar]"] and name != ["[vsyscall]"]:
                start, end = (int(one, 16) for one in place.split("-"))
                found.append(Region(start, end, name[0] if name else "", "w" in rights))
    return found


def memory(pid: int) -> bytes:
    """All that is in the memory of a process, in one piece, but for programs and libraries."""
    return b"".join(_pieces(pid))


def _pieces(pid: int) -> Iterator[bytes]:
    there = Path(f"/proc/{pid}")
    with (
        suppress(OSError),
        (there / "mem").open("rb", buffering=0) as file,
        (there / "pagemap").open("rb", buffering=0) as pages,
    ):
        for region in regions(pid):
            if not region.is_program:
                for at, size in _in_use(region, pages):
                    with suppress(OSError, ValueError):  # gone meanwhile
                        file.seek(at)
                        yield file.read(size)


def _in_use(region: Region, pages: FileIO) -> Iterator[tuple[int, int]]:
    """The stretches of a region that were ever written or read: of the rest there is nothing."""
    pages.seek(region.start // PAGESIZE * _ENTRY_BYTES)
    entries = array("Q", pages.read((region.end - region.start) // PAGESIZE * _ENTRY_BYTES))
    at = region.start
    for in_use, group in groupby(entries, lambda entry: entry >> 62 != 0):
        size = PAGESIZE * sum(1 for _ in group)
        if in_use:
            yield at, size
        at += size


def mapped_files(pid: int) -> set[Path]:
    """The files that are mapped into a process, or that it has open."""
    found = {Path(region.name) for region in regions(pid) if region.name.startswith("/")}
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(link.readlink())
    return found
