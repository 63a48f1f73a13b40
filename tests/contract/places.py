"""The adapters of the port Place, and its wrappers, each over an empty place.

One more adapter is one more entry of ``ADAPTERS``: a function from an empty directory (for what it may need)
to an ``Adapter``, as a context that ends what it has started. It may skip the test with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from botocore.exceptions import ClientError

from mailhaul.proto.structs import Record, replace
from mailhaul.tests.integration.servers.object_storage import S3Server, moto
from mailhaul.worker.archives.counted import CountedPlace, Traffic
from mailhaul.worker.archives.paced import PacedPlace
from mailhaul.worker.archives.ports import Place
from mailhaul.worker.archives.retried import Patience, RetriedPlace
from mailhaul.worker.destinations.directory import found_directory
from mailhaul.worker.destinations.memory import MemoryFiles, MemoryPlace
from mailhaul.worker.destinations.registry import open_destination
from mailhaul.worker.destinations.s3.dialect import keep_dialect
from mailhaul.worker.destinations.settings import (
    CommandDestination,
    Destination,
    DirectoryDestination,
    TapeDestination,
)

from ..faulty_places import Fault, Faults, FaultyPlace

AREA = "5a8d6c11"


class Adapter(Record, kw_only=True):
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
def _tape(place: Path) -> Iterator[Adapter]:
    (place / "tapes").mkdir()
    settings = TapeDestination(
        name="drive", state=str(place / "state"), file=str(place / "tapes"), buffer_bytes=4 << 20
    )
    yield Adapter(open=lambda: open_destination(settings), settings=settings)


@contextmanager
def _spanning_tapes(place: Path) -> Iterator[Adapter]:
    """Tapes so short that a file takes several."""
    (place / "tapes").mkdir()
    settings = TapeDestination(
        name="drive",
        state=str(place / "state"),
        file=str(place / "tapes"),
        record_bytes=10_240,
        capacity_bytes=6 << 20,
        buffer_bytes=4 << 20,
    )
    yield Adapter(open=lambda: open_destination(settings), settings=settings)


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
        return [str(path) for path in (root / ".arriving").glob("*")]

    yield Adapter(open=lambda: open_destination(settings), settings=settings, plant=plant, remains=remains)


@contextmanager
def _s3(place: Path) -> Iterator[Adapter]:
    yield bucket_adapter(moto(), place)


def bucket_adapter(server: S3Server, place: Path) -> Adapter:
    """A new bucket of a server, with locks where it has them."""
    bucket = server.new_bucket(locks=server.locks)
    settings = server.destination(
        bucket, place / "journal", lock="governance" if server.locks else "", part_threads=2
    )
    keep_dialect(settings.journal, server.dialect())
    client = server.client()

    def plant(name: str, data: bytes) -> None:
        with suppress(ClientError):  # not every server takes every name
            client.put_object(Bucket=bucket, Key=settings.prefix + name, Body=data)

    def remains() -> list[str]:
        begun = client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        return [one["Key"] for one in begun] + [path.name for path in (place / "journal").glob("*.upload")]

    return Adapter(
        open=lambda: open_destination(settings),
        settings=settings,
        plant=plant,
        remains=remains,
        locks=server.locks,
        most_memory_bytes=36 << 20,
        file_bytes=48 << 20,
    )


@contextmanager
def _command(place: Path) -> Iterator[Adapter]:
    """Programs that know nothing of whole files: what is cut off half-way they keep."""
    root = place / "kept"
    root.mkdir()
    path = f"{root}/{{name}}"
    settings = CommandDestination(
        name="elsewhere",
        put=("sh", "-c", 'mkdir -p "${1%/*}" && cat > "$1"', "put", path),
        get=("cat", path),
        list=("find", str(root), "-type", "f", "-printf", "%s %P\n"),
        remove=("rm", path),
        limit_seconds=60.0,
    )

    def plant(name: str, data: bytes) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    yield Adapter(open=lambda: open_destination(settings), settings=settings, plant=plant)


Made = Callable[[Path], AbstractContextManager[Adapter]]


def _wrapped(made: Made, wrap: Callable[[Place], Place]) -> Made:
    """An adapter in a wrapper; of other processes, which open it without, it need not be shown again."""

    @contextmanager
    def wrapped(place: Path) -> Iterator[Adapter]:
        with made(place) as adapter:
            yield replace(adapter, settings=None, open=lambda: wrap(adapter.open()))

    return wrapped


class _Generous:
    """A pace that is never too fast."""

    def spend_message(self) -> None:
        pass

    def spend_bytes(self, count: int) -> None:
        assert count >= 0


def _retried(place: Place) -> Place:
    """One whose every method fails at first, and whose next answer is lost."""
    methods = ("list", "stat", "open", "put", "commit", "lock", "remove", "request", "read")
    faults = [fault for method in methods for fault in (Fault(method, 1), Fault(method, 2, "lost"))]
    patience = Patience(clock=lambda: 0.0, sleep=lambda _seconds: None)
    return RetriedPlace(FaultyPlace(place, Faults(*faults)), patience)


ADAPTERS: Mapping[str, Made] = {
    "memory": _memory,
    "directory": _directory,
    "s3": _s3,
    "tape": _tape,
    "tapes that end": _spanning_tapes,
    "command": _command,
    "counted": _wrapped(_directory, lambda place: CountedPlace(place, Traffic())),
    "paced": _wrapped(_directory, lambda place: PacedPlace(place, _Generous())),
    "faulty": _wrapped(_memory, lambda place: FaultyPlace(place, Faults())),
    "retried memory": _wrapped(_memory, _retried),
    "retried directory": _wrapped(_directory, _retried),
}
