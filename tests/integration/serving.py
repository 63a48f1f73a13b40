"""``mailhaul serve`` as its users run it: a process over a small store, with commands beside it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.cli.operation_words import checked
from mailhaul.coordinator.lock import RunLock
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Kind, Operation, Request
from mailhaul.proto.errors import NotFoundError

PROGRAM = Path(sys.executable).with_name("mailhaul")

CONFIG = """\
[staging]
path = {staging}
reserve = "1 MiB"
same_device = true

[[partition]]
format = "maildir"
path = {store}

[dispatch]
workers_per_host = 2

[serve]
stop_grace = "30s"
"""

PATIENCE_SECONDS = 60.0


@dataclass
class Served:
    """A place with a configuration, a store and a staging area; ``more`` stands behind the configuration."""

    place: Path
    more: str = ""

    def __post_init__(self) -> None:
        self.store = self.place / "store"
        self.staging = self.place / "staging"
        self.staging.mkdir(exist_ok=True)
        self.config = self.place / "mailhaul.toml"
        quoted = {"staging": json.dumps(str(self.staging)), "store": json.dumps(f"{self.store}/{{user}}")}
        self.config.write_text(CONFIG.format(**quoted) + self.more)

    def words(self, *words: str | Path) -> list[str | Path]:
        """A call of the program."""
        return [PROGRAM, "--config", self.config, *words]

    def run(self, *words: str | Path, status: int | Sequence[int] = 0, json_last: bool = True) -> Any:
        """A command with ``--json``; what it printed. It must end with this status, or one of these."""
        done = subprocess.run(
            [*self.words(*words), *(["--json"] if json_last else [])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        expected = (status,) if isinstance(status, int) else status
        assert done.returncode in expected, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def add(self, kind: str, *arguments: str, reason: str = "") -> int:
        """Put an operation in; its id."""
        words = ("operations", "add", "--json", "--reason", reason, kind, *arguments)
        return int(self.run(*words, json_last=False)["operation"]["id"])

    def put_in(self, kind: Kind, *arguments: str) -> int:
        """The same, at once."""
        request = Request(kind=kind, arguments=checked(kind, arguments), asked_by="cli:root")
        return Operations(self.staging).add(request, datetime.now(UTC)).id

    def operation(self, number: int) -> Operation:
        """What is on record of an operation."""
        return Operations(self.staging).get(number)

    def hold_run_lock(self) -> Callable[[], object]:
        """Hold the lock of the staging area, as a program outside of the queue; call what is returned to let
        go of it."""
        lock = RunLock(self.staging)
        lock.__enter__()
        return lambda: lock.__exit__(None, None, None)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """``mailhaul serve``, when it serves."""
        process = subprocess.Popen(
            self.words("serve", *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        first = process.stderr.readline()
        assert "serving" in first, first + process.stderr.read()
        return process

    @contextmanager
    def serving(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """``mailhaul serve``, as long as the context lasts; it must end in order."""
        process = self.start(*words)
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.communicate()


def wait_until(what: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> Any:
    """What it returns as soon as that is true."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
    return found


def running(served: Served, number: int) -> Operation:
    """A backup that is under way, when its run is in the catalog."""

    def found() -> Operation | None:
        operation = served.operation(number)
        return operation if operation.state == "running" and operation.carries in runs(served) else None

    return cast(Operation, wait_until(found))


def runs(served: Served) -> list[str]:
    """The runs in the catalog."""
    try:
        with Catalog.open(served.staging) as catalog:
            return [run.run for run in catalog.runs()]
    except NotFoundError:
        return []
