"""What planning the restore of very many mailboxes costs, before a byte of mail is read.

    python -P -m mailhaul.bench.macro.plan_restore --place DIR [--mailboxes 100000] [--archives 100]

Makes a staging area below DIR: archives by the real writer, each of as many mailboxes as the others, with the
folders and messages of the options (the same few bytes of mail in all: a plan reads none), and their catalog.
Then plans a restore of everything: the plan alone, of the newest moment and of the newest good one; and as a
command, with the looks of its workers at a target that is empty. Prints wall and CPU seconds and the peak
memory of all processes together.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.catalog import Catalog
from mailhaul.proto.archive.contents import ArchiveHeader
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.proto.records import (
    ArchiveId,
    Directory,
    DirectoryKind,
    FileStat,
    Folder,
    Listed,
    MailboxSummary,
    Message,
    Ownership,
    Partition,
    Piece,
    RunId,
    Terms,
    Unit,
    UnitReport,
)
from mailhaul.worker.archives.names import archive_name
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.staging.sinks import StagedFile

from .measure import Command, Measured, run

_STARTED = datetime(2026, 8, 1, 2, 0, tzinfo=UTC)
_RUN = RunId("20260801T020000Z-0001")
_OWNER = Ownership(0o700, 1000, 1000)
_PARTITION = Partition(name="primary", format="maildir", path="/srv/mail")
_PLAN = """
import sys
from pathlib import Path
from mailhaul.coordinator.backup_set import from_catalog
from mailhaul.coordinator.restore_plan import plan_restore
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import Partition

paths = [LogicalPath()]
backup = from_catalog(Path(sys.argv[1]), sys.argv[2], paths)
target = Partition(name="primary", format="maildir", path=sys.argv[3])
plan = plan_restore(backup, paths, {"primary": target}, as_user=None, workers=2)
print(len(plan.mailboxes), len(plan.tasks), plan.messages)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    staging = options.place / "plan-restore"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _make(staging, options)
        target = options.place / "nowhere"
        program = Path(sys.executable).with_name("mailhaul")
        restore = (str(program), "restore", "/", "--staging", str(staging), "--to", f"maildir:{target}")
        plan = (sys.executable, "-P", "-c", _PLAN, str(staging))
        print("| what | wall s | CPU s | peak MB |")
        print("|---|---|---|---|")
        for what, argv in (
            ("the plan alone", (*plan, "latest", str(target))),
            ("the plan alone, latest-good", (*plan, "latest-good", str(target))),
            ("restore --dry-run", (*restore, "--dry-run")),
            ("restore --dry-run --json", (*restore, "--dry-run", "--json")),
        ):
            _tell(what, run(Command(argv=argv, cwd=options.place), options.place / "plan-restore.out"))
    finally:
        shutil.rmtree(staging)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--place", type=Path, required=True, help="where the staging area is made")
    parser.add_argument("--mailboxes", type=int, default=100_000)
    parser.add_argument("--archives", type=int, default=100)
    parser.add_argument("--folders", type=int, default=5, help="of each mailbox")
    parser.add_argument("--messages", type=int, default=4, help="in each folder")
    return parser.parse_args(arguments)


def _tell(what: str, measured: Measured) -> None:
    peak = measured.peak_memory_bytes / 1e6
    print(f"| {what} | {measured.wall_seconds:.1f} | {measured.cpu_seconds:.1f} | {peak:.0f} |", flush=True)


class _Mail:
    """An OpenedFile over a little message."""

    listed: Listed | None = None

    def __init__(self) -> None:
        self._left = b"Subject: one of many\n\nHello.\n"
        self.stat = FileStat(len(self._left), 0, _OWNER)

    def read(self, size: int) -> bytes:
        data, self._left = self._left[:size], self._left[size:]
        return data

    def close(self) -> None: ...


def _make(staging: Path, options: argparse.Namespace) -> None:
    with Catalog.open(staging, write=True) as catalog:
        catalog.begin_run(_RUN, _STARTED, paths="/", stores=(_PARTITION,))
        share = -(-options.mailboxes // options.archives)
        for shard in range(options.archives):
            users = [
                f"user{number:06}@example.org"
                for number in range(shard * share, min((shard + 1) * share, options.mailboxes))
            ]
            archive = ArchiveId(secrets.token_bytes(16))
            unit = Unit(
                run=_RUN, partition=_PARTITION, group="user", shard=shard, users=tuple(users), archive=archive
            )
            catalog.plan_units([unit])
            catalog.commit_unit(_archive(staging, unit, options), sealed=_STARTED)
        catalog.end_run(_RUN, _STARTED + timedelta(hours=1))


def _archive(staging: Path, unit: Unit, options: argparse.Namespace) -> UnitReport:
    name = archive_name(_PARTITION.name, unit.group, unit.run, unit.shard, unit.archive)
    sink = StagedFile(staging / name)
    sink.begin()
    header = ArchiveHeader(
        archive=unit.archive,
        run=unit.run,
        run_started=_STARTED.timestamp(),
        host="mail1",
        partition=_PARTITION.name,
        format=_PARTITION.format,
        group=unit.group,
        shard=unit.shard,
        program="mailhaul bench",
    )
    writer = ArchiveWriter(sink, header)
    size, digest, pieces = Packer(writer).store(_Mail())
    messages = options.folders * options.messages
    for user in unit.users:
        for folder in range(options.folders):
            for number in range(options.messages):
                writer.add_message(
                    _message(folder * options.messages + number + 1, size, digest, pieces), Terms()
                )
            writer.end_folder(_folder(folder))
        writer.end_mailbox(user, user.encode(), messages, messages * size, ())
    writer.finish()
    sink.seal()
    total = messages * len(unit.users)
    return UnitReport(
        run=unit.run,
        partition=_PARTITION.name,
        group=unit.group,
        shard=unit.shard,
        archive=unit.archive,
        name=name,
        mailboxes=tuple(
            MailboxSummary(
                partition=_PARTITION.name,
                group=unit.group,
                user=user,
                folders=options.folders,
                listed=messages,
                stored=messages,
                skipped=0,
                size_bytes=messages * size,
            )
            for user in unit.users
        ),
        skipped=(),
        messages=total,
        size_bytes=total * size,
        new_bytes=size,
        archive_bytes=writer.archive_bytes,
        seconds=0.0,
        cpu_seconds=0.0,
    )


def _message(uid: int, size: int, digest: bytes, pieces: tuple[Piece, ...]) -> Message:
    return Message(
        uid=uid,
        base=b"%d.M%dP1.mail1,S=%d" % (1_785_542_400 + uid, uid, size),
        suffix=b":2,S",
        place="cur",
        flags="S",
        fields=b"",
        date_ns=1_785_542_400_000_000_000 + uid,
        owner=_OWNER,
        size=size,
        digest=digest,
        pieces=pieces,
    )


def _folder(number: int) -> Folder:
    path = b".Folder%d" % number if number else b""
    return Folder(
        name=f"Folder{number}" if number else "INBOX",
        path=path,
        uidvalidity=1_700_000_000 + number,
        uidnext=1000,
        directories=(Directory(path, _OWNER, 0, DirectoryKind.FOLDER),),
    )


if __name__ == "__main__":
    main()
