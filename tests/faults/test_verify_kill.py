"""kill -9 of a repair before each step that it takes on the disk: the next one ends as if nothing were."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.proto.archive.frames import FrameType

from ..staged_chains import is_keepsake
from ..trees import differing_files
from ..verifying import Backups, damage_data, hit, make_chain
from .killed import killed_at

STEPS: list[tuple[Any, str]] = [
    (os, "fdatasync"),
    (os, "fsync"),
    (os, "rename"),
    (os, "link"),
    (os, "unlink"),
    (Catalog, "replace_archive"),
    (Catalog, "set_missing"),
]
"""What changes something; the catalog's own transactions have a test of their own."""


def content(staging: Path) -> dict[str, bytes]:
    """Everything there but what is laid beside archives, locks, what was verified, what restores tell, and
    the catalog."""
    return {
        str(path.relative_to(staging)): path.read_bytes()
        for path in sorted(staging.rglob("*"))
        if path.is_file()
        and not path.name.startswith(("catalog.sqlite", "lock", "readers.", "verify."))
        and not path.is_relative_to(staging / ".mailhaul" / "restores")
        and not is_keepsake(path)
    }


def told(staging: Path) -> object:
    """What the catalog says."""
    with Catalog.open(staging) as catalog:
        return [list(catalog.archives()), list(catalog.histories()), catalog.missing()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Backups:
    """Of an archive all data is damaged, and read again by a later run; of others metadata, or everything."""
    backups = make_chain(tmp_path_factory.mktemp("chain"), 4)
    first, second, third, fourth = backups.archives()
    damage_data(first)
    backups.verify("--fix", damaged=True)
    backups.back_up()
    hit(second, FrameType.MESSAGES)
    third.write_bytes(b"x" * 5000)
    fourth.unlink()
    return backups


def test_killed_repair_is_finished_by_the_next(made: Backups, tmp_path: Path) -> None:
    reference = made.copied(tmp_path / "reference")
    fixed = reference.verify("--fix", damaged=True)["repaired"]
    assert sorted(one["outcome"] for one in fixed) == ["missing", "rewritten", "rewritten", "unreadable"]
    assert any(one["filled_bytes"] for one in fixed)
    lost = reference.told(reference.verify(damaged=True))
    assert lost == reference.failing(tmp_path / "out")
    step = 0
    while True:
        step += 1
        backups = made.copied(tmp_path / "killed")
        if not killed_at(step, STEPS, partial(backups.verify, "--fix", damaged=True)):
            break
        backups.verify("--fix")
        found = differing_files(content(backups.staging), content(reference.staging))
        assert found == [], f"killed at step {step}"
        assert told(backups.staging) == told(reference.staging), f"killed at step {step}"
        shutil.rmtree(backups.staging)
    assert step > 15
    assert backups.told(backups.verify(damaged=True)) == lost
