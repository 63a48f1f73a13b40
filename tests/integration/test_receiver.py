"""Archives written to, and read from, the staging area of another host: real sockets, real files."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.errors import AccessError, FencedError, LeaseLostError, StagingError
from mailhaul.proto.records import ArchiveId, Partition, Progress, RunId, Unit
from mailhaul.tests.archives import expected, frames_of, read_archive, taken_up, write_archive
from mailhaul.tests.receiving import (
    FILE,
    Place,
    make_place,
    open_file,
    receiver_thread,
    token,
    wait_until,
    write_frames,
)
from mailhaul.tests.trees import snapshot
from mailhaul.worker.archives.holdings import staged
from mailhaul.worker.choice import Choice
from mailhaul.worker.packing.settings import ArchiveSettings
from mailhaul.worker.staging.area import StagingArea, open_sink
from mailhaul.worker.staging.events import EventReceiver, EventSender
from mailhaul.worker.staging.links import SharedConnection
from mailhaul.worker.staging.partial import partial_path
from mailhaul.worker.staging.receiver import Receiver, ReceiverSettings
from mailhaul.worker.staging.receiver_status import STATUS_FILE
from mailhaul.worker.staging.remote import RemoteSink
from mailhaul.worker.staging.sinks import StagedFile
from mailhaul.worker.tasks.backup import BackupTask, run_backup
from mailhaul.worker.tasks.restore import RestoreTask, run_restore

RANDOM = random.Random(11)
MAILBOXES = {
    user: {"INBOX": [b"Subject: %d\r\n\r\n" % number + RANDOM.randbytes(300_000) for number in range(8)]}
    for user in ("anna", "bert", "cleo")
}
ARCHIVE = write_archive(MAILBOXES)
HALF = [frame.end for frame in frames_of(ARCHIVE, FrameType.MAILBOX)][2]
"""The end of the second mailbox: the MAILBOX frame of the first one comes again before it."""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Place, Receiver]]:
    with receiver_thread(make_place(tmp_path / "staging")) as found:
        yield found


@pytest.fixture
def place(running: tuple[Place, Receiver]) -> Place:
    return running[0]


class TestWriting:
    def test_the_archive_is_the_one_that_is_written_on_the_host_itself(
        self, place: Place, tmp_path: Path
    ) -> None:
        local = StagedFile(tmp_path / "local.mha")
        remote = place.sink()
        for sink in (local, remote):
            assert sink.begin() is None
            write_frames(sink, ARCHIVE)
        local.seal()
        assert place.names() == [f"{FILE}.1.partial"]
        assert remote.seal() == str(place.area / FILE)
        remote.abort()
        assert place.names() == [FILE]
        assert place.archive() == (tmp_path / "local.mha").read_bytes() == ARCHIVE

    def test_runs_of_bytes_of_any_length(self, place: Place) -> None:
        sink = place.sink()
        sink.begin()
        sizes = random.Random(5)
        at = 0
        while at < len(ARCHIVE):
            size = sizes.choice([1, 71, 72, 100, 70_000, 3_000_000])
            sink.write(bytearray(ARCHIVE[at : at + size]))
            at += size
        sink.seal()
        assert place.archive() == ARCHIVE

    def test_many_streams_at_once(self, place: Place) -> None:
        names = [f"primary/user/20261121T031500Z-4f3a.{number}.0123456789abcdef.mha" for number in range(12)]

        def write(name: str) -> None:
            sink = place.sink(file=name, host="store01" if name[-5] in "02468" else "store02")
            sink.begin()
            write_frames(sink, ARCHIVE)
            sink.seal()

        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(write, names))
        assert place.names() == sorted(names)
        assert all(place.archive(name) == ARCHIVE for name in names)

    def test_what_was_written_stays_when_it_is_given_up(self, place: Place) -> None:
        sink = place.sink()
        sink.begin()
        write_frames(sink, ARCHIVE, end=HALF)
        sink.abort()
        sink.abort()
        assert place.names() == [f"{FILE}.1.partial"]
        left = (place.area / f"{FILE}.1.partial").read_bytes()
        assert ARCHIVE.startswith(left)

    def test_a_new_attempt_goes_on_behind_the_last_mailbox(self, place: Place) -> None:
        first = place.sink(epoch=1)
        first.begin()
        write_frames(first, ARCHIVE, end=HALF)
        partial = partial_path(place.area / FILE, 1)
        wait_until("all is written", lambda: partial.stat().st_size == HALF)
        first.abort()
        second = place.sink(epoch=2, host="store02")
        draft = taken_up(second)
        assert draft is not None
        users = [entry.user for entry in draft.archive.directory.mailboxes]
        assert users == list(MAILBOXES)[: len(users)]
        assert len(users) >= 1
        assert [
            draft.archive.mailbox(entry.home.number).user for entry in draft.archive.directory.mailboxes
        ] == users
        write_frames(second, ARCHIVE, begin=draft.size_bytes)
        second.seal()
        assert place.archive() == ARCHIVE
        assert place.names() == [FILE]

    def test_a_new_attempt_may_start_over(self, place: Place) -> None:
        first = place.sink(epoch=1)
        first.begin()
        write_frames(first, ARCHIVE, end=HALF)
        wait_until("it is written", lambda: partial_path(place.area / FILE, 1).stat().st_size == HALF)
        first.abort()
        other = write_archive({"dora": {"INBOX": [b"Subject: x\r\n\r\n"]}})
        second = place.sink(epoch=2)
        assert second.begin() is not None
        second.restart()
        write_frames(second, other)
        second.seal()
        assert place.archive() == other

    def test_small_mailboxes_do_not_wait_for_a_batch(self, place: Place) -> None:
        sink = place.sink()
        sink.begin()
        first = frames_of(ARCHIVE)[0]
        sink.write(ARCHIVE[: first.end])
        partial = partial_path(place.area / FILE, 1)
        wait_until("it is written", lambda: partial.stat().st_size == first.end, 10.0)
        sink.abort()

    def test_a_sealed_archive_is_never_written_again(self, place: Place) -> None:
        sink = place.sink(epoch=1)
        sink.begin()
        write_frames(sink, ARCHIVE)
        sink.seal()
        late = place.sink(epoch=2)
        with pytest.raises(StagingError):
            late.begin()
        late.abort()
        assert place.archive() == ARCHIVE

    def test_an_archive_without_its_end_is_not_sealed(self, place: Place) -> None:
        sink = place.sink()
        sink.begin()
        write_frames(sink, ARCHIVE, end=HALF)
        with pytest.raises(Exception, match="no end"):
            sink.seal()
        sink.abort()
        assert place.names() == [f"{FILE}.1.partial"]

    def test_an_earlier_attempt_is_fenced(self, place: Place) -> None:
        first, second = place.sink(epoch=1), place.sink(epoch=2)
        first.begin()
        second.begin()
        with pytest.raises(FencedError):
            write_frames(first, ARCHIVE)
        with pytest.raises(FencedError):
            first.seal()
        first.abort()
        write_frames(second, ARCHIVE)
        second.seal()
        assert place.archive() == ARCHIVE

    def test_a_directory_for_each_partition_and_group_only_for_its_owner(self, place: Place) -> None:
        sink = place.sink()
        sink.begin()
        sink.abort()
        assert (place.area / FILE).parent.stat().st_mode & 0o777 == 0o700
        assert partial_path(place.area / FILE, 1).stat().st_mode & 0o777 == 0o600


class TestConnection:
    def test_a_host_without_a_key(self, place: Place) -> None:
        (place.keys / "store02.key_secret").unlink()
        with pytest.raises(AccessError):
            place.sink(host="store02")

    def test_a_key_that_is_not_allowed(self, place: Place) -> None:
        (place.keys / "store02.key").unlink()
        sink = place.sink(host="store02")
        with pytest.raises(AccessError, match="does not allow"):
            sink.begin()
        sink.abort()

    def test_a_grant_that_has_expired(self, place: Place) -> None:
        sink = place.sink(grant=token(seconds=-1))
        with pytest.raises(AccessError, match="expired"):
            sink.begin()
        sink.abort()
        assert place.names() == []

    def test_a_receiver_that_is_not_there(self, tmp_path: Path) -> None:
        place = Place(make_place(tmp_path / "none").root, "tcp://127.0.0.1:9", lease_seconds=0.5)
        sink = place.sink()
        began = time.monotonic()
        with pytest.raises(LeaseLostError):
            sink.begin()
        sink.abort()
        assert time.monotonic() - began < 30

    def test_an_area_without_a_receiver(self, tmp_path: Path) -> None:
        area = StagingArea(path=str(tmp_path), host="staging")
        with pytest.raises(StagingError):
            open_sink(area, FILE, "store01", 1, b"")
        with pytest.raises(StagingError):
            open_file(area, FILE, "store01", b"")

    def test_a_process_has_one_connection(self, running: tuple[Place, Receiver]) -> None:
        place, receiver = running
        sinks = [place.sink(file=f"primary/user/x.{number}.0123456789abcdef.mha") for number in range(3)]
        for sink in sinks:
            sink.begin()
        assert receiver.status().connections == 1
        for sink in sinks:
            sink.abort()
        wait_until("it is closed", lambda: receiver.status().connections == 0)

    def test_a_quiet_worker_keeps_its_stream(self, tmp_path: Path) -> None:
        """Longer than a lease without a write."""
        place = Place(make_place(tmp_path / "short").root, lease_seconds=1.0)
        with receiver_thread(place, ReceiverSettings(lease_seconds=1.0)) as (place, receiver):
            sink = place.sink()
            sink.begin()
            write_frames(sink, ARCHIVE, end=HALF)
            time.sleep(2.5)
            (stream,) = receiver.status().streams
            assert stream.written_bytes == HALF
            write_frames(sink, ARCHIVE, begin=HALF)
            sink.seal()
        assert place.archive() == ARCHIVE


class TestReading:
    @pytest.fixture
    def sealed(self, place: Place) -> Place:
        sink = StagedFile(place.area / FILE)
        sink.begin()
        sink.write(ARCHIVE)
        sink.seal()
        return place

    def test_an_archive_is_read_as_if_it_were_here(self, sealed: Place) -> None:
        file = sealed.file()
        assert file is not None
        assert (file.name, file.size) == (str(sealed.area / FILE), len(ARCHIVE))
        found, damage = read_archive(open_sealed(file))
        assert found == expected(MAILBOXES)
        assert damage == []
        file.close()
        file.close()

    def test_any_stretch(self, sealed: Place) -> None:
        file, local = sealed.file(), LocalFile(str(sealed.area / FILE))
        assert file is not None
        places = random.Random(2)
        for _ in range(60):
            offset, length = (
                places.randrange(-5, len(ARCHIVE) + 5),
                places.choice([0, 1, 72, 5000, 2_500_000]),
            )
            assert file.read_at(offset, length) == local.read_at(offset, length)
        file.close()
        local.close()

    def test_one_that_is_not_there(self, sealed: Place) -> None:
        assert sealed.file(file="primary/user/x.1.0123456789abcdef.mha") is None

    def test_what_is_being_written_is_not_there(self, place: Place) -> None:
        sink = place.sink()
        sink.begin()
        write_frames(sink, ARCHIVE, end=HALF)
        assert place.file() is None
        sink.abort()

    @pytest.mark.parametrize("way", ["the file", "its directory"])
    def test_a_symbolic_link_is_not_followed(self, sealed: Place, tmp_path: Path, way: str) -> None:
        secret = tmp_path / "elsewhere"
        secret.mkdir()
        (secret / "x.0.0123456789abcdef.mha").write_bytes(b"secret")
        link = sealed.area / "primary" / ("user/x.0.0123456789abcdef.mha" if way == "the file" else "linked")
        link.symlink_to(secret / "x.0.0123456789abcdef.mha" if way == "the file" else secret)
        name = (
            "primary/user/x.0.0123456789abcdef.mha"
            if way == "the file"
            else "primary/linked/x.0.0123456789abcdef.mha"
        )
        with pytest.raises(AccessError):
            sealed.file(file=name)

    def test_only_with_a_grant_for_it(self, sealed: Place) -> None:
        for grant in (
            token(kind="read", file="primary/user/x.0.0123456789abcdef.mha", host="store02"),
            token(kind="read", file="", host="store01"),
            token(kind="write", file="primary/user/x.0.0123456789abcdef.mha", host="store02"),
            token(kind="read", file="", host="store02", seconds=-1),
            token(kind="read", file="", host="store02", secret=bytes(32)),
        ):
            with pytest.raises(AccessError):
                sealed.file(grant=grant)
        for grant in (
            token(kind="read", file=FILE, host="store02"),
            token(kind="write", file=FILE, host="store02"),
        ):
            file = sealed.file(grant=grant)
            assert file is not None
            file.close()

    def test_on_the_host_itself(self, sealed: Place) -> None:
        file = open_file(sealed.staging(), FILE, "staging", b"")
        assert isinstance(file, LocalFile)
        assert file.read_at(0, 100) == ARCHIVE[:100]
        file.close()
        assert open_file(sealed.staging(), "primary/user/x.1.0123456789abcdef.mha", "", b"") is None


class TestProgress:
    def test_who_watches_hears_what_workers_tell(self, place: Place) -> None:
        staging = place.staging()
        assert staging.receiver is not None
        shares = [SharedConnection(staging.receiver, host, 20.0) for host in ("staging", "store01")]
        watcher, sender = EventReceiver(shares[0].connection), EventSender(shares[1].connection)
        told: list[tuple[str, Progress]] = []
        wait_until("both are connected", lambda: all(share.connection.is_up for share in shares))

        def heard_last() -> bool:
            told.extend(watcher.poll(0.05))
            return bool(told) and told[-1][1].messages == 999

        def tell_until_heard() -> bool:
            # Whoever begins to watch does not hear what was told before.
            sender(Progress("primary/user/0", 1, 2))
            told.extend(watcher.poll(0.05))
            return bool(told)

        wait_until("the first is heard", tell_until_heard)
        for number in range(1000):
            sender(Progress("primary/user/0", number, 5 * number, "anna", 3, 2, "a wait \udcff"))
        wait_until("the last is heard", heard_last)
        assert told[-1] == ("store01", Progress("primary/user/0", 999, 4995, "anna", 3, 2, "a wait \udcff"))
        assert len(told) < 100
        sender.close()
        watcher.close()
        for share in shares:
            share.close()

    def test_not_everybody_may_watch(self, place: Place) -> None:
        staging = place.staging()
        assert staging.receiver is not None
        shares = [SharedConnection(staging.receiver, host, 20.0) for host in ("store02", "store01")]
        watcher, sender = EventReceiver(shares[0].connection), EventSender(shares[1].connection)
        wait_until("both are connected", lambda: all(share.connection.is_up for share in shares))

        def refused() -> bool:
            sender(Progress("primary/user/0", 1, 0))
            try:
                assert watcher.poll(0.05) == []
            except AccessError:
                return True
            return False

        wait_until("it is refused", refused)
        sender.close()
        watcher.close()
        for share in shares:
            share.close()


class TestStatus:
    def test_what_goes_on_is_in_a_file(self, running: tuple[Place, Receiver]) -> None:
        place, receiver = running
        sink = place.sink()
        sink.begin()
        write_frames(sink, ARCHIVE, end=HALF)

        def written() -> int:
            status = json.loads((place.area / STATUS_FILE).read_text())
            return sum(stream["written_bytes"] for stream in status["streams"])

        path = place.area / STATUS_FILE
        wait_until("it is told", lambda: path.exists() and written() == HALF)
        status = json.loads(path.read_text())
        (stream,) = status["streams"]
        assert (stream["file"], stream["host"], stream["epoch"]) == (FILE, "store01", 1)
        assert status["connections"] == 1
        assert status["received_bytes"] == HALF
        assert 0 < status["free_bytes"] < status["total_bytes"]
        assert status["endpoint"] == place.endpoint
        assert abs(stream["since"] - time.time()) < 60
        sink.abort()
        wait_until("the stream is closed", lambda: not receiver.status().streams)


class TestWork:
    """The tasks of a backup and a restore, on hosts that do not have the staging area."""

    USERS = ("anna", "bert", "cleo")

    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        root = tmp_path / "mail"
        random_ = random.Random(3)
        for user in self.USERS:
            for sub in ("cur", "new", "tmp"):
                (root / user / sub).mkdir(parents=True)
            for number in range(10):
                content = b"Subject: %d\n\n" % number + random_.randbytes(100_000)
                (root / user / "cur" / f"{number}.M1P1.host:2,S").write_bytes(content)
        return root

    def backup(self, store: Path, epoch: int, area: StagingArea, host: str) -> BackupTask:
        partition = Partition(name="primary", format="maildir", path=str(store), hosts=(host,))
        run = RunId("20261121T031500Z-4f3a")
        return BackupTask(
            unit=Unit(
                run=run,
                partition=partition,
                group="user",
                shard=0,
                users=self.USERS,
                archive=ArchiveId(bytes(range(16))),
            ),
            settings=ArchiveSettings(run_started=1.8e9),
            staging=area,
            name=FILE,
            epoch=epoch,
            host=host,
            grant=token(epoch=epoch, host=host) if host else b"",
        )

    def restore(self, place: Place, archive: ArchiveId, target: Path) -> RestoreTask:
        return RestoreTask(
            archives=staged(place.staging(), {archive: FILE}),
            choices=tuple(
                Choice(archive=archive, user=user, to_user=user, path=LogicalPath("primary", "user", user))
                for user in self.USERS
            ),
            target=Partition(name="primary", format="maildir", path=f"{target}/{{user}}", hosts=("store02",)),
            label="restore",
            grants={"store02": token(kind="read", file="", host="store02")},
            host="store02",
        )

    def test_there_and_back(self, place: Place, store: Path, tmp_path: Path) -> None:
        before = snapshot(store)
        report = run_backup(self.backup(store, 1, place.staging(), "store01"), lambda _: None)
        assert (report.messages, report.skipped) == (30, ())
        assert report.archive is not None
        assert report.archive_bytes == (place.area / FILE).stat().st_size
        local = self.backup(store, 1, StagingArea(path=str(tmp_path / "local")), "")
        run_backup(local, lambda _: None)
        archives = [LocalFile(str(area / FILE)) for area in (place.area, tmp_path / "local")]
        assert read_archive(open_sealed(archives[0])) == read_archive(open_sealed(archives[1]))
        for archive in archives:
            archive.close()
        target = tmp_path / "restored"
        restored = run_restore(self.restore(place, report.archive, target), lambda _: None).total()
        assert (restored.restored, restored.skipped, restored.damaged) == (30, (), ())
        assert snapshot(target, times=False).keys() == snapshot(store, times=False).keys()
        messages = sorted(path.relative_to(store) for path in store.rglob("*:2,S"))
        assert all((target / message).read_bytes() == (store / message).read_bytes() for message in messages)
        assert snapshot(store) == before

    def test_an_attempt_whose_answer_was_lost(self, place: Place, store: Path) -> None:
        first = run_backup(self.backup(store, 1, place.staging(), "store01"), lambda _: None)
        archive = place.archive()
        second = run_backup(self.backup(store, 2, place.staging(), "store01"), lambda _: None)
        assert (second.archive, second.mailboxes) == (first.archive, first.mailboxes)
        assert place.archive() == archive

    def test_an_attempt_that_goes_on_behind_the_one_before(self, place: Place, store: Path) -> None:
        """The first attempt breaks off behind its second mailbox: at most that one is repeated."""

        class BrokenOffError(Exception):
            pass

        def break_off(progress: Progress) -> None:
            if progress.mailbox == "bert":
                raise BrokenOffError

        with pytest.raises(BrokenOffError):
            run_backup(self.backup(store, 1, place.staging(), "store01"), break_off)
        partial = partial_path(place.area / FILE, 1)
        assert partial.stat().st_size > 0
        began: list[str] = []
        report = run_backup(
            self.backup(store, 2, place.staging(), "store01"), lambda told: began.append(told.mailbox)
        )
        assert report.messages == 30
        assert place.names() == [FILE]
        assert "anna" not in began
        assert "cleo" in began
        file = LocalFile(str(place.area / FILE))
        found, damage = read_archive(open_sealed(file))
        file.close()
        assert damage == []
        assert {user for user, _ in found} == set(self.USERS)
        assert sum(map(len, found.values())) == 30


def test_memory_of_a_sink_is_bounded_by_the_window(place: Place) -> None:
    sink = place.sink()
    assert isinstance(sink, RemoteSink)
    sink.begin()
    most = 0
    for frame in frames_of(ARCHIVE):
        sink.write(ARCHIVE[frame.at : frame.end])
        most = max(most, sink.held_bytes)
    assert 0 < most <= (8 << 20) + (2 << 20)
    sink.seal()
