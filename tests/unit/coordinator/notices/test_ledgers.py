"""How full places are that can't be asked: object storage by the catalog, tapes by the inventory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.bench.macro import catalogs
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.notices.digest import Digest, lines
from mailhaul.coordinator.notices.ledgers import held_by, on_record
from mailhaul.coordinator.notices.rooms import Rooms
from mailhaul.coordinator.notices.space import Sample
from mailhaul.coordinator.notices.spaces import Spaces
from mailhaul.coordinator.overview.places import look_at_places
from mailhaul.coordinator.service.database import writing
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.space import SpaceRecord
from mailhaul.coordinator.settings import Config, StagingConfig
from mailhaul.proto.structs import replace
from mailhaul.tests.pages import SettableClock, make_site, operator
from mailhaul.worker.destinations.settings import CommandDestination, S3Destination, TapeDestination
from mailhaul.worker.destinations.tape.contents import Contents, Entry, Label
from mailhaul.worker.destinations.tape.inventory import Inventory, KnownVolume

NOW = datetime(2026, 3, 15, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TB = 10**12


def volume(
    number: int, *written: int, generation: str = "LTO-8", finished: bool = False, made: datetime = NOW
) -> KnownVolume:
    label = Label(
        volume=f"00000000-0000-4000-8000-{number:012}",
        label=f"T{number}",
        pool="default",
        record_bytes=256 << 10,
        made=made.isoformat(),
        generation=generation,
    )
    entries = tuple(
        Entry(name=f"a{at}", block=at + 1, size_bytes=size, bytes=size, written=made.isoformat())
        for at, size in enumerate(written)
    )
    return KnownVolume(label=label, contents=Contents(entries=entries, finished=finished))


def robot(state: Path, allocation: str = "full", reuse_seconds: float | None = None) -> TapeDestination:
    return TapeDestination(
        name="robot",
        state=str(state),
        devices=("/dev/tape/by-id/x-nst",),
        allocation=allocation,
        reuse_seconds=reuse_seconds,
    )


def of_tapes(settings: TapeDestination, *volumes: KnownVolume, now: datetime = NOW) -> Sample:
    inventory = Inventory(settings.state)
    for known_volume in volumes:
        inventory.put(known_volume)
    (found,) = on_record([settings], {}, now)
    return found


def test_tapes_have_what_open_and_empty_volumes_take(tmp_path: Path) -> None:
    found = of_tapes(
        robot(tmp_path),
        volume(1, 11 * TB, finished=True),
        volume(2, 3 * TB, TB),
        volume(3),
        volume(4),
        replace(volume(5), retired="worn"),
        replace(volume(6), label=replace(volume(6).label, pool="offsite")),
    )
    assert (found.used_bytes, found.free_bytes, found.volumes) == ((12 + 4) * TB, (8 + 24) * TB, 2)


def test_a_volume_for_each_day_is_used_as_a_whole_when_the_day_is_over(tmp_path: Path) -> None:
    settings = robot(tmp_path, allocation="day")
    found = of_tapes(settings, volume(1, TB, made=NOW - DAY), volume(2, TB), volume(3))
    assert (found.used_bytes, found.free_bytes, found.volumes) == (13 * TB, 23 * TB, 1)


def test_a_volume_of_which_all_was_removed_is_room_when_it_may_be_labelled_anew(tmp_path: Path) -> None:
    old = volume(1, TB, finished=True, made=NOW - 40 * DAY)
    (entry,) = old.contents.entries
    gone = replace(old, contents=replace(old.contents, entries=(replace(entry, removed=True),)))
    found = of_tapes(robot(tmp_path / "never"), gone)
    assert (found.used_bytes, found.free_bytes, found.volumes) == (12 * TB, 0, 0)
    found = of_tapes(robot(tmp_path / "after 30 days", reuse_seconds=30 * 86400.0), gone)
    assert (found.used_bytes, found.free_bytes, found.volumes) == (0, 12 * TB, 1)


def test_volumes_of_which_nobody_knows_what_they_take_are_as_the_full_ones(tmp_path: Path) -> None:
    settings = robot(tmp_path)
    unknown = of_tapes(settings, volume(1, 2 * TB, generation=""), volume(2, generation=""))
    assert (unknown.used_bytes, unknown.free_bytes) == (2 * TB, None)
    found = of_tapes(settings, volume(3, 5 * TB, generation="", finished=True))
    assert (found.used_bytes, found.free_bytes, found.volumes) == (7 * TB, (3 + 5) * TB, 1)


def test_a_record_that_is_broken_or_none_hides_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "00000000-0000-4000-8000-000000000000.json").write_text("{")
    cloud = S3Destination(name="cloud", bucket="b", journal="")
    new = replace(robot(tmp_path / "new"), name="new")
    assert [sample.place for sample in on_record([robot(tmp_path), new, cloud], {}, NOW)] == ["cloud"]


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """Twelve nights, swept to two destinations of which nothing was measured yet."""
    catalogs.make(tmp_path, catalogs.Shape(mailboxes=20, groups=2, nights=12, staged=3))
    with writing(tmp_path) as database:
        database.execute("DELETE FROM space")
    return tmp_path


def test_object_storage_and_programs_hold_what_the_catalog_says(staging: Path) -> None:
    with Catalog.open(staging) as catalog:
        there = sum(
            copy.size_bytes
            for archive in catalog.archives()
            for copy in archive.copies
            if copy.place == "vault"
        )
    held = held_by(staging)
    assert held["vault"] == there > 0
    cloud = S3Destination(name="vault", bucket="b", journal="", capacity_bytes=there + 5)
    program = CommandDestination(name="mirror", put=("x",), get=("x",))
    full, endless = on_record([cloud, program], held, NOW)
    assert (full.used_bytes, full.free_bytes) == (there, 5)
    assert (endless.used_bytes, endless.free_bytes) == (held["mirror"], None)
    assert held_by(staging / "nothing") == {}


def test_what_fills_up_when_is_a_notice_and_in_the_digest_and_on_the_page(staging: Path) -> None:
    """A bucket with a quota, one without, and a robot with its last volume."""
    now = datetime(2026, 11, 29, 9, 0, tzinfo=UTC)
    there = held_by(staging)["vault"]
    cloud = S3Destination(name="vault", bucket="b", journal="", capacity_bytes=there + 3000)
    endless = S3Destination(name="mirror", bucket="b", journal="")
    tapes = robot(staging / "state")
    of_tapes(tapes, volume(1, 11 * TB), volume(2))
    destinations = (cloud, endless, tapes)
    for back in range(1, 10):
        (robot_now,) = on_record([tapes], {}, now)
        held = {name: many - back * 1000 for name, many in held_by(staging).items()}
        days = [*on_record([cloud, endless], held, now)]
        days.append(replace(robot_now, used_bytes=robot_now.used_bytes - back * TB))
        SpaceRecord(staging).note(replace(day, day=(now - back * DAY).date()) for day in days)
    config = Config(
        staging=StagingConfig(path=staging, reserve_bytes=0), partitions=(), destinations=destinations
    )
    spaces = Spaces(config, Rooms())
    spaces.look(now)
    said = {standing.notice.cause: standing.notice for standing in NoticeRecord(staging).lasting(("space",))}
    assert said["space:vault"].subject == "The destination vault is full in 3 days"
    assert "space:mirror" not in said
    assert "space:robot" not in said  # 13 TB are left, at 1 TB a day
    found = {space.place: space for space in spaces.of(now)}
    assert found["robot"].days_left == pytest.approx(13)
    digest = Digest(site="x", since=now - DAY, until=now, spaces=(*found.values(),))
    text = "\n".join(lines(digest, UTC))
    assert "robot: 13.0 TB of 24.0 TB free (54%), 1 empty volume, is full in 13 days" in text
    assert "there, grows by 1.0 kB a day" in text
    places = {place.name: place for place in look_at_places(staging, destinations, now).places}
    assert places["vault"].full == (now + 3 * DAY).date()
    assert places["robot"].full == (now + 13 * DAY).date()
    assert places["mirror"].full is None
    site = make_site(staging, clock=SettableClock(now.timestamp()), config=config)
    page = operator(site).get("/places").text
    assert "1.0 kB more a day; how much room there is nobody has said" in page
    (staging / ".mailhaul" / "catalog.sqlite").unlink()
    spaces.of(now)  # what is on record is looked at once an hour
    inventory = Inventory(tapes.state)
    inventory.put(volume(2, 12 * TB, finished=True))
    later = {place_space.place: place_space for place_space in spaces.of(now + 2 * timedelta(hours=1))}
    assert later["robot"].volumes == 0
