"""mailhaul on the hosts of a network, set up as its documents say: keys, a configuration, the receiver beside
the staging area, and commands on the staging host, where the coordinator runs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailhaul.proto.structs import Record

from .network import Host, Network, end_group
from .ray_cluster import RayCluster

STAGING = "staging"
"""The name of the host of the staging area."""

RECEIVER_PORT = 7400
_MAILHAUL = Path(sys.executable).with_name("mailhaul")
_COMMAND_SECONDS = 240.0
_START_SECONDS = 30.0


class Share(Record, kw_only=True):
    """A partition: where it is, as a configuration has it, and on which hosts. Empty: here, with one engine
    for all."""

    name: str
    path: str
    hosts: tuple[str, ...] = ()
    doveadm: tuple[str, ...] = ()

    def table(self) -> str:
        keys: dict[str, object] = {"name": self.name, "format": "maildir", "path": self.path}
        keys |= {"hosts": list(self.hosts)} if self.hosts else {}
        keys |= {"doveadm": list(self.doveadm)} if self.doveadm else {}
        return "[[partition]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a configuration says beside where everything is."""

    bytes_per_second: int = 0
    largest_unit: str = "20 GiB"
    reserve: str = "1 MiB"
    host_patience: str = "60s"
    workers_per_host: int = 2
    groups: Mapping[str, str] = field(default_factory=dict)
    recipients: tuple[Path, ...] = ()
    erasable: bool = False


class Installation:
    """``place`` holds all but the mail: configurations, keys, ``staging``."""

    def __init__(self, network: Network, cluster: RayCluster, place: Path) -> None:
        self.place = place
        self.staging = place / "staging"
        self.host = network[STAGING]
        self._cluster = cluster
        self._receiver: subprocess.Popen[Any] | None = None
        self._address = f"tcp://{self.host.address}:{RECEIVER_PORT}"
        self._keys = place / "keys"
        self._made = 0
        done = self.host.run(_MAILHAUL, "keys", "make", "receiver", *network.hosts, "--dir", self._keys)
        assert done.returncode == 0, done.stderr

    def configure(self, shares: Sequence[Share], settings: Settings | None = None) -> Path:
        """A configuration for the whole cluster."""
        settings = settings or Settings()
        dispatch = {
            "engine": "ray",
            "address": self._cluster.address,
            "token_file": str(self._cluster.token_file),
            "host_patience": settings.host_patience,
        }
        staging = {
            "host": STAGING,
            "listen": self._address,
            "address": self._address,
            "keys": str(self._keys),
        }
        return self._write(shares, settings, staging, dispatch)

    def configure_local(self, shares: Sequence[Share], staging: str) -> Path:
        """A configuration for this host alone, with a staging area of its own."""
        return self._write(shares, Settings(), {"path": str(self.place / staging)}, {"engine": "local"})

    def _write(
        self,
        shares: Sequence[Share],
        settings: Settings,
        staging: Mapping[str, str],
        dispatch: Mapping[str, str],
    ) -> Path:
        self._made += 1
        config, groups = self.place / f"{self._made}.toml", self.place / f"{self._made}.groups"
        groups.write_text("".join(f"{name}={pattern}\n" for name, pattern in settings.groups.items()))
        tables: dict[str, dict[str, object]] = {
            "staging": {"path": str(self.staging), "reserve": settings.reserve, **staging},
            "groups": {"file": str(groups), "largest_unit": settings.largest_unit},
            "dispatch": {"workers_per_host": settings.workers_per_host, **dispatch},
        }
        if settings.recipients:
            recipients = [str(recipient) for recipient in settings.recipients]
            tables["encryption"] = {"recipients": recipients, "erasable": settings.erasable}
        if settings.bytes_per_second:
            tables["load"] = {"bytes_per_second": f"{settings.bytes_per_second / 1000} kB", "ramp": "1s"}
        lines = [
            line
            for name, table in tables.items()
            for line in (f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items()))
        ]
        config.write_text("\n".join([*lines, *(share.table() for share in shares)]))
        return config

    def run(self, config: Path, command: str, *arguments: str | Path, status: int = 0) -> Any:
        """Run a command on the staging host; what it printed as JSON. It must end with this status."""
        done = self.host.run(*_words(config, command, *arguments), timeout_seconds=_COMMAND_SECONDS)
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    @contextmanager
    def receiving(self, config: Path) -> Iterator[None]:
        """The receiver runs for as long as the block lasts, and must not end by itself."""
        self.start_receiver(config)
        try:
            yield
            self.check_receiver()
        finally:
            self.kill_receiver()

    def start_receiver(self, config: Path) -> None:
        """Start it, and wait until it takes connections."""
        log = self.place / "receiver.log"
        with log.open("wb") as out:
            self._receiver = self.host.popen(
                *(_MAILHAUL, "--config", config, "receive"), stdout=out, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + _START_SECONDS
        while "receiving at" not in log.read_text():
            assert self._receiver.poll() is None, log.read_text()
            assert time.monotonic() < until, "the receiver does not begin"
            time.sleep(0.05)

    def check_receiver(self) -> None:
        """It runs, unless it was killed on purpose."""
        if self._receiver is not None:
            assert self._receiver.poll() is None, (self.place / "receiver.log").read_text()

    def kill_receiver(self) -> None:
        """kill -9. Repeatable."""
        if self._receiver is not None:
            end_group(self._receiver)
            self._receiver = None

    def receiver_status(self) -> dict[str, Any]:
        """What the receiver tells of itself each second."""
        told: dict[str, Any] = json.loads((self.staging / ".mailhaul" / "receiver.json").read_text())
        return told

    @property
    def receiver_pid(self) -> int:
        assert self._receiver is not None
        return self._receiver.pid

    def streams(self) -> list[dict[str, Any]]:
        """What the receiver is being sent, as it tells; nothing before it has told anything."""
        try:
            streams: list[dict[str, Any]] = self.receiver_status()["streams"]
        except FileNotFoundError:
            return []
        return streams

    def sealed(self) -> dict[str, tuple[int, str]]:
        """Every sealed archive: inode and content. Whoever touches one changes one of them."""
        return {
            str(file.relative_to(self.staging)): (file.stat().st_ino, _digest(file))
            for file in self.staging.rglob("*.mha")
        }

    def partials(self) -> dict[str, int]:
        """What is being written: sizes by name."""
        found = {}
        for file in self.staging.rglob("*.partial"):
            try:
                found[str(file.relative_to(self.staging))] = file.stat().st_size
            except FileNotFoundError:
                continue  # sealed this moment
        return found


class Backup:
    """A backup that goes on, or another command, in a process of its own on the staging host."""

    def __init__(
        self, installation: Installation, config: Path, command: str = "backup", *words: str
    ) -> None:
        self._out = installation.place / "backup.out"
        self._error = installation.place / "backup.err"
        with self._out.open("wb") as out, self._error.open("wb") as error:
            self._process = installation.host.popen(
                *_words(config, command, *words), stdout=out, stderr=error
            )

    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """kill -9 of the coordinator, and of nothing else."""
        os.kill(self._process.pid, signal.SIGKILL)
        assert self._process.wait(_COMMAND_SECONDS) == -signal.SIGKILL

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """The coordinator does nothing for as long as the block lasts: workers do what they have begun, and
        none is let go of."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def ended(self, status: int = 0) -> Any:
        """Wait for its end, which must have this status; what it printed."""
        ended = self._process.wait(_COMMAND_SECONDS)
        assert ended == status, f"exit status {ended}\n{self.told()}"
        return json.loads(self._out.read_text())

    def told(self) -> str:
        """All that it has printed by now."""
        return f"{self._out.read_text()}\n{self._error.read_text()}"


def workers_of(host: Host) -> list[int]:
    """The processes of workers that do something on a host, or wait for something to do."""
    return host.pids("ray::Actor")


def _words(config: Path, command: str, *arguments: str | Path) -> list[str | Path]:
    return [_MAILHAUL, "--config", config, *command.split(), "--json", *arguments]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
