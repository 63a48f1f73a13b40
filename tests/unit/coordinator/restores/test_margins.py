"""How far restored folders are raised when others were restored since the backup."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mailhaul.coordinator.restores.margins import margin_above_earlier
from mailhaul.coordinator.restores.record import Order, _place
from mailhaul.coordinator.snapshots import as_json

RUN = "20261120T031500Z-0000"


def restored(staging: Path, restore: str, **margins: int) -> None:
    """An earlier restore."""
    order = Order(
        restore=restore,
        begun=datetime(2026, 11, 21, tzinfo=UTC),
        arguments=("/",),
        directory="/",
        moment="latest",
        run=RUN,
        margins=margins,
    )
    directory = _place(staging) / restore
    directory.mkdir(parents=True)
    (directory / "order.json").write_text(as_json(order))


def test_above_the_highest_since_the_run(tmp_path: Path) -> None:
    restored(tmp_path, "20261119T120000Z-0000", primary=70)
    restored(tmp_path, "20261121T120000Z-0000", primary=10)
    restored(tmp_path, "20261121T130000Z-0000", primary=20, second=40)
    restored(tmp_path, "20261121T140000Z-0000", second=50)
    assert margin_above_earlier(tmp_path, "primary", RUN, 10) == 30
    assert margin_above_earlier(tmp_path, "second", RUN, 10) == 60
    assert margin_above_earlier(tmp_path, "third", RUN, 10) == 10
    assert margin_above_earlier(tmp_path, "primary", "20261121T125959Z-ffff", 10) == 30
    assert margin_above_earlier(tmp_path, "primary", "20261122T000000Z-0000", 10) == 10


def test_a_record_that_can_not_be_read_holds_nothing_up(tmp_path: Path) -> None:
    restored(tmp_path, "20261121T120000Z-0000", primary=10)
    restored(tmp_path, "20261121T130000Z-0000", primary=20)
    (_place(tmp_path) / "20261121T130000Z-0000" / "order.json").write_text("{")
    assert margin_above_earlier(tmp_path, "primary", RUN, 10) == 20
