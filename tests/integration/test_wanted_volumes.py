"""A tape volume that is away is asked for, by the hook, by ``status``, to Prometheus, until it is there."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.monitoring.catalog_metrics import CatalogCollector
from mailhaul.coordinator.monitoring.exposition import make_registry
from mailhaul.coordinator.wanted_volumes import wanted_volumes
from mailhaul.worker.destinations.tape.inventory import Inventory, Wanted
from mailhaul.worker.keepsake.readme import reader

from ..maildirs import Maildir
from ..sweeping import here

CONFIG = """\
[staging]
path = "staging"

[[partition]]
format = "maildir"
path = "{place}/store"

[[destination]]
name = "drive"
kind = "tape"
file = "drive0"
capacity = "100 MB"

[sweep]
copies = ["drive"]
look_again = "0s"
keep_staged = "0s"
keep_newest = false

[hooks]
volume_wanted = {hook}
"""
TELL = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


class Site:
    """A store of one mailbox, and what the hook was told."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.staging = place / "staging"
        self.volumes = place / "drive0"
        self._told = place / "told"
        self._config = place / "mailhaul.toml"
        self._capsys = capsys
        hook = [sys.executable, "-c", TELL, str(self._told)]
        self._config.write_text(CONFIG.format(place=place, hook=json.dumps(hook)))
        Maildir(place / "store" / "anna").message("1.M1P1.host:2,S", b"Subject: x\n\n" + b"mail" * 900)

    def run(self, *words: str, status: int = 0) -> Any:
        self._capsys.readouterr()
        assert main(["--config", str(self._config), *words, "--json"]) == status, self._capsys.readouterr()
        return json.loads(self._capsys.readouterr().out)

    def told(self) -> list[dict[str, Any]]:
        return (
            [json.loads(line) for line in self._told.read_text().splitlines()] if self._told.exists() else []
        )

    def metrics(self) -> str:
        return generate_latest(make_registry(CatalogCollector(self.staging))).decode()


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    monkeypatch.setattr(adapters, "make_lanes", here)
    return Site(tmp_path, capsys)


def test_a_volume_that_a_recall_needs_is_asked_for_until_it_is_there(site: Site, tmp_path: Path) -> None:
    site.run("backup")
    site.run("sweep")
    assert not list((site.staging / "primary").rglob("*.mha"))
    (volume,) = site.volumes.glob("*.tap")
    volume.rename(tmp_path / volume.name)

    for _ in range(2):
        site.run("recall", "/", "--wait", "0s", status=1)
    (told,) = site.told()
    assert (told["hook"], told["destination"], told["label"]) == ("volume_wanted", "drive", volume.stem)
    assert told["volume"]
    (wanted,) = site.run("status")["wanted_volumes"]
    assert {key: wanted[key] for key in ("destination", "volume", "label")} == {
        key: told[key] for key in ("destination", "volume", "label")
    }
    assert 'mailhaul_tape_volumes_wanted{destination="drive"} 1.0' in site.metrics()
    assert main(["--config", str(tmp_path / "mailhaul.toml"), "status"]) == 0
    assert f"drive wants volume {volume.stem} of pool" in site._capsys.readouterr().out

    (tmp_path / volume.name).rename(volume)
    site.run("recall", "/", "--wait", "0s")
    assert site.run("status")["wanted_volumes"] == []
    assert "mailhaul_tape_volumes_wanted{" not in site.metrics()

    # The next time it is away somebody is asked again.
    site.run("verify", "--from", "drive")
    volume.rename(tmp_path / volume.name)
    site.run("verify", "--from", "drive", status=1)
    assert [one["label"] for one in site.told()] == [volume.stem] * 2


def test_a_volume_begins_with_what_it_takes_to_read_it(site: Site) -> None:
    site.run("backup")
    site.run("sweep")
    (volume,) = site.volumes.glob("*.tap")
    (labelled,) = site.run("tape", "list", "drive")["volumes"]
    site.run("tape", "label", "drive", "again", "--in", volume.stem, "--over", labelled["volume"])
    data = volume.read_bytes()
    (table,) = sorted((site.staging / "_catalog").glob("*.names.tsv.gz"))[-1:]
    for content in (reader(), table.read_bytes(), table.name.encode()):
        assert content in data


def test_a_volume_to_write_on_is_asked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mailhaul.worker.destinations.tape.file_library.FileLibrary.add_blank", lambda _library: None
    )
    site.run("backup")
    site.run("sweep", status=1)
    (told,) = site.told()
    assert (told["destination"], told["volume"], told["pool"]) == ("drive", "", "default")
    monkeypatch.undo()
    site.run("sweep")
    assert site.run("status")["wanted_volumes"] == []


def test_what_is_wanted_is_read_as_it_was_written(site: Site) -> None:
    since = datetime(2026, 11, 29, 3, 15, tzinfo=UTC)
    inventory = Inventory(str(site.staging / ".mailhaul" / "destinations" / "a%20b"))
    inventory.want(Wanted(pool="p", why="to be read", since="nonsense", volume="1"))
    inventory.want(Wanted(pool="p", why="to be read", since=since.isoformat(), volume="2", label="TAPE2"))
    (volume,) = wanted_volumes(site.staging)
    assert (volume.destination, volume.since, volume.told) == (
        "a b",
        since,
        "volume TAPE2 of pool p, to be read",
    )
