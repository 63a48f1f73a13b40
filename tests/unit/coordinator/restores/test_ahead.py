"""Who is told to come first: by files in directories, which are seen once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailhaul.coordinator.restores.ahead import (
    are_going,
    checked_place,
    going_newest_first,
    make_place,
    taken,
    tell,
)
from mailhaul.coordinator.restores.log_lines import user_in
from mailhaul.proto.errors import NotFoundError, UsageError

USERS = ["example.org/jane", "jane@example.org", "100%", ".hidden", "ja\udcffne"]


def test_told_once(tmp_path: Path) -> None:
    places = [make_place(tmp_path), tmp_path / "gone"]
    assert taken(places) == []
    for user in USERS:
        tell(places, user)
        tell(places, user)
    assert sorted(taken(places)) == sorted(USERS)
    assert taken(places) == []


def test_names_that_nobody_has(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    for name in ("", ".", "..", "a\0b", "x" * 300):
        tell([place], name)
    assert os.listdir(place) == []


def test_what_is_no_file_does_no_harm(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    kept = tmp_path / "kept"
    kept.write_text("mine")
    (place / "directory").mkdir()
    (place / "link").symlink_to(kept)
    tell([place], "link")  # the link is there: nothing is written behind it
    assert taken([place]) == ["link"]
    assert kept.read_text() == "mine"
    assert os.listdir(place) == ["directory"]


def test_the_place_of_the_operator(tmp_path: Path) -> None:
    assert checked_place(tmp_path) == tmp_path
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "none"):
        with pytest.raises(UsageError, match=path.name):
            checked_place(path)


def test_no_such_restore_goes_on(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="--order newest"):
        going_newest_first(tmp_path)
    restore = tmp_path / ".mailhaul" / "restores" / "20261121T031500Z-4f3a"
    restore.mkdir(parents=True)
    make_place(restore)
    with pytest.raises(NotFoundError, match="--order newest"):
        going_newest_first(tmp_path)
    assert are_going([restore / "first"]) == []


@pytest.mark.parametrize(
    ("line", "user"),
    [
        ("jane@example.org\n", "jane@example.org"),
        ("", None),
        ("two words", None),
        (
            "Nov 29 lmtp(jane@example.org)<1601><EHgSGkdtDGtBBgAA>: Info: msgid=x: saved mail to INBOX",
            "jane@example.org",
        ),
        (
            "Nov 29 mx dovecot: lmtp(1601, jane)<1601><E>: sieve: msgid=x: stored mail into mailbox 'A'",
            "jane",
        ),
        ("Nov 29 mx dovecot: lmtp(jane)<1><E>: Error: msgid=x: save failed to open mailbox", None),
        ("Nov 29 18:21:43 imap-login: Info: Login: user=<jane>, method=PLAIN, rip=127.0.0.1", "jane"),
        ("Nov 29 mx dovecot[1]: imap-login: Logged in: user=<jane>, method=PLAIN", "jane"),
        ("Nov 29 imap-login: Info: Disconnected: Connection closed: user=<>, rip=127.0.0.1", None),
        ("Nov 29 imap-login: Info: Login aborted: user=<jane>, rip=127.0.0.1", None),
        ("imap-login: Login: user=<" + "x" * 100_000, None),
    ],
)
def test_lines_of_a_log(line: str, user: str | None) -> None:
    assert user_in(line) == user
