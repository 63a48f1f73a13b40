"""What is dispatched to keep mailboxes as they are before a restore whose workers are on other hosts than the
staging area: it begins when all of this is on record there."""

from __future__ import annotations

from collections.abc import Mapping

from ...proto.errors import StagingError
from ...proto.ports import ProgressSink
from ...proto.structs import Record, field
from .. import memory
from ..before import Before, keep
from ..load import LoadLimits, gentle
from ..staging.space import lack_of


class KeepTask(Record, kw_only=True):
    """Keep what is to be kept ``before`` a restore task, as this attempt. ``grant`` is what lets the ``host``
    write the archive, ``read_grant`` what lets it read the others; that of the staging area needs none."""

    before: Before
    attempt: int
    load: LoadLimits = field(default_factory=LoadLimits)
    host: str = ""
    grant: bytes = b""
    read_grant: bytes = b""


def run_keep(task: KeepTask, _progress: ProgressSink) -> Mapping[str, str]:
    """Keep it; returns of which users that could not be done, and why (see ``before.keep``). Raises
    BackupError where it may succeed another time, or somewhere else."""
    memory.keep_freed_memory()
    with gentle(task.load):
        try:
            return keep(
                task.before,
                task.attempt,
                task.load,
                host=task.host,
                grant=task.grant,
                read_grant=task.read_grant,
            )
        except StagingError as error:
            if not lack_of(error):
                raise
            return dict.fromkeys(task.before.places, error.message)
