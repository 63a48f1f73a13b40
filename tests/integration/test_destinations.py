"""``mailhaul destination``: what is there, whether it is fit, and that nothing is mixed up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.area_id import area_id
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.destinations import begin_to_use
from mailhaul.proto.errors import PlaceError, PlaceUnavailableError
from mailhaul.worker.destinations.marks import MARK
from mailhaul.worker.destinations.settings import DirectoryDestination

CONFIG = """\
[staging]
path = "staging"
[[partition]]
format = "maildir"
path = "/srv/mail/{user}"
[[destination]]
name = "vault"
kind = "directory"
path = "vault"
[[destination]]
name = "elsewhere"
kind = "command"
put = ["sh", "-c", 'mkdir -p "${1%/*}"; cat > "$1"', "put", "kept/{name}"]
get = ["cat", "kept/{name}"]
list = ["find", "kept", "-type", "f", "-printf", "%s %P\\\\n"]
remove = ["rm", "kept/{name}"]
"""


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Destination = Callable[..., Done]


@pytest.fixture
def destination(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Destination:
    """Runs ``mailhaul destination`` in this process, where the configuration is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mailhaul.toml").write_text(CONFIG)
    (tmp_path / "staging").mkdir()
    (tmp_path / "kept").mkdir()

    def run(*arguments: object, status: int = 0) -> Done:
        ended = main(["destination", *map(str, arguments)])
        captured = capsys.readouterr()
        done = Done(ended, captured.out, captured.err)
        assert done.status == status, done
        assert "Traceback" not in done.err, done.err
        return done

    return run


def test_a_new_one_is_checked_and_listed(destination: Destination, tmp_path: Path) -> None:
    listed = destination("list", "--json", status=1).document["destinations"]
    assert [(one["name"], one["kind"], one["files"]) for one in listed] == [
        ("vault", "directory", None),
        ("elsewhere", "command", 0),
    ]
    assert "mailhaul destination check vault" in listed[0]["error"]
    found = destination("check", "vault", "--json").document
    assert found["destination"] == "vault"
    assert found["findings"]["overwrites"] == "no"
    assert found["findings"]["removes"] == "yes"
    assert found["findings"]["writes"].endswith(" MB/s")
    assert sorted(os.listdir(tmp_path / "vault")) == [".arriving", "mailhaul-check", MARK]
    assert os.listdir(tmp_path / "vault" / "mailhaul-check") == []
    (tmp_path / "vault" / "file").write_bytes(b"12345")
    table = destination("list")
    assert table.err == ""
    assert table.out.splitlines()[1].split()[:3] == ["vault", "directory", "1"]
    listed = destination("list", "--json").document["destinations"]
    assert (listed[0]["files"], listed[0]["size_bytes"], listed[0]["error"]) == (1, 5, "")
    assert listed[0]["free_bytes"] > 0


def test_programs_are_checked(destination: Destination, tmp_path: Path) -> None:
    assert "elsewhere: removes: yes" in destination("check", "elsewhere").out
    config = tmp_path / "mailhaul.toml"
    config.write_text(CONFIG.replace("cat >", "head -c 100 >"))
    refused = destination("check", "elsewhere", status=1)
    assert "elsewhere: can't put" in refused.err


def test_one_of_another_staging_area(destination: Destination, tmp_path: Path) -> None:
    destination("check", "vault")
    destination("check", "elsewhere")
    (tmp_path / "other").mkdir()
    config = tmp_path / "mailhaul.toml"
    config.write_text(CONFIG.replace('path = "staging"', 'path = "other"'))
    for name in ("vault", "elsewhere"):
        refused = destination("check", name, status=1)
        owner = area_id(tmp_path / "staging")
        assert f"{name} is a destination of another staging area ({owner})" in refused.err
    assert destination("list", "--json").document["destinations"][0]["error"] == "", "it can be read"


def test_options_instead_of_a_configuration(destination: Destination, tmp_path: Path) -> None:
    options = ("--staging", "staging", "--destination", "directory:disks/one")
    name = f"directory:{tmp_path}/disks/one"
    destination("check", name, *options)
    assert (tmp_path / "disks" / "one" / MARK).exists()
    listed = destination("list", *options, "--json").document["destinations"]
    assert [(one["name"], one["error"]) for one in listed] == [(name, "")]
    assert (
        f"there is no destination 'x'; there is: {name}" in destination("check", "x", *options, status=2).err
    )
    assert destination("list", "--staging", "staging").out == "there are no destinations\n"
    assert "stands beside --staging" in destination("list", "--destination", "directory:x", status=2).err


class TestBeginningToUse:
    """What a sweep does with a destination that nobody has checked."""

    @pytest.fixture
    def settings(self, tmp_path: Path) -> DirectoryDestination:
        return DirectoryDestination(name="vault", path=str(tmp_path / "vault"))

    @pytest.fixture
    def staging(self, tmp_path: Path) -> Path:
        path = tmp_path / "staging"
        path.mkdir()
        return path

    def test_an_empty_directory_is_taken_once(self, settings: DirectoryDestination, staging: Path) -> None:
        vault = Path(settings.path)
        (vault / "lost+found").mkdir(parents=True)
        assert begin_to_use(settings, staging).area == area_id(staging)  # type: ignore[union-attr]
        assert (vault / MARK).exists()
        (vault / MARK).unlink()
        begin_to_use(settings, staging)
        assert not (vault / MARK).exists(), "now it is a disk that is not mounted"

    def test_one_that_is_not_there_is_not_made(self, settings: DirectoryDestination, staging: Path) -> None:
        with pytest.raises(PlaceUnavailableError, match="mailhaul destination check vault"):
            begin_to_use(settings, staging)
        assert not Path(settings.path).exists()

    def test_one_with_other_files_is_not_taken(self, settings: DirectoryDestination, staging: Path) -> None:
        Path(settings.path).mkdir()
        (Path(settings.path) / "photos").mkdir()
        with pytest.raises(PlaceError, match="holds other files"):
            begin_to_use(settings, staging)

    def test_the_id_of_a_staging_area_stays(self, staging: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        ids = {area_id(staging), area_id(staging), area_id(tmp_path / "other")}
        assert len(ids) == 2
        assert os.listdir(staging / ".mailhaul") == ["area-id"]
