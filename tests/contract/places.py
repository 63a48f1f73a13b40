"""The adapters of the port Place, and its wrappers, each over an empty place.

One more adapter is one more entry of ``ADAPTERS``: a function from an empty directory (for what it may need)
to an ``Adapter``, as a context that ends what it has started. It may skip the test with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailhaul.worker.archives.ports import Place
from mailhaul.worker.destinations.directory import found_directory
from mailhaul.worker.destinations.memory import MemoryFiles, MemoryPlace
from mailhaul.worker.destinations.registry import open_destination
from mailhaul.worker.destinations.settings import Destination, DirectoryDestination

AREA = "5a8d6c11"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One way to have a place.

    ``open`` opens the same place anew. ``settings``: by these another process opens it; None if it can't.
    ``plant`` puts a file there past the port, under any name; None if that can't be done. ``remains`` are the
    names of what was begun and is no file of the place, as the place has them when it was opened last.
    ``locks``: copies can be locked. ``most_memory_bytes`` is what a put may take; None if it holds all of it.
    ``file_bytes`` is how large a big file has to be, so that it is put in several parts.
    """

    open: Callable[[], Place]
    settings: Destination | None = None
    plant: Callable[[str, bytes], None] | None = None
    remains: Callable[[], list[str]] = list
    locks: bool = False
    most_memory_bytes: int | None = 24 << 20
    file_bytes: int = 64 << 20


@contextmanager
def _memory(_: Path) -> Iterator[Adapter]:
    files = MemoryFiles()
    yield Adapter(open=lambda: MemoryPlace("memory", files), locks=True, most_memory_bytes=None)


@contextmanager
def _directory(place: Path) -> Iterator[Adapter]:
    root = place / "vault"
    found_directory(str(root), AREA)
    settings = DirectoryDestination(name="vault", path=str(root), area=AREA)

    def plant(name: str, data: bytes) -> None:
        path = Path(os.path.join(root, name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remains() -> list[str]:
        return [str(one) for one in (root / ".arriving").glob("*")]

    yield Adapter(open=lambda: open_destination(settings), settings=settings, plant=plant, remains=remains)


ADAPTERS: Mapping[str, Callable[[Path], AbstractContextManager[Adapter]]] = {
    "memory": _memory,
    "directory": _directory,
}
