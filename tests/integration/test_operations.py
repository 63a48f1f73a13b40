"""Operations put in from the command line, carried out by ``mailhaul serve`` in processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import cast

import pytest

from mailhaul.coordinator.service.records import Kind, Operation
from mailhaul.coordinator.serving.files import read_output, read_stderr

from .serving import Served, running, runs, wait_until

MAIL = b"From: a@example.org\nSubject: %d\nDate: Mon, 2 Mar 2026 10:00:00 +0000\n\n%s\n"


def deliver(served: Served, users: int = 3, messages: int = 4, size: int = 200) -> None:
    """A small store."""
    for user in range(users):
        box = served.store / f"user{user}"
        for folder in ("cur", "new", "tmp"):
            (box / folder).mkdir(parents=True, exist_ok=True)
        for number in range(messages):
            body = os.urandom(size // 2).hex().encode()
            (box / "cur" / f"17{number:08}.M{number}P1.host:2,S").write_bytes(MAIL % (number, body))


@pytest.fixture
def served(tmp_path: Path) -> Served:
    place = Served(tmp_path)
    deliver(place)
    return place


def ended(served: Served, number: int) -> Operation:
    """An operation, when it has ended."""

    def found() -> Operation | None:
        operation = served.operation(number)
        return operation if operation.ended and operation.state != "interrupted" else None

    return cast(Operation, wait_until(found))


def messages(store: Path) -> list[bytes]:
    """All messages of a store."""
    return sorted(
        path.read_bytes()
        for path in store.rglob("*")
        if path.parent.name in ("cur", "new") and path.is_file()
    )


def test_a_backup_and_its_restore_are_carried_out(served: Served, tmp_path: Path) -> None:
    with served.serving("--log", str(tmp_path / "log")):
        backup = served.add("backup", "/primary")
        assert ended(served, backup).state == "done"
        restore = served.add("restore", "/", "--to", f"maildir:{tmp_path}/back", reason="a lost disk")
        operation = ended(served, restore)
        assert (operation.state, operation.exit_status, operation.attempts, operation.request.reason) == (
            "done",
            0,
            1,
            "a lost disk",
        )
        assert operation.request.asked_by.startswith("cli:")
        document = served.run("operations", "show", str(backup))
        assert [document["result"]["run"]] == runs(served) == [document["operation"]["carries"]]
        assert document["progress"]["size_bytes"] == document["progress"]["expected_bytes"] > 0
        listed = served.run("operations", "list")["operations"]
        assert [(one["id"], one["state"]) for one in listed] == [(backup, "done"), (restore, "done")]
        log = tmp_path / "log"
        wait_until(lambda: log.read_text().count("operation.ended") == 2)
        told = [
            one for one in map(json.loads, log.read_text().splitlines()) if one["event"] == "operation.ended"
        ]
        assert [(one["kind"], one["state"]) for one in told] == [("backup", "done"), ("restore", "done")]
    assert messages(tmp_path / "back") == messages(served.store) != []


VAULT = """
[[destination]]
name = "vault"
kind = "directory"
path = "{place}/vault"

[sweep]
copies = ["vault"]

[retention]
last = 7
"""


def test_before_the_first_backup_there_is_nothing_to_do(tmp_path: Path) -> None:
    served = Served(tmp_path, more=VAULT.format(place=tmp_path))
    (tmp_path / "vault").mkdir()
    deliver(served)
    words: tuple[tuple[Kind, *tuple[str, ...]], ...] = (
        ("verify", "--older-than", "30d"), ("verify", "--from", "vault", "--older-than", "30d"), ("sweep",),
        ("purge",), ("drill",),
    )  # fmt: skip
    with served.serving():
        for number in [served.put_in(*one) for one in words]:
            one = ended(served, number)
            assert (one.state, one.exit_status) == ("done", 0), one
            assert json.loads(read_output(served.staging, number) or b"") == {"nothing_stored": True}
            assert "nothing is stored yet: there is nothing to" in read_stderr(served.staging, number)
        assert not list((tmp_path / "vault").iterdir()), "nothing was begun either"
        assert ended(served, served.put_in("backup")).state == "done"
        verified = ended(served, served.put_in("verify", "--data"))
        assert json.loads(read_output(served.staging, verified.id) or b"")["messages"] == 12
    # Of an area that was lost nobody says so.
    for name in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"):
        (served.staging / ".mailhaul" / name).unlink(missing_ok=True)
    lost = served.run("verify", "--older-than", "30d", status=1)
    assert lost["error"]["code"] == "not-found"


def test_what_waits_says_why_and_begins_when_it_may(served: Served) -> None:
    let_go = served.hold_run_lock()
    with served.serving():
        first, second = served.add("backup"), served.add("purge", "--last", "3")
        for one in (first, second):
            wait_until(lambda: "holds the lock of the staging area" in served.operation(one).waits_for)  # noqa: B023
        let_go()
        assert [ended(served, one).state for one in (first, second)] == ["done", "done"]


def test_what_is_stopped_while_it_waits_never_begins(served: Served) -> None:
    waiting = served.add("backup"), served.add("verify")
    stopped = served.run("operations", "stop", "--all")["operations"]
    assert [one["state"] for one in stopped] == ["stopped", "stopped"]
    with served.serving():
        last = served.add("backup")
        ended(served, last)
    assert [served.operation(one).attempts for one in (*waiting, last)] == [0, 0, 1]
    again = served.run("operations", "stop", str(last), status=2)
    assert "has ended" in again["error"]["message"]


LIMIT = "messages_per_second = 2"


@pytest.fixture
def slow(tmp_path: Path) -> Served:
    """A store whose backup takes as long as it takes to stop it; until ``hurry`` is called."""
    place = Served(tmp_path, more=f"\n[load]\n{LIMIT}\n")
    deliver(place, users=4, messages=60)
    return place


def hurry(served: Served) -> None:
    """What begins from now on is fast."""
    served.config.write_text(served.config.read_text().replace(LIMIT, ""))


def test_a_stop_is_in_order_and_its_run_can_go_on(slow: Served) -> None:
    with slow.serving("--metrics-listen", "127.0.0.1:0") as process:
        number, waiting = slow.add("backup"), slow.add("purge", "--last", "3")
        run = running(slow, number).carries
        wait_until(lambda: slow.operation(waiting).waits_for)
        queue = slow.run("status")["queue"]
        assert [[one["id"] for one in queue[name]] for name in ("going", "waiting")] == [[number], [waiting]]
        assert process.stderr
        address = re.search(r"metrics at (\S+)", process.stderr.readline())
        assert address
        with urllib.request.urlopen(f"http://{address[1]}/metrics", timeout=30) as answer:
            metrics = answer.read().decode()
        assert 'mailhaul_operations{kind="backup",state="running"} 1.0' in metrics
        assert 'mailhaul_operations_waiting_since_timestamp_seconds{kind="purge"}' in metrics
        slow.run("operations", "stop", str(waiting))
        assert slow.run("operations", "stop", str(number))["operations"][0]["state"] == "stopping"
        operation = ended(slow, number)
        assert (operation.state, operation.exit_status) == ("stopped", 143)
    hurry(slow)
    assert slow.run("backup", "--resume", run)["run"] == run


def test_what_runs_when_the_service_ends_goes_on_with_the_next(slow: Served, tmp_path: Path) -> None:
    with slow.serving():
        number = slow.add("backup")
        run = running(slow, number).carries
    operation = slow.operation(number)
    assert (operation.state, operation.exit_status) == ("interrupted", 143)
    hurry(slow)
    with slow.serving():
        operation = ended(slow, number)
        assert (operation.state, operation.carries, operation.attempts, operation.deaths) == (
            "done",
            run,
            2,
            0,
        )
    assert runs(slow) == [run]
    slow.run("restore", "/", "--to", f"maildir:{tmp_path}/back")
    assert messages(tmp_path / "back") == messages(slow.store)


def test_an_operation_outlives_a_killed_service_and_is_adopted(slow: Served, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    program = json.dumps(["sh", "-c", f"cat > {hook}.new && mv {hook}.new {hook}"])
    slow.config.write_text(f"{slow.config.read_text()}\n[hooks]\noperation_died = {program}\n")
    process = slow.start()
    number = slow.add("backup")
    pid = running(slow, number).pid
    process.kill()
    process.communicate()
    assert slow.operation(number).state == "running"
    with slow.serving("--log", str(tmp_path / "log")):
        wait_until(lambda: "operation.adopted" in (tmp_path / "log").read_text())
        assert slow.operation(number).pid == pid
        hurry(slow)
        os.kill(pid, signal.SIGKILL)  # what becomes of it is seen by who has not started it
        operation = ended(slow, number)
        assert (operation.state, operation.deaths) == ("done", 1)
        wait_until(hook.exists)
        assert json.loads(hook.read_bytes())["becomes"] == "waiting"
    assert len(runs(slow)) == 1


def test_without_a_service_a_stop_is_by_force_after_the_grace_too(slow: Served) -> None:
    slow.config.write_text(slow.config.read_text().replace('"30s"', '"1s"'))
    process = slow.start()
    number, waiting = slow.add("backup"), slow.add("purge", "--last", "3")
    operation = running(slow, number)
    process.kill()
    process.communicate()
    os.kill(operation.pid, signal.SIGSTOP)  # it hears nothing
    stopped = slow.run("operations", "stop", "--all")["operations"]
    assert [(one["id"], one["state"]) for one in stopped] == [(number, "stopped"), (waiting, "stopped")]
    with pytest.raises(ProcessLookupError):
        wait_until(lambda: os.kill(operation.pid, 0))
    assert slow.operation(number).error == "it was killed while it stopped"
    hurry(slow)
    assert slow.run("backup", "--resume", operation.carries)["run"] == operation.carries


def test_what_an_operation_may_not_be_given_is_refused(served: Served) -> None:
    refused = served.run(
        "operations", "add", "--json", "backup", "--store", "maildir:/srv", "--help", status=2
    )
    assert refused["error"]["code"] == "usage"
    refused = served.run(
        *("operations", "add", "--json", "backup", "/primary", "--reason", "late"), status=2, json_last=False
    )
    assert "--reason stands before backup" in refused["error"]["message"]
    assert served.run("operations", "list")["operations"] == []


def test_where_there_is_no_staging_area_no_queue_is_made(served: Served) -> None:
    served.staging.rmdir()
    for words in (("list",), ("add", "backup"), ("stop", "--all")):
        done = subprocess.run(served.words("operations", *words), capture_output=True, text=True, check=False)
        assert done.returncode
        assert "there is no staging area" in done.stderr
    assert not served.staging.exists()
