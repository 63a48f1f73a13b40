"""Two files of one lasting name in a folder, as rsync or syncthing leave them: each is one message."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine

from ..maildirs import Maildir

JANE = "/primary/user/jane"
ONE, TWO, THREE = "1.twin:2,S", "1.twin:2,", "1.twin"
CONTENTS = {ONE: b"Subject: one\n\n1", TWO: b"Subject: two\n\n2", THREE: b"Subject: three\n\n3"}

Run = Callable[..., Any]


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    box = Maildir(tmp_path / "mail" / "jane" / "Maildir")
    box.message(ONE, CONTENTS[ONE])
    box.message(TWO, CONTENTS[TWO])
    box.message(THREE, CONTENTS[THREE], place="new")
    box.message("9.other:2,S", b"Subject: other\n\nx")
    return box


@pytest.fixture
def run(
    box: Maildir,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> Run:
    """Runs a command on the store and its staging area; its output, read if it is JSON."""
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    monkeypatch.chdir(tmp_path)

    def run(command: str, *arguments: object, status: int = 0) -> Any:
        time.sleep(0.03)
        store = ("--store", "maildir:mail/{user}/Maildir") if command == "backup" else ()
        ended = main([command, *map(str, arguments), *store, "--staging", "st"])
        captured = capsysbinary.readouterr()
        assert ended == status, captured.err.decode()
        return json.loads(captured.out) if "--json" in arguments else captured.out + captured.err

    run("backup")
    assert box.root.is_dir()
    return run


def contents(root: Path) -> list[bytes]:
    places = [path for place in ("cur", "new") for path in root.rglob(f"{place}/*")]
    return sorted(path.read_bytes() for path in places)


def paths(run: Run) -> dict[str, bytes]:
    """What each message of the listing shows."""
    listed = run("ls", f"{JANE}/INBOX", "--json")["messages"]
    return {one["path"]: run("show", one["path"]) for one in listed}


def test_each_has_a_path_of_its_own(run: Run) -> None:
    shown = paths(run)
    assert len(shown) == 4
    assert sorted(shown.values()) == sorted([*CONTENTS.values(), b"Subject: other\n\nx"])
    assert f"{JANE}/INBOX/;NAME=9.other" in shown
    # The name alone is not one message, and the error says what they are called.
    told = run("show", f"{JANE}/INBOX/;NAME=1.twin", status=2).decode()
    assert all(path in told for path in shown if "1.twin" in path)
    assert sum("1.twin" in path for path in shown) == 3


def test_each_comes_back_by_its_path(run: Run, tmp_path: Path) -> None:
    for number, (path, content) in enumerate(paths(run).items()):
        target = tmp_path / f"back{number}"
        run("restore", path, "--to", f"maildir:{target}/{{user}}/Maildir")
        assert contents(target) == [content]
    # By their name, all of it.
    run("restore", f"{JANE}/INBOX/;NAME=1.twin", "--to", f"maildir:{tmp_path}/all/{{user}}/Maildir")
    assert contents(tmp_path / "all") == sorted(CONTENTS.values())


def test_one_with_a_uid_and_one_without(box: Maildir, run: Run) -> None:
    box.uidlist("5 :1.twin", "6 :9.other")
    run("backup")
    shown = paths(run)
    assert shown[f"{JANE}/INBOX/6"] == b"Subject: other\n\nx"
    assert sorted(shown.values()) == sorted([*CONTENTS.values(), b"Subject: other\n\nx"])


@pytest.mark.parametrize("gone", [[ONE], [TWO], [THREE], [ONE, THREE], [ONE, TWO, THREE]])
def test_those_that_are_gone_are_brought_back(
    box: Maildir, run: Run, tmp_path: Path, gone: list[str]
) -> None:
    for name in gone:
        (box.root / ("new" if name == THREE else "cur") / name).unlink()
    run("backup")
    wanted = sorted(CONTENTS[name] for name in gone)
    told = run("undelete", JANE, "--list", "--json")
    assert sorted(one["subject"] for one in told["vanished"]) == sorted(
        content.split(b"\n")[0].decode().removeprefix("Subject: ") for content in wanted
    )
    target = tmp_path / "back"
    run("undelete", JANE, "--into", "Back", "--to", f"maildir:{target}/{{user}}/Maildir")
    assert contents(target) == wanted
    # And again: nothing comes twice.
    run("undelete", JANE, "--into", "Back", "--to", f"maildir:{target}/{{user}}/Maildir")
    assert contents(target) == wanted


def test_a_message_that_was_changed_under_its_name_did_not_vanish(box: Maildir, run: Run) -> None:
    new = box.root / "tmp" / "x"
    new.write_bytes(b"Subject: other\n\nchanged")
    new.rename(box.root / "cur" / "9.other:2,S")
    run("backup")
    assert run("undelete", JANE, "--list", "--json")["vanished"] == []
    (box.root / "cur" / "9.other:2,S").unlink()
    run("backup")
    (one,) = run("undelete", JANE, "--list", "--json")["vanished"]
    assert one["size_bytes"] == len(b"Subject: other\n\nchanged")
