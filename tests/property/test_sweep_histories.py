"""Histories of runs, sweeps and purges over places that fail and lose what they had, and of programs that are
killed at any step. What counts as a copy is one; and in the end every kept moment can be read.

All in one process: a kill is an exception that nothing catches, raised where a place or the catalog is
called.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.holdings import holdings
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.settings import SweepRules
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import AccessError, BackupError, PlaceFullError, PlaceUnavailableError
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.archives.ports import Place
from mailhaul.worker.archives.wrapping import T, WrappedPlace
from mailhaul.worker.destinations import registry
from mailhaul.worker.destinations.memory import MemoryFiles, MemoryPlace
from mailhaul.worker.destinations.settings import Destination
from mailhaul.worker.staging.area import StagingArea

from ..staged_chains import StagedChain, State
from ..sweeping import Swept

STEPS = 24
KEPT = 2


class Killed(BaseException):
    """The program is gone."""


@dataclass(frozen=True)
class InMemory:
    """The settings of a place in memory."""

    name: str


@dataclass
class World:
    """Places that last, what is wrong with them just now, and when the program is killed."""

    rng: random.Random
    files: dict[str, MemoryFiles] = field(default_factory=dict)
    trouble: float = 0.0
    calls_to_live: int | None = None
    killed: int = 0
    failed: int = 0

    def opened(self, settings: InMemory) -> Place:
        return _Troubled(
            MemoryPlace(settings.name, self.files.setdefault(settings.name, MemoryFiles())), self
        )

    def strike(self) -> None:
        """Perhaps the program dies here."""
        if self.calls_to_live is not None:
            self.calls_to_live -= 1
            if self.calls_to_live <= 0:
                self.calls_to_live = None
                self.killed += 1
                raise Killed

    def fail(self) -> None:
        """Perhaps a place fails here."""
        if self.rng.random() < self.trouble:
            self.failed += 1
            kind = self.rng.choice([PlaceUnavailableError, PlaceFullError, AccessError])
            raise kind("as planned")


class _Troubled(WrappedPlace):
    """A place whose calls fail, or whose answers are lost, or during which the program dies."""

    def __init__(self, place: Place, world: World) -> None:
        super().__init__(place)
        self._world = world

    def _request(self, _what: str, call: Callable[[], T]) -> T:
        self._world.strike()
        self._world.fail()
        result = call()
        self._world.strike()
        self._world.fail()  # the answer is lost
        return result


class SweptChain(StagedChain):
    """A chain that is read wherever its archives lie."""

    destinations: tuple[Destination, ...] = ()

    def _holdings(self, catalog: Catalog) -> Holdings:
        return holdings(catalog, StagingArea(path=str(self.staging)), self.destinations)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(random.Random(0))
    monkeypatch.setitem(registry._OPENERS, InMemory, made.opened)
    monkeypatch.setattr(Catalog, "_transaction", _striking(Catalog._transaction, made))
    return made


def _striking(transaction: Callable[[Catalog], object], world: World) -> object:
    @contextmanager
    def struck(catalog: Catalog) -> Iterator[object]:
        world.strike()
        with transaction(catalog) as database:  # type: ignore[attr-defined]
            yield database
        world.strike()

    return struck


def _mail(rng: random.Random) -> bytes:
    return b"Subject: %d\r\n\r\n" % rng.getrandbits(60) + rng.randbytes(2000)


def _next_day(state: State, rng: random.Random) -> State:
    return {
        user: {
            name: tuple(one for one in mail if rng.random() < 0.6) + tuple(_mail(rng) for _ in range(2))
            for name, mail in folders.items()
        }
        for user, folders in state.items()
    }


class SweepHistory:
    def __init__(self, place: Path, world: World, seed: int) -> None:
        self.world = world
        world.trouble = 0.05
        self.rng = world.rng = random.Random(seed)
        self.chain = SweptChain(place)
        self.destinations = (InMemory("vault"), InMemory("disk"))
        SweptChain.destinations = self.destinations  # type: ignore[assignment]
        self.state: State = {user: {"INBOX": (_mail(self.rng),)} for user in ("anna", "ben", "carl")}
        self.sealed: dict[str, bytes] = {}
        self.gone: set[tuple[str, str]] = set()
        rules = SweepRules(copies=("vault", "disk"), keep_staged_seconds=0, keep_newest=False)
        self.swept = Swept(self.chain, self.destinations, rules)  # type: ignore[arg-type]
        self.counted = 0

    def night(self) -> None:
        self.state = _next_day(self.state, self.rng)
        self.chain.run(self.state)
        self.note()

    def note(self) -> None:
        """What archives were when they were sealed."""
        with Catalog.open(self.chain.staging) as catalog:
            for record in catalog.archives():
                path = self.chain.staging / record.name
                if record.name not in self.sealed and path.exists():
                    self.sealed[record.name] = blake3(path.read_bytes()).digest()

    def sweep(self) -> None:
        with suppress(BackupError):
            self.swept.sweep()

    def killed(self) -> None:
        """A sweep or a purge is killed."""
        self.world.calls_to_live = self.rng.randrange(1, 60)
        with suppress(Killed):
            self.rng.choice([self.sweep, self.sweep, self.purge])()
        self.world.calls_to_live = None

    def purge(self) -> None:
        request = PurgeRequest(
            path=LogicalPath(), rules_of=lambda _: RetentionRules(last=KEPT), compact_below=0.9
        )
        with suppress(BackupError):
            purge(self.chain.staging, request, local_engine(0))
        self.note()

    def lose(self) -> None:
        """One place loses a file that it had; always the same place, or nothing were left of some."""
        files = self.world.files.get("vault", MemoryFiles()).files
        if files:
            del files[self.rng.choice(sorted(files))]

    def trouble(self) -> None:
        """Places fail for a while."""
        self.world.trouble = self.rng.choice([0.0, 0.05, 0.3])

    def wait(self) -> None:
        self.swept.now += timedelta(days=self.rng.randrange(10))

    def check(self) -> None:
        """What is at a place under the name of a copy that counts is what was sealed; and nothing leaves the
        staging area that has no other copy."""
        for record in self.swept.records():
            away = [copy for copy in record.copies if copy.place in self.world.files]
            assert len({(one.place, one.name, one.version) for one in away}) == len(away)
            there = [one for one in away if self._is_there(one.place, one.name, one.version)]
            if not record.is_staged:
                assert any(one.place == "disk" and one.state == "kept" for one in there), record
            for copy_record in there:
                assert copy_record.checksum == self.sealed[copy_record.name]
                self.counted += copy_record.state == "kept"
            if any(one.state != "lost" for one in away if one.place == "disk"):
                assert any(one.place == "disk" for one in there), "counted, and not there"

    def _is_there(self, place: str, name: str, version: str) -> bool:
        found = self.world.files[place].files.get((name, version))
        if found is not None:
            assert blake3(found[1]).digest() == self.sealed[name]
        return found is not None

    def end(self) -> None:
        """All goes well again: everything that is kept is where it should be, and can be read."""
        self.world.trouble = 0.0
        self.purge()
        for _ in range(3):
            self.swept.now += timedelta(days=8)
            self.swept.sweep()
        records = self.swept.records()
        for record in records:
            assert {copy.place for copy in record.copies if copy.state == "kept"} >= {"vault", "disk"}, record
        with Catalog.open(self.chain.staging) as catalog:
            assert catalog.discarded() == []
            moments = [moment.run for moment in catalog.moments("primary", "user")]
        for run in moments:
            assert self.chain.read(run) == self.chain.moments[run]


@pytest.mark.parametrize("seed", range(4))
def test_what_counts_is_there_and_what_is_kept_can_be_read(
    tmp_path: Path, world: World, seed: int, rounds: int
) -> None:
    counted = 0
    for number in range(max(1, rounds // 40)):
        world.files.clear()
        history = SweepHistory(tmp_path / str(number), world, seed * 1000 + number)
        history.night()
        steps = [
            *(history.night, history.sweep, history.sweep, history.sweep, history.killed, history.killed),
            *(history.purge, history.lose, history.trouble, history.wait),
        ]
        for _ in range(STEPS):
            history.rng.choice(steps)()
            history.check()
        history.end()
        counted += history.counted
    assert counted
    assert world.killed
    assert world.failed
