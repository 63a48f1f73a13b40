"""A copy that was found to be damaged gives way to a whole one, whatever its place does about names that are
taken: a directory holds on to them, an object storage believes the checksum that it was told, a tape what is
recorded of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.settings import SweepRules
from mailhaul.coordinator.verifying.copies import check_copies, due_copies
from mailhaul.proto.archive.files import RandomAccess
from mailhaul.proto.errors import EXIT_OK, UnreadableError
from mailhaul.proto.records import Location
from mailhaul.proto.structs import replace
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.tests.sweeping import Swept, directory
from mailhaul.tests.tapes import Tapes, damage
from mailhaul.worker.destinations import registry
from mailhaul.worker.destinations.directory import DirectoryPlace
from mailhaul.worker.destinations.memory import MemoryFiles, MemoryPlace
from mailhaul.worker.destinations.settings import Destination


@dataclass(frozen=True)
class InMemory:
    """The settings of a place that counts versions."""

    name: str


@dataclass
class Damaging:
    """A destination, and how a copy there is damaged without its size being another."""

    destination: Destination
    hurt: Callable[[str], None]


def _directory(tmp_path: Path, _patch: pytest.MonkeyPatch) -> Damaging:
    vault = directory(tmp_path, "vault")

    def hurt(name: str) -> None:
        file = Path(vault.path) / name
        file.write_bytes(file.read_bytes()[:-9] + bytes(9))

    return Damaging(vault, hurt)


def _tape(tmp_path: Path, _patch: pytest.MonkeyPatch) -> Damaging:
    tapes = Tapes(tmp_path / "library")

    def hurt(name: str) -> None:
        copy = tapes.open().stat(name)
        assert copy is not None
        damage(tapes.volumes()[0], int(copy.version.partition(":")[2]) + 1)

    return Damaging(replace(tapes.settings, name="vault"), hurt)


def _memory(_tmp_path: Path, patch: pytest.MonkeyPatch) -> Damaging:
    files = MemoryFiles()
    opener: Any = lambda settings: MemoryPlace(settings.name, files)  # noqa: E731
    patch.setitem(registry._OPENERS, InMemory, opener)

    def hurt(name: str) -> None:
        (address,) = [file for file in files.files if file[0] == name]
        copy, data = files.files[address]
        files.files[address] = copy, data[:-9] + bytes(9)

    return Damaging(InMemory("vault"), hurt)  # type: ignore[arg-type]


@pytest.fixture(params=[_directory, _tape, _memory], ids=["directory", "tape", "memory"])
def vault(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Damaging:
    made: Damaging = request.param(tmp_path, monkeypatch)
    return made


@pytest.fixture
def swept(vault: Damaging, tmp_path: Path) -> Swept:
    """An archive with a copy that was damaged, and found to be."""
    chain = StagedChain(tmp_path / "staging")
    chain.run({"anna": {"INBOX": (b"Subject: a\r\n\r\n" + os.urandom(30_000),)}})
    rules = SweepRules(copies=("vault",), keep_staged_seconds=None)
    made = Swept(chain, (vault.destination,), rules, look_again_seconds=0)
    made.sweep()
    assert _read(made) == (1, 0)
    vault.hurt(made.records()[0].name)
    assert _read(made) == (0, 1)
    return made


def _read(swept: Swept) -> tuple[int, int]:
    """Read the copies; how many are whole, and how many damaged."""
    due = due_copies(swept.records(), ["vault"], None)
    found = check_copies(
        swept.chain.staging, due, swept.destinations, local_engine(0), lambda _: None, lambda: swept.now
    )
    return found.whole, len(found.damaged)


def test_a_whole_copy_comes_instead_of_a_damaged_one(swept: Swept) -> None:
    report = swept.sweep()
    assert (report.exit_code, report.destinations[0].copied) == (EXIT_OK, 1)
    assert _read(swept) == (1, 0)
    assert swept.sweep().destinations[0].copied == 0


def test_a_copy_that_is_whole_after_all_stays(swept: Swept, vault: Damaging) -> None:
    swept.sweep()
    _lose(swept)
    place = registry.open_destination(vault.destination)
    before = [copy.version for copy in place.list("primary/")]
    assert swept.sweep().destinations[0].copied == 1
    assert [one.version for one in place.list("primary/")] == before
    assert _read(swept) == (1, 0)


def test_a_damaged_copy_stays_as_long_as_there_is_nothing_better(swept: Swept, vault: Damaging) -> None:
    """What is in the staging area is damaged as well: the other may have what this one lacks."""
    file = swept.chain.staging / swept.records()[0].name
    file.write_bytes(bytes(9) + file.read_bytes()[9:])
    report = swept.sweep()
    assert report.damaged
    assert [copy.name for copy in registry.open_destination(vault.destination).list("primary/")] == [
        swept.records()[0].name
    ]


@pytest.mark.parametrize("vault", [_directory, _memory], indirect=True, ids=["directory", "memory"])
def test_a_damaged_copy_that_the_catalog_does_not_know_is_replaced(swept: Swept, vault: Damaging) -> None:
    """It was made again since, and from elsewhere. (What is told of a tape tells the digest as well.)"""
    _forget(swept)
    assert swept.sweep().exit_code == EXIT_OK
    assert _read(swept) == (1, 0)


@pytest.mark.parametrize(
    "keeps", [lambda data: data, lambda data: data[:-9], lambda data: bytes(9) + data[9:]]
)
@pytest.mark.parametrize("vault", [_directory], indirect=True, ids=["directory"])
def test_another_archive_of_that_name_is_never_replaced(
    swept: Swept, vault: Damaging, tmp_path: Path, keeps: Callable[[bytes], bytes]
) -> None:
    """Nor what is left of it."""
    other = StagedChain(tmp_path / "other")
    for number in range(2):
        other.run({"ben": {"INBOX": (b"Subject: %d\r\n\r\n" % number,)}})
    record = swept.records()[0]
    data = max((tmp_path / "other").glob("primary/*/*.mha")).read_bytes()
    assert bytes(record.archive) not in data, "the ids of a chain are counted"
    there = tmp_path / "vault" / record.name
    there.write_bytes(keeps(data))
    _forget(swept)
    report = swept.sweep()
    assert [skip.reason for skip in report.destinations[0].failed] == ["exists"]
    assert there.read_bytes() == keeps(data)


def _forget(swept: Swept) -> None:
    """The catalog knows nothing of copies elsewhere."""
    with Catalog.open(swept.chain.staging, write=True) as catalog:
        for record in list(catalog.archives()):
            catalog.drop_copy(record.archive, Location("vault", record.name, record.copies[1].version))


def _lose(swept: Swept) -> None:
    """The catalog takes the copies for lost."""
    with Catalog.open(swept.chain.staging, write=True) as catalog:
        for record in list(catalog.archives()):
            catalog.put_copies([(record.archive, replace(copy, state="lost")) for copy in record.copies[1:]])


def test_a_copy_that_may_not_be_read_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still counts, is not replaced where the catalog has forgotten it, and is not lost by a recall."""
    vault = directory(tmp_path, "vault")
    chain = StagedChain(tmp_path / "staging")
    chain.run({"anna": {"INBOX": (b"Subject: a\r\n\r\n" + os.urandom(30_000),)}})
    swept = Swept(chain, (vault,), SweepRules(copies=("vault",)), look_again_seconds=0)
    swept.sweep()
    record = swept.records()[0]
    refused: list[str] = []

    def refuse(_place: DirectoryPlace, name: str, _version: str = "") -> RandomAccess:
        refused.append(name)
        raise UnreadableError(f"{name}: Permission denied")

    monkeypatch.setattr(DirectoryPlace, "open", refuse)
    due = due_copies(swept.records(), ["vault"], None)
    found = check_copies(
        chain.staging, due, swept.destinations, local_engine(0), lambda _: None, lambda: swept.now
    )
    assert (found.whole, found.damaged, [skip.reason for skip in found.unread]) == (0, (), ["unreadable"])
    assert [copy.state for copy in swept.records()[0].copies if copy.place == "vault"] != ["lost"]

    file = tmp_path / "vault" / record.name
    file.write_bytes(file.read_bytes()[:-9])  # not what is staged, whatever it is
    with Catalog.open(chain.staging, write=True) as catalog:
        catalog.drop_copy(record.archive, Location("vault", record.name))
    before, asked = file.read_bytes(), len(refused)
    report = swept.sweep()
    assert [one.reason for one in report.destinations[0].failed] == ["exists"]
    assert file.read_bytes() == before
    assert len(refused) > asked
