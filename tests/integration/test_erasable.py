"""Mailboxes that are erasable one by one, on the command line: when the secret of one is destroyed, nobody
reads what only it had, in no copy, and everybody else has all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mailhaul.coordinator.mailbox_secrets import vault_of
from mailhaul.coordinator.structure_keys import keys_at
from mailhaul.coordinator.vault_copies import destroy_secrets
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.slots import read_keys
from mailhaul.proto.keys.records import Keyring
from mailhaul.worker.destinations.settings import DirectoryDestination

from ..maildirs import Maildir
from ..plain_bytes import plain_bytes
from ..sealed import opened_keys
from .test_encryption import JANE, Site

SHARED = b"From: all@example.org\nSubject: canteen\n\n" + b"what there is to eat " * 60
ONLY_HERS = b"Quittengelee mit Ingwer "


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    for user in ("jane", "joe", "jim"):
        mailbox = Maildir(made.store / user)
        mailbox.message(f"shared.{user}:2,S", SHARED)
    Maildir(made.store / "jane").message("hers.jane:2,S", b"Subject: a\n\n" + ONLY_HERS * 50)
    return made


def erasable(site: Site) -> None:
    site.configure(f'recipients = ["{site.public}"]', "erasable = true")


def left(site: Site, *more: str) -> list[str]:
    """What differs from the store when everybody is restored."""
    return site.restored(*more, *site.with_key)


def all_keys(site: Site, *directories: Path) -> Keyring:
    """All keys that anybody has: the recipient's private key, the structure key, what is in the vault."""
    keys = keys_at(site.staging).keys
    for directory in directories:
        for path in directory.rglob("*.mh[ar]"):
            with_private = opened_keys(read_keys(LocalFile(str(path))).wrapped, site.private)
            keys = keys.and_those(with_private)
    return keys


def destroy(site: Site, user: str = "jane") -> None:
    there = DirectoryDestination(name="vault", path=str(site.vault))
    done = destroy_secrets(site.staging, [("primary", user)], [there], 1.0)
    assert [place.name for place in done] == ["keys", "vault"]
    assert all(vault_place.done for vault_place in done), done


def test_nights_a_purge_a_sweep_and_a_destroyed_secret(site: Site) -> None:
    erasable(site)
    site.run("backup")
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7) + ONLY_HERS)
    Maildir(site.store / "joe").message("7.joe:2,", site.mail("joe", 7))
    site.run("backup")
    for number in range(5):
        (site.store / "joe" / "cur" / f"{number}.joe:2,S").unlink()
    site.run("backup")
    site.run("purge", "--last", "2")
    site.run("verify")
    site.run("sweep")
    assert left(site) == []
    found = [read_keys(LocalFile(str(path))).mailboxes for path in site.vault.rglob("*.mha")]
    assert all(found)
    before = plain_bytes(site.staging, site.vault, site.keys, keys=all_keys(site, site.vault))
    assert ONLY_HERS in before
    destroy(site)
    after = plain_bytes(site.staging, site.vault, site.keys, keys=all_keys(site, site.vault))
    assert ONLY_HERS not in after
    assert b"hers.jane" not in after
    assert b"jane 3 jane 3" not in after
    assert SHARED[40:] in after, "others have it, too"
    hers = {one.name for one in (site.store / "jane" / "cur").iterdir()} - {"shared.jane:2,S"}
    told = site.run("show", f"{JANE}/INBOX/1", *site.with_key, status=1).stderr
    assert "erased" in told
    assert "--identity" not in told
    # The mailbox is left out, which is status 3.
    assert set(site.restored(*site.with_key, status=3)) == hers
    shutil.rmtree(site.store / "jane")
    site.run("backup")
    site.run("purge", "--last", "1")
    site.run("verify")
    site.run("catalog", "rebuild")
    assert left(site) == []


def test_a_lost_house_needs_a_destination_and_a_private_key(site: Site) -> None:
    erasable(site)
    site.run("backup")
    site.run("sweep")
    (copy,) = (site.vault / "_vault").iterdir()
    shutil.rmtree(site.staging)
    shutil.rmtree(site.keys)
    files = [word for file in sorted(site.vault.rglob("*.mha")) for word in ("-f", str(file))]
    target = site.tmp / "blank"
    restore = ("restore", "/", "--to", f"maildir:{target}/{{user}}", *files, *site.with_key)
    hidden = copy.rename(site.tmp / "elsewhere")
    assert "vault" in site.run(*restore, status=1).stderr
    hidden.rename(copy)
    shutil.rmtree(target, ignore_errors=True)
    site.run(*restore)
    wanted = sorted(file.read_bytes() for file in site.store.glob("*/cur/*"))
    assert sorted(file.read_bytes() for file in target.glob("*/cur/*")) == wanted


def test_a_full_backup_moves_a_group_over(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    erasable(site)
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup")
    assert left(site) == []
    site.run("backup", "--full")
    first, second, third = (read_keys(LocalFile(str(archive))) for archive in site.archives())
    assert (bool(first.mailboxes), bool(second.mailboxes), bool(third.mailboxes)) == (False, True, True)
    site.run("purge", "--last", "1")
    assert all(read_keys(LocalFile(str(path))).mailboxes for path in site.archives())
    assert left(site) == []
    vault = vault_of(site.staging)
    assert vault is not None
    assert set(vault.secrets) == {("primary", user) for user in ("jane", "joe", "jim")}


def test_without_the_vault_no_run_begins_and_a_copy_brings_it_back(site: Site) -> None:
    erasable(site)
    site.run("backup")
    site.run("sweep")
    for path in site.keys.glob("*.vault.sealed"):
        path.unlink()
    assert "_vault/" in site.run("backup", status=1).stderr
    target = site.tmp / "blank"
    done = site.run("restore", "/", "--to", f"maildir:{target}/{{user}}", *site.with_key, status=1)
    assert "vault of their secrets is missing: put the newest copy from _vault/" in done.stderr
    assert "skipped" not in done.stderr
    assert not target.exists()
    for one in (site.vault / "_vault").iterdir():
        shutil.copy(one, site.keys)
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup")
    assert left(site) == []


def test_no_archive_goes_where_the_vault_can_not(site: Site) -> None:
    erasable(site)
    site.run("backup")
    (site.vault / "_vault").mkdir()
    (site.vault / "_vault").chmod(0o500)
    assert "vault" in site.run("sweep", status=1).stderr
    (site.vault / "_vault").chmod(0o700)


def test_erasable_needs_recipients(site: Site) -> None:
    site.configure("erasable = true")
    assert "encryption.recipients" in site.run("backup", status=2).stderr


def test_a_rebuild_brings_the_vault_back_and_nights_go_on(site: Site) -> None:
    erasable(site)
    site.run("backup")
    site.run("sweep")
    shutil.rmtree(site.staging)
    shutil.rmtree(site.keys)
    site.staging.mkdir()
    site.run("catalog", "rebuild", "--from", "vault", *site.with_key)
    assert not list(site.staging.rglob("*.vault.sealed"))
    assert left(site) == []
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup")
    site.run("sweep")
    assert left(site) == []
    destroy(site)
    assert ONLY_HERS not in plain_bytes(site.staging, site.vault, keys=all_keys(site, site.vault))


def test_a_vault_with_secrets_that_are_lost_here_is_not_replaced(site: Site) -> None:
    erasable(site)
    site.run("backup")
    site.run("sweep")
    shutil.rmtree(site.staging)
    shutil.rmtree(site.keys)
    (copy,) = (site.vault / "_vault").iterdir()
    site.staging.mkdir()
    site.run("catalog", "rebuild", "--from", "vault", *site.with_key)
    (own,) = site.keys.glob("*.vault.sealed")
    own.unlink()
    site.run("backup")
    assert "secrets that this host does not have" in site.run("sweep", status=1).stderr
    assert copy.exists()
