"""A unit that is tried again goes on behind the last mailbox that the attempt before has completed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.errors import StagingError, StoreError
from mailhaul.proto.ports import KnownMailbox, MailboxReader
from mailhaul.proto.records import (
    ArchiveId,
    Folder,
    MailboxSize,
    Partition,
    Progress,
    RunId,
    Skipped,
    Unit,
    UnitReport,
)
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import MemoryFile, MemorySink, frames_of, read_archive
from mailhaul.tests.maildirs import message
from mailhaul.worker.backup import back_up
from mailhaul.worker.packing.settings import ArchiveSettings
from mailhaul.worker.stores.memory import Mail, MemoryFolder, MemoryMailbox, MemoryStore

NOISE = random.Random(3).randbytes(300_000)
SHARED = b"Subject: shared\n\n" + NOISE[:50_000]
MAIL = {
    "anna": [SHARED, b"Subject: a\n\n" + NOISE[:300_000]],
    "bert": [SHARED],
    "cleo": [],
    "dora": [b"Subject: d\n\n" + NOISE[1000:], SHARED, b"d"],
}
PARTITION = Partition(name="primary", format="maildir", path="mail")
UNIT = Unit(run=RunId("20261121T031500Z-4f3a"), partition=PARTITION, group="user", shard=0, users=tuple(MAIL))
FIRST, SECOND = ArchiveId(b"1" * 16), ArchiveId(b"2" * 16)


class Store:
    """A store in memory that notes whose mailbox is opened, and fails for some."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.broken: set[str] = set()
        mail: Mail = {user: _mailbox(contents) for user, contents in MAIL.items()}
        self._store = MemoryStore(mail)

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
        self.opened.append(user)
        if user in self.broken:
            raise StoreError("can't be entered")
        return self._store.open_mailbox(user, known, wanted)


def _mailbox(contents: list[bytes]) -> MemoryMailbox:
    messages = {}
    for uid, content in enumerate(contents, 1):
        base = b"%d.M1P1.host" % uid
        messages[base] = message(base, content, uid=uid), content
    # A message that is listed and can't be opened: it is skipped.
    messages[b"gone"] = replace(message(b"gone", uid=99), base=b"vanished"), b""
    return MemoryMailbox(folders={b"": MemoryFolder(Folder(name="INBOX", path=b""), messages)})


@pytest.fixture
def store() -> Store:
    return Store()


def run(
    store: Store,
    sink: MemorySink,
    archive: ArchiveId = FIRST,
    unit: Unit = UNIT,
    progress: list[Progress] | None = None,
) -> UnitReport:
    settings = ArchiveSettings(run_started=1_795_230_000.0)
    return back_up(
        replace(unit, archive=archive), store, sink, settings, ([] if progress is None else progress).append
    )


def ends(data: bytes) -> list[int]:
    """Where each mailbox is complete: the end of its first MAILBOX frame."""
    found: dict[int, int] = {}
    for frame in frames_of(data, FrameType.MAILBOX):
        found.setdefault(frame.header.position, frame.end)
    return sorted(found.values())


def work_free(report: UnitReport) -> UnitReport:
    """A report without what the work took."""
    return replace(report, read=0, seconds=0.0, cpu_seconds=0.0, peak_memory_bytes=0)


@pytest.fixture
def whole() -> tuple[bytes, UnitReport]:
    """The archive and the report of one attempt."""
    sink = MemorySink()
    report = run(Store(), sink)
    return bytes(sink.data), report


def test_what_is_complete_is_not_read_again(store: Store, whole: tuple[bytes, UnitReport]) -> None:
    data, report = whole
    for number, end in enumerate(ends(data), 1):
        sink = MemorySink(data[: end + 10])
        store.opened.clear()
        again = run(store, sink)
        assert store.opened == list(MAIL)[number:]
        assert bytes(sink.data) == data, "as if it had been written at one go"
        assert work_free(again) == work_free(report)
    assert report.archive == FIRST
    assert len(report.skipped) == len(MAIL)


def test_one_that_died_at_once_is_begun_again(store: Store, whole: tuple[bytes, UnitReport]) -> None:
    data, report = whole
    sink = MemorySink(data[: ends(data)[0] - 1])
    again = run(store, sink)
    assert store.opened == list(MAIL)
    assert again.archive == FIRST
    assert again.mailboxes == report.mailboxes
    assert read_archive(open_sealed(MemoryFile(bytes(sink.data)))) == read_archive(
        open_sealed(MemoryFile(data))
    )


def test_an_error_of_the_sink_keeps_what_is_there(store: Store, whole: tuple[bytes, UnitReport]) -> None:
    """A full disk in the third mailbox."""
    data, report = whole

    class Full(MemorySink):
        aborted = False

        def write(self, data: bytes | bytearray | memoryview) -> None:
            if len(self.checkpoints) == 2:
                raise StagingError("full")
            super().write(data)

        def abort(self) -> None:
            self.aborted = True

    sink = Full()
    with pytest.raises(StagingError, match="full"):
        run(store, sink)
    assert sink.aborted
    store.opened.clear()
    after = MemorySink(bytes(sink.data))
    assert work_free(run(store, after)) == work_free(report)
    assert store.opened == ["cleo", "dora"]
    assert bytes(after.data) == data


def test_a_mailbox_that_could_not_be_opened_is_tried_again(store: Store) -> None:
    """The archive does not tell of it."""
    store.broken = {"bert"}
    sink = MemorySink()
    report = run(store, sink)
    assert [skip.path for skip in report.skipped if skip.reason == "mailbox"] == ["/primary/user/bert"]
    left = bytes(sink.data[: ends(bytes(sink.data))[1]])  # anna, cleo
    store.opened.clear()
    again = run(store, MemorySink(left))
    assert store.opened == ["bert", "dora"]
    assert sorted(again.skipped, key=str) == sorted(report.skipped, key=str)
    store.broken = set()
    store.opened.clear()
    healed = run(store, MemorySink(left))
    assert store.opened == ["bert", "dora"]
    assert {mailbox.user for mailbox in healed.mailboxes} == set(MAIL)


OTHERS = {
    "run": replace(UNIT, run=RunId("20261122T031500Z-0000")),
    "partition": replace(UNIT, partition=replace(PARTITION, name="other")),
    "group": replace(UNIT, group="staff"),
    "shard": replace(UNIT, shard=1),
    "users": replace(UNIT, users=("bert", "cleo", "dora")),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_belongs_to_another_unit_is_not_used(
    store: Store, whole: tuple[bytes, UnitReport], other: str
) -> None:
    data, _ = whole
    sink = MemorySink(data[: ends(data)[1]])
    report = run(store, sink, SECOND, OTHERS[other])
    assert store.opened == list(OTHERS[other].users)
    assert report.archive == open_sealed(MemoryFile(bytes(sink.data))).header.archive == SECOND


def test_another_archive_of_the_same_unit_is_not_gone_on_with(
    store: Store, whole: tuple[bytes, UnitReport]
) -> None:
    """Its id would not be the one in the name."""
    data, _ = whole
    report = run(store, MemorySink(data[: ends(data)[1]]), SECOND)
    assert (store.opened, report.archive) == (list(MAIL), SECOND)


def test_users_may_come_in_another_order(store: Store, whole: tuple[bytes, UnitReport]) -> None:
    data, report = whole
    sink = MemorySink(data[: ends(data)[1]])
    again = run(store, sink, unit=replace(UNIT, users=("dora", "cleo", "bert", "anna")))
    assert store.opened == ["dora", "cleo"]
    assert {mailbox.user: mailbox for mailbox in again.mailboxes} == {
        summary.user: summary for summary in report.mailboxes
    }


def test_progress_tells_of_the_whole_archive(store: Store, whole: tuple[bytes, UnitReport]) -> None:
    data, report = whole
    end = ends(data)[1]
    told: list[Progress] = []
    run(store, MemorySink(data[:end]), progress=told)
    assert (told[0].messages, told[0].archive_bytes) == (3, end)
    assert told[0].size_bytes > told[0].new_bytes > len(NOISE), "the shared message is stored once"
    assert (told[-1].messages, told[-1].mailbox) == (report.messages, "dora")
    assert told[-1].new_bytes == report.new_bytes
    assert told[-1].archive_bytes < report.archive_bytes
    assert [one.archive_bytes for one in told] == sorted(one.archive_bytes for one in told)
