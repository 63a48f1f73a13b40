"""Sweeps of staged chains, for tests: destinations with their marks, a clock that is turned by hand, and what
lies at a place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.engine import Engine
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.history import ArchiveRecord
from mailhaul.coordinator.holdings import holdings
from mailhaul.coordinator.settings import RetentionConfig, SweepConfig, SweepRules
from mailhaul.coordinator.sweeping.report import SweepObserver, SweepReport, SweepRequest
from mailhaul.coordinator.sweeping.sweep import sweep
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.structs import Mutable, field, replace
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.destinations.settings import Destination, DirectoryDestination
from mailhaul.worker.staging.area import StagingArea

from .staged_chains import STARTED, StagedChain

HOUR = timedelta(hours=1)


def here(lanes: Sequence[str]) -> Engine:
    """All lanes in this process."""
    return local_engine(0, attempts=1, lanes=lanes)


def directory(tmp_path: Path, name: str) -> DirectoryDestination:
    """An empty directory that can become a destination."""
    (tmp_path / name).mkdir()
    return DirectoryDestination(name=name, path=str(tmp_path / name))


def files_at(destination: DirectoryDestination) -> dict[str, bytes]:
    """All that was put there."""
    root = Path(destination.path)
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.mh[ar]") if path.is_file()
    }


class SweptChain(StagedChain):
    """A chain that is read wherever its archives lie."""

    destinations: tuple[Destination, ...] = ()

    def _holdings(self, catalog: Catalog) -> Holdings:
        return holdings(catalog, StagingArea(path=str(self.staging)), self.destinations)


class Swept(Mutable):
    """A chain whose archives are swept."""

    chain: StagedChain
    destinations: tuple[Destination, ...]
    rules: SweepRules
    look_again_seconds: float = 3600.0
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    now: datetime = STARTED + timedelta(days=3)

    def sweep(self, *, path: str = "/", to: str = "", observer: SweepObserver | None = None) -> SweepReport:
        """One sweep, an hour after the one before."""
        self.now += HOUR
        request = SweepRequest(
            path=LogicalPath.parse(path),
            to=to,
            config=SweepConfig(rules=self.rules, look_again_seconds=self.look_again_seconds, streams=2),
            retention=self.retention,
            destinations=self.destinations,
            patience_seconds=0,
        )
        return sweep(
            self.chain.staging,
            request,
            here,
            lambda: self.now,
            observer or SweepObserver(),
        )

    def records(self) -> list[ArchiveRecord]:
        """What the catalog knows."""
        with Catalog.open(self.chain.staging) as catalog:
            return list(catalog.archives())

    def states(self) -> list[dict[str, str]]:
        """Of each archive: its copies outside of the staging area, and their states."""
        return [
            {f"{copy.place}:{copy.name.rpartition('/')[2]}": copy.state for copy in record.copies[1:]}
            for record in self.records()
        ]

    def with_rules(self, **changes: object) -> Swept:
        """The same with other rules."""
        return replace(self, rules=replace(self.rules, **changes))  # type: ignore[arg-type]


def places_of(record: ArchiveRecord, state: str) -> set[str]:
    """Where copies in this state are."""
    return {copy.place for copy in record.copies if copy.state == state}
