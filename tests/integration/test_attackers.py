"""What somebody can read who has all that lies at a destination, and no key: nothing but what
docs/threat-model.md says is not hidden. Searched as it lies there, and in all that can be unpacked of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from mailhaul.coordinator.sweeping.companions import KINDS
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.slots import read_slots
from mailhaul.proto.keys.sealed_files import SUFFIX, is_sealed
from mailhaul.tests.tapes import taken_off
from mailhaul.worker.destinations.marks import MARK

from .guarded import USERS, WORDS, GuardedSite, files_in, found_in
from .servers.object_storage import moto

pytestmark = pytest.mark.xdist_group("object storage")

WHERE = ("vault", "bucket", "drive")


def live_and_sweep(site: GuardedSite) -> None:
    """Nights with all that makes a record that names somebody: what can't be read, who goes, what is held, a
    folder that is renamed, a purge that writes archives anew, who is erased."""
    first, second, third, fourth = site.boxes.values()
    site.night()
    site.run("sweep")
    site.run("hold", "/primary/user/ottokar.quitte@firma.example", "--reason", "hausdurchsuchung")
    unreadable = first.root / "cur" / "vergraben.M1P1.store:2,"
    os.mkfifo(unreadable)
    shutil.rmtree(third.root.parent)
    for message in sorted((first.root / "cur").glob("[0-9]*"))[:1]:
        message.unlink()
    site.night(status=(0, 3))
    site.run("sweep")
    unreadable.unlink()
    if site.encrypted:
        site.add_recipient()
    (second.root / ".Geheimakten").rename(second.root / ".Geheimakten.alt")
    second.folder(".Geheimakten")
    shutil.rmtree(fourth.root.parent)
    site.night()
    site.run("purge", "--last", "1")
    site.run("sweep")
    if site.encrypted:
        words = (USERS[3], "--reason", "request 2026-17", "--yes", "--identity", site.paper(site.place))
        site.run("erase", *words, status=(3,))  # what is on tape is due
    site.run("sweep")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> GuardedSite:
    made = GuardedSite(tmp_path_factory.mktemp("site"), moto(), WHERE)
    live_and_sweep(made)
    return made


@pytest.fixture
def lying(site: GuardedSite) -> Callable[[str], dict[str, bytes]]:
    """All files of a destination, by name, as somebody sees them who knows nothing of mailhaul."""

    def files(name: str) -> dict[str, bytes]:
        if name == "bucket":
            return site.objects()
        return files_in(site.place / {"vault": "vault", "drive": "tapes"}[name])

    return files


@pytest.mark.parametrize("name", WHERE)
def test_of_a_destination_nothing_can_be_read(lying: Callable[[str], dict[str, bytes]], name: str) -> None:
    found = found_in(lying(name))
    assert found == {}


def test_where_nothing_is_encrypted_the_same_search_finds_all_of_it(tmp_path: Path) -> None:
    site = GuardedSite(tmp_path, moto(), ("vault", "drive"), encrypted=False)
    live_and_sweep(site)
    at_vault = found_in(files_in(tmp_path / "vault"))
    held = {"held", "why it is held"}  # holds go nowhere; who is held is a user as others are
    assert set().union(*at_vault.values()) >= set(WORDS) - held
    of_kind = {name: found for name, found in at_vault.items() if name.startswith(("_catalog", "_runs"))}
    assert {"user", "who went", "what could not be read"} <= set().union(*of_kind.values())
    assert {"user", "body", "folder"} <= set().union(*found_in(files_in(tmp_path / "tapes")).values())


@pytest.mark.parametrize("name", ["vault", "bucket", "tape"])
def test_every_file_is_of_a_kind_that_is_known(
    site: GuardedSite, lying: Callable[[str], dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    """A new kind of file beside archives is sealed, or is listed with the reason why not."""
    if name == "tape":
        files = taken_off(sorted((site.place / "tapes").glob("*.tap")))
    else:
        files = {one.removeprefix("site1/"): data for one, data in lying(name).items() if "\n" not in one}
    seen = set()
    for file, data in files.items():
        if file == MARK:
            continue  # the id of the staging area
        if file.startswith("mailhaul-check/"):
            continue  # what was written and read back to see whether a tape can be used
        if re.fullmatch(r"primary/user/[^/]+\.mha", file) or fnmatch(file, "_runs/*/*.mhr"):
            path = tmp_path / "archive"
            path.write_bytes(data)
            assert read_slots(LocalFile(str(path))), f"{file} is not encrypted"
            seen.add("archive" if file.endswith(".mha") else "run")
            continue
        (kind,) = (one for one in KINDS if fnmatch(file, one.pattern))
        assert not file.startswith("_erasures/") or file.endswith(SUFFIX)
        assert kind.open or (is_sealed(data) and file.endswith(SUFFIX)), file
        seen.add(kind.pattern)
    assert seen == {
        "archive",
        "run",
        *(kind.pattern for kind in KINDS if not kind.pattern.startswith("_runs")),
    }


def test_the_staging_area_as_other_programs_copy_it(site: GuardedSite, root: Path) -> None:
    """Below .mailhaul, which stays on its host, names are in what the document of the staging area lists."""
    found = found_in(files_in(site.staging))
    assert {name for name in found if not name.startswith(".mailhaul/")} == set()
    text = (root / "docs/staging-layout.md").read_text().split("## Who may read it")[1]
    told = set(re.findall(r"`(\.mailhaul/[^`]*)`", text))
    for name in found:
        assert any(fnmatch(name, pattern) for pattern in told), (name, found[name])
    told_of = set().union(*found.values())
    assert told_of <= set(WORDS) - {"body", "subject", "attachment", "attachment name", "sender", "file"}


def test_keys_are_nowhere_but_in_their_directory(site: GuardedSite) -> None:
    needles = {line for file in site.keys.glob("*.structure") for line in file.read_bytes().split()}
    needles |= {bytes.fromhex(needle.decode()) for needle in needles} | {
        site.private,
        site.private.hex().encode(),
    }
    everywhere = {**files_in(site.place), **site.objects()}
    for name, data in everywhere.items():
        if not name.endswith(".structure"):
            assert not any(one in data for one in needles), name
    assert os.stat(site.keys).st_mode & 0o077 == 0
