"""What the commands share that look at the live mail store: which mailboxes, where they lie, who does it; and
the report that one of them writes and another reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...groups.paths import LogicalPath
from ...proto.errors import UsageError
from ...proto.records import Partition
from ...proto.structs import Record
from ...worker.archives.opened import Unlock
from ...worker.destinations.settings import Destination
from ...worker.live.findings import Finding, Identity
from ...worker.load import LoadLimits
from ...worker.tasks.live import LiveCheckTask
from ..access import Access
from ..backup_set import BackupSet
from ..dispatch.engine import Engine
from ..live_check import CheckedMailbox, PlannedCheck, plan_check
from ..settings import Config
from .configuration import configured, default_workers
from .options import refuse
from .program import Invocation
from .restorers import open_restorers
from .sources import chosen_backup


class Where(Record, kw_only=True):
    """The backup and the mail store that options name. ``store`` and ``staging`` stand for a
    configuration; ``unlock`` opens the keys of archives."""

    store: Partition | None
    staging: Path | None
    destinations: tuple[Destination, ...]
    at: str | None
    workers: int | None
    unlock: Unlock | None = None


class Checking(Record, kw_only=True):
    """A check that is planned, and what it works with."""

    backup: BackupSet
    planned: list[PlannedCheck[LiveCheckTask]]
    engine: Engine
    access: Access | None
    config: Config | None
    workers: int

    @property
    def moment(self) -> str:
        """The run that the mailboxes are compared with: the newest that stored any of them."""
        return max((version.run for version in self.backup.versions), default="")


@contextmanager
def open_check(
    invocation: Invocation, paths: Sequence[LogicalPath], where: Where, *, data: bool
) -> Iterator[Checking]:
    """Plan a look at what the paths select; until the context ends no purge deletes any archive. Raises
    UsageError, and as ``plan_check``."""
    store, staging = where.store, where.staging
    refuse(staging is not None and store is None, "say where the mail store is, too: FORMAT:DIR")
    refuse(store is not None and staging is None, "say with --staging DIR where the backup is")
    config = None if store else configured(invocation)
    workers = where.workers or (config.dispatch.workers_per_host if config else default_workers())
    with (
        chosen_backup(
            invocation,
            paths,
            at=where.at,
            files=(),
            staging=staging,
            destinations=where.destinations,
            unlock=where.unlock,
        ) as backup,
        open_restorers(config, workers, minding=config) as (engine, access),
    ):
        stores = {partition.name: partition for partition in config.partitions} if config else {}
        if store is not None:
            stores = {version.partition: store for version in backup.versions}
        load = config.load if config else LoadLimits()
        planned = plan_check(backup, paths, stores, data=data, load=load, access=access)
        yield Checking(
            backup=backup, planned=planned, engine=engine, access=access, config=config, workers=workers
        )


# The report


def damage_document(mailbox: CheckedMailbox, finding: Finding) -> dict[str, object]:
    """Something damaged, as a report has it."""
    seen = finding.seen
    file = seen and {
        "name": finding.file,
        "size_bytes": seen.size,
        "mtime_ns": seen.mtime_ns,
        "inode": seen.inode,
    }
    return {
        "kind": finding.kind.value,
        "path": finding.path,
        "mailbox": mailbox.found.path,
        "partition": mailbox.partition,
        "host": mailbox.host,
        "detail": finding.detail,
        "messages": finding.messages,
        "is_message": finding.is_message,
        "file": file,
    }


class DamageReport(Record, kw_only=True):
    """What an earlier check has found: in which mailboxes, beside which moment, with ``data`` or without."""

    moment: str
    data: bool
    paths: tuple[LogicalPath, ...]
    damaged: tuple[Identity, ...]


def read_report(file: Path) -> DamageReport:
    """A report of ``check --json``. Raises UsageError for a file that is none."""
    try:
        document = json.loads(file.read_bytes())
        damaged = document["damaged"]
        return DamageReport(
            moment=str(document["moment"]),
            data=document["data"] is True,
            paths=tuple(dict.fromkeys(LogicalPath.parse(str(one["mailbox"])) for one in damaged)),
            damaged=tuple(map(_identity, damaged)),
        )
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file} is no report of `mailhaul check --json`") from error


def _identity(one: Mapping[str, object]) -> Identity:
    file = one["file"]
    if not isinstance(file, Mapping):
        return str(one["path"]), str(one["kind"]), ""
    numbers = (int(file[key]) for key in ("size_bytes", "mtime_ns", "inode"))
    return str(one["path"]), str(one["kind"]), str(file["name"]), *numbers
