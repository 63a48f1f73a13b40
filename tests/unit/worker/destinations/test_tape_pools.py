"""Which volume is written on next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.tape.contents import Contents, Entry, Label
from mailhaul.worker.destinations.tape.inventory import KnownVolume
from mailhaul.worker.destinations.tape.pools import Allocation, Pool, reusable, writable

NOW = datetime(2026, 11, 29, 3, 15, tzinfo=UTC)  # a Sunday


def volume(name: str, *written: datetime, made: datetime = NOW, pool: str = "default") -> KnownVolume:
    label = Label(volume=name, label=name, pool=pool, record_bytes=10_240, made=made.isoformat())
    entries = tuple(
        Entry(name=f"{number}", block=number, size_bytes=1, bytes=1, written=moment.isoformat())
        for number, moment in enumerate(written)
    )
    return KnownVolume(label=label, contents=Contents(entries=entries))


def removed(known: KnownVolume) -> KnownVolume:
    entries = tuple(replace(entry, removed=True) for entry in known.contents.entries)
    return replace(known, contents=replace(known.contents, entries=entries))


def names(volumes: object) -> list[str]:
    return [one.label.label for one in volumes]  # type: ignore[attr-defined]


def test_the_one_that_was_written_on_last_comes_first() -> None:
    hours = [NOW - timedelta(hours=hour) for hour in range(4)]
    volumes = [volume("a", hours[3]), volume("b", hours[1]), volume("c", hours[2], hours[3])]
    assert names(writable(Pool(name="default"), volumes, NOW)) == ["b", "c", "a"]


def test_what_takes_no_more_is_left_out() -> None:
    full, worn = volume("full", NOW), replace(volume("worn", NOW), retired="media life")
    full = replace(full, contents=replace(full.contents, finished=True))
    volumes = [full, worn, volume("other", NOW, pool="other"), volume("fit")]
    assert names(writable(Pool(name="default"), volumes, NOW)) == ["fit"]


@pytest.mark.parametrize(
    ("allocation", "fit"),
    [
        (Allocation.FULL, ["today", "yesterday", "monday", "last-week"]),
        (Allocation.WEEK, ["today", "yesterday", "monday"]),
        (Allocation.DAY, ["today"]),
    ],
)
def test_a_volume_for_a_day_or_a_week(allocation: Allocation, fit: list[str]) -> None:
    days = {"today": 0, "yesterday": 1, "monday": 6, "last-week": 7}
    moments = {name: NOW - timedelta(days=day) for name, day in days.items()}
    volumes = [volume(name, moment, made=moment) for name, moment in moments.items()]
    assert names(writable(Pool(name="default", allocation=allocation), volumes, NOW)) == fit


def test_an_empty_volume_is_for_any_day() -> None:
    old = volume("labelled-long-ago", made=NOW - timedelta(days=300))
    assert names(writable(Pool(name="default", allocation=Allocation.DAY), [old], NOW)) == [old.label.label]


def test_only_what_holds_nothing_for_long_enough_is_used_again() -> None:
    pool = Pool(name="default", reuse_after=timedelta(days=90))
    old, older = NOW - timedelta(days=90), NOW - timedelta(days=91)
    worm = removed(volume("worm", older))
    volumes = [
        volume("kept", older),
        removed(volume("new", NOW - timedelta(days=89))),
        removed(volume("old", old)),
        removed(volume("older", older)),
        replace(removed(volume("worn", older)), retired="media"),
        replace(worm, label=replace(worm.label, worm=True)),
        removed(volume("other", older, pool="other")),
        volume("empty", made=older),
    ]
    assert names(reusable(pool, volumes, NOW)) == ["older", "old"]
    assert names(reusable(Pool(name="default"), volumes, NOW)) == []
