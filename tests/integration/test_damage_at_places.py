"""Copies of real mail are damaged at a destination of each kind, silently, cut, gone: found by reading them,
told, put again by the next sweep, and then good enough for all that is kept, with nothing else there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.history import CopyRecord
from mailhaul.proto.errors import EXIT_DAMAGED, EXIT_OK
from mailhaul.tests.tapes import damage
from mailhaul.worker.destinations.tape.addresses import parse_version
from mailhaul.worker.destinations.tape.file_drive import FileDrive, TapeEnd

from ..trees import differences
from .servers.object_storage import moto
from .sites import LAYOUT, Site, mail_in

pytestmark = pytest.mark.xdist_group("object storage")

OTHER = "disk"


@pytest.fixture(scope="module", params=["vault", "ceph", "drive"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, root: Path) -> Site:
    """Three nights at two destinations, and nothing in the staging area."""
    made = Site(tmp_path_factory.mktemp(request.param), moto(), (request.param, OTHER))
    made.make_store(root / "deploy/demo/make_store.py")
    for _ in range(3):
        made.day()
        made.night()
    made.run("sweep")
    assert not list(made.staging.glob("*/*/*.mha"))
    return made


def copies(site: Site) -> list[CopyRecord]:
    """The copies of all archives at the first destination, as they lie."""
    with Catalog.open(site.staging) as catalog:
        found = [
            copy for record in catalog.archives() for copy in record.copies if copy.place == site.names[0]
        ]
    return sorted(
        found, key=lambda one: (parse_version(one.version) if ":" in one.version else ("", 0), one.name)
    )


def hurt(site: Site) -> set[str]:
    """Damage three copies, each in another way; returns their names."""
    first, second, *_, last = copies(site)
    {"vault": _hurt_files, "ceph": _hurt_objects, "drive": _hurt_tapes}[site.names[0]](
        site, first, second, last
    )
    return {first.name, second.name, last.name}


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _hurt_files(site: Site, first: CopyRecord, second: CopyRecord, last: CopyRecord) -> None:
    vault = site.place / "vault"
    (vault / first.name).write_bytes(flipped((vault / first.name).read_bytes()))
    (vault / second.name).write_bytes((vault / second.name).read_bytes()[: second.size_bytes // 2])
    (vault / last.name).unlink()


def _hurt_objects(site: Site, first: CopyRecord, second: CopyRecord, last: CopyRecord) -> None:
    client = site.server.client()

    def key(record: CopyRecord) -> dict[str, str]:
        return {"Bucket": site.bucket, "Key": f"site1/{record.name}"}

    data = client.get_object(**key(first))["Body"].read()
    client.put_object(**key(first), Body=flipped(data))
    client.put_object(**key(second), Body=data[: second.size_bytes // 2])
    client.delete_object(**key(last))


def _hurt_tapes(site: Site, first: CopyRecord, second: CopyRecord, last: CopyRecord) -> None:
    volumes = {
        path.read_bytes()[:4096].decode(errors="replace"): path for path in site.place.glob("tapes/*.tap")
    }

    def lies(record: CopyRecord) -> tuple[Path, int]:
        uuid, block = parse_version(record.version)
        return next(file for label, file in volumes.items() if uuid in label), block + 1

    file, block = lies(first)
    flip_record(file, block)
    damage(*lies(second))
    file, block = lies(last)
    with file.open("r+b") as volume:
        volume.truncate(start_of(file, block) + 100)


def start_of(volume: Path, block: int) -> int:
    """Where a block of a volume begins in its file."""
    with closing(FileDrive(str(volume), TapeEnd(capacity_bytes=1 << 40))) as drive:
        drive.locate(block)
        return drive._starts[block]


def flip_record(volume: Path, block: int) -> None:
    """A byte of a record is another one, and nothing tells."""
    at = start_of(volume, block) + 1000
    data = bytearray(volume.read_bytes())
    data[at] ^= 1
    volume.write_bytes(data)


def lost(site: Site) -> dict[str, int]:
    """By place, how many copies are known to be lost, as ``status`` tells it."""
    told = site.run("status")["copies"]["places"]
    return {one["place"]: one["archives"] for one in told if one["state"] == "lost"}


@contextmanager
def without_the_other(site: Site) -> Iterator[None]:
    """The other destination is away."""
    kept = (site.place / OTHER).rename(site.place / "away")
    try:
        yield
    finally:
        kept.rename(site.place / OTHER)


def check_restored(site: Site, place: Path, *options: str) -> set[str]:
    """Restore each moment and compare it; the copies that were found to be damaged."""
    found: set[str] = set()
    for run, mail in site.moments.items():
        told = site.run("restore", "/", "--at", run, "--to", f"maildir:{place}/{LAYOUT}", *options)
        assert differences(mail, mail_in(place)) == []
        shutil.rmtree(place)
        found.update(told["damaged_copies"])
    return found


def test_damage_is_found_told_and_mended(site: Site, tmp_path: Path) -> None:
    name = site.names[0]
    names = hurt(site)
    found = site.run("verify", "--from", name, status=(EXIT_DAMAGED,))
    assert {one["path"].partition(":")[2] for one in found["damaged"]} == names
    assert (found["whole"], found["not_read"]) == (len(copies(site)) - 3, [])
    assert lost(site) == {name: 3}

    swept = {destination["name"]: destination for destination in site.run("sweep")["destinations"]}
    assert (swept[name]["copied"], swept[OTHER]["copied"]) == (3, 0)
    assert lost(site) == {}
    assert site.run("verify", "--from", name)["damaged"] == []
    with without_the_other(site):
        check_restored(site, tmp_path / "restored", "--from", name)


def test_what_a_restore_finds_damaged_is_mended_by_the_next_sweep(site: Site, tmp_path: Path) -> None:
    name = site.names[0]
    site.run("sweep")  # what came back from tape leaves again
    names = hurt(site)
    target = tmp_path / "restored"
    if name == "drive":  # read only by who asks for it, as there is something nearer
        told = site.run(
            "restore", "/", "--from", name, "--to", f"maildir:{target}/{LAYOUT}", status=(EXIT_DAMAGED,)
        )
        assert told["damaged"]
    else:
        assert check_restored(site, target) == {f"{name}:{one}" for one in names}
    assert lost(site) == {name: len(names)}
    swept = {destination["name"]: destination for destination in site.run("sweep")["destinations"]}
    assert swept[name]["copied"] == len(names)
    assert site.run("verify", "--from", name, status=(EXIT_OK,))["damaged"] == []
