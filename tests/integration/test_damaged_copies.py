"""A copy that is damaged at its destination: found by reading it, put again by the next sweep, and then good
enough for all that is kept, with nothing left in the staging area. And what lies on tape only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.destinations import ready
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.history import CopyRecord
from mailhaul.coordinator.holdings import holdings
from mailhaul.coordinator.recalling import RecallObserver, recall
from mailhaul.coordinator.settings import SweepRules
from mailhaul.coordinator.verifying.copies import check_copies, due_copies
from mailhaul.proto.errors import EXIT_OK
from mailhaul.worker.archives.holdings import Holdings
from mailhaul.worker.destinations.registry import open_destination
from mailhaul.worker.destinations.s3.dialect import keep_dialect
from mailhaul.worker.destinations.settings import Destination, TapeDestination
from mailhaul.worker.destinations.tape.addresses import parse_version
from mailhaul.worker.staging.area import StagingArea

from ..staged_chains import StagedChain
from ..sweeping import Swept, directory, places_of
from ..tapes import damage
from .servers.object_storage import moto


class ChainAt(StagedChain):
    """A chain that is read at one destination only, once that is told."""

    at: Destination | None = None

    def _holdings(self, catalog: Catalog) -> Holdings:
        if self.at is None:
            return super()._holdings(catalog)
        return holdings(catalog, StagingArea(path=str(self.staging)), [self.at], self.at.name)


@dataclass
class Kind:
    """A destination, and how the copy of an archive is damaged there."""

    settings: Destination
    damage: Callable[[CopyRecord], None]


def _directory(place: Path) -> Kind:
    settings = directory(place, "first")

    def rot(copy: CopyRecord) -> None:
        path = Path(settings.path) / copy.name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return Kind(settings, rot)


def _s3(place: Path) -> Kind:
    server = moto()
    bucket = server.new_bucket(locks=True)
    settings = server.destination(bucket, place / "journal", lock="governance")
    keep_dialect(settings.journal, server.dialect())

    def overwrite(copy: CopyRecord) -> None:
        """The version that is known goes, locked as it is, and something else has its name."""
        key = settings.prefix + copy.name
        client = server.client()
        client.delete_object(Bucket=bucket, Key=key, VersionId=copy.version, BypassGovernanceRetention=True)
        client.put_object(Bucket=bucket, Key=key, Body=b"x" * copy.size_bytes)

    return Kind(settings, overwrite)


def _tape(place: Path) -> Kind:
    tapes = place / "tapes"
    tapes.mkdir()
    settings = TapeDestination(
        name="first", state=str(place / "state"), file=str(tapes), buffer_bytes=4 << 20
    )

    def scratch(copy: CopyRecord) -> None:
        _, block = parse_version(copy.version)
        (volume,) = [path for path in tapes.iterdir() if path.is_file()]
        damage(volume, block + 1)

    return Kind(settings, scratch)


@pytest.fixture(params=[_directory, _s3, _tape])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    made: Kind = request.param(tmp_path)
    return made


@pytest.fixture
def swept(tmp_path: Path, kind: Kind) -> Swept:
    """Three nights, at the destination and in another directory; staging is freed."""
    chain = ChainAt(tmp_path / "staging")
    mail = [b"Subject: %d\r\n\r\n" % number + b"%d" % number * 3000 for number in range(4)]
    for night in range(3):
        chain.run({"anna": {"INBOX": tuple(mail[: night + 1])}, "ben": {"INBOX": (mail[3],)}})
    rules = SweepRules(copies=(kind.settings.name, "other"), keep_staged_seconds=0, keep_newest=False)
    made = Swept(chain, (kind.settings, directory(tmp_path, "other")), rules, now=datetime.now(UTC))
    made.sweep()
    made.sweep()
    assert [record.is_staged for record in made.records()] == [False] * 3
    chain.at = ready(kind.settings, chain.staging)
    return made


def at(swept: Swept, number: int, place: str = "") -> CopyRecord:
    """The copy of the n-th archive at the first destination."""
    name = place or swept.destinations[0].name
    return next(copy for copy in swept.records()[number].copies if copy.place == name)


def verify(swept: Swept) -> tuple[int, int]:
    """Read all copies at the first destination: how many are whole, and how many are damaged."""
    place = ready(swept.destinations[0], swept.chain.staging)
    due = due_copies(swept.records(), [place.name], None)
    done = check_copies(swept.chain.staging, due, [place], local_engine(0), lambda _: None, lambda: swept.now)
    assert done.unread == ()
    return done.whole, len(done.damaged)


def test_damage_at_a_destination_is_found_mended_and_all_is_restored_from_there(
    swept: Swept, kind: Kind
) -> None:
    name = kind.settings.name
    kind.damage(at(swept, 1))
    assert verify(swept) == (2, 1)
    assert at(swept, 1).state == "lost"

    report = swept.sweep()
    assert report.exit_code == EXIT_OK, report
    told = {destination.name: destination for destination in report.destinations}
    assert (told[name].copied, told["other"].copied) == (1, 0), "from the other directory"
    swept.sweep()
    assert all(places_of(record, "kept") >= {name, "other"} for record in swept.records())
    assert verify(swept) == (3, 0)
    with Catalog.open(swept.chain.staging) as catalog:
        left = [discarded for discarded in catalog.discarded() if discarded.locked_until is None]
    assert left == [], "what was locked is asked about when that is over"
    for run, state in swept.chain.moments.items():
        assert swept.chain.read(run) == state, "from this destination alone, with nothing staged"


@pytest.mark.parametrize("kind", [_tape], indirect=True)
def test_what_lies_on_tape_only_is_copied_on_or_comes_back(swept: Swept, kind: Kind) -> None:
    tape, other = swept.destinations
    with closing(open_destination(ready(other, swept.chain.staging))) as place:
        for number in range(3):
            place.remove(at(swept, number, "other").name)
    away = [path.rename(path.with_suffix(".shelf")) for path in Path(kind.settings.where).glob("*.tap")]
    swept.now += timedelta(days=7)
    report = swept.sweep()
    told = {destination.name: destination for destination in report.destinations}
    assert (len(told["other"].lost), told["other"].out_of_reach, told["other"].copied) == (3, 3, 0)
    for path in away:
        path.rename(path.with_suffix(".tap"))
    area = StagingArea(path=str(swept.chain.staging))
    with Catalog.open(swept.chain.staging) as catalog:
        held = holdings(catalog, area, [tape])
    recalled = recall(
        area,
        held,
        list(held.locations)[:1],
        local_engine(0),
        now=lambda: swept.now,
        pause=lambda: False,
        observer=RecallObserver(),
    )
    assert len(recalled.now) == 1
    report = swept.sweep()
    told = {destination_report.name: destination_report for destination_report in report.destinations}
    assert (told["other"].copied, told["other"].out_of_reach) == (3, 0), "two of them from the tape"
    swept.sweep()
    assert [record.is_staged for record in swept.records()] == [False] * 3, (
        "and leaves the staging area again"
    )
