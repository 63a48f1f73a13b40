"""Restores whose workers are on other hosts are undone: over the real receiver; hosts are names in one
process, and their mail lies side by side. A real cluster does it in ``test_many_hosts``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.access import Access
from mailhaul.coordinator.cli import restore_run
from mailhaul.coordinator.dispatch.engine import Engine, Outcome
from mailhaul.coordinator.dispatch.task_bytes import is_sealed, packed, unpacked
from mailhaul.coordinator.restores import keeping
from mailhaul.coordinator.structure_keys import keys_at
from mailhaul.proto.errors import BackupError, ClusterLostError, HostError, StagingError
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.structs import replace
from mailhaul.proto.wire.keys import new_pair
from mailhaul.tests.integration.keyholder import Keyholder, slots_of
from mailhaul.tests.receiving import Place, make_place, receiver_thread, token
from mailhaul.worker.staging.area import StagingArea
from mailhaul.worker.staging.receiver import ReceiverSettings
from mailhaul.worker.tasks.keeping import KeepTask, run_keep
from mailhaul.worker.tasks.restore import EndTask, RestoreTask
from mailhaul.worker.unkept import Unkept, note_unkept

from ..maildirs import Maildir
from ..trees import snapshot
from ..verifying import command_status

HOSTS = {"one": "store01", "two": "store02"}
LOCAL = """\
[staging]
path = "{area}"
keys = "{keys}"
"""
SPREAD = """\
[staging]
path = "{area}"
host = "staging"
listen = "{endpoint}"
address = "{endpoint}"
keys = "{keys}"
[dispatch]
engine = "ray"
address = "127.0.0.1:1"
"""
PARTITION = """\
[[partition]]
name = "{name}"
format = "maildir"
path = "{store}/{name}/{{user}}"
"""
Worker = Callable[[Callable[[Any, ProgressSink], Any], Any, ProgressSink], Any]


def as_it_is(function: Callable[[Any, ProgressSink], Any], task: Any, on_progress: ProgressSink) -> Any:
    """A worker that does what it is asked for."""
    return function(task, on_progress)


class Site:
    """Two partitions, each on a host of its own, that were backed up: two mailboxes of two messages in each,
    which are as many tasks of a restore."""

    def __init__(self, place: Place, ops: Keyholder | None = None, *, erasable: bool = False) -> None:
        self.place = place
        self.ops = ops
        self.erasable = erasable
        self.store = place.root / "store"
        self.worker: Worker = as_it_is
        self.boxes = {
            (name, user): Maildir(self.store / name / user) for name in HOSTS for user in ("jane", "john")
        }
        for (name, user), box in self.boxes.items():
            for number in (1, 2):
                content = f"Subject: {number} of {user} on {name}\n\n".encode()
                box.message(f"{number}.M1P1.{name}:2,S", content)
        self._write("local", LOCAL, "")
        self._write("spread", SPREAD, 'hosts = ["{host}"]\n')
        self.moment = self.run("local", "backup")["run"]

    def _write(self, name: str, head: str, hosts: str) -> None:
        place = self.place
        text = head.format(area=place.area, endpoint=place.endpoint, keys=place.keys)
        if self.ops is not None:
            text += f'[encryption]\nrecipients = ["{self.ops.public}"]\n'
            text += "erasable = true\n" * self.erasable
        for partition, host in HOSTS.items():
            text += PARTITION.format(name=partition, store=self.store) + hosts.format(host=host)
        (place.root / f"{name}.toml").write_text(text)

    def engine(
        self, function: Callable[[Any, ProgressSink], Any], tasks: Sequence[Any], on_progress: ProgressSink
    ) -> Iterator[Outcome[Any, Any]]:
        """An Engine whose workers are on the hosts of the tasks, or so it seems to them."""
        for task in tasks:
            try:
                sent = self.sent(task.attempted(task.hosts[0], 1), task.hosts[0])
                report = self.worker(function, sent, on_progress)
            except ClusterLostError:
                raise
            except BackupError as error:
                yield Outcome(task=task, error=error)
            else:
                yield Outcome(task=task, report=report)

    def sent(self, task: Any, host: str) -> Any:
        """A task as it arrives."""
        keys, worker = str(self.place.keys), new_pair()
        data = packed(task, host, keys, worker.public)
        assert is_sealed(data) == (self.ops is not None and not isinstance(task, EndTask))
        if is_sealed(data):
            self.check_keys(task)
        return unpacked(data, host, keys, worker)

    def check_keys(self, task: Any) -> None:
        """It has the content keys of the archives that it may read, and no other."""
        archives = getattr(task, "archives", None)
        area = (
            task.before.area
            if archives is None
            else next(place for place in archives.places if isinstance(place, StagingArea))
        )
        assert len(area.keys.secrets) <= self.erasable, "a task is about one mailbox: no secrets of others"
        if archives is None:
            assert not task.before.area.keys.contents, "what is kept before a restore takes none"
        else:
            paths = [Path(archives.path(location)) for location in archives.locations]
            assert paths
            needed = {slot.content for path in paths for slot in slots_of(path)}
            assert set(archives.keys.contents) == needed

    @contextmanager
    def restorers(self, *_: Any, **__: Any) -> Iterator[tuple[Engine, Access]]:
        """See ``cli.restorers.open_restorers``."""
        yield (
            self.engine,
            Access(
                area=self.area(),
                grant=lambda host: token(kind="read", file="", host=host),
                grant_writing=lambda host, file, epoch: token(file=file, host=host, epoch=epoch),
                keeper=self.engine,
            ),
        )

    def area(self) -> StagingArea:
        """As workers see it, with its keys."""
        known = keys_at(self.place.area)
        return replace(self.place.staging(), keys=known.keys, sealing=known.sealing)

    def run(self, config: str, command: str, *options: object, status: int = 0) -> Any:
        words = f"--config {self.place.root / config}.toml {command}"
        ended, told = command_status(words, *options)
        assert ended == status, told
        return told

    def restore(self, *options: object, status: int = 0) -> Any:
        """With workers on the hosts."""
        with_key = self.ops.with_key if self.ops is not None else ()
        return self.run("spread", "restore", *options, *with_key, status=status)

    def lose(self, *whose: tuple[str, str]) -> None:
        """The first message of these mailboxes."""
        for one in whose:
            self.boxes[one].root.joinpath("cur", f"1.M1P1.{one[0]}:2,S").unlink()

    def look(self) -> object:
        return snapshot(self.store, times=False)

    def directory(self, restore: str) -> Path:
        return self.place.area / ".mailhaul" / "restores" / restore

    def kept(self, restore: str) -> list[str]:
        """What is kept beside the journal, without what tells names apart."""
        found = sorted(self.directory(restore).glob("before.*"))
        return [".".join((*path.name.split(".")[:2], *path.name.split(".")[3:])) for path in found]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Place]:
    with receiver_thread(make_place(tmp_path)) as (place, _):
        yield place


def made(
    place: Place, monkeypatch: pytest.MonkeyPatch, ops: Keyholder | None = None, *, erasable: bool = False
) -> Site:
    site = Site(place, ops, erasable=erasable)
    monkeypatch.setattr(restore_run, "open_restorers", site.restorers)
    return site


@pytest.fixture
def site(running: Place, monkeypatch: pytest.MonkeyPatch) -> Site:
    return made(running, monkeypatch)


@pytest.fixture(params=["clear", "encrypted", "erasable"])
def any_site(
    request: pytest.FixtureRequest, running: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Site:
    """One whose archives are encrypted, or not."""
    if request.param == "clear":
        return made(running, monkeypatch)
    return made(running, monkeypatch, Keyholder(tmp_path / "laptop"), erasable=request.param == "erasable")


ALL = tuple((name, user) for name in HOSTS for user in ("jane", "john"))


@pytest.mark.parametrize("exact", [False, True], ids=["plain", "exact"])
def test_it_is_as_it_was_before(any_site: Site, exact: bool) -> None:
    site = any_site
    site.lose(*ALL)
    shutil.rmtree(site.boxes["two", "john"].root)
    jane = site.boxes["one", "jane"]
    jane.root.joinpath("cur", "2.M1P1.one:2,S").rename(jane.root / "cur" / "2.M1P1.one:2,FS")
    jane.message("9.M1P1.one:2,", b"Subject: of today\n\n")
    before = site.look()
    done = site.restore("/", *(["--exact"] if exact else []))
    assert (done["undoable"], done["restored"], done["aside"]) == (True, 5, int(exact))
    assert site.kept(done["restore"]) == ["before.1", "before.2", "before.3", "before.4"]
    assert {hold["restore"] for hold in site.run("local", "hold")["holds"]} == {done["restore"]}
    restored = site.look()
    assert site.restore("--undo", "latest", "--dry-run")["removed"] == 5
    assert site.look() == restored
    undone = site.restore("--undo", "latest")
    assert (undone["removed"], undone["flagged"], undone["skipped"]) == (5, int(exact), [])
    assert without_uids(site.look()) == without_uids(before)
    assert site.restore("--undo", done["restore"])["removed"] == 0


def without_uids(tree: Any) -> Any:
    """A store but for the numbers that were given out meanwhile, which never come again."""
    return {name: entry for name, entry in tree.items() if not name.endswith(b"dovecot-uidlist")}


def test_a_new_place_is_not_held(site: Site) -> None:
    """What is there is seen on the hosts only."""
    for box in site.boxes.values():
        shutil.rmtree(box.root)
    done = site.restore("/")
    assert (done["undoable"], done["restored"]) == (True, 8)
    assert site.run("local", "hold")["holds"] == []
    assert site.restore("--undo", "latest")["removed"] == 8
    assert not any(box.root.exists() for box in site.boxes.values())


def test_a_host_that_can_not_keep_anything_is_on_record_before_it_is_changed(site: Site) -> None:
    def worker(function: Any, task: Any, on_progress: ProgressSink) -> Any:
        if isinstance(task, KeepTask) and task.host == "store02":
            raise HostError("the node of host store02 is gone")
        if isinstance(task, RestoreTask):
            told = site.place.area.glob(".mailhaul/restores/*/before.*.unkept")
            records = [json.loads(path.read_bytes()) for path in told]
            assert sorted((record["partition"], *record["users"]) for record in records) == [
                ("two", "jane"),
                ("two", "john"),
            ]
        return function(task, on_progress)

    site.lose(*ALL)
    site.worker = worker
    done = site.restore("/", status=3)
    assert (done["undoable"], done["restored"]) == (True, 4)
    lost = ["/two/user/jane", "/two/user/john"]
    assert [(skip["path"], skip["reason"]) for skip in done["skipped"]] == [(one, "before") for one in lost]
    assert "store02 is gone" in done["skipped"][0]["detail"]
    assert site.kept(done["restore"]) == ["before.1", "before.2", "before.3.unkept", "before.4.unkept"]
    site.worker = as_it_is
    undone = site.restore("--undo", "latest", status=3)
    assert (undone["removed"], [one["path"] for one in undone["skipped"]]) == (2, lost)
    assert [len(site.boxes[one].names()) for one in ALL] == [1, 1, 2, 2]


def test_an_attempt_whose_answer_was_lost_keeps_nothing_anew(site: Site) -> None:
    def worker(function: Any, task: Any, on_progress: ProgressSink) -> Any:
        report = function(task, on_progress)
        if isinstance(task, KeepTask):
            kept = task.before.path.read_bytes()
            grant = token(file=task.before.name, epoch=2, host=task.host)
            report = function(replace(task, attempt=2, grant=grant), on_progress)
            assert task.before.path.read_bytes() == kept
        return report

    site.lose(*ALL)
    before = site.look()
    site.worker = worker
    assert site.restore("/")["restored"] == 4
    assert site.restore("--undo", "latest")["removed"] == 4
    assert without_uids(site.look()) == without_uids(before)


def test_what_can_not_be_recorded_ends_it_before_anything_is_changed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worker(function: Any, task: Any, on_progress: ProgressSink) -> Any:
        if isinstance(task, KeepTask):
            raise HostError("the node is gone")
        return function(task, on_progress)

    def full(*_: Any) -> None:
        raise StagingError("no inodes are left")

    site.lose(*ALL)
    before = site.look()
    site.worker = worker
    with monkeypatch.context() as patched:
        patched.setattr(keeping, "note_unkept", full)
        assert "no inodes are left; go on with" in str(site.restore("/", status=1))
    assert site.look() == before
    site.worker = as_it_is
    assert site.restore("--resume", "latest")["restored"] == 4
    assert site.restore("--undo", "latest")["removed"] == 4


def test_without_room_it_restores_at_once_and_says_what_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers do not wait for room, as those of a backup do; what they have sent does not stay."""
    with receiver_thread(make_place(tmp_path), ReceiverSettings(reserve_bytes=1 << 60)) as (place, _):
        told: list[Any] = []

        def worker(function: Any, task: Any, on_progress: ProgressSink) -> Any:
            report = function(task, on_progress)
            if isinstance(task, KeepTask):
                told.append(sorted(report))
            return report

        def note(archive: Path, unkept: Unkept) -> None:
            assert list(archive.parent.glob(f"{archive.name}.*")) == [], "it takes the room"
            note_unkept(archive, unkept)

        monkeypatch.setattr(keeping, "note_unkept", note)
        site = made(place, monkeypatch)
        site.worker = worker
        site.lose(*ALL)
        done = site.restore("/", status=3)
        assert told == [["jane"], ["john"]] * 2
        assert (done["undoable"], done["restored"]) == (False, 4)
        assert {skip["reason"] for skip in done["skipped"]} == {"before"}
        assert "the staging area is full" in done["skipped"][0]["detail"]
        assert site.kept(done["restore"]) == [f"before.{number}.unkept" for number in (1, 2, 3, 4)]
        assert "the staging area is full" in str(site.restore("--undo", "latest", status=1))
        assert site.run("local", "hold")["holds"] == []


def test_what_was_kept_before_it_was_ended_stays(any_site: Site) -> None:
    """It was ended when three mailboxes were kept, and the last was sent; and once more when all were, and
    three were restored. What was sent the first time arrives once more when all is done."""
    site = any_site
    begun: list[KeepTask] = []

    def worker(function: Any, task: Any, on_progress: ProgressSink) -> Any:
        if isinstance(task, KeepTask) and task.before.partition == "two" and "john" in task.before.places:
            begun.append(task)
            if len(begun) == 1:
                assert function(task, on_progress) == {}
                raise ClusterLostError("the cluster is lost")
        if isinstance(task, RestoreTask) and task.target.name == "two" and task.choices[0].user == "john":
            raise ClusterLostError("the cluster is lost")
        return function(task, on_progress)

    site.lose(*ALL)
    lacking = site.look()
    site.worker = worker
    assert "--resume" in str(site.restore("/", status=1))
    (directory,) = site.place.area.glob(".mailhaul/restores/*")
    sent = begun[0].before.path
    assert site.kept(directory.name) == ["before.1", "before.2", "before.3", f"before.4{sent.suffix}"]
    assert site.look() == lacking
    first = {path.name: path.read_bytes() for path in directory.glob("before.*") if path != sent}
    assert "--resume" in str(site.restore("--resume", "latest", status=1))
    assert (len(site.kept(directory.name)), sent.exists()) == (4, False)
    assert [len(site.boxes[one].names()) for one in ALL] == [2, 2, 2, 1]

    site.worker = as_it_is
    done = site.restore("--resume", "latest")
    assert (done["undoable"], done["restored"], done["present"]) == (True, 4, 4)
    assert len(begun) == 2
    assert first.items() <= {one.name: one.read_bytes() for one in directory.glob("before.*")}.items()
    assert run_keep(begun[0], lambda _: None) == {}  # a worker that was cut off, with its old grant
    assert len(site.kept(directory.name)) == 5
    assert site.restore("--undo", "latest")["removed"] == 4
    assert without_uids(site.look()) == without_uids(lacking)


def test_what_is_not_what_was_to_be_kept_counts_for_nothing(site: Site) -> None:
    """A host sends the archive of another one as its own."""
    sent: list[Path] = []

    def worker(function: Any, task: Any, on_progress: ProgressSink) -> Any:
        report = function(task, on_progress)
        if isinstance(task, KeepTask):
            sent.append(task.before.path)
            if task.host == "store02":
                first = next(sent[0].parent.glob("before.1.*"))
                sent[-1].write_bytes(first.read_bytes())
        return report

    site.lose(*ALL)
    site.worker = worker
    done = site.restore("/", status=3)
    assert [skip["path"] for skip in done["skipped"]] == ["/two/user/jane", "/two/user/john"]
    assert "not what was to be kept" in done["skipped"][0]["detail"]
    assert site.kept(done["restore"]) == ["before.1", "before.2", "before.3.unkept", "before.4.unkept"]


def test_who_was_never_backed_up_has_no_secret_and_can_be_kept(
    running: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = made(running, monkeypatch, Keyholder(tmp_path / "laptop"), erasable=True)
    paul = Maildir(site.store / "one" / "paul")
    paul.message("1.M1P1.x:2,S", b"Subject: his own\n\n")
    before = site.look()
    done = site.restore("/one/user/jane", "--as", "paul")
    assert (done["undoable"], done["restored"]) == (True, 2)
    assert site.restore("--undo", "latest")["removed"] == 2
    assert without_uids(site.look()) == without_uids(before)
