"""Encrypted archives of mail on several hosts, the staging area on one of them: written, gone on with,
written anew, restored. And what somebody can have who has all that a mail host ever held.

The hosts are network namespaces, the cluster is a real one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.coordinator.structure_keys import keys_at, read_structure_keys
from mailhaul.proto.archive.draft import mailboxes_end
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.keys.derivation import digest_key
from mailhaul.tests.integration.installation import Backup, Installation, Settings, Share, workers_of
from mailhaul.tests.integration.keyholder import Keyholder, slots_of
from mailhaul.tests.integration.mail_host_attacker import Held, content_frames, keys_near, secrets_of
from mailhaul.tests.integration.network import Network, command_line, open_network
from mailhaul.tests.integration.process_memory import memory
from mailhaul.tests.integration.ray_cluster import RayCluster, open_cluster

from ..maildirs import Maildir
from ..receiving import wait_until

pytestmark = pytest.mark.xdist_group("ray")

HOSTS = {"one": "store01", "two": "store02", "three": "staging"}
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
    """Two mailboxes on each of three hosts, that of the staging area among them, and somebody with a private
    key."""

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

    def configure(self, *, bytes_per_second: int = 0, erasable: bool = False) -> Path:
        return self.here.configure(
            [self.share(name, self.store) for name in HOSTS],
            Settings(
                recipients=(self.ops.public,),
                erasable=erasable,
                bytes_per_second=bytes_per_second,
                workers_per_host=1,
            ),
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


def mail(name: str, user: str, number: int) -> bytes:
    head = f"From: {user}@example.org\nSubject: Rhabarber {name} {user} {number}\n\n"
    return head.encode() + f"{name} {user} {number} ".encode() * 400


def content(place: Path) -> dict[tuple[str, str], list[bytes]]:
    """The messages of each mailbox."""
    return {
        (name, user): sorted(path.read_bytes() for path in (place / name / user / "cur").iterdir())
        for name in HOSTS
        for user in USERS
    }


@pytest.fixture
def site(network: Network, cluster: RayCluster, tmp_path: Path) -> Site:
    return Site(network, cluster, tmp_path)


def test_nights_restores_and_a_purge(site: Site) -> None:
    here, config, with_key = site.here, site.configure(erasable=True), site.ops.with_key
    with here.receiving(config):
        here.run(config, "backup")
        for (name, user), box in site.boxes.items():
            box.root.joinpath("cur", f"0.M1P1.{name}:2,S").unlink()
            box.root.joinpath("cur", f"1.M1P1.{name}:2,S").rename(box.root / "cur" / f"1.M1P1.{name}:2,FS")
            box.message(f"7.M1P1.{name}:2,", mail(name, user, 7))
        assert here.run(config, "backup")["read"] == len(site.boxes), "only what is new is read"
        assert len(site.archives()) == 6
        for file in site.archives():
            assert slots_of(file)
            assert b"Rhabarber" not in file.read_bytes()
        wanted = content(site.store)
        restored = here.run(site.elsewhere(), "restore", "/", *with_key)
        assert (restored["restored"], restored["skipped"], restored["damaged"]) == (36, [], [])
        assert content(site.back) == wanted
        _no_key_stays(site)

        here.run(config, "purge", "--last", "1")
        assert [archive for archive in site.archives() if ".g1." in archive.name], (
            "archives were written anew"
        )
        for (name, _), box in site.boxes.items():
            box.root.joinpath("cur", f"2.M1P1.{name}:2,S").unlink()
        here.run(config, "restore", "/", *with_key)
        assert content(site.store) == wanted


def _no_key_stays(site: Site) -> None:
    """Neither with Ray, who has carried tasks with keys, nor with the receiver, nor on a mail host."""
    hosts = site.network.hosts.values()
    wait_until("the workers have ended", lambda: not any(map(workers_of, hosts)))
    keys = keys_at(site.here.staging).keys
    secret = (*keys.structures.values(), *keys.secrets.values(), *secrets_of(site.archives(), site.ops).all)
    assert len(secret) > len(site.boxes), "each mailbox has one"
    carriers = {pid for host in hosts for word in CARRIERS for pid in host.pids(word)}
    assert len(carriers) == 4
    for pid in (pid for host in hosts for pid in host.pids()):
        held = memory(pid)
        assert b"mailhaul/host" in held or pid not in carriers, "it is what is looked for"
        assert not [one for one in secret if one in held], command_line(pid)


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
            unit["partition"]: unit["attempts"] for unit in site.here.run(slow, "runs", "latest")["units"]
        }
        assert attempts == {"one": 2, "two": 1, "three": 1}
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


def test_with_all_that_a_mail_host_held_nothing_of_earlier_nights_can_be_had(
    network: Network, cluster: RayCluster, tmp_path: Path
) -> None:
    here, ops, host = (
        Installation(network, cluster, tmp_path),
        Keyholder(tmp_path / "laptop"),
        network["store01"],
    )
    boxes = {user: Maildir(tmp_path / "mail" / user) for user in USERS}
    shares = [Share(name="one", path=f"{tmp_path}/mail/{{user}}", hosts=(host.name,))]
    fast = Settings(recipients=(ops.public,))
    slow = Settings(recipients=(ops.public,), bytes_per_second=100_000, workers_per_host=1)
    config, slowly = here.configure(shares, fast), here.configure(shares, slow)
    deleted = [f"Quittengelee {night} {user} unverkennbar".encode() for night in (1, 2) for user in USERS]
    held = Held(host, tmp_path / "mail")

    def archives() -> list[Path]:
        return sorted(here.staging.glob("one/user/*.mha"))

    def look(*secret: bytes) -> bytes:
        """Nothing is in the memory of any process that must not be there; what workers have, in one piece."""
        of_workers = []
        for is_worker, data in held.memories():
            assert [one for one in (*gone, *secret) if one in data] == []
            assert of_earlier.in_(data) == []
            if is_worker:
                of_workers.append(data)
        return b"".join(of_workers)

    with here.receiving(config):
        gone = deleted.copy()
        for night in (1, 2):
            for user, box in boxes.items():
                told = deleted.pop(0)
                content = b"From: a@example.org\nSubject: " + told + b"\n\n" + (told + b" and more\n") * 50
                box.message(f"{night}.M1P1.a:2,S", content)
                box.message(f"{night}.M2P1.a:2,S", mail("one", user, night))
            here.run(config, "backup")
            for box in boxes.values():
                box.root.joinpath("cur", f"{night}.M1P1.a:2,S").unlink()
        earlier, of_earlier = archives(), secrets_of(archives(), ops)
        (keys,) = (here.place / "keys").glob("*.structure")
        (structure,) = (key.secret for key in read_structure_keys(keys))
        for box in boxes.values():
            box.root.joinpath("cur", "1.M2P1.a:2,S").rename(box.root / "cur" / "1.M2P1.a:2,FS")
            box.message("3.M1P1.a:2,S", b"Subject: new\n\n" + os.urandom(100_000).hex().encode())

        backup = Backup(here, slowly)
        wait_until("something is written", lambda: any(here.partials().values()) or not backup.is_running())
        (worker,) = workers_of(host)
        with backup.standing_still():
            os.kill(worker, signal.SIGSTOP)
            during = look()
            os.kill(worker, signal.SIGCONT)
            assert structure in during, "it is handed over, and found: memory is searched indeed"
            wait_until("the archive is sealed", lambda: len(archives()) > len(earlier))
            own = secrets_of(set(archives()) - set(earlier), ops)
            assert own.in_(during), "the key of this night is where it is made use of"
            handed = (structure, *own.all)
            wait_until(
                "the worker has forgotten the keys", lambda: not any(one in memory(worker) for one in handed)
            )
            after = look(*handed)
        assert backup.ended()["failures"] == []
    wait_until("the worker has ended", lambda: not workers_of(host))
    look(*handed)
    for file, data in held.contents(cluster.token_file.parent, Path("/dev/shm")):
        if not file.is_relative_to(keys.parent):  # that stands for the directories of all hosts here
            assert of_earlier.in_(data) == [], file
            assert [one for one in (*gone, *handed) if one in data] == [], file

    frames = [frame for file in earlier for frame in content_frames(file, structure)]
    assert len(frames) >= 4, "mail and search terms of two nights"
    tried = [
        *handed,
        digest_key(structure),
        *keys_near(during + after, [content_frame.slot for content_frame in frames]),
    ]
    assert len(tried) > 100
    assert not [one for one in tried if any(frame.opens_with(one) for frame in frames)]
    assert all(any(frame.opens_with(one) for one in of_earlier.contents) for frame in frames), "the keys do"
