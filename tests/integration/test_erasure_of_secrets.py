"""``erase`` where mailboxes are erasable: of a copy that nobody could rewrite, nothing that only the person
had can be read any more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mailhaul.coordinator.mailbox_secrets import vault_of

from ..maildirs import Maildir
from ..plain_bytes import files_with, plain_bytes
from .test_encryption import Site
from .test_erasable import ONLY_HERS, SHARED, all_keys, erasable, left, site  # noqa: F401 (a fixture)


def test_a_copy_that_is_not_rewritten_can_not_be_read(site: Site) -> None:  # noqa: F811
    erasable(site)
    site.run("backup")
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    site.run("sweep")
    stolen = site.tmp / "stolen"
    shutil.copytree(site.vault / "primary", stolen)
    assert ONLY_HERS in plain_bytes(stolen, keys=all_keys(site, stolen))

    site.run("erase", "jane", "--reason", "17", "--yes", *site.with_key)
    told = json.loads(site.run("erase", "--list", "--json").stdout)["erasures"][0]
    assert told["state"] == "done"
    assert any("secrets destroyed at keys, vault" in step["what"] for step in told["steps"])
    vault = vault_of(site.staging)
    assert vault is not None
    assert set(vault.secrets) == {("primary", user) for user in ("jim", "joe")}

    keys = all_keys(site, stolen, site.vault)
    old = plain_bytes(stolen, keys=keys)
    assert ONLY_HERS not in old
    assert SHARED[40:] in old, "others have it, too"
    assert files_with(b"jane", site.staging, site.vault, keys=keys) == []
    shutil.rmtree(site.store / "jane")
    assert left(site) == []

    # A new mailbox of the same name has a secret of its own, which later steps leave alone.
    _again(site)
    secret = vault_of(site.staging).secrets[("primary", "jane")]  # type: ignore[union-attr]
    site.run("catalog", "rebuild")
    site.run("erase", "--resume", *site.with_key)
    assert vault_of(site.staging).secrets[("primary", "jane")] == secret  # type: ignore[union-attr]
    assert left(site) == []


def test_no_secret_is_told_to_be_destroyed_of_who_had_none(site: Site) -> None:  # noqa: F811
    """Archives of before can be read in every copy that is left."""
    site.encrypt()
    site.run("backup")
    shutil.rmtree(site.store / "jane")
    erasable(site)
    site.run("backup")
    site.run("sweep")
    site.run("erase", "jane", "--reason", "17", "--yes", *site.with_key)
    (told,) = json.loads(site.run("erase", "--list", "--json").stdout)["erasures"]
    assert [step["what"] for step in told["steps"] if "secrets destroyed" in step["what"]] == []


def _again(site: Site) -> None:  # noqa: F811
    mailbox: Path = site.store / "jane"
    Maildir(mailbox).message("1.jane:2,", site.mail("jane", 1))
    site.run("backup")
