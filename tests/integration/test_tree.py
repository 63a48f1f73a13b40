"""The tree of directories for programs that back up by directories."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.tree import MAP, leaf_name

from ..maildirs import Maildir
from ..trees import snapshot

CONFIG = """\
[staging]
path = "staging"
[[partition]]
format = "maildir"
path = {path}
[groups]
file = "groups"
[exclude]
users = ["secret.*"]
"""
LONG = "someone-with-a-name-that-is-much-longer-than-others" * 2


class Place:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.tree = place / "tree"
        (place / "groups").write_text("early=[a-c].*\n")
        (place / "mailhaul.toml").write_text(CONFIG.format(path=json.dumps(str(place / "store"))))

    def user(self, name: str) -> Maildir:
        box = Maildir(self.place / "store" / name)
        box.message("1.M1P1.host:2,S", b"Subject: of %s\n\n" % name.encode())
        return box

    def run(self, *words: str | Path, status: int = 0) -> Any:
        called = ["--config", str(self.place / "mailhaul.toml"), *map(str, words)]
        with redirect_stdout(io.StringIO()) as told, redirect_stderr(io.StringIO()) as said:
            ended = main([*called, "--json"])
        assert ended == status, (ended, told.getvalue(), said.getvalue())
        return json.loads(told.getvalue())

    def map(self) -> dict[str, str]:
        lines = (self.tree / MAP).read_text().splitlines()
        return dict(line.split("\t") for line in lines)

    def directories(self) -> set[str]:
        return {str(path.relative_to(self.tree)) for path in self.tree.glob("*/*/*")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    return Place(tmp_path)


def test_a_tree_follows_the_store(place: Place) -> None:
    for user in ("anna", "dora", "secret-one", LONG):
        place.user(user)
    made = place.run("tree", place.tree, "--max-name", "64")
    assert (made["added"], made["removed"]) == (3, 0)
    assert place.directories() == set(place.map()) == set(made["leaves"])
    assert all(len(name) <= 64 for leaf in place.map() for name in leaf.split("/"))
    assert sorted(place.map().values()) == [
        "/primary/early/anna",
        "/primary/user/dora",
        f"/primary/user/{LONG}",
    ]

    (place.tree / "primary" / "early" / "of-somebody").mkdir()
    (place.tree / "primary" / "user" / "dora" / "file").touch()
    shutil.rmtree(place.place / "store" / "anna")
    shutil.rmtree(place.place / "store" / "dora")
    place.user("ben")
    again = place.run("tree", place.tree, "--max-name", "64", status=3)
    assert (again["added"], again["removed"], again["kept"]) == (1, 1, ["primary/user/dora"])
    assert place.directories() == {*place.map(), "primary/early/of-somebody"}
    (place.tree / "primary" / "user" / "dora" / "file").unlink()
    last = place.run("tree", place.tree, "--max-name", "64")
    assert (last["added"], last["removed"], last["kept"]) == (0, 1, [])
    assert set(place.map().values()) == {"/primary/early/ben", f"/primary/user/{LONG}"}
    assert not [path for path in place.tree.rglob("*") if path.is_file() and path.name != MAP]


def test_each_leaf_can_be_asked_for(place: Place, tmp_path: Path) -> None:
    anna = place.user("anna")
    anna.folder(".Sent")
    anna.message("2.M1P1.host:2,S", b"Subject: sent\n\n", ".Sent")
    place.run("tree", place.tree)
    path = place.map()["primary/early/anna"]
    place.run("backup", "-f", tmp_path / "one.mha", path)
    place.run("backup", "-f", tmp_path / "folder.mha", f"{path}/Sent")
    place.run("restore", "-f", tmp_path / "one.mha", path, "--to", f"maildir:{tmp_path / 'whole'}")
    place.run("restore", "-f", tmp_path / "one.mha", f"{path}/Sent", "--to", f"maildir:{tmp_path / 'sent'}")
    place.run("restore", "-f", tmp_path / "folder.mha", path, "--to", f"maildir:{tmp_path / 'folder'}")

    def mail(root: Path) -> set[bytes]:
        return {where for where, entry in snapshot(root).items() if b"/cur/" in where and entry[0] == "file"}

    assert mail(tmp_path / "whole") == {b"anna/cur/1.M1P1.host:2,S", b"anna/.Sent/cur/2.M1P1.host:2,S"}
    assert mail(tmp_path / "sent") == mail(tmp_path / "folder") == {b"anna/.Sent/cur/2.M1P1.host:2,S"}


def test_a_store_that_can_not_be_listed_keeps_its_leaves(place: Place) -> None:
    place.user("anna")
    place.run("tree", place.tree)
    shutil.rmtree(place.place / "store")
    place.run("tree", place.tree, status=1)
    assert place.directories() == {"primary/early/anna"}


def test_what_is_no_tree_is_left_alone(place: Place) -> None:
    place.user("anna")
    place.tree.mkdir()
    (place.tree / MAP).write_text("../../etc\tmine\n")
    assert place.run("tree", place.tree, status=2)["error"]["code"] == "usage"
    (place.tree / MAP).unlink()
    (place.tree / "primary").write_text("a file")
    assert place.run("tree", place.tree, status=2)["error"]["code"] == "usage"


def test_names_that_are_cut_stay_different() -> None:
    names = [f"{'x' * 60}-{number}" for number in range(1000)]
    assert len({leaf_name(name, 20) for name in names}) == 1000
    assert leaf_name("jane@example.org", 64) == "jane@example.org"
    assert "/" not in leaf_name("example.org/jane", 64)
    assert leaf_name("..", 64) not in ("..", ".")
