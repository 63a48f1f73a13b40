"""The work of a run as engines dispatch it: from a planned unit to the task of one attempt at it.

Owns epochs: each attempt at a unit has a greater one than those before, in resumed runs too.
"""

from __future__ import annotations

from collections.abc import Callable

from ..proto.archive.frames import Codec
from ..proto.records import Parents, Unit
from ..proto.structs import Record
from ..worker.archives.names import archive_name
from ..worker.packing.settings import ArchiveSettings
from ..worker.staging.area import StagingArea
from ..worker.tasks.backup import BackupTask, UnitTask
from .request import Manner
from .settings import ArchiveConfig, Config

Attempted = Callable[[Unit, str, int], object]
"""Told of each attempt: its unit, its host, its number."""

ATTEMPT_BITS = 16
"""An epoch is how often the run was resumed, then the attempt in so many bits."""

GrantWriting = Callable[[str, str, int], bytes]
"""Issues a grant: host, file relative to the staging area, epoch."""

GrantReading = Callable[[str], bytes]
"""Issues a grant to read archives of the staging area to a host."""


def unit_task(unit: Unit, config: Config, manner: Manner, started: float) -> UnitTask:
    """How a unit of a run that was begun then is backed up, in this manner."""
    return UnitTask(
        unit=unit,
        settings=archive_settings(config.archive, started),
        load=config.load,
        mode=manner.mode,
        selection=manner.selection(unit.group),
    )


class StreamWork(Record, kw_only=True):
    """One unit whose archive goes into a stream: a Task of an engine that has no workers elsewhere. ``begin``
    is told of each attempt."""

    task: UnitTask
    begin: Attempted

    @property
    def label(self) -> str:
        """See Task."""
        return self.task.unit.label

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.task.unit.partition.hosts

    def attempted(self, host: str, attempt: int) -> UnitTask:
        """See Task."""
        self.begin(self.task.unit, host, attempt)
        return self.task


class BackupWork(Record, kw_only=True):
    """One unit whose archive goes into the staging area: a Task. ``begin`` is told of each attempt. What it
    starts from is looked up (``parents``) when an attempt begins."""

    task: UnitTask
    parents: Callable[[Unit], Parents]
    area: StagingArea
    resumed: int
    grant: GrantWriting
    read_grant: GrantReading
    begin: Attempted

    @property
    def unit(self) -> Unit:
        """What is backed up."""
        return self.task.unit

    @property
    def label(self) -> str:
        """See Task."""
        return self.unit.label

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.unit.partition.hosts

    def attempted(self, host: str, attempt: int) -> BackupTask:
        """See Task."""
        task, unit = self.task, self.unit
        self.begin(unit, host, attempt)
        name = archive_name(unit.partition.name, unit.group, unit.run, unit.shard, unit.archive)
        epoch = self.resumed << ATTEMPT_BITS | attempt
        here = host in ("", self.area.host)
        return BackupTask(
            unit=unit,
            settings=task.settings,
            mode=task.mode,
            selection=task.selection,
            load=task.load,
            parents=self.parents(unit),
            staging=self.area,
            name=name,
            epoch=epoch,
            host=host,
            grant=b"" if here else self.grant(host, name, epoch),
            read_grant=b"" if here else self.read_grant(host),
        )


def archive_settings(config: ArchiveConfig, started: float) -> ArchiveSettings:
    """How a new archive is written."""
    return ArchiveSettings(
        run_started=started,
        codec=Codec.ZSTD if config.codec == "zstd" else Codec.LZ4,
        level=config.level,
    )
