"""kill -9 of a purge before each thing that it does to the disk: the next one ends as if nothing had been."""

from __future__ import annotations

import os
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeReport, PurgeRequest
from mailhaul.coordinator.ready import settle
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.settings import SweepRules
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.settings import DirectoryDestination

from ..manifests import check_manifests
from ..staged_chains import StagedChain, is_keepsake
from ..sweeping import Swept, directory, files_at
from ..trees import differing_files
from .killed import killed_at

KEEP = 2
REQUEST = PurgeRequest(path=LogicalPath(), rules_of=lambda _: RetentionRules(last=KEEP))

STEPS: list[tuple[Any, str]] = [
    (os, "pwrite"),
    (os, "fdatasync"),
    (os, "fsync"),
    (os, "rename"),
    (os, "replace"),
    (os, "unlink"),
    (Catalog, "forget"),
    (Catalog, "replace_archive"),
    (Catalog, "remove_archives"),
]
"""What changes something; the catalog's own transactions have a test of their own."""


def run_purge(staging: Path) -> PurgeReport:
    return purge(staging, REQUEST, local_engine(0))


def content(staging: Path) -> dict[str, bytes]:
    """Everything there but what is laid beside archives, locks, the catalog's own files, and an id of the
    staging area that did not come to have its name."""
    return {
        str(path.relative_to(staging)): path.read_bytes()
        for path in sorted(staging.rglob("*"))
        if path.is_file()
        and not path.name.startswith(("catalog.sqlite", "lock", "readers.lock", "holds.", "area-id."))
        and not is_keepsake(path)
    }


def told(staging: Path) -> list[object]:
    """What the catalog says."""
    with Catalog.open(staging) as catalog:
        return [list(catalog.archives()), list(catalog.histories()), catalog.moments("primary", "user")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StagedChain:
    """Five runs; keeping two of them deletes archives, and leaves of others a part."""
    chain = StagedChain(tmp_path_factory.mktemp("staging"))
    rng = random.Random(11)
    jane = tuple(b"jane %d\n" % i + rng.randbytes(4000) for i in range(12))
    john = tuple(b"john %d\n" % i + rng.randbytes(4000) for i in range(12))
    chain.run({"jane": {"INBOX": jane}, "john": {"INBOX": john}})
    chain.run({"jane": {"INBOX": (*jane[:3], b"new")}, "john": {"INBOX": john}})
    chain.run({"jane": {"INBOX": jane[:2]}, "john": {"INBOX": (rng.randbytes(9000), *john[:2])}})
    chain.run({"jane": {"INBOX": jane[:2]}}, departed=["john"])
    chain.run({"jane": {"INBOX": jane[1:2]}})
    with Catalog.open(chain.staging) as catalog:
        settle(chain.staging, catalog)
    return chain


def test_killed_purge_is_finished_by_the_next(made: StagedChain, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    shutil.copytree(made.staging, reference)
    report = run_purge(reference)
    assert report.deleted
    assert report.compacted
    kept = list(made.moments)[-KEEP:]

    step = 0
    while True:
        step += 1
        staging = tmp_path / "killed"
        shutil.copytree(made.staging, staging)
        if not killed_at(step, STEPS, partial(run_purge, staging)):
            break
        chain = made.moved(staging)
        for run in kept:  # also before anything was mended
            assert chain.read(run) == made.moments[run], f"killed at step {step}"
        assert check_manifests(staging)
        run_purge(staging)
        assert check_manifests(staging) == check_manifests(reference)
        assert differing_files(content(staging), content(reference)) == [], f"killed at step {step}"
        assert told(staging) == told(reference), f"killed at step {step}"
        for run in kept:
            assert chain.read(run) == made.moments[run]
        shutil.rmtree(staging)
    assert step > 20


def test_catalog_made_again_after_a_kill_knows_what_stays(made: StagedChain, tmp_path: Path) -> None:
    """The catalog is lost together with the purge: what was to stay is there, and the rest can be purged."""
    kept = list(made.moments)[-KEEP:]
    step = 0
    while True:
        step += 4
        staging = tmp_path / "killed"
        shutil.copytree(made.staging, staging)
        if not killed_at(step, STEPS, partial(run_purge, staging)):
            break
        rebuild_catalog(staging)
        chain = made.moved(staging)
        for run in kept:
            assert chain.read(run) == made.moments[run], f"killed at step {step}"
        run_purge(staging)
        for run in kept:
            assert chain.read(run) == made.moments[run], f"killed at step {step}"
        assert run_purge(staging).free_bytes == 0
        shutil.rmtree(staging)


def test_a_purge_that_was_killed_leaves_nothing_at_destinations_in_the_end(
    made: StagedChain, tmp_path: Path
) -> None:
    """Copies of what is dead, and of what archives were before they were written anew, go when the next purge
    and the next sweep have ended; a sweep between a killed purge and the next one takes nothing away that is
    needed."""

    rules = SweepRules(copies=("vault",), keep_staged_seconds=None)
    begun = tmp_path / "begun"
    shutil.copytree(made.staging, begun / "staging")
    first = Swept(made.moved(begun / "staging"), (directory(begun, "vault"),), rules, look_again_seconds=0)
    first.sweep()

    def copied(place: Path) -> Swept:
        shutil.copytree(begun, place)
        there = DirectoryDestination(name="vault", path=str(place / "vault"))
        return replace(first, chain=made.moved(place / "staging"), destinations=(there,))

    def finished(swept: Swept) -> dict[str, bytes]:
        run_purge(swept.chain.staging)
        again = run_purge(swept.chain.staging)
        assert (again.deleted, again.compacted) == ((), ())
        for _ in range(2):
            assert swept.sweep().exit_code == 0
        assert run_purge(swept.chain.staging).away == ()
        return files_at(swept.destinations[0])  # type: ignore[arg-type]

    whole = copied(tmp_path / "reference")
    before = files_at(whole.destinations[0])  # type: ignore[arg-type]
    after = finished(whole)
    assert before.keys() - after.keys()
    assert after.keys() - before.keys()
    step = 1
    while True:
        place = tmp_path / "killed"
        swept = copied(place)
        if not killed_at(step, STEPS, partial(run_purge, swept.chain.staging)):
            break
        if step % 2:
            swept.sweep()
        there = files_at(swept.destinations[0])  # type: ignore[arg-type]
        for record in swept.records():
            assert any(copy.place == "staging" or copy.name in there for copy in record.copies)
        assert differing_files(finished(swept), after) == [], f"killed at step {step}"
        for run in list(made.moments)[-KEEP:]:
            assert swept.chain.read(run) == made.moments[run]
        shutil.rmtree(place)
        step += 7
    assert step > 20
