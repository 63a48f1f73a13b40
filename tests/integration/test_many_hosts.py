"""Mail on two hosts, the staging area on a third: what comes back is what one host alone would bring back.

The hosts are network namespaces, the cluster is a real one; one store belongs to a Dovecot that runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailhaul.groups.renames import parse_renames
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.errors import EXIT_DAMAGED
from mailhaul.proto.structs import replace
from mailhaul.tests.archives import messages_of
from mailhaul.tests.integration.accounts import fill, message_files
from mailhaul.tests.integration.installation import Backup, Installation, Settings, Share
from mailhaul.tests.integration.network import Host, Network, open_network
from mailhaul.tests.integration.ray_cluster import RayCluster, open_cluster
from mailhaul.tests.integration.servers.dovecot import Dovecot, Ports, ensure_owner
from mailhaul.tests.integration.servers.imap import differences as differences_seen
from mailhaul.tests.integration.servers.programs import installed

from ..trees import Entry, differences, snapshot, without_times

pytestmark = pytest.mark.xdist_group("ray")

ALICE, BOB = "alice@example.org", "bob@example.net"
PORTS = Ports(10143, 10024, 10110)  # each host has all ports to itself

StartDovecot = Callable[[Host], Dovecot]


@pytest.fixture(scope="module")
def network(require_tool: Callable[[str], Path]) -> Iterator[Network]:
    with open_network(require_tool, "staging", "store01", "store02") as network:
        yield network


@pytest.fixture(scope="module")
def cluster(network: Network) -> Iterator[RayCluster]:
    with open_cluster(network, *network.hosts) as cluster:
        yield cluster


@pytest.fixture
def dovecot_on(require_tool: Callable[[str], Path]) -> Iterator[StartDovecot]:
    """``dovecot_on(host)``: a new, empty server there, with nothing to complain of at the end."""
    programs = installed(require_tool)
    if reason := ensure_owner():
        pytest.skip(reason)
    started: list[Dovecot] = []

    def start(host: Host) -> Dovecot:
        place = Path(tempfile.mkdtemp(prefix="mh-"))
        place.chmod(0o755)
        server = Dovecot(programs, place, "maildir++", PORTS, inside=host.inside)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()
    complaints = [line for server in started for line in server.complaints()]
    for server in started:
        shutil.rmtree(server.place)
    assert complaints == []


@pytest.fixture
def generated(root: Path, tmp_path: Path) -> Path:
    """A store of eight users and 1,200 messages."""
    place = tmp_path / "generated"
    maker = root / "deploy" / "demo" / "make_store.py"
    command = (sys.executable, maker, place, "--messages", "1200", "--seed", "7")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return place


def test_two_hosts_are_backed_up_to_a_third(
    network: Network,
    cluster: RayCluster,
    dovecot_on: StartDovecot,
    generated: Path,
    mails: tuple[bytes, ...],
    tmp_path: Path,
) -> None:
    server, other_server = dovecot_on(network["store01"]), dovecot_on(network["store02"])
    fill(server, ALICE, mails)
    fill(server, BOB, mails[::-1])
    before = {user: server.view(user) for user in (ALICE, BOB)}
    files = {user: message_files(server.maildir(user)) for user in before}
    one = Share(name="one", path=server.template, hosts=("store01",), doveadm=server.doveadm)
    two = Share(name="two", path=f"{generated}/{{domain}}/{{user}}/Maildir", hosts=("store02",))
    here = Installation(network, cluster, tmp_path)
    config = here.configure([one, two])
    with here.receiving(config):
        stored = here.run(config, "backup")
        assert {unit["partition"] for unit in stored["units"]} == {"one", "two"}
        again = here.run(config, "backup")  # the hosts read what is stored from the third one
        assert (again["read"], again["unchanged_units"]) == (0, len(stored["units"]))
        assert here.run(config, "verify", "--data")["damaged"] == []
        everything = here.configure([moved(one, tmp_path / "many"), moved(two, tmp_path / "many")])
        restored = here.run(everything, "restore", "/")
        to_a_server = replace(
            one, path=other_server.template, doveadm=other_server.doveadm, hosts=("store02",)
        )
        here.run(here.configure([to_a_server, two]), "restore", "/one")
        status = here.receiver_status()
    assert restored["restored"] == stored["messages"]
    assert restored["skipped"] == restored["damaged"] == []
    assert (status["strangers"], status["last_strangers"]) == (0, [])

    for user in before:
        assert differences_seen(before[user], other_server.view(user)) == []
        assert message_files(other_server.maildir(user)) == files[user]
    for mailbox in sorted(generated.glob("*/*")):
        back = tmp_path / "many" / "two" / mailbox.relative_to(generated)
        assert differences(snapshot(mailbox), snapshot(back)) == []

    alone = (replace(one, hosts=()), replace(two, hosts=()))
    here.run(here.configure_local(alone, "alone"), "backup")
    back = here.configure_local([moved(share, tmp_path / "alone-back") for share in alone], "alone")
    here.run(back, "restore", "/")
    content = content_of(here.staging)
    assert sum(map(len, content.values())) == stored["messages"]
    assert content == content_of(tmp_path / "alone")
    assert differences(trees(tmp_path / "alone-back"), trees(tmp_path / "many")) == []


def moved(share: Share, place: Path) -> Share:
    """A partition that lies elsewhere, and has no server."""
    return replace(share, path=f"{place}/{share.name}/{{domain}}/{{user}}/Maildir", doveadm=())


def trees(place: Path) -> dict[bytes, Entry]:
    """Everything restored there, but for the times of what lies above the mailboxes: it is made as needed."""
    return {
        name: entry
        for name, entry in snapshot(place).items()
        if b"/Maildir" in name and not name.endswith(b"/tmp")
    }


def content_of(staging: Path) -> dict[tuple[str, str, str], list[object]]:
    """What all archives of a staging area hold: by partition, user and folder, all that is known of each
    message but where its bytes are."""
    found: dict[tuple[str, str, str], list[object]] = {}
    for path in sorted(staging.rglob("*.mha")):
        file = LocalFile(str(path))
        try:
            archive = open_sealed(file)
            for entry in archive.directory.mailboxes:
                mailbox = archive.mailbox(entry.home.number)
                for folder in mailbox.folders:
                    messages = messages_of(archive, entry, folder)
                    found[archive.header.partition, mailbox.user, folder.folder.name] = [
                        replace(message, pieces=()) for message in messages
                    ]
        finally:
            file.close()
    return found


def test_progress_is_seen_from_the_staging_host(
    network: Network, cluster: RayCluster, generated: Path, tmp_path: Path
) -> None:
    here = Installation(network, cluster, tmp_path)
    share = Share(name="two", path=f"{generated}/{{domain}}/{{user}}/Maildir", hosts=("store02",))
    config = here.configure([share], Settings(bytes_per_second=4_000_000))
    with here.receiving(config):
        backup = Backup(here, config)
        seen = set()
        while backup.is_running():
            run = here.run(config, "status")["run"]
            units = run["units"] if run else []
            seen |= {(unit["host"], unit["unit"]) for unit in units if unit["messages"] > 0}
        assert backup.ended()["messages"] == 1200
    assert len(seen) == 1
    ((host, unit),) = seen
    assert (host, unit.partition("/")[0]) == ("store02", "two")


def test_a_drill_compares_with_the_live_store_on_its_hosts(
    network: Network, cluster: RayCluster, generated: Path, tmp_path: Path
) -> None:
    """A mailbox is restored on the staging host, from the destination, and looked at where it lives."""
    here = Installation(network, cluster, tmp_path)
    share = Share(name="two", path=f"{generated}/{{domain}}/{{user}}/Maildir", hosts=("store02",))
    config = here.configure([share])
    more = {"kind": "directory", "path": str(tmp_path / "vault")}
    tables = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    sweep = '[sweep]\ncopies = ["vault"]\nlook_again = "0s"\nkeep_staged = "0s"\nkeep_newest = false\n'
    drills = '[drill]\nreserve = "1 MB"\nmailboxes = 1\n'
    config.write_text(f'{config.read_text()}[[destination]]\nname = "vault"\n{tables}{sweep}{drills}')
    with here.receiving(config):
        here.run(config, "destination check", "vault")
        here.run(config, "backup")
        here.run(config, "sweep")
        done = here.run(config, "drill")
        (proof,) = done["proofs"]
        assert (proof["outcome"], proof["place"]) == ("proven", "vault")
        assert proof["alive"] == proof["messages"] > 0
        user = proof["user"]
        name, _, domain = user.partition("@")
        message = min((generated / domain / name / "Maildir" / "cur").iterdir())
        status = message.stat()
        message.write_bytes(message.read_bytes().swapcase())
        os.utime(message, ns=(status.st_atime_ns, status.st_mtime_ns))
        done = here.run(config, "drill", f"/two/user/{user}", status=EXIT_DAMAGED)
    (lack,) = done["proofs"][0]["lacks"]
    assert (lack["reason"], lack["path"].startswith(f"/two/user/{user}/")) == ("live", True)


def test_the_newest_mail_first_on_two_hosts(
    network: Network, cluster: RayCluster, generated: Path, tmp_path: Path
) -> None:
    """Users are renamed and spread over both; on each who logs in comes first, by the new name. Killed on the
    way and gone on with: all as it was."""
    for number, path in enumerate(sorted(generated.glob("**/cur/*"))):
        days = 500 if number % 4 else 3  # and nothing between: each pass with mail starts workers anew
        when = time.time() - 86_400 * days
        os.utime(path, (when, when), follow_symlinks=False)
    hosts = ("store01", "store02")
    renames = r"old:(.*)@(.*) = store01: | store02:\1.new@\2" + "\n"
    (tmp_path / "map").write_text(renames)
    places = {
        (box, user): parse_renames(renames, "map").place("old", user)
        for box in generated.glob("*/*")
        for user in [f"{box.name}@{box.parent.name}"]
    }
    first = tmp_path / "first"
    first.mkdir()
    last = {place.partition: (user, place.user) for (_, user), place in sorted(places.items())}
    assert last.keys() == set(hosts)
    for _, user in last.values():
        (first / user).touch()

    here = Installation(network, cluster, tmp_path)
    old = Share(name="old", path=f"{generated}/{{domain}}/{{user}}/Maildir", hosts=("store01",))
    new = [Share(name=one, path=f"{tmp_path}/{one}/{{user}}/Maildir", hosts=(one,)) for one in hosts]
    config = here.configure([old, *new])
    slow = here.configure([old, *new], Settings(bytes_per_second=300_000, workers_per_host=1))
    with here.receiving(config):
        here.run(config, "backup", "/old")
        words = ("/", "--map", str(tmp_path / "map"), "--order", "newest", "--first-from", str(first))
        restore = Backup(here, slow, "restore", *words)
        until = time.monotonic() + 60
        while len(journal(here)) < len(places) + len(hosts) + 1:
            assert restore.is_running(), restore.told()
            assert time.monotonic() < until, restore.told()
            time.sleep(0.02)
        restore.kill()
        lines = journal(here)
        (status,) = here.run(config, "status")["restores"]
        done = here.run(config, "restore", "--resume", "latest")
    for host, (user, _) in last.items():
        there = {whose for (_, whose), place in places.items() if place.partition == host}
        came = [line for line in lines if line["path"].rpartition("/")[2] in there]
        assert [one["path"] for one in came[:2]] == [f"/old/user/{user}"] * 2
        assert came[0]["reach"] == "folders" != came[1]["reach"]
    assert status["state"] == "interrupted"
    assert sum(one["mailboxes"] for one in status["reached"]) == len(places)
    assert (done["mailboxes"], done["skipped"], done["damaged"]) == (len(places), [], [])
    for (box, _), place in places.items():
        back = without_times(snapshot(tmp_path / place.partition / place.user))
        # That UIDs are kept free, which a list says, is of use no more.
        now = {where: (*one[:5], re.sub(rb" Mailhaul\d+\n", b"\n", one[5])) for where, one in back.items()}
        assert differences(without_times(snapshot(box)), now) == [], place


def journal(here: Installation) -> list[dict[str, Any]]:
    """What the only restore has done."""
    return [
        json.loads(line)
        for path in (here.staging / ".mailhaul" / "restores").glob("2*/journal.jsonl")
        for line in path.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]
