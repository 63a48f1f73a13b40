"""kill -9 of a sweep before each thing that it does to a disk or to the catalog: the next sweeps end as if
nothing had been, and nothing was counted or freed before that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.settings import SweepRules
from mailhaul.proto.records import STAGING
from mailhaul.proto.structs import replace

from ..staged_chains import StagedChain
from ..sweeping import Swept, directory, files_at
from ..trees import differing_files
from .killed import killed_at

STEPS: list[tuple[Any, str]] = [
    (os, "pwrite"),
    (os, "fsync"),
    (os, "mkdir"),
    (os, "unlink"),
    (Path, "unlink"),
    (Catalog, "put_copies"),
    (Catalog, "free_staged"),
]
"""What changes something; the catalog's own transactions have a test of their own."""


@pytest.fixture
def swept(tmp_path: Path) -> Swept:
    """Two runs, swept to two directories without a pause before the second look: one sweep does it all."""
    chain = StagedChain(tmp_path / "staging")
    chain.run({"anna": {"INBOX": (b"Subject: a\n\n" + os.urandom(3000),)}})
    chain.run({"anna": {"INBOX": (b"Subject: b\n\n" + os.urandom(3000),)}})
    rules = SweepRules(copies=("vault", "disk"), keep_staged_seconds=0)
    places = directory(tmp_path, "vault"), directory(tmp_path, "disk")
    return Swept(chain, places, rules, look_again_seconds=0)


def _check(swept: Swept, archives: dict[str, bytes]) -> None:
    """What is recorded as a copy is one, and each archive lies somewhere."""
    for record in swept.records():
        for copy in record.copies:
            if copy.place == STAGING:
                continue
            (place,) = (destination for destination in swept.destinations if destination.name == copy.place)
            assert files_at(place)[copy.name] == archives[copy.name]  # type: ignore[arg-type]
        assert any(
            copy_record.place == STAGING or copy_record.state == "kept" for copy_record in record.copies
        )


def _moved(swept: Swept, place: Path) -> Swept:
    """The same, before its first sweep, elsewhere."""
    shutil.copytree(swept.chain.staging, place / "staging")
    places = directory(place, "vault"), directory(place, "disk")
    return replace(swept, chain=swept.chain.moved(place / "staging"), destinations=places)


def test_a_killed_sweep_is_finished_by_the_next(swept: Swept, tmp_path: Path, rounds: int) -> None:
    archives = {
        archive_record.name: (swept.chain.staging / archive_record.name).read_bytes()
        for archive_record in swept.records()
    }
    oldest = min(archives)
    step, stride = 1, max(1, 300 // rounds)  # a hundred rounds try each third step
    while True:
        place = tmp_path / str(step)
        place.mkdir()
        now = _moved(swept, place)
        if not killed_at(step, STEPS, now.sweep):
            break
        _check(now, archives)
        report = now.sweep()
        assert report.exit_code == 0
        _check(now, archives)
        for destination in now.destinations:
            there = files_at(destination)  # type: ignore[arg-type]
            assert differing_files({name: there[name] for name in archives}, archives) == []
        for record in now.records():
            away = [copy.place for copy in record.copies if copy.place != STAGING]
            assert sorted(away) == ["disk", "vault"], "each counted once"
        assert not (now.chain.staging / oldest).exists()
        assert now.chain.staging.joinpath(max(archives)).exists()
        shutil.rmtree(place)
        step += stride
    assert step > 20
