"""What a drill dispatches when a mailbox was restored into its scratch directory: the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...groups.paths import LogicalPath
from ...proto.archive.stored import StoredMailbox
from ...proto.errors import DamagedError, ErasedError, StoreError
from ...proto.ports import ProgressSink
from ...proto.records import ArchiveId, Folder, Partition, Progress, Skipped
from ...proto.structs import Record, replace
from .. import memory
from ..archives.holdings import Holdings
from ..archives.opened import opened_archives
from ..load import LoadLimits, bounded, gentle, resting
from ..portion import Portion
from ..proving.comparison import Comparison, compare
from ..stores import registry

if TYPE_CHECKING:
    from ..proving.scratch_server import Layout

_PROGRESS_MESSAGES = 64


class ProofTask(Record, kw_only=True):
    """Compare the mailbox ``user`` of the scratch store ``target`` with how ``archive`` tells of ``whose``,
    or of a ``portion`` of it; with the administrator's command ``doveadm`` also as a Dovecot shows it, which
    keeps its files in ``place``, a directory above the mailbox ``mail``."""

    archives: Holdings
    archive: ArchiveId
    whose: LogicalPath
    target: Partition
    user: str
    place: str
    mail: str
    label: str
    doveadm: tuple[str, ...] = ()
    load: LoadLimits = LoadLimits()
    host: str = ""
    portion: Portion | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.target.hosts

    def attempted(self, host: str, _attempt: int) -> ProofTask:
        """See Task."""
        return replace(self, host=host)


class ProofReport(Record, kw_only=True):
    """What the comparison came to; ``unserved`` says why no server was asked though that was wanted."""

    compared: Comparison
    unserved: str = ""


def run_proof(task: ProofTask, progress: ProgressSink) -> ProofReport:
    """See ``worker.proving.comparison``. What is damaged or gone of the backup is told as lacking. Raises
    PlaceError if the backup can't be read now, StoreError if a server can't be asked that was to be."""
    memory.keep_freed_memory()
    done = Progress(unit=task.label, messages=0, size_bytes=0)

    def told(messages: int, size_bytes: int) -> None:
        nonlocal done
        before = done.messages
        done = done._replace(messages=before + messages, size_bytes=done.size_bytes + size_bytes)
        if done.messages // _PROGRESS_MESSAGES != before // _PROGRESS_MESSAGES:
            progress(done)

    with gentle(task.load), opened_archives(task.archives) as archives:
        try:
            stored = StoredMailbox(archives, task.archive, task.whose.user or "")
        except (DamagedError, ErasedError) as error:
            lost = Skipped(str(task.whose), "metadata", error.message)
            return ProofReport(compared=Comparison(lacks=(lost,)))
        store = bounded(registry.open_store(task.target), task.load, task.host)
        compared = compare(
            stored,
            task.whose,
            store,
            task.user,
            told,
            to_serve=bool(task.doveadm),
            portion=task.portion,
        )
    if not task.doveadm:
        return ProofReport(compared=compared)
    return _served(task, [folder.folder for folder in stored.mailbox.folders], compared, told)


def _served(
    task: ProofTask, folders: Sequence[Folder], compared: Comparison, told: Callable[[int, int], object]
) -> ProofReport:
    """The comparison, with what a server does not show as it has to."""
    from ..proving.scratch_server import layout_of

    files = replace(compared, served=())
    rest = resting(task.load, task.host)

    def told_and_rested(messages: int, size_bytes: int) -> None:
        told(messages, size_bytes)
        rest()

    layout = layout_of(folders)
    if layout is None:
        return ProofReport(compared=files, unserved="its folders lie in no way that a server is told of here")
    try:
        others = [folder.name for folder in folders] if task.portion is not None else []
        return _shown(task, compared, told_and_rested, layout, others)
    except StoreError as error:
        if not files.lacks:
            raise
        return ProofReport(compared=files, unserved=error.message)  # what is lacking is known all the same


def _shown(
    task: ProofTask,
    compared: Comparison,
    told: Callable[[int, int], object],
    layout: Layout,
    others: Sequence[str],
) -> ProofReport:
    from ..proving.scratch_server import ScratchServer
    from ..proving.served import compare_served

    server = ScratchServer(doveadm=task.doveadm, place=Path(task.place), mail=Path(task.mail), layout=layout)
    with server.account() as account:
        lacks = compare_served(account, task.whose, compared.served, told, others)
    return ProofReport(compared=replace(compared, served=(), lacks=(*compared.lacks, *lacks)))
