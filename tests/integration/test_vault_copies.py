"""Copies of the vault of secrets at destinations: one of now, none of before, none where it could stay."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from mailhaul.coordinator.area_id import area_id
from mailhaul.coordinator.mailbox_secrets import make_secrets, vault_of
from mailhaul.coordinator.structure_keys import prepare
from mailhaul.coordinator.vault_copies import copy_vault, destroy_secrets, keeps_vault, vault_notice
from mailhaul.proto.keys.records import VAULTS, Keyring
from mailhaul.proto.keys.vault import Vault, open_vault
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.registry import open_destination
from mailhaul.worker.destinations.settings import Destination, DirectoryDestination, TapeDestination

from ..sealed import recipient
from .servers.object_storage import S3Server, moto

pytestmark = pytest.mark.xdist_group("object storage")

JANE, JOE = ("primary", "jane"), ("primary", "joe")


@pytest.fixture
def server() -> S3Server:
    return moto()


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """A staging area with the secrets of two mailboxes."""
    place = tmp_path / "staging"
    place.mkdir()
    area_id(place)
    prepare(place, tmp_path / "keys", [recipient()], erasable=True)
    make_secrets(place, [JANE, JOE])
    return place


def vaults_at(destination: Destination, staging: Path) -> list[Vault]:
    """All of them, of all versions."""
    from mailhaul.coordinator.mailbox_secrets import key_of_vault

    key = key_of_vault(staging)
    assert key is not None
    keys = Keyring(structures={key.id: key.secret})
    with closing(open_destination(destination)) as place:
        found = []
        for copy in place.list(f"{VAULTS}/"):
            with closing(place.open(copy.name, copy.version)) as file:
                name = copy.name.rpartition("/")[2]
                found.append(open_vault(file.read_at(0, file.size), keys, name))
        return found


@pytest.mark.parametrize("kind", ["directory", "bucket", "bucket with versions"])
def test_a_secret_goes_from_every_version_of_every_copy(
    kind: str, staging: Path, server: S3Server, tmp_path: Path
) -> None:
    (tmp_path / "vault").mkdir()
    there: Destination = DirectoryDestination(name="vault", path=str(tmp_path / "vault"))
    if kind != "directory":
        bucket = server.new_bucket(locks=kind != "bucket")
        there = server.destination(bucket, tmp_path / "journal")
    assert [place.done for place in copy_vault(staging, [there])] == [True]
    assert vaults_at(there, staging) == [vault_of(staging)]
    make_secrets(staging, [("primary", "jim")])
    assert [vault_place.done for vault_place in copy_vault(staging, [there])] == [True]
    assert vaults_at(there, staging) == [vault_of(staging)]
    before = vault_of(staging)
    assert before is not None
    done = destroy_secrets(staging, [JANE], [there], 7.0)
    assert [(one.name, one.done) for one in done] == [("keys", True), (there.name, True)]
    (left,) = vaults_at(there, staging)
    assert JANE not in left.secrets
    assert left.erased == {before.secrets[JANE].id: 7}
    assert left.secrets[JOE] == before.secrets[JOE]
    assert left == vault_of(staging)
    assert destroy_secrets(staging, [JANE], [there], 8.0) == done, "repeatable"
    secret = before.secrets[JANE].secret
    assert not any(secret in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_who_comes_back_has_another_secret(staging: Path) -> None:
    before = vault_of(staging)
    destroy_secrets(staging, [JANE], [], 7.0)
    make_secrets(staging, [JANE])
    after = vault_of(staging)
    assert before is not None
    assert after is not None
    assert after.secrets[JANE].id != before.secrets[JANE].id
    assert set(after.erased) == {before.secrets[JANE].id}


def test_a_place_that_is_not_reached_is_not_done(staging: Path, tmp_path: Path) -> None:
    gone = DirectoryDestination(name="gone", path=str(tmp_path / "nowhere"))
    here, there = destroy_secrets(staging, [JANE], [gone], 7.0)
    assert (here.done, there.done) == (True, False)
    assert there.error
    _, forgotten = destroy_secrets(staging, [JANE], [], 7.0)
    assert (forgotten.name, forgotten.done) == ("gone", False)
    assert "configured" in forgotten.error


def test_no_copy_lies_where_it_could_not_be_removed(staging: Path, server: S3Server, tmp_path: Path) -> None:
    tape = TapeDestination(name="tape", state=str(tmp_path / "state"))
    bucket = server.new_bucket(locks=True)
    locked = server.destination(bucket, tmp_path / "journal", lock="compliance")
    assert not keeps_vault(tape)
    assert not keeps_vault(locked)
    assert copy_vault(staging, [tape, locked]) == ()
    assert "copy " in vault_notice(staging, [tape, locked])
    assert vault_notice(staging, [tape, DirectoryDestination(name="vault", path=str(tmp_path))]) == ""
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    server.client().put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    (by_itself,) = copy_vault(staging, [replace(locked, lock="")])
    assert not by_itself.done
    assert "could never be removed" in by_itself.error
    assert vaults_at(replace(locked, lock=""), staging) == [Vault()], "no secret has come there"
