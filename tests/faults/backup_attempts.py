"""One attempt at a unit, as a program of its own that can be killed or stopped: for test_backup_resume.

    python -m mailhaul.tests.faults.backup_attempts STORE ARCHIVE EPOCH LOG

Writes the name of each user whose mailbox it opens to LOG, waits a little then, and waits for a line on its
standard input if LOG.hold has the name in it. Prints the messages it has stored, or the code of the error.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from mailhaul.proto.errors import BackupError
from mailhaul.proto.ports import KnownMailbox, MailboxReader, MailStore
from mailhaul.proto.records import ArchiveId, MailboxSize, Partition, RunId, Skipped, Unit
from mailhaul.worker.backup import back_up
from mailhaul.worker.packing.settings import ArchiveSettings
from mailhaul.worker.staging.sinks import StagedFile
from mailhaul.worker.stores import registry

_EACH_SECONDS = 0.01


class LoggedStore:
    """A MailStore that tells which mailboxes are opened."""

    def __init__(self, store: MailStore, log: Path) -> None:
        self._store = store
        self._log = log
        self._hold = log.with_suffix(".hold")

    def users(self) -> Iterator[str]:
        return self._store.users()

    def left_out(self) -> tuple[Skipped, ...]:
        return ()

    def measure(self, user: str) -> MailboxSize:
        return self._store.measure(user)

    def open_mailbox(
        self,
        user: str,
        known: KnownMailbox | None = None,
        wanted: Callable[[str], bool] = lambda _folder: True,
    ) -> AbstractContextManager[MailboxReader]:
        with self._log.open("a") as log:
            log.write(f"{user}\n")
        time.sleep(_EACH_SECONDS)
        if self._hold.exists() and self._hold.read_text() == user:
            sys.stdin.readline()
        return self._store.open_mailbox(user, known, wanted)


def main(root: str, archive: str, epoch: str, log: str) -> None:
    partition = Partition(name="primary", format="maildir", path=root)
    store = LoggedStore(registry.open_store(partition), Path(log))
    run = RunId("20261121T031500Z-4f3a")
    unit = Unit(
        run=run,
        partition=partition,
        group="user",
        shard=0,
        users=tuple(store.users()),
        archive=ArchiveId(b"of all attempts."),
    )
    settings = ArchiveSettings(run_started=1_795_230_000.0)
    try:
        report = back_up(unit, store, StagedFile(Path(archive), epoch=int(epoch)), settings, lambda _: None)
    except BackupError as error:
        print(error.code)
    else:
        print(report.messages)


if __name__ == "__main__":
    main(*sys.argv[1:])
