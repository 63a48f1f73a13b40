"""The record of purged runs, which outlives the catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.coordinator.purging.record import PurgedScope, read_purged, write_purged
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import RunId

RUNS = tuple(RunId(f"2026112{day}T031500Z-4f3a") for day in range(5))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_purged(tmp_path) == ()
    scopes = (
        PurgedScope(partition="p", group="user", kept=RUNS[3:], unchanged=RUNS[4:], forgotten=RUNS[:3]),
        PurgedScope(partition="p\udcff", group="sales", kept=RUNS, unchanged=(), forgotten=()),
    )
    write_purged(tmp_path, scopes)
    assert read_purged(tmp_path) == scopes
    write_purged(tmp_path, scopes[:1])
    assert read_purged(tmp_path) == scopes[:1]


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"partition": "p"}', '{"partition":"p","group":"g","kept":"x"}']
)
def test_a_damaged_record_is_told(tmp_path: Path, line: str) -> None:
    write_purged(tmp_path, ())
    (tmp_path / ".mailhaul" / "purged.jsonl").write_text(line + "\n")
    with pytest.raises(DamagedError, match=r"purged\.jsonl"):
        read_purged(tmp_path)
