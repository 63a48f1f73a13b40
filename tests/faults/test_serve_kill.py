"""kill -9 of ``mailhaul serve``, of what it carries out, and of both, at any time: nothing is lost, nothing
is done twice, and each operation goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import UNDER_WAY, Kind, Operation
from mailhaul.proto.errors import NotFoundError

from ..integration.serving import Served, wait_until

MORE = """
[[destination]]
name = "vault"
kind = "directory"
path = "{place}/vault"

[sweep]
copies = ["vault"]
look_again = "0s"
keep_staged = "0s"
"""
USERS, NEW = 5, 24
LONGEST_SECONDS = 1.2
"""As long as an operation takes."""


@dataclass
class Nights:
    """A store that gets mail, and what was in it as of each backup."""

    served: Served
    rng: random.Random
    number: int = 0
    kept: dict[str, list[bytes]] = field(default_factory=dict)
    kills: int = 0
    kills_under_way: int = 0
    ends: int = 0
    resumed: int = 0

    def deliver(self) -> None:
        """New mail for everybody; some of the old goes."""
        self.number += 1
        for user in range(USERS):
            box = self.served.store / f"user{user}"
            for folder in ("cur", "new", "tmp"):
                (box / folder).mkdir(parents=True, exist_ok=True)
            old = sorted(box.glob("cur/*"))
            for gone in self.rng.sample(old, len(old) // 4):
                gone.unlink()
            for message in range(NEW):
                name = f"17{self.number:05}{message:04}.M{message}P{user}.host:2,S"
                body = self.rng.randbytes(self.rng.choice((100, 3000, 40_000))).hex().encode()
                text = b"Subject: %d/%d\nFrom: a@example.org\n\n%s\n" % (self.number, message, body)
                (box / "cur" / name).write_bytes(text)

    def runs(self) -> set[str]:
        """The runs on record."""
        try:
            with Catalog.open(self.served.staging) as catalog:
                return {str(run.run) for run in catalog.runs()}
        except NotFoundError:
            return set()

    def kill(self, process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        """Kill the service, an operation, or both, or end the service in order; returns the service that goes
        on."""
        going = Operations(self.served.staging).in_states(UNDER_WAY)
        what = self.rng.choice(("service", "operation", "both", "in order"))
        self.kills_under_way += bool(going)
        if what == "in order":
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            process.communicate()
            assert not Operations(self.served.staging).in_states(UNDER_WAY)
            self.ends += 1
            return self.served.start()
        if what != "service" and going:
            with suppress(ProcessLookupError):
                os.kill(self.rng.choice(going).pid, signal.SIGKILL)
                self.kills += 1
        if what == "operation" and going:
            return process
        process.kill()
        process.communicate()
        self.kills += 1
        return self.served.start()

    def wait_until_under_way(self, numbers: list[int]) -> None:
        """Until one of the operations is, or all have ended."""
        queue = Operations(self.served.staging)
        wait_until(lambda: queue.in_states(UNDER_WAY) or all(queue.get(number).ended for number in numbers))

    def night(self) -> None:
        """Operations of all kinds, kills meanwhile, and then: each was done once, and what was restored is
        what was stored."""
        self.deliver()
        before = self.runs()
        back = self.served.place / f"back{self.number}"
        earlier = list(self.kept)[-1]
        wanted: list[tuple[Kind, tuple[str, ...]]] = [
            ("backup", ()),
            ("sweep", ()),
            ("purge", ("--last", "3")),
            ("verify", ("--data",)),
            ("restore", ("/", "--at", earlier, "--to", f"maildir:{back}")),
        ]
        self.rng.shuffle(wanted)
        numbers = [self.served.put_in(kind, *words) for kind, words in wanted]
        process = self.served.start()
        try:
            for _ in range(self.rng.choice((1, 1, 2))):
                self.wait_until_under_way(numbers)
                time.sleep(self.rng.uniform(0.0, LONGEST_SECONDS))
                process = self.kill(process)
            done = [self.ended(number) for number in numbers]
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.communicate()
        for operation in done:
            assert (operation.state, operation.error) == ("done", ""), self.said(operation)
            self.resumed += operation.attempts > 1
        (backup,) = (one for one in done if one.request.kind == "backup")
        assert self.runs() - before == {backup.carries}
        assert messages(back) == self.kept[earlier]
        self.kept[backup.carries] = messages(self.served.store)

    def ended(self, number: int) -> Operation:
        """An operation when it has ended."""

        def found() -> Operation | None:
            operation = self.served.operation(number)
            return operation if operation.ended and operation.state != "interrupted" else None

        operation: Operation = wait_until(found, 180)
        return operation

    def said(self, operation: Operation) -> str:
        """What there is to know of an operation that failed."""
        err = self.served.staging / f".mailhaul/operations/{operation.id}.err"
        return f"{operation}\n{err.read_text() if err.exists() else ''}"


def messages(store: Path) -> list[bytes]:
    """All messages of a store."""
    return sorted(
        path.read_bytes()
        for path in store.rglob("*")
        if path.parent.name in ("cur", "new") and path.is_file()
    )


@pytest.mark.timeout(7200)
def test_killed_at_any_time_nothing_is_lost_or_done_twice(tmp_path: Path, rounds: int) -> None:
    served = Served(tmp_path, more=MORE.format(place=tmp_path))
    nights = Nights(served, random.Random(20260301))
    nights.deliver()
    served.run("destination", "check", "vault")
    nights.kept[served.run("backup")["run"]] = messages(served.store)
    count = rounds // 10 if rounds > 100 else 3
    for _ in range(count):
        nights.night()
    assert nights.kills + nights.ends >= count
    assert count < 10 or nights.kills_under_way >= count // 2
    assert count < 10 or nights.resumed
    for number, (run, stored) in enumerate(list(nights.kept.items())[-3:]):
        back = tmp_path / f"last{number}"
        served.run("restore", "/", "--at", run, "--to", f"maildir:{back}")
        assert messages(back) == stored
    served.run("verify", "--data")
    print(
        f"{nights.number} nights, {nights.kills} kills, {nights.ends} ends in order, "
        f"{nights.kills_under_way} times with operations under way, "
        f"{nights.resumed} operations begun again"
    )
