"""What a check of the live store dispatches, and what mends it, on the hosts where the partitions lie."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from ...proto.ports import MailStore, ProgressSink
from ...proto.records import Partition, RestoreReport
from ...proto.structs import Record, field, replace
from .. import memory
from ..archives.holdings import Holdings
from ..archives.opened import OpenArchives, opened_archives
from ..live.check import LiveCheck, Stored
from ..live.findings import Identity, MailboxFindings
from ..live.mend import mend
from ..load import LoadLimits, bounded, gentle
from ..stores import registry


class LiveCheckTask(Record, kw_only=True):
    """Look through mailboxes of a partition as they are now. ``archives`` are all that may tell of them;
    ``data``: the content of all messages is read. ``label`` is how the task is called in its progress.

    Hosts other than that of the staging area read its archives by their ``grants``.
    """

    archives: Holdings
    mailboxes: tuple[Stored, ...]
    partition: Partition
    label: str
    data: bool = False
    load: LoadLimits = field(default_factory=LoadLimits)
    grants: Mapping[str, bytes] = field(default_factory=dict)
    host: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return self.partition.hosts

    def attempted(self, host: str, _attempt: int) -> Self:
        """See Task."""
        grants = {host: self.grants[host]} if host in self.grants else {}
        return replace(self, host=host, grants=grants)


class LiveCheckReport(Record, kw_only=True):
    """What was found, and on which ``host`` (empty: the coordinator's)."""

    host: str
    mailboxes: tuple[MailboxFindings, ...]


def _unasked(partition: Partition) -> MailStore:
    """The store, without anybody who asks its server: a Dovecot that is asked of its folders opens them, and
    forgets what it does not find."""
    return registry.open_store(replace(partition, doveadm=()))


@contextmanager
def _looking(task: LiveCheckTask, progress: ProgressSink) -> Iterator[tuple[OpenArchives, LiveCheck]]:
    """The archives of a task, opened, and what looks at the store; within the limits of load."""
    memory.keep_freed_memory()
    store = bounded(_unasked(task.partition), task.load, task.host)
    with (
        gentle(task.load),
        opened_archives(task.archives, task.host, task.grants.get(task.host, b"")) as archives,
    ):
        yield (
            archives,
            LiveCheck(
                archives,
                store,
                registry.open_records(task.partition),
                lambda told: progress(told._replace(unit=task.label)),
                data=task.data,
                pause=time.sleep,
            ),
        )


def run_live_check(task: LiveCheckTask, progress: ProgressSink) -> LiveCheckReport:
    """See ``worker.live.check``."""
    with _looking(task, progress) as (_, look):
        return LiveCheckReport(host=task.host, mailboxes=tuple(map(look.mailbox, task.mailboxes)))


class MendTask(LiveCheckTask, kw_only=True):
    """Look through mailboxes, and put back the content of what is damaged; or of ``only`` what was found
    before."""

    only: frozenset[Identity] | None = None


def run_mend(task: MendTask, progress: ProgressSink) -> RestoreReport:
    """See ``worker.live.mend``."""
    with _looking(task, progress) as (archives, look):
        mender = registry.open_mender(task.partition)
        report = mend(archives, look, mender, task.mailboxes, task.only)
        return replace(report, replaced=frozenset(archives.damaged))
