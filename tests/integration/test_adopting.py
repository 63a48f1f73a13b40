"""``mailhaul destination adopt``: a disk that was carried, one of another staging area, half an archive."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.worker.destinations.marks import MARK

from ..maildirs import Maildir

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process; returns its JSON document."""
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    for user in ("anna", "ben"):
        Maildir(tmp_path / "store" / user).message("1.M1P1.host:2,S", b"Subject: x\n\n" + user.encode() * 900)

    def run(*arguments: str, status: int = 0) -> Any:
        ended = main([*arguments, "--json"])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        assert ended == status, (arguments, captured)
        return json.loads(captured.out) if captured.out else None

    return run


def _options(place: Path, staging: str, disk: str) -> tuple[str, ...]:
    return ("--staging", str(place / staging), "--destination", f"directory:{place / disk}")


def _backup(run: Run, place: Path, staging: str) -> None:
    run("backup", "--store", f"maildir:{place}/store", "--staging", str(place / staging))


def _states(staging: Path, name: str) -> list[str]:
    with Catalog.open(staging) as catalog:
        return [copy.state for archive in catalog.archives() for copy in archive.copies if copy.place == name]


def test_a_carried_disk_is_taken_over(tmp_path: Path, run: Run) -> None:
    _backup(run, tmp_path, "staging")
    (tmp_path / "disk").mkdir()
    (swept,) = run("sweep", *_options(tmp_path, "staging", "disk"))["destinations"]
    assert swept["copied"] == 1
    shutil.copytree(tmp_path / "disk", tmp_path / "twin")
    (tmp_path / "twin" / MARK).unlink()
    options, twin = _options(tmp_path, "staging", "twin"), f"directory:{tmp_path}/twin"
    done = run("destination", "adopt", twin, *options)
    assert (done["entered"], done["known"], done["unknown"], done["damaged"]) == (1, 0, [], [])
    assert _states(tmp_path / "staging", twin) == ["copied"]
    assert run("destination", "adopt", twin, *options)["known"] == 1


def test_half_an_archive_is_not_entered(tmp_path: Path, run: Run) -> None:
    _backup(run, tmp_path, "staging")
    (archive,) = (tmp_path / "staging").glob("primary/*/*.mha")
    target = tmp_path / "disk" / archive.relative_to(tmp_path / "staging")
    target.parent.mkdir(parents=True)
    target.write_bytes(archive.read_bytes()[:-100])
    name = f"directory:{tmp_path}/disk"
    done = run("destination", "adopt", name, *_options(tmp_path, "staging", "disk"), status=4)
    assert done["entered"] == 0
    assert [one["path"] for one in done["damaged"]] == [str(archive.relative_to(tmp_path / "staging"))]
    assert _states(tmp_path / "staging", name) == []


def test_one_of_another_staging_area(tmp_path: Path, run: Run) -> None:
    for staging in ("one", "two"):
        _backup(run, tmp_path, staging)
    (tmp_path / "disk").mkdir()
    run("sweep", *_options(tmp_path, "one", "disk"))
    there = {path: path.read_bytes() for path in (tmp_path / "disk").rglob("*.mha")}
    name = f"directory:{tmp_path}/disk"
    (refused,) = run("sweep", *_options(tmp_path, "two", "disk"), status=1)["destinations"]
    assert "another staging area" in json.dumps(refused)
    assert {path: path.read_bytes() for path in (tmp_path / "disk").rglob("*.mha")} == there
    done = run("destination", "adopt", name, *_options(tmp_path, "two", "disk"), status=3)
    assert (done["entered"], len(done["unknown"])) == (0, 1)
    (swept,) = run("sweep", *_options(tmp_path, "two", "disk"))["destinations"]
    assert swept["copied"] == 1
    assert there.items() <= {path: path.read_bytes() for path in (tmp_path / "disk").rglob("*.mha")}.items()
