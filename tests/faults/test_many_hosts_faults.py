"""Planned failures while hosts are backed up to another one: of workers, hosts, links, programs, disks.

Each hits a run in the middle. Each ends, after at most one ``backup --resume``, with a backup of everything
that restores exactly, with no sealed archive touched and at most one mailbox of a unit read again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailhaul.proto.archive.draft import read_draft
from mailhaul.proto.archive.files import LocalFile
from mailhaul.tests.faults.opened import OpenedMessages
from mailhaul.tests.integration.installation import Backup, Installation, Settings, Share, workers_of
from mailhaul.tests.integration.network import Network, open_network
from mailhaul.tests.integration.ray_cluster import RayCluster, open_cluster

from ..maildirs import Maildir
from ..receiving import wait_until
from ..trees import Entry, differences, snapshot

pytestmark = pytest.mark.xdist_group("ray")

PATIENCE_SECONDS = 120.0
BYTES_PER_SECOND = 1_500_000  # 8 mailboxes of 1.4 MB on a host: 7 s
GROUPS = {"org": r".*@example\.org", "net": r".*@example\.net"}  # 4 mailboxes each
STORES = {"one": "store01", "two": "store02"}
BIG_BYTES = 200_000_000
BIG_MESSAGE_BYTES = 4_000_000
WINDOW_BYTES = 8 << 20
MOST_AHEAD_BYTES = 40_000_000
MOST_MEMORY_BYTES = 200_000_000


@pytest.fixture(scope="module")
def network(require_tool: Callable[[str], Path]) -> Iterator[Network]:
    with open_network(require_tool, "staging", "store01", "store02") as network:
        yield network


@pytest.fixture(scope="module")
def shared_cluster(network: Network) -> Iterator[RayCluster]:
    with open_cluster(network, *network.hosts) as cluster:
        yield cluster


@pytest.fixture
def cluster(network: Network, shared_cluster: RayCluster) -> Iterator[RayCluster]:
    """Whole again after each test, whatever was done to it."""
    yield shared_cluster
    for host in network.hosts.values():
        host.heal()
    shared_cluster.repair()


@pytest.fixture(scope="module")
def stores(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for each host."""
    place = tmp_path_factory.mktemp("mail")
    maker = root / "deploy" / "demo" / "make_store.py"
    for seed, name in enumerate(STORES):
        command = (sys.executable, maker, place / name, "--messages", "800", "--seed", str(seed))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return place


class Scene:
    """A backup of the stores that is to go wrong. One worker on each host, two units for each: when the
    second is being done, the first is sealed."""

    def __init__(self, network: Network, cluster: RayCluster, stores: Path, place: Path) -> None:
        self.stores = stores
        self.here = Installation(network, cluster, place)
        self.opened = {name: OpenedMessages(stores / name) for name in STORES}
        self.sealed_before: dict[str, tuple[int, str]] = {}
        self.begun: dict[str, frozenset[str]] = {}
        self.arrange(
            [share(stores, name, host) for name, host in STORES.items()],
            Settings(bytes_per_second=BYTES_PER_SECOND, workers_per_host=1, groups=GROUPS),
        )

    def arrange(self, shares: Sequence[Share], settings: Settings) -> None:
        """Another run than that: other hosts, other units."""
        self.shares = shares
        self.groups = settings.groups or {"user": ".*"}
        self.config = self.here.configure(shares, settings)

    def await_middle(self, backup: Backup) -> None:
        """Until the second unit of the first host is at its second mailbox at least, and what was read has
        arrived: on a busy machine workers are ahead of the receiver by more than a mailbox."""
        middle = self.opened["one"]
        self.wait(backup, lambda: len(middle.mailboxes) >= 6 and self._has_arrived(), "the middle of the run")
        self.sealed_before = self.here.sealed()
        assert self.sealed_before
        assert self.here.partials()

    def _has_arrived(self) -> bool:
        """Whether the archives that are being written lack no more than the mailbox that is being read."""
        for file in self.here.staging.rglob("*.partial"):
            name, group = file.relative_to(self.here.staging).parts[:2]
            begun = [
                mailbox
                for mailbox in self.opened[name].mailboxes
                if re.fullmatch(self.groups[group], mailbox)
            ]
            try:
                with closing(LocalFile(str(file))) as partial:
                    draft = read_draft(partial)
            except FileNotFoundError:
                continue  # sealed this moment
            if len(begun) - (len(draft.directory.mailboxes) if draft else 0) > 1:
                return False
        return True

    def wait(self, backup: Backup, arrived: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not arrived():
            self.here.check_receiver()
            assert backup.is_running(), f"ended before {what}:\n{backup.told()}"
            assert time.monotonic() < until, f"waited too long for {what}"
            time.sleep(0.02)

    def attempts(self) -> dict[str, int]:
        """How often each unit of the run was tried."""
        return {f"{unit['partition']}/{unit['group']}": unit["attempts"] for unit in self.last()["units"]}

    def last(self) -> dict[str, Any]:
        """What is known of the run."""
        known: dict[str, Any] = self.here.run(self.config, "runs", "latest")
        return known

    def check(self) -> None:
        """All is there, sealed archives are as they were, and little was read twice."""
        again = self.read_again()  # before the store is read for the comparison
        run = self.last()
        assert (run["state"], run["sealed_units"]) == ("done", run["planned_units"])
        assert self.sealed_before.items() <= self.here.sealed().items()
        assert self.here.partials() == {}
        assert self.here.run(self.config, "verify", "--data")["damaged"] == []
        self.check_restored()
        assert {unit: users for unit, users in again.items() if len(users) > 1} == {}

    def read_again(self) -> dict[str, list[str]]:
        """The mailboxes of which something was read twice, by unit; where ``begun`` is noted, of these."""
        return {
            f"{name}/{group}": sorted(user for user in repeated if re.fullmatch(pattern, user))
            for name, opened in self.opened.items()
            for repeated in [opened.repeated & self.begun.get(name, opened.repeated)]
            for group, pattern in self.groups.items()
        }

    def check_restored(self) -> None:
        target = self.here.place / "restored"
        back = [share(target, one.name) for one in self.shares]
        self.here.run(self.here.configure_local(back, "staging"), "restore", "/")
        mailboxes = [path for one in self.shares for path in (self.stores / one.name).glob("*/*")]
        assert mailboxes
        for mailbox in mailboxes:
            restored = target / mailbox.relative_to(self.stores)
            assert differences(snapshot(mailbox), snapshot(restored)) == []


def share(place: Path, name: str, *hosts: str) -> Share:
    return Share(name=name, path=f"{place / name}/{{domain}}/{{user}}/Maildir", hosts=hosts)


@pytest.fixture
def scene(network: Network, cluster: RayCluster, stores: Path, tmp_path: Path) -> Iterator[Scene]:
    """With its receiver."""
    scene = Scene(network, cluster, stores, tmp_path)
    with ExitStack() as stack:
        for opened in scene.opened.values():
            stack.enter_context(opened)
        stack.enter_context(scene.here.receiving(scene.config))
        yield scene


def test_worker_is_killed(network: Network, scene: Scene) -> None:
    backup = Backup(scene.here, scene.config)
    scene.await_middle(backup)
    (worker,) = workers_of(network["store01"])
    os.kill(worker, signal.SIGKILL)
    assert backup.ended()["failures"] == []
    assert sorted(scene.attempts().values()) == [1, 1, 1, 2]
    scene.check()


def test_restore_loses_a_worker_and_its_coordinator(network: Network, scene: Scene) -> None:
    """What is done stays done: the other attempt at a unit, and the restore that goes on, take the rest. The
    mail of each host goes to the other one."""
    here = [share(scene.stores, name) for name in STORES]
    stored = scene.here.run(scene.here.configure_local(here, "staging"), "backup")
    back = [share(scene.here.place / "back", name, host) for name, host in STORES.items()]
    slow = scene.here.configure(back, Settings(bytes_per_second=3 * BYTES_PER_SECOND, workers_per_host=1))
    renames = scene.here.place / "renames"
    renames.write_text("one: = two:\ntwo: = one:\n")
    restore = Backup(scene.here, slow, "restore", "/", "--map", str(renames))
    scene.wait(restore, lambda: len(_done(scene)) >= 3, "three mailboxes")
    (worker,) = workers_of(network["store01"])
    os.kill(worker, signal.SIGKILL)
    before = len(_done(scene))
    scene.wait(restore, lambda: len(_done(scene)) >= before + 3, "three more after the worker was killed")
    restore.kill()
    done = _done(scene)
    fast = scene.here.configure(back, Settings())
    told = scene.here.run(fast, "restore", "--resume", "latest")
    assert (told["skipped"], told["damaged"]) == ([], [])
    assert told["restored"] + told["present"] == stored["messages"]
    paths = [one["path"] for one in _done(scene)]
    assert paths[: len(done)] == [one["path"] for one in done]
    assert len(paths) == len(set(paths)) == 16
    for name, other in (("one", "two"), ("two", "one")):
        mailboxes = list((scene.stores / name).glob("*/*"))
        assert len(mailboxes) == 8
        for mailbox in mailboxes:
            restored = scene.here.place / "back" / other / mailbox.relative_to(scene.stores / name)
            assert differences(_without_times(mailbox), _without_times(restored)) == []


def _without_times(mailbox: Path) -> dict[bytes, Entry]:
    """All but the times of directories: what was there already is looked at with the help of its own."""
    return {
        where: (*entry[:4], 0, entry[5]) if entry[0] == "directory" else entry
        for where, entry in snapshot(mailbox).items()
    }


def _done(scene: Scene) -> list[dict[str, Any]]:
    """The mailboxes that the newest restore has noted as done."""
    journals = sorted((scene.here.staging / ".mailhaul" / "restores").glob("*/journal.jsonl"))
    lines = journals[-1].read_bytes().split(b"\n")[:-1] if journals else []
    return [json.loads(line) for line in lines]


def test_restores_on_two_hosts_are_undone(
    network: Network, cluster: RayCluster, tmp_path: Path, rounds: int
) -> None:
    """One is killed when it is kept how the mailboxes are, and none of them is changed yet."""
    here, mail = Installation(network, cluster, tmp_path), tmp_path / "mail"
    boxes = [Maildir(mail / name / "example.org/anna/Maildir") for name in STORES]
    for box in boxes:
        for number in range(1, 4):
            box.message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\n" % number)
    here.run(here.configure_local([share(mail, name) for name in STORES], "staging"), "backup")
    for box in boxes:
        box.root.joinpath("cur", "1.M1P1.host:2,S").unlink()
        box.root.joinpath("cur", "2.M1P1.host:2,S").rename(box.root / "cur" / "2.M1P1.host:2,FS")
        box.message("4.M1P1.host:2,", b"Subject: of today\n\n")
    before = mail_in(mail)
    config = here.configure([share(mail, name, host) for name, host in STORES.items()])
    begun, waiting = tmp_path / "begun", tmp_path / "waiting.toml"
    wait = f"touch {begun}; while kill -0 $PPID 2>/dev/null; do sleep 0.1; done"
    waiting.write_text(f"{config.read_text()}[hooks]\nbefore_restore = {json.dumps(['sh', '-c', wait])}\n")
    with here.receiving(config):
        restore = Backup(here, waiting, "restore", "/", "--exact")
        wait_until("it is kept how the mailboxes are", lambda: begun.exists() or not restore.is_running())
        restore.kill()
        (directory,) = here.staging.glob(".mailhaul/restores/*")
        kept = {path.name: path.stat().st_ino for path in directory.glob("before.*")}
        assert len(kept) == 2
        assert mail_in(mail) == before
        exact = here.run(config, "restore", "--resume", "latest")
        assert (exact["undoable"], exact["restored"], exact["aside"], exact["flagged"]) == (True, 2, 2, 2)
        assert {path.name: path.stat().st_ino for path in directory.glob("before.*")} == kept
        undone = here.run(config, "restore", "--undo", "latest")
        assert (undone["removed"], undone["moved"], undone["flagged"]) == (2, 2, 2)
        assert mail_in(mail) == before
        if rounds <= 100:
            return
        plain = here.run(config, "restore", "/")
        assert (plain["undoable"], plain["restored"]) == (True, 2)
        assert here.run(config, "restore", "--undo", "latest")["removed"] == 2
        assert mail_in(mail) == before


def test_a_host_is_lost_while_it_keeps_how_mailboxes_are(
    network: Network, cluster: RayCluster, tmp_path: Path, rounds: int
) -> None:
    """The others are restored, and can be taken back; its own are on record as not kept."""
    if rounds <= 100:
        pytest.skip("it takes half a minute: make soak")
    here, mail = Installation(network, cluster, tmp_path), tmp_path / "mail"
    boxes = {name: Maildir(mail / name / "example.org/anna/Maildir") for name in STORES}
    for box in boxes.values():
        box.message("1.M1P1.host:2,S")
    here.run(here.configure_local([share(mail, name) for name in STORES], "staging"), "backup")
    for name, box in boxes.items():
        box.root.joinpath("cur", "1.M1P1.host:2,S").unlink()
        for number in range(200 if name == "two" else 1):
            box.message(
                f"9.M{number}P1.host:2,", b"Subject: of today\n\n" + os.urandom(50_000).hex().encode()
            )
    before = mail_in(mail)
    slow = Settings(bytes_per_second=BYTES_PER_SECOND, host_patience="10s")
    config = here.configure([share(mail, name, host) for name, host in STORES.items()], slow)
    with here.receiving(config):
        restore = Backup(here, config, "restore", "/")
        wait_until("it is being sent", lambda: any("/before." in name for name in here.partials()))
        cluster.kill_raylet("store02")
        done = restore.ended(status=3)
        assert (done["undoable"], done["restored"]) == (True, 1)
        assert {skip["path"] for skip in done["skipped"]} == {"/two/user/anna@example.org"}
        (directory,) = here.staging.glob(".mailhaul/restores/*")
        assert sorted(path.suffix == ".unkept" for path in directory.glob("before.*")) == [False, True]
        cluster.start()
        undone = here.run(config, "restore", "--undo", "latest", status=3)
        assert (undone["removed"], [one["reason"] for one in undone["skipped"]]) == (1, ["before"])
    assert mail_in(mail) == before


def mail_in(place: Path) -> dict[bytes, Entry]:
    """All but times, and the numbers that were given out meanwhile, which never come again."""
    found = snapshot(place, times=False)
    return {name: entry for name, entry in found.items() if not name.endswith(b"dovecot-uidlist")}


def test_node_of_a_host_is_killed(cluster: RayCluster, scene: Scene) -> None:
    backup = Backup(scene.here, scene.config)
    scene.await_middle(backup)
    cluster.kill_raylet("store01")
    cluster.start()
    assert backup.ended()["failures"] == []
    assert sorted(scene.attempts().values()) == [1, 1, 1, 2]
    scene.check()


def test_receiver_is_killed(scene: Scene) -> None:
    backup = Backup(scene.here, scene.config)
    scene.await_middle(backup)
    scene.here.kill_receiver()
    partials = scene.here.partials()
    time.sleep(1)
    assert scene.here.partials() == partials, "nobody else writes there"
    scene.here.start_receiver(scene.config)
    assert backup.ended()["failures"] == []
    assert set(scene.attempts().values()) == {1}, "the streams go on where they were"
    scene.check()


def test_coordinator_is_killed(scene: Scene) -> None:
    backup = Backup(scene.here, scene.config)
    scene.await_middle(backup)
    backup.kill()
    resumed = scene.here.run(scene.config, "backup", "--resume", "latest")
    assert resumed["sealed_before"] >= 1
    assert resumed["sealed_before"] + len(resumed["units"]) == 4
    scene.check()


def test_cluster_is_lost(cluster: RayCluster, scene: Scene) -> None:
    backup = Backup(scene.here, scene.config)
    scene.await_middle(backup)
    cluster.kill_gcs()
    assert backup.ended(status=1)["error"]["code"] == "cluster-lost"
    cluster.restart()
    resumed = scene.here.run(scene.config, "backup", "--resume", "latest")
    assert resumed["state"] == "done"
    scene.check()


def test_link_is_cut_for_long(network: Network, cluster: RayCluster, scene: Scene) -> None:
    """The unit that has another host goes on there when the lease is over, and nothing comes from the first
    host any more. The unit that has none waits until the host is back."""
    store01 = network["store01"]
    waits = share(scene.stores, "one", "store01")
    moves = share(scene.stores, "two", "store01", "store02")
    scene.arrange([waits, moves], Settings(bytes_per_second=BYTES_PER_SECOND, host_patience="10m"))
    backup = Backup(scene.here, scene.config)
    scene.wait(
        backup, lambda: all(len(messages.mailboxes) >= 4 for messages in scene.opened.values()), "the middle"
    )
    assert {stream["host"] for stream in scene.here.streams()} == {"store01"}
    (epoch,) = epochs(scene, "two")
    workers = workers_of(store01)

    # What is read from now on reaches nobody, as much of it as is read ahead of the receiver.
    scene.begun = {name: opened.mailboxes for name, opened in scene.opened.items()}
    store01.cut("drop")
    scene.wait(backup, lambda: cluster.driver().ask("live_hosts") == ["staging", "store02"], "the loss")
    left = scene.here.partials()
    assert set(workers) <= set(workers_of(store01)), "they are out of reach, and alive"
    scene.wait(backup, lambda: max(epochs(scene, "two"), default=0) > epoch, "the stand-in")
    assert epochs(scene, "two").isdisjoint({epoch})
    assert {
        name: size for name, size in scene.here.partials().items() if name in left
    }.items() <= left.items()

    store01.heal()
    cluster.await_end("store01")
    cluster.start_node("store01")
    writers = set()
    while backup.is_running():
        writers |= {(one["host"], one["epoch"]) for one in scene.here.streams() if one["file"][:4] == "two/"}
        time.sleep(0.2)
    assert backup.ended()["failures"] == []
    assert {host for host, _ in writers} == {"store02"}
    assert epoch not in {number for _, number in writers}
    assert scene.attempts() == {"one/user": 2, "two/user": 2}
    scene.check()


def epochs(scene: Scene, partition: str) -> set[int]:
    """Of what is being written of a partition: the attempt is in the name."""
    return {int(name.split(".")[-2]) for name in scene.here.partials() if name.startswith(f"{partition}/")}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The staging area is a file system of five megabytes, which does not hold the backup."""
    place = tmp_path / "staging"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_staging_area_is_full_for_a_while(small_disk: Path, scene: Scene) -> None:
    backup = Backup(scene.here, scene.config)
    scene.wait(backup, lambda: any(stream["waiting"] for stream in scene.here.streams()), "the full disk")
    scene.sealed_before = scene.here.sealed()
    time.sleep(3)
    assert "full" in next(one["waiting"] for one in scene.here.streams() if one["waiting"])
    assert os.statvfs(small_disk).f_bavail > 0, "the reserve is not touched"
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert backup.ended()["failures"] == []
    assert set(scene.attempts().values()) == {1}
    scene.check()


@pytest.fixture(scope="module")
def big(stores: Path) -> Path:
    """A mailbox that can't be made smaller."""
    maildir = stores / "big" / "example.org" / "anna" / "Maildir"
    for place in ("cur", "new", "tmp"):
        (maildir / place).mkdir(parents=True)
    for number in range(BIG_BYTES // BIG_MESSAGE_BYTES):
        content = b"Subject: big\n\n" + os.urandom(BIG_MESSAGE_BYTES)
        (maildir / "cur" / f"{number}.M1P1.store:2,S").write_bytes(content)
    return maildir


def test_receiver_is_slow(big: Path, scene: Scene) -> None:
    scene.arrange([share(scene.stores, "big", "store01")], Settings())
    ahead = [0]
    with OpenedMessages(scene.stores / "big") as opened, slowed(scene.here.receiver_pid):
        backup = Backup(scene.here, scene.config)
        while backup.is_running():
            read = opened.messages * BIG_MESSAGE_BYTES
            if written := sum(scene.here.partials().values()):
                ahead.append(read - written)
            time.sleep(0.02)
        (unit,) = backup.ended()["units"]
    assert unit["archive_bytes"] > BIG_BYTES
    assert max(ahead) > WINDOW_BYTES, "the worker never had to wait for the receiver"
    assert max(ahead) < MOST_AHEAD_BYTES
    assert unit["peak_memory_bytes"] < MOST_MEMORY_BYTES
    scene.check()


@contextmanager
def slowed(pid: int) -> Iterator[None]:
    """The process gets a thirtieth of its time."""
    ended = threading.Event()

    def hold_up() -> None:
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.29)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)

    thread = threading.Thread(target=hold_up, name="slower")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
