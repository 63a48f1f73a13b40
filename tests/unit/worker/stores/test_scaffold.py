"""Temporary trees: built aside, put into place whole, taken away after a kill."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailhaul.worker.stores import scaffold
from mailhaul.worker.stores.scaffold import Scaffold, remove_abandoned


@pytest.fixture
def place(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def fill(tree: Scaffold, *names: str) -> None:
    for name in names:
        path = Path(f"/proc/self/fd/{tree.top}") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("new")


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_becomes_what_it_is_to_be(place: int, tmp_path: Path) -> None:
    tree = Scaffold(place)
    fill(tree, "cur/1", "subscriptions")
    assert not (tmp_path / "box").exists()
    tree.sync()
    tree.become(place, b"box")
    tree.remove()
    tree.remove()
    assert contents(tmp_path) == {"box/cur/1": "new", "box/subscriptions": "new"}
    assert os.listdir(tmp_path) == ["box"]


def test_an_empty_directory_may_be_there_and_nothing_else(place: int, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("old")
    tree = Scaffold(place)
    fill(tree, "a")
    with pytest.raises(OSError, match="not empty"):
        tree.become(place, b"full")
    tree.become(place, b"empty")
    tree.remove()
    assert contents(tmp_path) == {"empty/a": "new", "full/x": "old"}


@pytest.mark.parametrize("hard_links", [True, False])
def test_merges_and_leaves_alone_what_is_there(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not hard_links:
        monkeypatch.setattr(os, "link", link)
    box = tmp_path / "box"
    (box / "a" / "deep").mkdir(parents=True)
    (box / "a" / "there").write_text("old")
    (box / "file").write_text("old")
    (box / "taken").symlink_to(tmp_path)
    tree = Scaffold(place)
    fill(tree, "a/there", "a/added", "a/deep/added", "b/c/added", "file/below", "taken/over", "top")
    kept: list[bytes] = []
    into = os.open(box, os.O_RDONLY)
    merged = tree.merge(into, kept.append)
    os.close(into)
    tree.remove()
    assert contents(box) == {
        "a/there": "old", "file": "old", "a/added": "new", "a/deep/added": "new", "b/c/added": "new",
        "top": "new",
    }  # fmt: skip
    assert sorted(kept) == [b"a/there", b"file", b"taken"]
    assert merged == [b"", b"a", b"a/deep"]
    assert os.listdir(tmp_path) == ["box"]
    assert (box / "top").stat().st_nlink == 1


def test_messages_come_after_what_tells_of_them(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "box").mkdir()
    tree = Scaffold(place)
    fill(tree, "cur/1", "new/2", "dovecot-uidlist", "zzz")
    order: list[bytes] = []
    originals = {"rename": os.rename, "link": os.link}

    def noted(call: str) -> Callable[..., None]:
        def run(old: bytes, new: bytes, **options: int) -> None:
            order.append(new)
            originals[call](old, new, **options)

        return run

    for call in originals:
        monkeypatch.setattr(os, call, noted(call))
    into = os.open(tmp_path / "box", os.O_RDONLY)
    tree.merge(into, lambda _: None)
    os.close(into)
    tree.remove()
    assert order == [b"dovecot-uidlist", b"zzz", b"cur", b"new"]


@pytest.mark.parametrize("syncfs", [True, False])
def test_durable_with_and_without_syncfs(place: int, monkeypatch: pytest.MonkeyPatch, syncfs: bool) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    if not syncfs:
        monkeypatch.setattr(scaffold, "_sync_file_system", lambda _: False)
    tree = Scaffold(place)
    fill(tree, "a/b/1", "a/2", "3")
    os.symlink("x", b"link", dir_fd=tree.top)
    tree.sync()
    tree.remove()
    # Three files, and the directories: the temporary one, tree, a, b.
    assert len(synced) == (0 if syncfs else 7)


def test_trees_of_living_processes_stay_and_others_go(place: int, tmp_path: Path) -> None:
    living = Scaffold(place)
    (tmp_path / ".mailhaul-restore-link").symlink_to("elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".mailhaul-restore-old" / "tree" / "cur").mkdir(parents=True)
    (tmp_path / ".mailhaul-restore-file").write_text("")
    (tmp_path / "jane").mkdir()
    before = set(os.listdir(tmp_path))
    remove_abandoned(place)
    assert before - set(os.listdir(tmp_path)) == {".mailhaul-restore-old"}
    living.remove()


def test_what_a_killed_process_leaves_is_removed(place: int, tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        "from mailhaul.worker.stores.scaffold import Scaffold\n"
        "tree = Scaffold(os.open('.', os.O_RDONLY))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    remove_abandoned(place)
    assert len(os.listdir(tmp_path)) == 1
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    process.stdout.close()
    remove_abandoned(place)
    assert os.listdir(tmp_path) == []
