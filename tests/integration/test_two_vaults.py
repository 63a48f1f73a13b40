"""A vault of secrets that comes back when nights have gone on without it, and one that is damaged where it is
kept: no secret is lost but those that somebody destroyed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mailhaul.coordinator.mailbox_secrets import vault_of
from mailhaul.proto.keys.records import VAULT_ENDING, VAULTS

from ..maildirs import Maildir
from .test_encryption import Site
from .test_erasable import destroy, erasable, left


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    for user in ("jane", "joe"):
        Maildir(made.store / user).message(f"9.{user}:2,S", made.mail(user, 9))
    erasable(made)
    made.run("backup")
    made.run("sweep")
    return made


def test_a_vault_that_comes_back_late_takes_no_secret_away(site: Site) -> None:
    """Of a lost house: it had the structure key, and made new secrets."""
    (kept,) = (site.vault / VAULTS).iterdir()
    for file in (*site.keys.glob(f"*{VAULT_ENDING}"), *site.keys.glob("*.recipients")):
        file.unlink()
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup")
    assert "put _vault/" in site.run("sweep", status=1).stderr
    shutil.copy(kept, site.keys)
    assert left(site) == []
    site.run("sweep")
    assert left(site) == []
    vault = vault_of(site.staging)
    assert vault is not None
    assert sorted(secret.user for secret in vault.all) == ["jane", "jane", "joe", "joe"]
    (copy,) = (site.vault / VAULTS).iterdir()
    for file in site.keys.glob(f"*{VAULT_ENDING}"):
        file.unlink()
    shutil.copy(copy, site.keys)
    assert left(site) == [], "the copy has all of them, too"
    destroy(site)
    vault = vault_of(site.staging)
    assert vault is not None
    assert [mailbox_secret.user for mailbox_secret in vault.all] == ["joe", "joe"]


def test_a_damaged_copy_is_replaced(site: Site) -> None:
    (copy,) = (site.vault / VAULTS).iterdir()
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    site.run("sweep")
    (now,) = (site.vault / VAULTS).iterdir()
    for file in site.keys.glob(f"*{VAULT_ENDING}"):
        file.unlink()
    shutil.copy(now, site.keys)
    assert left(site) == []
