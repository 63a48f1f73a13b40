"""What users of a mail server wait while a backup runs, with the governor and without it.

    python -m mailhaul.bench.macro.governor [--seconds 45] [--governed-seconds 90] [--rounds 2] [--clients 6]
                                            [--target MS | --factor 2] [--store DIRECTORY] [--cold]

A Dovecot (as root, below TMPDIR) has a copy of the store. So many clients, each a process, log in, open an
INBOX at random, read a random message of it, log out, and think for half a second, all the time. One more
client, with an account of its own, looks once a second, as the governor's probe does. First nobody else is
there; then full backups of the store follow each other for so long, without the governor and with it, in
turns. The target is ``--factor`` times what 95 of 100 looks of that one client took at most while no backup
ran. Shown are the longest wait of 95 of 100 of the one client's looks and of all clients' sessions, how
much of the store was backed up in a second, and the effort at the end. With ``--cold`` the page cache is
emptied before each backup.

Every backup counts to its end, and what users waited meanwhile, also while the first one finds how much it
may do. A phase ends with the backup that runs then: the whole takes 6 to 8 minutes with these settings, on
a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from mailhaul.coordinator.governing.state import read_state
from mailhaul.proto.errors import BackupError
from mailhaul.proto.records import ServerAccess
from mailhaul.tests.integration.servers.dovecot import OWNER, Dovecot, ensure_owner, free_ports
from mailhaul.tests.integration.servers.imap import PASSWORD
from mailhaul.tests.integration.servers.programs import installed
from mailhaul.worker.stores.address import parse_address
from mailhaul.worker.stores.imap.probe import look

from .machine import machine

DOMAIN = "users"
PROBE = "probe@probes"
THINK_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
NONE, OFF, ON = "no backup", "without", "with"

_FORK = multiprocessing.get_context("fork")


class Seen(NamedTuple):
    """A session: who had it, when it began, what it took."""

    client: int
    began: float
    seconds: float


class Phase(NamedTuple):
    """What was going on from when to when; bytes and seconds of the backups, and the effort at the end."""

    name: str
    began: float
    ended: float
    size_bytes: int = 0
    seconds: float = 0.0
    level: float | None = None


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if reason := ensure_owner():
        sys.exit(reason)
    with _served(options.store) as server, _Clients(server, options.clients) as clients:
        time.sleep(2.0)
        phases = [_quiet(options.quiet_seconds)]
        base = _p95([seen for seen in clients.take() if seen.client == 0], phases[0])
        target = options.target or max(1, round(1000 * base * options.factor))
        print(f"{machine(Path(sys.executable))}; {options.clients} clients; target {target} ms", flush=True)
        for number in range(options.rounds):
            for name in (OFF, ON) if number % 2 == 0 else (ON, OFF):
                phases.append(_phase(server, name, target, options))
                time.sleep(5.0)  # what was written is on its way to the disk
        _show(phases, clients.take(), target / 1000)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=45.0, help="of a phase at least (default 45)")
    parser.add_argument("--governed-seconds", type=float, default=90.0, help="with it (default 90)")
    parser.add_argument("--quiet-seconds", type=float, default=30.0, help="without a backup (default 30)")
    parser.add_argument("--rounds", type=int, default=2, help="(default 2)")
    parser.add_argument("--clients", type=int, default=6, help="(default 6)")
    parser.add_argument("--target", type=int, default=0, help="milliseconds (default: --factor)")
    parser.add_argument("--factor", type=float, default=2.0, help="(default 2)")
    parser.add_argument("--store", type=Path, default=Path("build/bench/store-2g-corpus/p1"))
    parser.add_argument("--cold", action="store_true")
    return parser.parse_args(arguments)


@contextmanager
def _served(store: Path) -> Iterator[Dovecot]:
    """A Dovecot with a copy of a store of Maildirs, and with an account that only the probe has."""
    place = Path(tempfile.mkdtemp(prefix="mh-gov-"))
    place.chmod(0o755)
    try:
        server = Dovecot(
            installed(Path), place, "maildir++", free_ports(), more="mail_max_userip_connections=99\n"
        )
        home = place / "home" / DOMAIN
        shutil.copytree(store, home, symlinks=True)
        first = max(home.iterdir(), key=lambda one: len(list((one / "Maildir" / "cur").iterdir())))
        shutil.copytree(first, place / "home" / "probes" / "probe")
        subprocess.run(["chown", "-R", f"{OWNER}:{OWNER}", place / "home"], check=True)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place)


class _Clients:
    """The users: client 0 is the one that looks once a second. A context manager."""

    def __init__(self, server: Dovecot, count: int) -> None:
        self._told: Queue[Seen] = _FORK.Queue()
        self._ended = _FORK.Event()
        self._seen: list[Seen] = []
        users = [f"{path.name}@{DOMAIN}" for path in sorted((server.place / "home" / DOMAIN).iterdir())]
        self._processes = [
            _FORK.Process(
                target=_use, args=(number, server.ports.imap, users, self._told, self._ended), daemon=True
            )
            for number in range(count + 1)
        ]

    def __enter__(self) -> _Clients:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.take()
        for process in self._processes:
            process.join(5)
            process.kill()

    def take(self) -> list[Seen]:
        """All sessions so far."""
        while not self._told.empty():
            self._seen.append(self._told.get())
        return self._seen


def _use(number: int, port: int, users: Sequence[str], told: Queue[Seen], ended: Event) -> None:
    address, access = parse_address(f"imap://127.0.0.1:{port}"), ServerAccess()
    chance = random.Random(number)
    while not ended.is_set():
        began = time.monotonic()
        user = chance.choice(users) if number else PROBE
        try:
            seconds = look(address, user, access, PASSWORD, PATIENCE_SECONDS).seconds
        except BackupError:
            seconds = PATIENCE_SECONDS
        told.put(Seen(number, began, seconds))
        pause = chance.expovariate(1 / THINK_SECONDS) if number else max(0.0, began + 1 - time.monotonic())
        ended.wait(pause)


def _quiet(seconds: float) -> Phase:
    began = time.monotonic()
    time.sleep(seconds)
    return Phase(NONE, began, time.monotonic())


def _phase(server: Dovecot, name: str, target: int, options: argparse.Namespace) -> Phase:
    """Full backups, one after the other, for so long."""
    place = server.place / "backups"
    place.mkdir(exist_ok=True)
    config = _configured(server, place, name, target)
    began, size_bytes, seconds, level = time.monotonic(), 0, 0.0, None
    at_least = options.governed_seconds if name == ON else options.seconds
    while time.monotonic() - began < at_least:
        if options.cold:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("1\n")
        done = _backed_up(config)
        size_bytes += done["size_bytes"]
        seconds += done["seconds"]
        state = read_state(place / name, "localhost")
        level = state.level if state and name == ON else None
        # Only what has been copied goes: the state of the governor stays, as between the runs of a night.
        for archive in (place / name).glob("*/"):
            if archive.name != ".mailhaul":
                shutil.rmtree(archive)
        for file in (place / name / ".mailhaul").glob("catalog*"):
            file.unlink()
    return Phase(name, began, time.monotonic(), size_bytes, seconds, level)


def _configured(server: Dovecot, place: Path, name: str, target: int) -> Path:
    password = place / "password"
    password.touch(mode=0o600)
    password.write_text(f"{PASSWORD}\n")
    governor = f"""
        [governor]
        target = "{target}ms"
        user = "{PROBE}"
        password_file = "password"
        [governor.host.localhost]
        server = "imap://127.0.0.1:{server.ports.imap}"
    """
    config = place / f"{name}.toml"
    config.write_text(
        f"""
        [staging]
        path = {json.dumps(str(place / name))}
        same_device = true
        [[partition]]
        format = "maildir"
        path = {json.dumps(f"{server.place}/home/{DOMAIN}/{{user}}/Maildir")}
        [groups]
        largest_unit = "40 MiB"
        {governor if name == ON else ""}
        """
    )
    return config


def _backed_up(config: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "mailhaul", "--config", str(config), "backup", "--full", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=config.parent)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _show(phases: Sequence[Phase], seen: Sequence[Seen], target: float) -> None:
    print("| governor | s | probe p50, p95 ms | p95 / target | users p50, p95 ms | backup MB/s | effort |")
    print("|---|---|---|---|---|---|---|")
    for phase in phases:
        probe, users = ([x for x in seen if (x.client == 0) == is_probe] for is_probe in (True, False))
        speed = f"{phase.size_bytes / phase.seconds / 1e6:.0f}" if phase.seconds else ""
        level = "" if phase.level is None else f"{phase.level:.2f}"
        print(
            f"| {phase.name} | {phase.ended - phase.began:.0f} | {_ms(probe, phase)} | "
            f"{_p95(probe, phase) / target:.2f} | {_ms(users, phase)} | {speed} | {level} |"
        )
    for name in (OFF, ON):
        of = [one for one in phases if one.name == name]
        together = sorted(
            x.seconds for x in seen if x.client == 0 and any(p.began <= x.began < p.ended for p in of)
        )
        p95 = together[math.ceil(len(together) * 95 / 100) - 1] / target
        rate = median(one.size_bytes / one.seconds / 1e6 for one in of)
        print(f"{name} the governor: p95 of {len(together)} looks {p95:.2f} of the target, {rate:.0f} MB/s")


def _ms(seen: Sequence[Seen], phase: Phase) -> str:
    return f"{_share(seen, phase, 50) * 1000:.0f}, {_share(seen, phase, 95) * 1000:.0f}"


def _p95(seen: Sequence[Seen], phase: Phase) -> float:
    return _share(seen, phase, 95)


def _share(seen: Sequence[Seen], phase: Phase, percent: int) -> float:
    times = sorted(one.seconds for one in seen if phase.began <= one.began < phase.ended)
    return times[math.ceil(len(times) * percent / 100) - 1] if times else math.nan


if __name__ == "__main__":
    main()
