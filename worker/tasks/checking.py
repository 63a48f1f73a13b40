"""What a verification of copies dispatches, on the host of the staging area: copies are read where they
lie."""

from __future__ import annotations

from contextlib import closing

from ...proto.archive.files import RandomAccess
from ...proto.errors import BackupError, DamagedError
from ...proto.keys.records import NO_KEYS, Keyring
from ...proto.ports import ProgressSink
from ...proto.records import Progress
from ...proto.structs import Record
from ..archives.places import Places
from ..archives.ports import OnBytes
from ..destinations.settings import Destination
from ..verifying.verify import verify_archive
from .local import LocalTask
from .recalling import Wanted, digest_of


class CheckTask(Record, LocalTask, kw_only=True):
    """Read copies in one place, all of each, in this order. ``keys`` are those of the staging area that they
    come from; ``label`` is how the task is called in its progress."""

    wanted: tuple[Wanted, ...]
    place: Destination
    label: str
    keys: Keyring = NO_KEYS


class CheckReport(Record, kw_only=True):
    """Which copies are as they were put there; which are not (DamagedError), or could not be read now."""

    whole: tuple[Wanted, ...] = ()
    failed: tuple[tuple[Wanted, BackupError], ...] = ()


def run_check(task: CheckTask, progress: ProgressSink) -> CheckReport:
    """Check each copy against the checksum of what was put, or where that is not known by its own
    checksums."""
    whole: list[Wanted] = []
    failed: list[tuple[Wanted, BackupError]] = []
    done = 0

    def told(size_bytes: int) -> None:
        nonlocal done
        done += size_bytes
        progress(Progress(task.label, len(whole), done))

    with closing(Places((task.place,))) as places:
        for wish in task.wanted:
            try:
                with closing(places.open(wish.location)) as file:
                    _check(file, wish, told, task.keys)
            except BackupError as error:
                failed.append((wish, error))
            else:
                whole.append(wish)
    return CheckReport(whole=tuple(whole), failed=tuple(failed))


def _check(file: RandomAccess, wanted: Wanted, told: OnBytes, keys: Keyring) -> None:
    if wanted.checksum:
        if digest_of(file, told) != wanted.checksum:
            raise DamagedError(f"{file.name}: it is not what was put there", reason="checksum")
        return
    report = verify_archive(file, lambda _: None, keys)
    told(file.size)
    if report.damaged:
        raise DamagedError(f"{file.name}: {report.damaged[0].detail}", reason=report.damaged[0].reason)
    if report.archive != wanted.archive:
        raise DamagedError(f"{file.name}: it holds another archive", reason="foreign")
    if wanted.encrypted and not report.encrypted:
        raise DamagedError(
            f"{file.name}: it is in clear, and the archive is known to be encrypted", reason="clear"
        )
