"""Encrypted archives of mail on two hosts, the staging area on a third: backed up, gone on with, restored,
taken back, purged. And what somebody can do who has all that a mail host ever held.

The hosts are network namespaces, the cluster is a real one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.coordinator.structure_keys import read_structure_keys
from mailhaul.proto.archive.draft import mailboxes_end
from mailhaul.proto.archive.files import LocalFile
from mailhaul.tests.integration.installation import Backup, Installation, Settings, Share, workers_of
from mailhaul.tests.integration.keyholder import Keyholder, slots_of
from mailhaul.tests.integration.network import Network, open_network
from mailhaul.tests.integration.process_memory import memory
from mailhaul.tests.integration.ray_cluster import RayCluster, open_cluster

from ..maildirs import Maildir
from ..receiving import wait_until

pytestmark = pytest.mark.xdist_group("ray")

HOSTS = {"one": "store01", "two": "store02"}
USERS = ("jane", "joe")
CARRIERS = ("/raylet ", "/gcs_server ")
"""The processes of Ray that tasks pass through."""


@pytest.fixture(scope="module")
def network(require_tool: Callable[[str], Path]) -> Iterator[Network]:
    with open_network(require_tool, "staging", "store01", "store02") as network:
        yield network


@pytest.fixture(scope="module")
def cluster(network: Network) -> Iterator[RayCluster]:
    with open_cluster(network, *network.hosts) as cluster:
        yield cluster


class Site:
    """Two mailboxes on each of two hosts, and somebody with a private key."""

    def __init__(self, network: Network, cluster: RayCluster, place: Path) -> None:
        self.here = Installation(network, cluster, place)
        self.ops = Keyholder(place / "laptop")
        self.store, self.back = place / "mail", place / "back"
        self.network = network
        self.boxes = {
            (name, user): Maildir(self.store / name / user) for name in sorted(HOSTS) for user in USERS
        }
        for (name, user), box in self.boxes.items():
            for number in range(6):
                box.message(f"{number}.M1P1.{name}:2,S", mail(name, user, number))
        self.config = self.configure()

    def configure(self, bytes_per_second: int = 0) -> Path:
        return self.here.configure(
            [self.share(name, self.store) for name in HOSTS],
            Settings(recipients=(self.ops.public,), bytes_per_second=bytes_per_second, workers_per_host=1),
        )

    def elsewhere(self) -> Path:
        """The configuration with which mail is restored to another place, on the same hosts."""
        return self.here.configure(
            [self.share(name, self.back) for name in HOSTS], Settings(recipients=(self.ops.public,))
        )

    def share(self, name: str, place: Path) -> Share:
        return Share(name=name, path=f"{place}/{name}/{{user}}", hosts=(HOSTS[name],))

    def archives(self) -> list[Path]:
        return sorted(self.here.staging.glob("*/user/*.mha"))

    def structure_key(self) -> bytes:
        (file,) = (self.here.place / "keys").glob("*.structure")
        return read_structure_keys(file)[-1].secret


def mail(name: str, user: str, number: int) -> bytes:
    head = f"From: {user}@example.org\nSubject: Rhabarber {name} {user} {number}\n\n"
    return head.encode() + f"{name} {user} {number} ".encode() * 400


def content(place: Path) -> dict[tuple[str, str], list[bytes]]:
    """The messages of each mailbox."""
    return {
        (name, user): sorted(one.read_bytes() for one in (place / name / user / "cur").iterdir())
        for name in HOSTS
        for user in USERS
    }


@pytest.fixture
def site(network: Network, cluster: RayCluster, tmp_path: Path) -> Site:
    return Site(network, cluster, tmp_path)


def test_nights_restores_and_a_purge(site: Site) -> None:
    here, config, with_key = site.here, site.config, site.ops.with_key
    with here.receiving(config):
        here.run(config, "backup")
        for (name, user), box in site.boxes.items():
            box.root.joinpath("cur", f"0.M1P1.{name}:2,S").unlink()
            box.root.joinpath("cur", f"1.M1P1.{name}:2,S").rename(box.root / "cur" / f"1.M1P1.{name}:2,FS")
            box.message(f"7.M1P1.{name}:2,", mail(name, user, 7))
        assert here.run(config, "backup")["read"] == len(site.boxes), "only what is new is read"
        assert len(site.archives()) == 4
        for file in site.archives():
            assert slots_of(file)
            assert b"Rhabarber" not in file.read_bytes()
        wanted = content(site.store)
        restored = here.run(site.elsewhere(), "restore", "/", *with_key)
        assert (restored["restored"], restored["skipped"], restored["damaged"]) == (24, [], [])
        assert content(site.back) == wanted
        _no_key_stays_with_those_who_carry_tasks(site)

        for (name, _), box in site.boxes.items():
            box.root.joinpath("cur", f"2.M1P1.{name}:2,S").unlink()
        here.run(config, "restore", "/", *with_key)
        assert content(site.store) == wanted
        assert here.run(config, "restore", "--undo", "latest", *with_key)["removed"] == 4
        assert {box: len(found) for box, found in content(site.store).items()} == dict.fromkeys(wanted, 5)

        here.run(config, "purge", "--last", "1")
        assert [one for one in site.archives() if ".g1." in one.name], "archives were written anew"
        here.run(config, "restore", "/", *with_key)
        assert content(site.store) == wanted


def _no_key_stays_with_those_who_carry_tasks(site: Site) -> None:
    needles = [
        site.structure_key(),
        *(site.ops.opened(one)[0] for f in site.archives() for one in slots_of(f)),
    ]
    carriers = [pid for host in site.network.hosts.values() for word in CARRIERS for pid in host.pids(word)]
    assert len(carriers) == 4
    for pid in carriers:
        held = memory(pid)
        assert b"mailhaul/host" in held, "it is what is looked for"
        assert not [one for one in needles if one in held]


def test_a_worker_is_killed_and_its_archive_gone_on_with(site: Site) -> None:
    for (name, user), box in site.boxes.items():
        for number in range(10, 30):
            box.message(f"{number}.M1P1.{name}:2,", os.urandom(20_000) + mail(name, user, number))
    slow = site.configure(bytes_per_second=300_000)
    with site.here.receiving(slow):
        backup = Backup(site.here, slow)

        def has_one_mailbox() -> bool:
            assert backup.is_running(), backup.told()
            return any(map(_has_mailbox, site.here.staging.glob("one/user/*.partial")))

        wait_until("the second mailbox of the first host", has_one_mailbox)
        (worker,) = workers_of(site.network["store01"])
        os.kill(worker, signal.SIGKILL)
        done = backup.ended()
        assert done["failures"] == []
        attempts = {
            one["partition"]: one["attempts"] for one in site.here.run(slow, "runs", "latest")["units"]
        }
        assert attempts == {"one": 2, "two": 1}
        (first,) = site.here.staging.glob("one/user/*.mha")
        assert len(slots_of(first)) == 2, "each attempt has a slot of its own"
        assert site.here.run(slow, "verify")["damaged"] == []
        back = site.elsewhere()
        site.here.run(back, "restore", "/", *site.ops.with_key)
    assert content(site.back) == content(site.store)


def _has_mailbox(partial: Path) -> bool:
    try:
        with closing(LocalFile(str(partial))) as file:
            return mailboxes_end(file).archive is not None
    except FileNotFoundError:
        return False  # sealed, or renamed by a later attempt, this moment
