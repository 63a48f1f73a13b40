"""``mailhaul keys`` on real directories: what is made, what is never overwritten, what is warned of."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli.main import main
from mailhaul.proto.wire.keys import read_allowed, read_pair

CONFIG = """\
[staging]
path = "staging"
keys = "configured"

[[partition]]
format = "maildir"
path = "/srv/mail/{user}"
"""


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Keys = Callable[..., Done]


@pytest.fixture
def keys(capsys: pytest.CaptureFixture[str]) -> Keys:
    """Runs ``mailhaul keys`` in this process."""

    def run(*arguments: object, status: int = 0, before: tuple[object, ...] = ()) -> Done:
        ended = main([str(one) for one in (*before, "keys", *arguments)])
        captured = capsys.readouterr()
        done = Done(ended, captured.out, captured.err)
        assert done.status == status, done
        assert "Traceback" not in done.err, done.err
        return done

    return run


@pytest.fixture
def made(keys: Keys, tmp_path: Path) -> Path:
    """A directory with the keys of the receiver and two hosts."""
    place = tmp_path / "keys"
    keys("make", "receiver", "store01", "store02", "--dir", place)
    return place


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_what_is_made_can_be_used_and_is_listed(keys: Keys, made: Path) -> None:
    assert {path.name: path.stat().st_mode & 0o777 for path in made.iterdir()} == {
        f"{name}{suffix}": mode
        for name in ("receiver", "store01", "store02")
        for suffix, mode in ((".key", 0o644), (".key_secret", 0o600))
    }
    listed = keys("--dir", made, "--json")
    document = listed.document
    assert document == keys("list", "--dir", made, "--json").document
    assert document["directory"] == str(made)
    assert document["problems"] == []
    assert {one["public_key"]: one["name"] for one in document["keys"]} == read_allowed(made)
    assert {one["pair"] for one in document["keys"]} == {"here"}
    secrets = [read_pair(made, name).secret for name in ("receiver", "store01", "store02")]
    table = keys("--dir", made).out
    assert [line.split()[0] for line in table.splitlines()] == ["name", "receiver", "store01", "store02"]
    assert not any(secret in table or secret in listed.out for secret in secrets)


def test_each_host_gets_its_own_pair_and_the_key_of_the_receiver(keys: Keys, tmp_path: Path) -> None:
    staging, host = tmp_path / "staging", tmp_path / "host"
    document = keys("make", "receiver", "store01", "--dir", staging, "--json").document
    (copy,) = document["copy"]
    assert copy["host"] == "store01"
    host.mkdir()
    for name in copy["files"]:
        shutil.copy2(staging / name, host)
    found = {one["name"]: one["pair"] for one in keys("--dir", host, "--json").document["keys"]}
    assert found == {"receiver": "elsewhere", "store01": "here"}
    (staging / "store01.key_secret").unlink()
    found = {one["name"]: one["pair"] for one in keys("--dir", staging, "--json").document["keys"]}
    assert found == {"receiver": "here", "store01": "elsewhere"}


def test_people_are_told_which_file_goes_where(keys: Keys, tmp_path: Path) -> None:
    told = keys("make", "receiver", "store01", "--dir", tmp_path).out
    assert "on the staging host stay receiver.key_secret and every NAME.key\n" in told
    assert "to the host store01 go store01.key_secret and receiver.key, nothing else\n" in told
    assert "to the host receiver" not in told


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("store03", "store01"), "store01.key is there already, and is not overwritten"),
        (("store03", "store03"), "store03 is named twice"),
        (("store03", "../store04"), "'../store04' can't name a key"),
        (("store03", ""), "'' can't name a key"),
    ],
)
def test_nothing_is_made_where_one_is_refused(
    keys: Keys, made: Path, names: tuple[str, ...], problem: str
) -> None:
    before = contents(made)
    assert problem in keys("make", *names, "--dir", made, status=2).err
    assert contents(made) == before


def test_a_secret_alone_is_not_overwritten(keys: Keys, made: Path) -> None:
    (made / "store01.key").unlink()
    before = contents(made)
    assert "store01.key_secret is there already" in keys("make", "store01", "--dir", made, status=2).err
    assert contents(made) == before


def test_files_that_lie_open_are_warned_of(keys: Keys, made: Path) -> None:
    (made / "store01.key_secret").chmod(0o640)
    (made / "store02.key").chmod(0o664)
    done = keys("--dir", made, "--json", status=1)
    secret, public = done.document["problems"]
    assert "store01.key_secret: others may read or write this secret (mode 0640)" in secret
    assert "store02.key: others may write here, and so let themselves in" in public
    assert all(problem in done.err for problem in (secret, public))
    assert [one["pair"] for one in done.document["keys"]] == ["here", "unusable", "here"]
    made.chmod(0o777)
    assert f"{made}: others may write here" in keys("--dir", made, status=1).err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_files_of_others_are_warned_of(keys: Keys, made: Path) -> None:
    os.chown(made / "store02.key", 12345, -1)
    assert "store02.key: others may write here" in keys("--dir", made, status=1).err


def test_files_that_are_no_keys_are_warned_of_and_the_rest_is_listed(keys: Keys, made: Path) -> None:
    (made / "broken.key").write_text("public key\n")
    (made / "gone.key").symlink_to("nowhere")
    (made / "copy.key").write_bytes((made / "receiver.key").read_bytes())
    (made / "store02.key").write_bytes((made / "store02.key").read_bytes().replace(b"public ", b"public\t"))
    (made / "store03.key_secret").write_text("")
    (made / "store03.key_secret").chmod(0o600)
    (made / "notes.txt").write_text("not looked at")
    done = keys("--dir", made, "--json", status=1)
    for problem in (
        "broken.key: is no file with a public key",
        "gone.key: can't be read",
        "copy, receiver have the same public key",
        "store02.key: is no file with a public key",
        "store03.key_secret: is no file with a key pair",
    ):
        assert any(problem in one for one in done.document["problems"]), problem
    assert len(done.document["problems"]) == 5
    assert {one["name"]: one["pair"] for one in done.document["keys"]} == {
        "receiver": "here", "store01": "here", "store02": "here", "store03": "unusable"
    }  # fmt: skip


def test_halves_that_do_not_belong_together_are_warned_of(keys: Keys, made: Path, tmp_path: Path) -> None:
    keys("make", "store01", "--dir", tmp_path / "other")
    shutil.copy(tmp_path / "other" / "store01.key", made)
    assert "store01.key: does not belong to store01.key_secret" in keys("--dir", made, status=1).err


def test_the_directory_is_that_of_the_configuration(keys: Keys, tmp_path: Path) -> None:
    config = tmp_path / "mailhaul.toml"
    config.write_text(CONFIG)
    keys("make", "store01", before=("--config", config))
    assert {path.name for path in (tmp_path / "configured").iterdir()} == {
        "store01.key",
        "store01.key_secret",
    }
    (found,) = keys("--json", before=("--config", config)).document["keys"]
    assert found["name"] == "store01"


def test_a_host_without_a_configuration_has_them_in_etc(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mailhaul.coordinator.cli.keys.PLACES", ())
    main(["keys", "--json"])
    assert "/etc/mailhaul/keys" in "".join(capsys.readouterr())


def test_without_keys_it_says_how_to_make_some(keys: Keys, tmp_path: Path) -> None:
    told = keys("--dir", tmp_path / "none", status=1).err
    assert "there is no such directory; `mailhaul keys make receiver HOST...` makes keys" in told
    assert not (tmp_path / "none").exists()
