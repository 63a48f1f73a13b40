"""``mailhaul keys structure recover``: out of archives, wherever these lie, into the directory of keys."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ..maildirs import Maildir
from .inside import InsideSite
from .test_added_recipients import Later
from .test_encryption import Site

RECOVER = ("keys", "structure", "recover")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = InsideSite(tmp_path)
    site.encrypt()
    site.run("backup")
    return site


def key(site: Site) -> bytes:
    (file,) = site.keys.glob("*.structure")
    assert file.stat().st_mode & 0o777 == 0o600
    return file.read_bytes()


def test_nights_go_on_with_the_key_that_comes_out_of_the_staging_area(site: Site) -> None:
    before = key(site)
    assert "nothing was missing" in site.run(*RECOVER, *site.with_key).stderr
    shutil.rmtree(site.keys)
    assert "structure key of the staging area is gone" in site.run("backup", status=1).stderr
    done = site.run(*RECOVER, *site.with_key)
    assert "is in" in done.stdout
    assert key(site) == before
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup")
    assert len(site.archives()) == 2
    assert site.archives()[1].stat().st_size < site.archives()[0].stat().st_size, "it stores what is new"
    assert site.restored(*site.with_key) == []


def test_out_of_a_destination_on_a_blank_machine(site: Site) -> None:
    before, area = key(site), (site.staging / ".mailhaul" / "area-id").read_text()
    site.run("sweep")
    shutil.rmtree(site.staging)
    shutil.rmtree(site.keys)
    site.run(*RECOVER, "--from", "moon", *site.with_key, status=2)
    site.run(*RECOVER, "--from", "vault", *site.with_key)
    assert key(site) == before
    assert (site.staging / ".mailhaul" / "area-id").read_text() == area
    site.run("catalog", "rebuild", "--from", "vault")
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup")
    assert site.restored(*site.with_key) == []


def test_with_the_key_of_somebody_who_came_later(tmp_path: Path) -> None:
    site = Later(tmp_path)
    site.both()
    before = key(site)
    told = site.run(*RECOVER, *site.later).stderr
    assert "nothing was missing" in told
    shutil.rmtree(site.keys)
    assert "nothing was recovered" in site.run(*RECOVER, *site.later, status=1).stderr
    site.run(*RECOVER, *site.with_key)
    site.add()
    site.run("sweep")
    shutil.rmtree(site.staging)
    shutil.rmtree(site.keys)
    site.run("catalog", "rebuild", "--from", "vault", *site.later)
    assert key(site) == before
    assert site.restored(*site.later) == []
    assert "--identity" in site.run(*RECOVER, status=2).stderr
