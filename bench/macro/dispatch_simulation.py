"""A run over a thousand hosts, told by a simulated clock: how long it would take, and what it costs here.

    python -P -m mailhaul.bench.macro.dispatch_simulation [--hosts 1000] [--seed 1]

The plan (``coordinator.plan``, ``groups.sharding``), the core that dispatches and the catalog are the real
ones; only the workers are made up. A host reads a unit in

    bytes / its rate + messages * its time for one message + mailboxes * its time for one mailbox

with every host of another speed. A plan made without knowing the sizes, or with wrong ones, is carried out
with the true ones.
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.core import (
    Assign,
    Core,
    DoorOpened,
    Event,
    Finish,
    Start,
    TaskDone,
    WorkerReady,
)
from mailhaul.coordinator.inventory import Inventory
from mailhaul.coordinator.plan import make_units, muster
from mailhaul.coordinator.run_ids import new_run_id
from mailhaul.coordinator.settings import ExcludeConfig, GroupsConfig
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import (
    ArchiveId,
    MailboxSize,
    MailboxSummary,
    Partition,
    Unit,
    UnitReport,
)
from mailhaul.proto.structs import replace
from mailhaul.worker.archives.names import archive_name

WORKERS = 4
LARGEST_BYTES = {"20 GiB": 20 * 2**30, "one a worker": 2**60}
START_SECONDS = 0.5

Sizes = Mapping[str, MailboxSize]
"""By user."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one worker of a host is."""

    bytes_per_second: float
    message_seconds: float
    mailbox_seconds: float = 0.05

    def seconds(self, mailboxes: Sequence[MailboxSize]) -> float:
        return (
            sum(mailbox.size_bytes for mailbox in mailboxes) / self.bytes_per_second
            + sum(size.messages for size in mailboxes) * self.message_seconds
            + len(mailboxes) * self.mailbox_seconds
        )


@dataclass(frozen=True, slots=True)
class Host:
    """A mail host with one partition of its own."""

    partition: Partition
    speed: Speed
    mailboxes: Sizes


def make_hosts(number: int, chance: random.Random) -> list[Host]:
    """Hosts with 100 to 400 mailboxes. Half of all mail lies in about a tenth of the mailboxes, and the mean
    message of a mailbox has 10 KB to 500 KB: some people send text, others slides."""
    hosts = []
    for index in range(number):
        name = f"store{index:04}"
        mailboxes = {}
        for user in range(chance.randrange(100, 400)):
            size = int(min(chance.lognormvariate(19.5, 1.6), 100 * 2**30))
            messages = max(1, int(size / chance.lognormvariate(11.2, 0.9)))
            known = f"user{user:04}@{name}"
            mailboxes[known] = MailboxSize(user=known, messages=messages, size_bytes=size)
        slow = chance.lognormvariate(0, 0.3)
        partition = Partition(name=name, format="maildir", path=f"/{name}", hosts=(name,))
        hosts.append(Host(partition, Speed(150e6 / slow, 0.0005 * slow), mailboxes))
    return hosts


def guessed(error: float, chance: random.Random) -> Callable[[Sizes], Sizes]:
    """Sizes that are wrong by a random factor: 0.7 is twofold or more one time in three."""

    def guess(sizes: Sizes) -> Sizes:
        return {
            user: replace(
                size,
                size_bytes=int(size.size_bytes * (wrong := chance.lognormvariate(0, error))),
                messages=int(size.messages * wrong),
            )
            for user, size in sizes.items()
        }

    return guess


def unknown(sizes: Sizes) -> Sizes:
    """Nobody has looked yet."""
    return {user: replace(size, messages=-1, size_bytes=-1) for user, size in sizes.items()}


@dataclass(slots=True, kw_only=True)
class Costs:
    """Seconds of this process that a run took, by what they were spent on."""

    plan: float = 0.0
    core: float = 0.0
    catalog: float = 0.0


@dataclass(slots=True, kw_only=True)
class Ran:
    """What became of a run."""

    units: int
    longest_seconds: float
    host_seconds: dict[str, float] = field(default_factory=dict)
    costs: Costs


@dataclass(slots=True)
class _Stopwatch:
    costs: Costs

    def __call__(self, what: str, began: float) -> None:
        setattr(self.costs, what, getattr(self.costs, what) + time.perf_counter() - began)


def run(hosts: Sequence[Host], seen: Callable[[Sizes], Sizes], largest_bytes: int, staging: Path) -> Ran:
    """Plan with the sizes that are seen, carry out with the true ones."""
    costs = Costs()
    spent = _Stopwatch(costs)
    run_id = new_run_id(time.time())
    inventories = [Inventory(partition=host.partition, sizes=seen(host.mailboxes)) for host in hosts]
    began = time.perf_counter()
    mustered = muster([LogicalPath.parse("/")], inventories, GroupsConfig(), ExcludeConfig())
    units = make_units(
        run_id, mustered.members, inventories, workers=WORKERS, largest_bytes=largest_bytes, previous={}
    )
    spent("plan", began)
    with Catalog.open(staging, write=True) as catalog:
        began = time.perf_counter()
        catalog.begin_run(run_id, datetime.now(UTC))
        catalog.plan_units(units)
        spent("catalog", began)
        return _carry_out(units, {host.partition.name: host for host in hosts}, catalog, costs)


def _carry_out(units: Sequence[Unit], hosts: Mapping[str, Host], catalog: Catalog, costs: Costs) -> Ran:
    spent = _Stopwatch(costs)
    ran = Ran(units=len(units), longest_seconds=0.0, costs=costs)
    pending: list[tuple[float, int, Event]] = [(0.0, 0, DoorOpened())]
    order = count(1)
    began = time.perf_counter()
    core = Core([unit.partition.hosts for unit in units], hosts=hosts, workers=WORKERS, attempts=3)
    spent("core", began)
    while pending:
        now, _, event = heapq.heappop(pending)
        began = time.perf_counter()
        told = core.step(event)
        spent("core", began)
        for instruction in told:
            match instruction:
                case Start(worker):
                    heapq.heappush(pending, (now + START_SECONDS, next(order), WorkerReady(worker)))
                case Assign(worker, host, task):
                    seconds = _seconds(units[task], hosts[host])
                    ran.longest_seconds = max(ran.longest_seconds, seconds)
                    ran.host_seconds[host] = max(ran.host_seconds.get(host, 0.0), now + seconds)
                    heapq.heappush(pending, (now + seconds, next(order), TaskDone(worker, None)))
                case Finish(task):
                    report = _report(units[task], hosts)
                    began = time.perf_counter()
                    catalog.commit_unit(report, sealed=datetime.now(UTC))
                    spent("catalog", began)
    assert core.finished
    return ran


def _seconds(unit: Unit, host: Host) -> float:
    return host.speed.seconds([host.mailboxes[user] for user in unit.users])


def _report(unit: Unit, hosts: Mapping[str, Host]) -> UnitReport:
    """What a worker would have answered; of everything something, as the catalog records it all."""
    mailboxes = hosts[unit.partition.name].mailboxes
    summaries = tuple(
        MailboxSummary(
            partition=unit.partition.name,
            group=unit.group,
            user=user,
            folders=5,
            listed=mailboxes[user].messages,
            stored=mailboxes[user].messages,
            skipped=0,
            size_bytes=mailboxes[user].size_bytes,
        )
        for user in unit.users
    )
    return UnitReport(
        run=unit.run,
        partition=unit.partition.name,
        group=unit.group,
        shard=unit.shard,
        archive=ArchiveId(random.randbytes(16)),
        name=archive_name(unit.partition.name, unit.group, unit.run, unit.shard, unit.archive),
        mailboxes=summaries,
        skipped=(),
        messages=sum(summary.stored for summary in summaries),
        size_bytes=sum(mailbox_summary.size_bytes for mailbox_summary in summaries),
        new_bytes=0,
        archive_bytes=0,
        seconds=1.0,
        cpu_seconds=1.0,
    )


def least_seconds(host: Host) -> float:
    """No plan can be quicker: all workers busy all the time, but nobody helps with one mailbox."""
    each = [host.speed.seconds([mailbox]) for mailbox in host.mailboxes.values()]
    return max(sum(each) / WORKERS, *each)


def row(what: str, ran: Ran, hosts: Sequence[Host]) -> str:
    """A line of the table."""
    least = {host.partition.name: least_seconds(host) for host in hosts}
    makespan, bound = max(ran.host_seconds.values()), max(least.values())
    ratios = sorted(ran.host_seconds[name] / least[name] for name in least)
    costs = [ran.costs.plan, ran.costs.core, ran.costs.catalog]
    cells = [
        what,
        f"{ran.units:,}",
        f"{makespan / 3600:.2f}",
        f"{makespan / bound:.2f}",
        f"{ratios[len(ratios) // 2]:.2f}",
        f"{ratios[len(ratios) * 99 // 100]:.2f}",
        f"{100 * ran.longest_seconds / makespan:.0f} %",
        *(f"{1000 * seconds / ran.units:.2f}" for seconds in [*costs, sum(costs)]),
    ]
    return f"| {' | '.join(cells)} |"


COLUMNS = (
    "unit",
    "sizes",
    "units",
    "makespan, h",
    "of the least",
    "host, median",
    "host, p99",
    "longest unit",
    "plan, ms",
    "core, ms",
    "catalog, ms",
    "ms a unit",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    hosts = make_hosts(options.hosts, chance)
    mailboxes = sum(len(host.mailboxes) for host in hosts)
    size = sum(mailbox.size_bytes for host in hosts for mailbox in host.mailboxes.values())
    print(f"{len(hosts):,} hosts, {mailboxes:,} mailboxes, {size / 1e12:.1f} TB, {WORKERS} workers on each\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    ways = {
        "known": lambda sizes: sizes,
        "guessed": guessed(0.7, chance),
        "not known": unknown,
    }
    for largest, largest_bytes in LARGEST_BYTES.items():
        for what, seen in ways.items():
            with tempfile.TemporaryDirectory() as staging:
                ran = run(hosts, seen, largest_bytes, Path(staging))
            print(row(f"{largest} | {what}", ran, hosts), flush=True)


if __name__ == "__main__":
    main()
