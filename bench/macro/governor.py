"""What users of a mail server wait while a backup runs, with the governor and without it.

    make bench-governor
    python -P -m mailhaul.bench.macro.governor [--pairs 4] [--seconds 50] [--clients 6,12,20] [--target MS]
                                               [--store DIRECTORY] [--cold] [--results DIRECTORY]

A Dovecot (as root, below TMPDIR) has a copy of a part of the store. So many clients, each a process, log in,
open an INBOX at random, read a random message of it, log out, and think for half a second, all the time.
Three more, with an account of their own, look once a second, as the governor's probe does; what is said of
the target is about these.

Calibrating: what 95 of 100 looks take while nobody else is there, and what they take while full backups of
the store follow each other without the governor. Where the second is not ``WORSE`` times the first, the
next number of clients is tried; of several that all are not, that which comes nearest is taken. The target is
then ``MISSED`` times lower than the second: one that is met without a backup, and missed with one.
(``--target`` sets another, for the last number of clients.)

Measured: full backups follow each other for so long, without the governor and with it, in turns, so often.
Every backup counts to its end, and what users waited meanwhile, also while the first one finds how much it
may do; later ones go on from there, as the runs of a night do. A phase ends with the backup that runs then:
all of it takes ten minutes with these settings. Shown and kept in ``--results`` are the phases and the
medians of them. With ``--cold`` the page cache is emptied before each backup.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from mailhaul.coordinator.governing.state import GovernorState, read_state
from mailhaul.proto.errors import BackupError
from mailhaul.proto.records import ServerAccess
from mailhaul.tests.integration.servers.dovecot import OWNER, Dovecot, ensure_owner, free_ports
from mailhaul.tests.integration.servers.imap import PASSWORD
from mailhaul.tests.integration.servers.programs import installed
from mailhaul.worker.stores.address import parse_address
from mailhaul.worker.stores.imap.probe import look

from .machine import commit, machine
from .stores import ROOT, Store, find, size_bytes

DOMAIN = "users"
PROBE = "probe@probes"
LOOKERS = 3
THINK_SECONDS = 0.5
PATIENCE_SECONDS = 30.0
STORE_BYTES = 500_000_000
"""So much of the store is taken: a backup that is held back to a tenth still ends within a phase."""

CALIBRATING_SECONDS = 20.0
WORSE = 1.6
MISSED = 1.4
PAUSE_SECONDS = 3.0
"""Between phases: what was written is on its way to the disk."""

OFF, ON = "without", "with"

_FORK = multiprocessing.get_context("fork")


class Session(NamedTuple):
    """Who had it, when it began, what it took."""

    client: int
    began: float
    seconds: float

    @property
    def is_look(self) -> bool:
        """Whether it was that of somebody who looks once a second."""
        return self.client < LOOKERS


class Phase(NamedTuple):
    """What went on from when to when; bytes and seconds of the backups, and the mean of the efforts."""

    name: str
    began: float
    ended: float
    size_bytes: int = 0
    seconds: float = 0.0
    level: float | None = None


class Row(NamedTuple):
    """The figures of a phase."""

    governor: str
    seconds: float
    looks: int
    look_p50_ms: float
    look_p95_ms: float
    of_target: float
    user_p50_ms: float
    user_p95_ms: float
    backup_mb_s: float
    effort: float | None


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    if reason := ensure_owner():
        sys.exit(reason)
    load_before = machine(Path(sys.executable))
    with _served(find("2g", options.store, ROOT / "build" / "bench")) as server:
        clients, target = options.clients[-1], options.target
        if not target:
            clients, target = _calibrated(server, options)
        print(f"{load_before}; {clients} clients; target {target} ms", flush=True)
        with _Clients(server, clients) as sessions:
            time.sleep(2.0)
            phases = []
            for _ in range(options.pairs):
                for name in (OFF, ON):
                    phases.append(_phase(server, name, target, options.seconds, cold=options.cold))
                    rows = [_row(phase, sessions.take(), target) for phase in phases]
                    print(_line(rows[-1]), flush=True)
                    time.sleep(PAUSE_SECONDS)
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": load_before,
        "clients": clients,
        "target_ms": target,
        "phases": [row._asdict() for row in rows],
        "medians": {name: _medians(rows, name) for name in (OFF, ON)},
    }
    text = "\n".join(_page(document, rows))
    print(text)
    if options.results:
        name = f"{document['date'][:10]}-{document['commit']}-governor"
        (options.results / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        (options.results / f"{name}.md").write_text(text + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4, help="of phases, without it and with it (default 4)")
    parser.add_argument("--seconds", type=float, default=50.0, help="of a phase at least (default 50)")
    parser.add_argument(
        "--clients", type=_numbers, default=(6, 12, 20), help="tried in turn (default 6,12,20)"
    )
    parser.add_argument("--target", type=int, default=0, help="milliseconds (default: calibrated)")
    parser.add_argument("--store", type=Path, help="Maildirs (default: the 2 GB store, built if need be)")
    parser.add_argument("--results", type=Path, help="the directory where figures are kept")
    parser.add_argument("--cold", action="store_true")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


@contextmanager
def _served(store: Store) -> Iterator[Dovecot]:
    """A Dovecot with a copy of a part of a store of Maildirs, and with an account that only the probe has."""
    place = Path(tempfile.mkdtemp(prefix="mh-gov-"))
    place.chmod(0o755)
    try:
        server = Dovecot(
            installed(Path), place, "maildir++", free_ports(), more="mail_max_userip_connections=99\n"
        )
        home = place / "home" / DOMAIN
        home.mkdir(parents=True)
        copied_bytes = 0
        for maildir in sorted(store.root.rglob("Maildir")):
            if copied_bytes < STORE_BYTES:
                shutil.copytree(maildir, home / maildir.parent.name / "Maildir", symlinks=True)
                copied_bytes += size_bytes(home / maildir.parent.name)
        first = max(home.iterdir(), key=lambda box: len(list((box / "Maildir" / "cur").iterdir())))
        shutil.copytree(first, place / "home" / "probes" / "probe")
        subprocess.run(["chown", "-R", f"{OWNER}:{OWNER}", place / "home"], check=True)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(place)


def _calibrated(server: Dovecot, options: argparse.Namespace) -> tuple[int, int]:
    """A number of clients, and a target in milliseconds that is met without a backup and missed with one,
    as far as there is one."""
    worst = 0.0
    for number in options.clients:
        with _Clients(server, number) as sessions:
            time.sleep(2.0)
            began = time.monotonic()
            time.sleep(CALIBRATING_SECONDS)
            quiet = Phase("", began, time.monotonic())
            busy = _phase(server, OFF, 0, CALIBRATING_SECONDS, cold=options.cold)
            before, after = (_p95(_within(sessions.take(), phase, looks=True)) for phase in (quiet, busy))
        print(
            f"calibrating, {number} clients: p95 of looks {before * 1000:.1f} ms without a backup, "
            f"{after * 1000:.1f} ms with one",
            flush=True,
        )
        if after / before > worst:
            worst, found = after / before, (number, max(1, math.floor(1000 * after / MISSED)))
        if worst >= WORSE:
            break
    return found


class _Clients:
    """The users, and those who look once a second: the first ``LOOKERS``. A context manager."""

    def __init__(self, server: Dovecot, count: int) -> None:
        self._told: Queue[Session] = _FORK.Queue()
        self._ended = _FORK.Event()
        self._sessions: list[Session] = []
        users = [f"{home.name}@{DOMAIN}" for home in sorted((server.place / "home" / DOMAIN).iterdir())]
        self._processes = [
            _FORK.Process(
                target=_use, args=(number, server.ports.imap, users, self._told, self._ended), daemon=True
            )
            for number in range(LOOKERS + count)
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

    def take(self) -> list[Session]:
        """All sessions so far."""
        while not self._told.empty():
            self._sessions.append(self._told.get())
        return self._sessions


def _use(number: int, port: int, users: Sequence[str], told: Queue[Session], ended: Event) -> None:
    address, access = parse_address(f"imap://127.0.0.1:{port}"), ServerAccess()
    chance = random.Random(number)
    looks = number < LOOKERS
    ended.wait(number / LOOKERS if looks else chance.random())
    while not ended.is_set():
        began = time.monotonic()
        user = PROBE if looks else chance.choice(users)
        try:
            seconds = look(address, user, access, PASSWORD, PATIENCE_SECONDS).seconds
        except BackupError:
            seconds = PATIENCE_SECONDS
        told.put(Session(number, began, seconds))
        ended.wait(max(0.0, began + 1 - time.monotonic()) if looks else chance.expovariate(1 / THINK_SECONDS))


def _phase(server: Dovecot, name: str, target: int, at_least: float, *, cold: bool) -> Phase:
    """Full backups, one after the other, for so long."""
    place = server.place / "backups"
    place.mkdir(exist_ok=True)
    config = _configured(server, place, name, target)
    began, done_bytes, seconds = time.monotonic(), 0, 0.0
    levels: list[float] = []
    while time.monotonic() - began < at_least:
        if cold:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("1\n")
        done = _backed_up(config, lambda: levels.extend(_level(place / name)))
        done_bytes += done["size_bytes"]
        seconds += done["seconds"]
        # Only what has been copied goes: the state of the governor stays, as between the runs of a night.
        for archive in (place / name).glob("*/"):
            if archive.name != ".mailhaul":
                shutil.rmtree(archive)
        for file in (place / name / ".mailhaul").glob("catalog*"):
            file.unlink()
    level = mean(levels) if name == ON and levels else None
    return Phase(name, began, time.monotonic(), done_bytes, seconds, level)


def _level(staging: Path) -> list[float]:
    state: GovernorState | None = read_state(staging, "localhost")
    return [] if state is None else [state.level]


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


def _backed_up(config: Path, each_second: Callable[[], object]) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "mailhaul", "--config", str(config), "backup", "--full", "--json"]
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=config.parent) as run,
    ):
        while True:
            try:
                status = run.wait(1.0)
                break
            except subprocess.TimeoutExpired:
                each_second()
        each_second()
        out.seek(0)
        err.seek(0)
        if status not in (0, 3):
            sys.exit(err.read())
        document: dict[str, Any] = json.load(out)
    return document


def _within(sessions: Sequence[Session], phase: Phase, *, looks: bool) -> list[float]:
    return sorted(
        session.seconds
        for session in sessions
        if session.is_look == looks and phase.began <= session.began < phase.ended
    )


def _row(phase: Phase, sessions: Sequence[Session], target: int) -> Row:
    looks, users = (_within(sessions, phase, looks=looks) for looks in (True, False))
    return Row(
        governor=phase.name,
        seconds=round(phase.ended - phase.began, 1),
        looks=len(looks),
        look_p50_ms=round(1000 * _share(looks, 50), 2),
        look_p95_ms=round(1000 * _p95(looks), 2),
        of_target=round(1000 * _p95(looks) / target, 3),
        user_p50_ms=round(1000 * _share(users, 50), 2),
        user_p95_ms=round(1000 * _p95(users), 2),
        backup_mb_s=round(phase.size_bytes / phase.seconds / 1e6, 1),
        effort=None if phase.level is None else round(phase.level, 3),
    )


def _medians(rows: Sequence[Row], name: str) -> dict[str, float]:
    of = [row for row in rows if row.governor == name]
    figures = ("of_target", "look_p95_ms", "user_p95_ms", "backup_mb_s")
    return {figure: round(median(getattr(row, figure) for row in of), 3) for figure in figures}


def _page(document: dict[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    machine_ = document["machine"]
    yield "# What users of a mail server wait while backups run, with the governor and without it"
    yield ""
    yield (
        f"Commit {document['commit']}, {machine_['cores']} cores ({machine_['cpu']}), Python "
        f"{machine_['python']}, load {machine_['load_before']} before. {document['clients']} clients; the "
        f"target is {document['target_ms']} ms. `bench/macro/governor.py` says how it is measured."
    )
    yield ""
    yield "| governor | s | looks | p50, p95 ms | p95 / target | users' p50, p95 ms | backup MB/s | effort |"
    yield "|---|---|---|---|---|---|---|---|"
    yield from map(_line, rows)
    yield ""
    for name, found in document["medians"].items():
        yield (
            f"- {name} the governor, medians: p95 of looks {found['of_target']:.2f} of the target, users' "
            f"p95 {found['user_p95_ms']:.1f} ms, backup {found['backup_mb_s']:.0f} MB/s"
        )


def _line(row: Row) -> str:
    cells = (
        row.governor,
        f"{row.seconds:.0f}",
        f"{row.looks}",
        f"{row.look_p50_ms:.1f}, {row.look_p95_ms:.1f}",
        f"{row.of_target:.2f}",
        f"{row.user_p50_ms:.1f}, {row.user_p95_ms:.1f}",
        f"{row.backup_mb_s:.0f}",
        "" if row.effort is None else f"{row.effort:.2f}",
    )
    return f"| {' | '.join(cells)} |"


def _p95(times: Sequence[float]) -> float:
    return _share(times, 95)


def _share(times: Sequence[float], percent: int) -> float:
    return times[math.ceil(len(times) * percent / 100) - 1] if times else math.nan


if __name__ == "__main__":
    main()
