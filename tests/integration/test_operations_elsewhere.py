"""Operations that are asked for on another host of the cluster, by the receiver, with that host's key."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Request
from mailhaul.coordinator.serving.asking import ask
from mailhaul.coordinator.serving.host_requests import HostAsk
from mailhaul.proto.errors import StagingError
from mailhaul.proto.wire.keys import make_pair

from ..maildirs import Maildir
from ..trees import differences, snapshot
from .serving import PROGRAM, Served, running, wait_until


class Cluster(Served):
    """A staging host with a receiver, and other hosts: each with a directory of keys, and nothing else."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, 'trusted_hosts = ["admin01"]\n')
        self.keys = place / "keys"
        for name in ("receiver", "store01", "admin01"):
            make_pair(self.keys, name)
        for host in ("store01", "admin01"):
            there = place / host
            there.mkdir()
            shutil.move(self.keys / f"{host}.key_secret", there)
            shutil.copy(self.keys / "receiver.key", there)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        text = self.config.read_text()
        told = f'[staging]\nlisten = "{self.address}"\nkeys = "{self.keys}"\n'
        self.config.write_text(text.replace("[staging]\n", told, 1))

    @contextmanager
    def receiving(self) -> Iterator[None]:
        process = subprocess.Popen(self.words("receive"), stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr
            assert "receiving at" in process.stderr.readline()
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)

    def asked(self, host: str, *words: str, status: int = 0) -> Any:
        """A command on another host; what it printed as JSON, or said on stderr."""
        first, *others = words
        keys = ["--coordinator", self.address, "--keys", str(self.place / host), "--json"]
        done = subprocess.run(
            [PROGRAM, "operations", first, *keys, *others],
            cwd=self.place / host,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        return json.loads(done.stdout) if not status else done.stderr

    def audit(self) -> list[dict[str, Any]]:
        """The lines of the audit log."""
        text = (self.staging / ".mailhaul" / "audit.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path)
    for user in ("anna", "bert"):
        Maildir(made.store / user).message(f"1.{user}", f"Subject: {user}\n\n".encode())
    return made


def test_a_backup_that_another_host_asks_for_is_carried_out_and_can_be_restored(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.receiving():
        asked = cluster.asked("store01", "add", "--reason", "before the move", "backup", "/primary")
        request = asked["operation"]["request"]
        assert (request["asked_by"], request["reason"]) == ("key:store01", "before the move")
        assert (request["kind"], request["arguments"]) == ("backup", ["/primary"])
        number = str(asked["operation"]["id"])
        with cluster.serving():
            done = wait_until(
                lambda: (now := cluster.asked("store01", "show", number))["operation"]["ended"] and now
            )
        assert (done["operation"]["state"], done["result"]["messages"]) == ("done", 2)
        assert cluster.asked("store01", "list")["operations"] == [done["operation"]]
    cluster.run("restore", "/", "--to", f"maildir:{tmp_path / 'restored'}/{{user}}")
    assert (
        differences(snapshot(cluster.store, times=False), snapshot(tmp_path / "restored", times=False)) == []
    )
    assert [(one["who"], one["what"], one["why"], one["outcome"]) for one in cluster.audit()] == [
        ("key:store01", "add operation", "before the move", "begun"),
        ("key:store01", "add operation", "before the move", "done"),
    ]


def test_a_host_that_is_not_trusted_asks_for_what_harms_nobody_and_sees_its_own(cluster: Cluster) -> None:
    request = Request(kind="sweep", asked_by="cli:root")
    mine = Operations(cluster.staging).add(request, datetime.now(UTC)).id
    with cluster.receiving():
        for words in (
            ["purge", "--last", "1"],
            ["restore", "/primary/user/anna"],
            ["undelete", "/primary/user/anna", "--from", "-1d"],
            ["backup", "--accept-empty"],
            ["backup", "--full"],
            ["verify", "--accept"],
            ["verify", "--fix"],
            ["sweep", "--to", "elsewhere"],
        ):
            assert "store01 may not put in" in cluster.asked("store01", "add", *words, status=1), words
        for words, told in (
            (["restore", "/primary/user/anna", "--to", "maildir:/tmp/x"], "an operation can't be given --to"),
            (["verify", "--identity", "/etc/shadow"], "an operation can't be given --identity"),
            (["backup", "--config", "/tmp/evil.toml"], "No such option"),
            (["backup", "--staging", "/tmp"], "an operation can't be given --staging"),
            (["backup", "-f", "/etc/passwd"], "an operation can't be given -f"),
        ):
            assert told in cluster.asked("admin01", "add", *words, status=2), words
        for words in (["show", str(mine)], ["stop", str(mine)]):
            assert f"there is no operation {mine} that store01 may see" in cluster.asked(
                "store01", *words, status=1
            )
        assert cluster.asked("store01", "list")["operations"] == []
        assert cluster.asked("store01", "stop", "--all")["operations"] == []

        purge = cluster.asked("admin01", "add", "purge", "--last", "1")["operation"]
        assert [operation["id"] for operation in cluster.asked("admin01", "list")["operations"]] == [
            mine,
            purge["id"],
        ]
        stopped = cluster.asked("admin01", "stop", str(mine), str(purge["id"]))["operations"]
        assert [one["state"] for one in stopped] == ["stopped", "stopped"]
        assert "has ended: stopped" in cluster.asked("admin01", "stop", str(mine), status=2)
        assert "no operation 99" in cluster.asked("admin01", "show", "99", status=1)
    refused = [one for one in cluster.audit() if one["outcome"] == "refused"]
    assert len(refused) == 8
    assert {one["who"] for one in refused} == {"key:store01"}


def test_whom_the_coordinator_trusts_is_read_again_when_the_configuration_changes(cluster: Cluster) -> None:
    text = cluster.config.read_text()
    with cluster.receiving():
        cluster.asked("store01", "add", "purge", "--last", "1", status=1)
        cluster.asked("admin01", "add", "purge", "--last", "1")
        cluster.config.write_text(text.replace('["admin01"]', '["store01"]'))
        cluster.asked("store01", "add", "purge", "--last", "1")
        cluster.asked("admin01", "add", "purge", "--last", "1", status=1)
        cluster.config.write_text(text.replace('["admin01"]', '["store01"'))
        cluster.asked("store01", "add", "purge", "--last", "1", status=1)
        cluster.config.write_text(text)
        cluster.asked("admin01", "add", "purge", "--last", "1")
    assert len(Operations(cluster.staging).newest(9)) == 3


def test_a_stop_by_another_host_is_by_force_after_the_grace_where_nobody_serves(cluster: Cluster) -> None:
    text = cluster.config.read_text().replace('"30s"', '"1s"')
    cluster.config.write_text(f"{text}\n[load]\nmessages_per_second = 2\n")
    for number in range(50):
        Maildir(cluster.store / "anna").message(f"1{number:03}.anna", b"Subject: more\n\n%d\n" % number)
    with cluster.receiving():
        number = cluster.asked("admin01", "add", "backup")["operation"]["id"]
        process = cluster.start()
        pid = running(cluster, number).pid
        process.kill()
        process.communicate()
        os.kill(pid, signal.SIGSTOP)
        stopped = cluster.asked("admin01", "stop", str(number))["operations"]
        assert [one["state"] for one in stopped] == ["stopping"]
        wait_until(lambda: cluster.operation(number).state == "stopped")
    assert cluster.operation(number).error == "it was killed while it stopped"


def test_who_has_no_key_that_is_let_in_and_where_nobody_answers(cluster: Cluster) -> None:
    with pytest.raises(StagingError, match="nothing answers there"):
        ask(
            cluster.address,
            cluster.place / "admin01",
            "admin01",
            HostAsk(command="list"),
            connecting_seconds=1,
        )
    stranger = cluster.place / "stranger"
    make_pair(stranger, "store01")
    shutil.copy(cluster.keys / "receiver.key", stranger)
    make_pair(cluster.place / "two", "b")
    make_pair(cluster.place / "two", "a")
    with cluster.receiving():
        assert re.search("does not allow the key", cluster.asked("stranger", "list", status=1))
        assert "which key is that of this host" in cluster.asked("two", "list", status=2)
        assert "--coordinator is asked about its own" in cluster.asked(
            "admin01", "list", "--staging", str(cluster.staging), status=2
        )
