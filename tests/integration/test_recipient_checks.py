"""What is known of recipients: who is configured, who opens what, whose private key was tried, and what a run
says of those that were not."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.cli import backup_run
from mailhaul.coordinator.cli.encryption import prepare_encryption
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.key_checks import misaddressed, read_checks
from mailhaul.coordinator.settings import Config
from mailhaul.coordinator.structure_keys import keys_at, prepare
from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.keys.making import make_recipient
from mailhaul.proto.keys.recipients import read_recipient
from mailhaul.proto.keys.records import Kem

from ..maildirs import Maildir
from .inside import InsideSite
from .test_encryption import Site

CHECK = ("keys", "recipient", "check")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return InsideSite(tmp_path)


def second(site: Site) -> Path:
    """Another recipient, ``board``, with its private key on the laptop; its public file."""
    make_recipient(site.laptop, "board", Kem.X25519, [None])
    return Path(shutil.copy(site.laptop / "board.pub", site.config.parent))


def test_a_run_warns_until_the_private_key_was_tried_and_again_when_that_was_long_ago(site: Site) -> None:
    site.encrypt()
    told = site.run("backup").stderr
    assert "the private key of the recipient ops was never tried" in told
    assert "never tried" in site.run("status").stdout
    told = site.run(*CHECK, *site.with_key).stdout
    assert "ops: opens 1 of 1 encrypted archive" in told
    assert "private key" not in site.run("backup").stderr
    assert "private key" not in site.run("status").stdout
    (file,) = site.keys.glob("*.checks")
    assert file.stat().st_mode & 0o777 == 0o600
    document = json.loads(file.read_text())
    document["checks"][0]["at"] = (datetime.now(UTC) - timedelta(days=91)).isoformat()
    file.write_text(json.dumps(document))
    done = json.loads(site.run("backup", "--json").stdout)
    (notice,) = done["notices"]
    assert "ops was tried 91 days ago" in notice
    assert done["state"] == "done"
    site.configure(f'recipients = ["{site.public}"]', 'check_every = "100d"')
    assert "private key" not in site.run("backup").stderr


def test_status_says_for_whom_archives_are_encrypted(site: Site) -> None:
    site.configure()
    site.run("backup")
    assert "archives are not encrypted" in site.run("status").stdout
    assert json.loads(site.run("status", "--json").stdout)["encrypted"] is False
    site.configure(f'recipients = ["{site.public}", "{second(site)}"]')
    site.run("backup")
    assert "archives are encrypted, for ops, board" in site.run("status").stdout
    assert json.loads(site.run("status", "--json").stdout)["encrypted"] is True
    site.configure()
    site.run("backup")
    assert "archives are not encrypted" in site.run("status").stdout


def test_metrics_say_when_a_private_key_was_tried(site: Site) -> None:
    site.encrypt()
    text = site.tmp / "mailhaul.prom"
    site.config.write_text(site.config.read_text() + f'[metrics]\ntextfile = "{text}"\n')
    site.run("backup")
    name = 'mailhaul_recipient_checked_timestamp_seconds{fingerprint="'
    (line,) = (line for line in text.read_text().splitlines() if line.startswith(name))
    assert 'recipient="ops"' in line
    assert line.endswith(" 0.0")
    site.run(*CHECK, *site.with_key)
    site.run("backup")
    (line,) = (line for line in text.read_text().splitlines() if line.startswith(name))
    assert abs(float(line.rpartition(" ")[2]) - datetime.now(UTC).timestamp()) < 3600


def test_list_names_who_opens_what(site: Site) -> None:
    site.configure()
    assert "archives are not encrypted" in site.run("keys", "recipient", "list").stdout
    site.encrypt()
    site.run("backup")
    board = second(site)
    site.configure(f'recipients = ["{board}"]')
    Maildir(site.store / "jane").message("7.jane:2,", site.mail("jane", 7))
    site.run("backup")
    found = json.loads(site.run("keys", "recipient", "list", "--json").stdout)
    assert found["encrypted_archives"] == 2
    by_name = {recipient["name"]: recipient for recipient in found["recipients"]}
    assert by_name["board"]["overdue"]
    assert by_name["board"]["file"] == str(board)
    # What came along with search terms of the first archive is still wrapped for ops only.
    assert by_name["board"]["opens"] + by_name["board"]["opens_in_part"] == 1
    assert by_name["ops"]["file"] is None
    assert by_name["ops"]["opens"] == 1
    told = site.run("keys", "recipient", "list").stdout
    assert "not configured" in told
    assert "never, overdue" in told


def test_list_calls_a_recipient_configured_whose_file_can_not_be_read(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    site.public.write_text("no recipient\n")
    done = site.run("keys", "recipient", "list", status=1)
    assert str(site.public) in done.stderr
    assert "its file can't be read" in done.stdout
    assert "not configured" not in done.stdout
    (one,) = json.loads(site.run("keys", "recipient", "list", "--json", status=1).stdout)["recipients"]
    assert (one["file"], one["readable"], one["opens"]) == (str(site.public), False, 1)


def test_check_finds_what_a_key_does_not_open(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    site.run("sweep")
    told = site.run(*CHECK, *site.with_key, "--from", "vault").stdout
    assert "ops: opens 1 of 1 encrypted archive" in told
    assert str(site.vault) in told or "vault" in told
    stranger = second(site)
    told = site.run(*CHECK, "--identity", str(site.laptop / "board.secret"), status=1).stderr
    assert "nothing was proven" in told
    site.configure(f'recipients = ["{site.public}", "{stranger}"]')
    told = site.run(*CHECK, "--identity", str(site.laptop / "board.secret")).stdout
    assert "board: opens a canary; no archive is wrapped for it yet" in told
    # That is no proof for what is written, so it is not on record as one.
    found = json.loads(site.run("keys", "recipient", "list", "--json").stdout)["recipients"]
    assert {one["name"]: one["checked"] is None for one in found} == {"ops": False, "board": True}
    site.run(*CHECK, *site.with_key, "--from", "moon", status=2)
    (archive,) = site.archives()
    with closing(LocalFile(str(archive))) as file:
        place = open_sealed(file, keys=keys_at(site.staging).keys).directory.blocks.place(0)
    with archive.open("r+b") as written:
        written.seek(place.at + place.size_bytes - 1)
        written.write(bytes([archive.read_bytes()[place.at + place.size_bytes - 1] ^ 1]))
    done = site.run(*CHECK, *site.with_key, status=4)
    assert str(archive) in done.stderr
    assert "opens" not in done.stdout


def test_retire_explains_and_changes_nothing(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    before = site.config.read_bytes()
    done = site.run("keys", "recipient", "retire", str(site.public))
    assert f"leave out: {site.public}" in done.stdout
    assert "still opens 1 of 1 encrypted archive" in done.stdout
    assert "it is the only recipient" in done.stderr
    assert site.config.read_bytes() == before
    site.configure()
    told = site.run("keys", "recipient", "retire", str(site.public)).stdout
    assert "archives of the next run are not wrapped for it\n" in told


def test_a_run_proves_for_whom_its_archives_are(site: Site) -> None:
    site.encrypt()
    site.run("backup")
    (archive,) = site.archives()
    ops = read_recipient(site.public)
    assert misaddressed(archive, [ops]) == ""
    board = read_recipient(second(site))
    assert misaddressed(archive, [ops, board]) == "keys of it are not wrapped for board"
    assert misaddressed(archive, [board]) == (
        "keys of it are not wrapped for board; keys of it are wrapped for ops, too"
    )
    site.configure()
    site.run("backup", "--full")
    assert misaddressed(site.archives()[-1], [ops]) == "it is not encrypted"


def test_a_worker_that_wraps_for_another_is_found_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list on record is altered after it was taken from the configuration: each archive raises an
    alarm."""
    site.encrypt()
    board = read_recipient(second(site))

    def altered(config: Config) -> None:
        prepare_encryption(config)
        prepare(site.staging, site.keys, [board])

    monkeypatch.setattr(backup_run, "prepare_encryption", altered)
    assert main(["--config", str(site.config), "backup"]) == 3
    sealing = keys_at(site.staging).sealing
    assert sealing is not None
    assert sealing.recipients == (board,)
    checks = read_checks(site.keys, site.staging)
    assert checks == {}
