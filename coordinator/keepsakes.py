"""What is laid beside the archives, so that they are enough: a README, a reader that needs nothing but
Python, and after each change of the catalog a snapshot of it and the same as a table of text.

They lie in the staging area as archives do, under names that are never given twice, and go along with them.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from .. import __version__
from ..groups.paths import printable
from ..proto.directories import make_directories, sync_directory
from ..proto.errors import AccessError, LockedError, StagingError
from ..proto.keys.sealed_files import seal_file
from ..worker.archives.names import parse_name
from ..worker.keepsake.readme import README, reader, reader_name, readme
from .area_id import area_id
from .catalog import Catalog
from .catalog.snapshots import drop_clear, snapshots
from .lock import RunLock
from .structure_keys import key_beside

_GZIP = 16 + zlib.MAX_WBITS
_LEVEL = 1


def companions(staging: Path) -> Iterator[tuple[str, bytes]]:
    """README and reader: names and contents. They are put where there is nothing of that name. Raises
    StagingError."""
    yield README, readme(area_id(staging))
    yield reader_name(__version__), reader()


def newest_keepsakes(staging: Path) -> list[str]:
    """The names of what has to go along with the archives, as far as it is there: README, readers, the newest
    snapshot and its table."""
    names = [README, *(path.name for path in sorted(staging.glob(reader_name("*"))))]
    names += [name for snapshot in snapshots(staging)[:1] for name in (str(snapshot), snapshot.table)]
    return [name for name in names if (staging / name).is_file()]


def keep_catalog(staging: Path, catalog: Catalog) -> None:
    """Lay the catalog as it is now beside the archives, and README and reader where they are not there. Where
    archives are encrypted it is sealed, and what lies there in clear goes. Call it under the run lock. Raises
    StagingError, AccessError if the key for that is gone."""
    key = key_beside(staging)
    for name, content in companions(staging):
        if not (staging / name).exists():
            _put(staging / name, [content])
    if taken := catalog.take_snapshot(staging, key):
        path = staging / taken.table
        table = _packed(name_map(area_id(staging), catalog))
        _put(path, seal_file(path.name, table, key) if key else table)
        if key:
            drop_clear(staging)


def keep_catalog_now(staging: Path) -> None:
    """``keep_catalog`` for who does not hold the run lock: a run that goes on does so itself at its end."""
    with suppress(LockedError), RunLock(staging), Catalog.open(staging, write=True) as catalog:
        keep_catalog(staging, catalog)


def name_map(area: str, catalog: Catalog) -> Iterator[str]:
    """The lines of the table: which archives there are, what each needs, and which has whose mail at the
    newest moment."""
    yield f"# mailhaul: the archives of staging area {area} after run {catalog.newest_run() or ''}"
    yield "# archive: name, id, partition, group, run, shard, generation, bytes"
    yield "# needs: name, the names of the others that it refers to"
    yield "# mailbox: partition, group, user, messages, bytes, run, the archive that tells of it"
    names = {archive: name for archive, (name, _) in catalog.names().items()}
    for archive, (name, size_bytes) in catalog.names().items():
        with suppress(AccessError):
            told = parse_name(name)
            facts = (told.partition, told.group, told.run, told.shard, told.generation, size_bytes)
            yield _line("archive", name, archive.hex(), *facts)
    for archive, others in catalog.references(names).items():
        if others:
            yield _line(
                "needs", names[archive], *(names.get(archive_id, archive_id.hex()) for archive_id in others)
            )
    newest = catalog.newest_run()
    if newest is not None:
        for mailbox in catalog.mailboxes_at(newest):
            where = names.get(mailbox.archive, "")
            yield _line(
                "mailbox",
                mailbox.partition,
                mailbox.group,
                mailbox.user,
                mailbox.stored,
                mailbox.size_bytes,
                mailbox.run,
                where,
            )


def _line(*values: object) -> str:
    return "\t".join(printable(os.fsencode(str(one))) for one in values)


def _packed(lines: Iterable[str]) -> Iterator[bytes]:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for line in lines:
        yield packer.compress(line.encode("utf-8", "surrogateescape") + b"\n")
    yield packer.flush()


def _put(path: Path, content: Iterable[bytes]) -> None:
    """A new file, whole and durable under its name, or nothing."""
    new = path.with_name(f".{path.name}.new")
    try:
        make_directories(path.parent)
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)  # users' names are in it
        try:
            with new.open("wb") as file:
                for data in content:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.rename(path)
        finally:
            new.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise StagingError(f"{path}: can't be written: {error.strerror}", path=str(path)) from error
