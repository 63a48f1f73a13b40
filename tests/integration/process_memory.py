"""What a process holds in its memory, as root sees it, without a debugger: nothing is stopped by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PIECE_BYTES = 16 << 20


class Region(NamedTuple):
    """A stretch of memory; ``name`` is the file that is mapped there, or what the kernel calls it."""

    start: int
    end: int
    name: str


def regions(pid: int) -> list[Region]:
    """All that can be read; none once the process has ended."""
    found = []
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, _, _, _, *name = line.split(maxsplit=5)
            if rights.startswith("r") and name != ["[vvar]"] and name != ["[vsyscall]"]:
                start, end = (int(one, 16) for one in place.split("-"))
                found.append(Region(start, end, name[0] if name else ""))
    return found


def memory(pid: int) -> bytes:
    """All that is in the memory of a process, in one piece, but for the code and the data of libraries."""
    return b"".join(_pieces(pid))


def _pieces(pid: int) -> Iterator[bytes]:
    with suppress(OSError), Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
        for one in regions(pid):
            if one.name.startswith(("/usr/", "/lib")) or ".so" in one.name:
                continue
            for at in range(one.start, one.end, _PIECE_BYTES):
                with suppress(OSError, ValueError):  # never written, or gone meanwhile
                    file.seek(at)
                    yield file.read(min(_PIECE_BYTES, one.end - at))


def mapped_files(pid: int) -> set[Path]:
    """The files that are mapped into a process, or that it has open."""
    found = {Path(one.name) for one in regions(pid) if one.name.startswith("/")}
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(link.readlink())
    return found
