"""What is dispatched to back up a unit: one task, one report. The other tasks are in ``inventory_tasks``,
``restore_tasks``, ``verifying.tasks``, ``purging.tasks``.

Every engine calls these functions with a task and a progress callback; tasks and reports cross process
and host boundaries, so they hold plain records only. A task's ``host`` is the one that it was sent to;
empty where that is the coordinator's.
"""

from __future__ import annotations

from ...groups.selection import EVERYTHING, Selection
from ...proto.ports import ProgressSink
from ...proto.records import BackupMode, Parents, Unit, UnitReport
from ...proto.structs import Record, field
from ..load import LoadLimits
from ..packing.settings import ArchiveSettings
from ..staging.area import StagingArea


class UnitTask(Record, kw_only=True):
    """Back up one unit: how its mailboxes are read and its archive is written, wherever that goes."""

    unit: Unit
    settings: ArchiveSettings
    host: str = ""
    load: LoadLimits = field(default_factory=LoadLimits)
    mode: BackupMode = field(default_factory=BackupMode)
    selection: Selection = EVERYTHING


class BackupTask(UnitTask, kw_only=True):
    """Back up one unit into the file ``name`` of the staging area, as the attempt with this epoch. What is
    not new lies in its ``parents``.

    ``grant`` is what lets the host write the archive, ``read_grant`` what lets it read the others; the host
    of the staging area needs none.
    """

    staging: StagingArea
    name: str
    epoch: int
    grant: bytes = b""
    parents: Parents = field(default_factory=Parents)
    read_grant: bytes = b""


def run_backup(task: BackupTask, progress: ProgressSink) -> UnitReport:
    """See ``worker.tasks.attempt.carry_out``."""
    from .attempt import carry_out  # all that moves mail: who only sends tasks does without

    return carry_out(task, progress)
