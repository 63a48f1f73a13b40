"""Mailboxes found below a directory, and where they are laid out again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailhaul.proto.errors import StoreError
from mailhaul.worker.stores.discovery import Discovery

from ....maildirs import Maildir


def make(root: Path, *places: str) -> None:
    for place in places:
        Maildir(root / place)


def found(root: Path) -> dict[str, bytes]:
    """Users and the places of their mailboxes; each can be located by its name."""
    discovery = Discovery(str(root))
    places = {user: discovery.locate(user) for user in discovery.users()}
    for location in places.values():
        os.close(location.open())
    return {user: location.place for user, location in places.items()}


def test_users_are_named_by_where_their_mailboxes_lie(tmp_path: Path) -> None:
    make(tmp_path, "jane/Maildir", "bob", "ex.org/carol/.maildir", "ex.org/dave/mail", "a/b/c/Maildir")
    (tmp_path / "no" / "cur").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    assert found(tmp_path) == {
        "jane": b"jane/Maildir",
        "bob": b"bob",
        "ex.org/carol": b"ex.org/carol/.maildir",
        "ex.org/dave": b"ex.org/dave/mail",
        "a/b/c": b"a/b/c/Maildir",
    }
    assert list(Discovery(str(tmp_path)).users()) == sorted(found(tmp_path))


def test_folders_of_a_maildir_are_no_users(tmp_path: Path) -> None:
    jane = Maildir(tmp_path / "jane")
    for folder in (".Sent", "Archive", "Archive/2024", "cur/odd"):
        jane.folder(folder)
    assert found(tmp_path) == {"jane": b"jane"}


@pytest.mark.parametrize(
    ("root", "user"), [("jane", "jane"), ("jane/Maildir", "jane"), ("jane/.maildir", "jane"), ("x/mail", "x")]
)
def test_the_directory_itself(tmp_path: Path, root: str, user: str) -> None:
    make(tmp_path, root)
    assert found(tmp_path / root) == {user: b"."}
    location = Discovery(f"{tmp_path}/{root}").locate(user)
    assert location.has_home == (root != "jane")
    assert location.path == os.fsencode(tmp_path / root)


def test_a_home_and_what_else_is_in_it(tmp_path: Path) -> None:
    home = tmp_path / "jane"
    make(home, "Maildir", "old/Maildir")
    assert found(home) == {"jane": b"Maildir", "old": b"old/Maildir"}


def test_several_mailboxes_in_one_home(tmp_path: Path) -> None:
    make(tmp_path, "jane/.maildir", "jane/Maildir", "jane/mail", "jane/other")
    assert found(tmp_path) == {
        "jane": b"jane/.maildir",
        "jane/Maildir": b"jane/Maildir",
        "jane/mail": b"jane/mail",
        "jane/other": b"jane/other",
    }


def test_links_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "mail"
    make(root, "jane/Maildir")
    make(tmp_path, "elsewhere")
    (root / "alias").symlink_to("jane")
    (root / "same").symlink_to("jane/Maildir")
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    # A mailbox that is left out because it lies elsewhere is told: opening it says why.
    (root / "bob").mkdir()
    (root / "bob" / "Maildir").symlink_to(tmp_path / "elsewhere")
    discovery = Discovery(str(root))
    assert list(discovery.users()) == ["bob", "jane"]
    with pytest.raises(NotADirectoryError):
        discovery.locate("bob").open()
    for user in ("alias", "same", "out", "out/elsewhere"):
        with pytest.raises(StoreError):
            discovery.locate(user)


def test_temporary_trees_are_no_users(tmp_path: Path) -> None:
    make(tmp_path, "jane/.mailhaul-restore-1/tree", "lost+found/x")
    assert found(tmp_path) == {}


def test_what_cannot_be_looked_into_is_told(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to look as somebody else")
    make(tmp_path, "jane")
    (tmp_path / "secret").mkdir(mode=0o700)
    script = (
        "import os\nfrom mailhaul.worker.stores.discovery import Discovery\n"
        "os.setgid(65534)\nos.setuid(65534)\nprint(*Discovery('.').users())"
    )
    # Only the directory itself is open to everybody, not the ones above it.
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("jane secret\n", "")


@pytest.mark.parametrize("user", ["", ".", "..", "../x", "a/../b", "/etc", "a//b", "a\0b", "nobody"])
def test_users_that_are_not_there(tmp_path: Path, user: str) -> None:
    make(tmp_path / "mail", "jane")
    make(tmp_path, "x")
    with pytest.raises(StoreError):
        Discovery(f"{tmp_path}/mail").locate(user)


def test_no_directory_no_users(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be listed"):
        Discovery(f"{tmp_path}/missing").users()


@pytest.mark.parametrize(
    ("user", "place", "path", "has_home"),
    [
        ("jane", b"", b"/t/jane/Maildir", True),
        ("ex.org/jane", b"", b"/t/ex.org/jane/Maildir", True),
        ("jane", b"jane", b"/t/jane", False),
        ("jane", b"jane/mail", b"/t/jane/mail", True),
        ("jane", b"Maildir", b"/t/Maildir", True),
        ("jane", b".", b"/t", False),
    ],
)
def test_laid_out_as_it_was(user: str, place: bytes, path: bytes, has_home: bool) -> None:
    location = Discovery("/t").lay_out(user, place)
    assert (location.path, location.has_home) == (path, has_home)


@pytest.mark.parametrize("there", ["jane", "jane/Maildir", "jane/mail"])
def test_without_a_place_where_the_user_has_a_mailbox(tmp_path: Path, there: str) -> None:
    """A Maildir in a Maildir is seen by no server."""
    make(tmp_path, there)
    discovery = Discovery(str(tmp_path))
    assert discovery.lay_out("jane", b"").path == discovery.locate("jane").path


@pytest.mark.parametrize(
    ("user", "place"),
    [("..", b""), ("a/../b", b""), ("/etc", b""), ("", b""), ("jane", b"../x"), ("jane", b"/etc"),
     ("jane", b"a/../../x"), ("jane", b"a//b"), ("jane", b"a\0b"), ("jane", b"..")],
)  # fmt: skip
def test_never_laid_out_elsewhere(user: str, place: bytes) -> None:
    with pytest.raises(StoreError):
        Discovery("/t").lay_out(user, place)
