"""What a restore reads of its archives: each block once, and of no archive more than it holds."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mailhaul.coordinator.backup_set import from_catalog
from mailhaul.coordinator.restore_plan import plan_restore
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.assembly import Contents
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.framing import BLOCK_BYTES
from mailhaul.proto.archive.reader import ArchiveReader
from mailhaul.proto.records import Partition, RestoreTaskReport
from mailhaul.worker import restore as restoring
from mailhaul.worker.archives.opened import opened_archives
from mailhaul.worker.choice import Choice
from mailhaul.worker.demand import demand_of
from mailhaul.worker.stores.memory import Mail, MemoryTarget

from ...staged_chains import StagedChain

TARGET = Partition(name="primary", format="maildir", path="/nowhere")
CACHE_BYTES = 2 * BLOCK_BYTES


class Reads:
    """Which blocks were decompressed how often, and how many bytes of each file were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blocks: Counter[tuple[bytes, int]] = Counter()
        self.bytes: Counter[str] = Counter()
        block, read_at = ArchiveReader.block, LocalFile.read_at

        def counted_block(reader: ArchiveReader, number: int) -> bytes:
            self.blocks[reader.header.archive, number] += 1
            return block(reader, number)

        def counted_read(file: LocalFile, offset: int, length: int) -> bytes:
            data = read_at(file, offset, length)
            self.bytes[file.name] += len(data)
            return data

        monkeypatch.setattr(ArchiveReader, "block", counted_block)
        monkeypatch.setattr(LocalFile, "read_at", counted_read)

    def clear(self) -> None:
        self.blocks.clear()
        self.bytes.clear()


def mails() -> Iterator[tuple[str, bytes]]:
    """Mail of twelve users, 200 kB each, and large attachments that many have."""
    chance = random.Random(3)
    shared = [chance.randbytes(BLOCK_BYTES // 8) for _ in range(12)]
    for user in range(12):
        for number in range(24):
            own = chance.randbytes(chance.randrange(2_000, 40_000))
            body = chance.choice(shared) if chance.random() < 0.3 else own
            yield f"u{user:02}", b"Subject: %d %d\n\n" % (user, number) + body


@pytest.fixture
def chain(tmp_path: Path) -> StagedChain:
    """A full run, and two incremental ones, which refer to it."""
    mail: dict[str, dict[str, tuple[bytes, ...]]] = {}
    for user, one in mails():
        inbox = mail.setdefault(user, {}).get("INBOX", ())
        mail[user]["INBOX"] = (*inbox, one)
    chain = StagedChain(tmp_path / "staging")
    chain.run(mail)
    for night in range(2):
        for user in sorted(mail)[:: night + 2]:
            mail[user]["INBOX"] = (*mail[user]["INBOX"][1:], b"Subject: new %d\n\n" % night + user.encode())
        chain.run(mail)
    return chain


def restored(
    chain: StagedChain, monkeypatch: pytest.MonkeyPatch, *, told: bool, workers: int
) -> Iterator[tuple[Reads, RestoreTaskReport, Mail, int]]:
    """Each task of a restore of everything: what it read, told, wrote, and how much room its blocks took."""
    monkeypatch.setattr(restoring, "Contents", partial(Contents, cache_bytes=CACHE_BYTES))
    reads = Reads(monkeypatch)
    paths = [LogicalPath()]
    backup = from_catalog(chain.staging, "latest", paths)
    plan = plan_restore(backup, paths, {"primary": TARGET}, as_user=None, workers=workers)
    for task in plan.tasks:
        mail: Mail = {}
        reads.clear()
        with opened_archives(task.task.archives) as archives:
            demand = demand_of(archives, task.task.choices) if told else None
            wanted = 0 if demand is None else len(demand)
            report = restoring.restore(
                archives, task.task.choices, MemoryTarget(mail), lambda _: None, demand
            )
        yield reads, report, mail, wanted


def test_each_block_is_decompressed_once_and_no_archive_read_twice(
    chain: StagedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    (newest,) = [state for run, state in chain.moments.items() if run == max(chain.moments)]
    found: dict[str, list[bytes]] = {}
    for reads, report, mail, wanted in restored(chain, monkeypatch, told=True, workers=1):
        assert report.total().damaged == report.total().skipped == ()
        assert set(reads.blocks.values()) == {1}
        assert len(reads.blocks) == wanted
        for path, count in reads.bytes.items():
            # Metadata is looked at twice; of what the first run wrote nearly all is blocks.
            assert count <= Path(path).stat().st_size * 1.02 + 50_000, path
        for user, mailbox in mail.items():
            (folder,) = mailbox.folders.values()
            found[user] = sorted(content for _, content in folder.messages.values())
    assert found == {user: sorted(folders["INBOX"]) for user, folders in newest.items()}


def test_untold_it_reads_blocks_again(chain: StagedChain, monkeypatch: pytest.MonkeyPatch) -> None:
    again = [
        sum(reads.blocks.values()) > len(reads.blocks)
        for reads, *_ in restored(chain, monkeypatch, told=False, workers=1)
    ]
    assert any(again)  # else the test above shows nothing


def test_what_is_damaged_or_single_is_left_out(chain: StagedChain) -> None:
    paths = [LogicalPath.parse("/primary/user/u00/INBOX/3"), LogicalPath.parse("/primary/user/u01/INBOX")]
    backup = from_catalog(chain.staging, "latest", paths)
    plan = plan_restore(backup, paths, {"primary": TARGET}, as_user=None, workers=1)
    choices = [choice for task in plan.tasks for choice in task.task.choices]
    with opened_archives(backup.archives) as archives:
        assert len(demand_of(archives, [one for one in choices if one.path.uid])) == 0
        assert 0 < len(demand_of(archives, choices)) < len(demand_of(archives, [_everything(*choices)]))
    with opened_archives(backup.archives.of(())) as nothing:
        assert len(demand_of(nothing, choices)) == 0


def _everything(first: Choice, *_: Choice) -> Choice:
    return Choice(
        archive=first.archive, user="u02", to_user="u02", path=LogicalPath("primary", "user", "u02")
    )
