"""What a recall dispatches, on the host of the staging area: archives come back from a destination."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from blake3 import blake3

from ...proto.archive.files import RandomAccess
from ...proto.errors import BackupError, DamagedError, NotYetError, StagingError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Location, Progress
from ...proto.structs import Record, field
from ..archives.holdings import ConfirmedCopies
from ..archives.opened import beginning_of
from ..archives.places import Places, open_local
from ..archives.ports import OnBytes
from ..destinations.settings import Destination
from ..staging.area import StagingArea
from ..staging.sinks import StagedFile
from ..staging.space import Space
from .local import LocalTask

_PART_BYTES = 1 << 20


class Wanted(Record, kw_only=True):
    """A copy of an archive that is to come back. ``checksum`` is the BLAKE3 digest of all its bytes, empty
    where that is not known; a file in clear is none of an ``encrypted`` archive."""

    archive: ArchiveId
    location: Location
    checksum: bytes = b""
    encrypted: bool = False


class RecallTask(Record, LocalTask, kw_only=True):
    """Bring copies back from one place into the staging area, in this order. ``label`` is how the task is
    called in its progress. With ``afresh`` also the copies of what lies in the staging area are read."""

    wanted: tuple[Wanted, ...]
    place: Destination | ConfirmedCopies
    staging: StagingArea
    label: str
    afresh: bool = False


class RecallReport(Record, kw_only=True):
    """Which archives lie in the staging area now, and how large they are; which have to be made ready first
    (``waiting``, and why); and which could not be brought back (``failed``)."""

    recalled: tuple[tuple[Wanted, int], ...] = ()
    waiting: tuple[tuple[Wanted, str], ...] = ()
    failed: tuple[tuple[Wanted, BackupError], ...] = field(default=())


def run_recall(task: RecallTask, progress: ProgressSink) -> RecallReport:
    """Bring back what can be had now. What fails, or has to be made ready first, does not keep the others."""
    recalled: list[tuple[Wanted, int]] = []
    waiting: list[tuple[Wanted, str]] = []
    failed: list[tuple[Wanted, BackupError]] = []
    done = 0

    def told(size_bytes: int) -> None:
        nonlocal done
        done += size_bytes
        progress(Progress(task.label, len(recalled), done))

    with closing(Places((task.place,))) as places:
        for wish in task.wanted:
            try:
                with closing(places.open(wish.location)) as file:
                    recalled.append((wish, _bring_back(file, wish, task, told)))
            except NotYetError as error:
                waiting.append((wish, error.message))
            except BackupError as error:
                failed.append((wish, error))
    return RecallReport(recalled=tuple(recalled), waiting=tuple(waiting), failed=tuple(failed))


def _bring_back(file: RandomAccess, wanted: Wanted, task: RecallTask, told: OnBytes) -> int:
    """Copy a file into the staging area: whole and as it was, or not at all. Returns its size. Raises
    DamagedError if it is not what was put there."""
    area = task.staging
    path = Path(area.path, wanted.location.name)
    if path.exists():
        with closing(open_local(str(path))) as there:
            digest = digest_of(there) if wanted.checksum or task.afresh else b""
            if task.afresh and digest_of(file, told) != (wanted.checksum or digest):
                raise DamagedError(f"{file.name}: it is not what was put there", reason="checksum")
            if not wanted.checksum or digest == wanted.checksum:
                return there.size
        raise StagingError(f"{path}: there is another file under the name of this archive: move it away")
    header = beginning_of(file)
    if header.archive != wanted.archive:
        raise DamagedError(f"{file.name}: it holds archive {header.archive.hex()}", reason="foreign")
    if wanted.encrypted and not header.sealed:
        raise DamagedError(
            f"{file.name}: it is in clear, and the archive is known to be encrypted", reason="clear"
        )
    sink = StagedFile(
        path, space=Space(Path(area.path), area.reserve_bytes), patience_seconds=area.patience_seconds
    )
    hasher = blake3()
    try:
        if sink.begin() is not None:
            sink.restart()
        for part in _parts(file):
            hasher.update(part)
            sink.write(part)
            told(len(part))
        if wanted.checksum and hasher.digest() != wanted.checksum:
            raise DamagedError(f"{file.name}: it is not what was put there", reason="checksum")
        sink.seal()
    finally:
        sink.abort()
    return file.size


def digest_of(file: RandomAccess, told: OnBytes = lambda _: None) -> bytes:
    """The BLAKE3 digest of all bytes of a file. Raises DamagedError if it can't be read to its end."""
    digest = blake3()
    for part in _parts(file):
        digest.update(part)
        told(len(part))
    return digest.digest()


def _parts(file: RandomAccess) -> Iterator[bytes]:
    for at in range(0, file.size, _PART_BYTES):
        part = file.read_at(at, _PART_BYTES)
        if len(part) != min(_PART_BYTES, file.size - at):
            raise DamagedError(f"{file.name}: it ends at {at + len(part)}", reason="truncated")
        yield part
