"""The work of a run as engines dispatch it: from a planned unit to the task of one attempt at it.

Owns epochs: each attempt at a unit has a greater one than those before, in resumed runs too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ..groups.selection import Selection
from ..proto.archive.frames import Codec
from ..proto.records import ArchiveId, BackupMode, Parents, Unit
from ..worker.archive_settings import ArchiveSettings
from ..worker.load import LoadLimits
from ..worker.staging.area import StagingArea
from ..worker.tasks import BackupTask
from .settings import ArchiveConfig

ATTEMPT_BITS = 16
"""An epoch is how often the run was resumed, then the attempt in so many bits."""

GrantWriting = Callable[[str, str, int], bytes]
"""Issues a grant: host, file relative to the staging area, epoch."""

GrantReading = Callable[[str], bytes]
"""Issues a grant to read archives of the staging area to a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupWork:
    """One unit that is to be backed up: a Task. ``begin`` is told of each attempt. What it starts from is
    looked up (``parents``) when an attempt begins."""

    unit: Unit
    settings: ArchiveSettings
    mode: BackupMode
    selection: Selection
    parents: Callable[[Unit], Parents]
    area: StagingArea
    load: LoadLimits
    resumed: int
    grant: GrantWriting
    read_grant: GrantReading
    begin: Callable[[Unit, str, int], object]

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.unit.partition.hosts

    def attempted(self, host: str, attempt: int) -> BackupTask:
        """See Task."""
        unit = self.unit
        self.begin(unit, host, attempt)
        name = f"{unit.partition.name}/{unit.group}/{unit.run}.{unit.shard}.mha"
        epoch = self.resumed << ATTEMPT_BITS | attempt
        here = host in ("", self.area.host)
        return BackupTask(
            unit=unit,
            settings=self.settings,
            mode=self.mode,
            selection=self.selection,
            parents=self.parents(unit),
            staging=self.area,
            name=name,
            epoch=epoch,
            host=host,
            grant=b"" if here else self.grant(host, name, epoch),
            read_grant=b"" if here else self.read_grant(host),
            load=self.load,
        )


def archive_settings(config: ArchiveConfig, started: float) -> ArchiveSettings:
    """How a new archive is written, under an id of its own."""
    return ArchiveSettings(
        archive=ArchiveId(secrets.token_bytes(16)),
        run_started=started,
        codec=Codec.ZSTD if config.codec == "zstd" else Codec.LZ4,
        level=config.level,
    )
