"""What the reading commands read: the catalog of a staging area, or archive files that were named."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...groups.paths import LogicalPath
from ...proto.errors import BackupError, UsageError
from ...proto.records import Skipped
from ...proto.structs import replace
from ...worker.archives.opened import Unlock
from ...worker.destinations.settings import Destination
from ..backup_set import BackupSet, from_catalog, from_files
from ..browsing.past import Past, read_past
from ..catalog import Catalog
from ..good_moments import LATEST_GOOD, ChosenMoment
from ..host_partitions import paths_on
from ..readers import reading
from .configuration import chosen_site, configured
from .options import STDIO, refuse
from .output import list_skipped, note, shown, size
from .program import Invocation

if TYPE_CHECKING:
    from ...proto.keys.identities import Identity

_COPY_BYTES = 1 << 20


def unlock_with(
    identities: Sequence[Path],
    passphrase_files: Sequence[Path],
    files: Sequence[str] = (),
    *,
    at_hand: Identity | None = None,
) -> Unlock | None:
    """What opens archives with the private keys of these files, or with what is ``at_hand`` where none is
    named; those in ``files`` also with the vaults of secrets that lie beside them. Raises AccessError,
    UsageError."""
    if not identities:
        refuse(bool(passphrase_files), "--passphrase-file is that of a private key: say --identity FILE")
        if at_hand is None:
            return None
    from ..unlocking import unlocking
    from ..vaults import vaults_beside
    from .identities import opened_identity

    vaults = vaults_beside(Path(file) for file in files if file != STDIO)
    if at_hand is None or identities:
        return unlocking(opened_identity(identities, passphrase_files), vaults)
    return unlocking(at_hand, vaults)


@contextmanager
def chosen_backup(
    invocation: Invocation,
    paths: Sequence[LogicalPath],
    *,
    at: str | None,
    files: Sequence[str],
    staging: Path | None,
    destinations: Sequence[Destination] = (),
    only: str | None = None,
    departed: bool = False,
    unlock: Unlock | None = None,
) -> Iterator[BackupSet]:
    """The backup that the options name, as of the time that they say; ``latest`` if none. With ``only`` it is
    read from the destination of that name; ``departed``: see ``from_catalog``; ``unlock`` opens keys.

    An archive that comes through a pipe lies in a temporary file until the context ends; until then no purge
    deletes any of the staging area.
    """
    if not files:
        site = chosen_site(invocation, staging, destinations)
        with reading(site.area):
            when = "latest" if at is None else at
            backup = from_catalog(site.area, when, paths, site.destinations, only, departed=departed)
            if when == LATEST_GOOD and backup.moment is not None:
                _tell_passed_over(backup.moment)
            for one in backup.departed:
                note(shown(one))
            yield replace(backup, unlock=unlock)
        return
    refuse(bool(destinations or only), "-f reads archives that are named: leave out --destination and --from")
    with named_archives(at=at, files=files, staging=staging, unlock=unlock) as found:
        yield found


def named_paths(
    invocation: Invocation,
    paths: Sequence[LogicalPath],
    host: str | None,
    *,
    at: str | None,
    files: Sequence[str],
    staging: Path | None,
) -> list[LogicalPath]:
    """The paths that were named, or those of all that lay on a host. Raises UsageError unless there is one of
    these, NotFoundError."""
    named = [path for path in paths if path != LogicalPath()] if host is not None else list(paths)
    if host is None:
        refuse(not named, "say what: a PATH (/ for everything), or --host NAME")
        return named
    refuse(bool(named), "--host stands instead of a path: leave one of them out")
    refuse(bool(files), "archives do not tell which host the mail lay on: leave out --host or -f")
    partitions = configured(invocation).partitions if staging is None else ()
    with Catalog.open(chosen_site(invocation, staging).area) as catalog:
        return paths_on(catalog, host, "latest" if at is None else at, partitions)


def _tell_passed_over(moment: ChosenMoment) -> None:
    note(f"the newest good moment is {moment.run}")
    list_skipped([Skipped(over.run, over.reason, over.detail) for over in moment.passed_over], "passed over")


@contextmanager
def chosen_past(
    invocation: Invocation, path: LogicalPath, *, staging: Path | None
) -> Iterator[tuple[Catalog, Past]]:
    """The catalog of the staging area, and all that it keeps of a path through time. Until the context ends
    no purge deletes any archive."""
    site = chosen_site(invocation, staging)
    with reading(site.area), Catalog.open(site.area) as catalog:
        yield catalog, read_past(catalog, site.area, path, site.destinations)


@contextmanager
def named_archives(
    *, at: str | None, files: Sequence[str], staging: Path | None, unlock: Unlock | None = None
) -> Iterator[BackupSet]:
    """What the archive files hold that -f names."""
    with named_files(at=at, files=files, staging=staging) as here:
        yield from_files(here, unlock)


@contextmanager
def named_files(*, at: str | None, files: Sequence[str], staging: Path | None) -> Iterator[list[Path]]:
    """The archive files that -f names; until the context ends also what came through a pipe."""
    refuse(at is not None, "--at asks the catalog, -f reads archives without it: leave one of them out")
    refuse(staging is not None, "-f reads archives without a staging area: leave out -f or --staging")
    refuse(files.count(STDIO) > 1, "-f - can be given once: there is one standard input")
    with _spooled(STDIO in files) as spool:
        yield [spool if file == STDIO and spool else Path(file) for file in files]


@contextmanager
def _spooled(wanted: bool) -> Iterator[Path | None]:
    """The standard input as a file: archives are read from their end."""
    if not wanted:
        yield None
        return
    if sys.stdin.isatty():
        raise UsageError("-f - reads an archive from the standard input, which is a terminal")
    with tempfile.NamedTemporaryFile(prefix="mailhaul-", suffix=".mha") as spool:
        note(f"copying the standard input to {spool.name}")
        try:
            shutil.copyfileobj(sys.stdin.buffer, spool, _COPY_BYTES)
            spool.flush()
        except OSError as error:
            raise BackupError(
                f"can't copy the standard input to {spool.name}: {error.strerror}; TMPDIR names another place"
            ) from error
        note(f"copied {size(os.fstat(spool.fileno()).st_size)}; the copy is removed at the end")
        yield Path(spool.name)
