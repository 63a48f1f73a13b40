"""Files of user ids: what counts in them, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.users_file import parse_users, read_users
from mailhaul.proto.errors import ConfigError


def users(content: bytes) -> set[str]:
    return set(parse_users(content, "users").users)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"jane@example.org", {"jane@example.org"}),
        (b"jane\nbob\n", {"jane", "bob"}),
        (b"\n  jane \n\t\n# the rest is on leave\n  # bob\nola#1\n", {"jane", "ola#1"}),
        (b"jane\r\nbob\r\n", {"jane", "bob"}),
        (b"\xef\xbb\xbfjane\nbj\xc3\xb6rn\n", {"jane", "björn"}),
        (b"bj\xf6rn\n", {"bj\udcf6rn"}),
        (b"jane\njane\n", {"jane"}),
        (b"example.org/jane\n100%\n", {"example.org/jane", "100%"}),
        (b"mary ann", {"mary ann"}),
    ],
)
def test_ids_are_taken_as_they_are(content: bytes, expected: set[str]) -> None:
    assert users(content) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "users: expected user ids, one a line, found none"),
        (b"# nobody\n\n", "users: expected user ids, one a line, found none"),
        (b"jane\n/primary/user/bob\n", "users, line 2: expected a user id such as .*'/primary/user/bob'"),
        ("jane\n".encode("utf-16"), r"users, line 1: expected a user id such as jane@example.org, found '"),
        (b"jane\n\nbob\tola\n", r"users, line 3: .* found 'bob\\tola'"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        parse_users(content, "users")
    assert caught.value.facts["file"] == "users"


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a file that can be read: No such file"):
        read_users(tmp_path / "users")
    (tmp_path / "users").write_text("jane\n")
    found = read_users(tmp_path / "users")
    assert found.source == str(tmp_path / "users")
    assert set(found.users) == {"jane"}


def test_who_was_not_found_is_told() -> None:
    wanted = parse_users(b"jane\nbob\nola\n", "users")
    assert wanted.missing(["bob", "priya"]) == ("jane", "ola")
    assert wanted.missing(iter(["ola", "bob", "jane"])) == ()


@given(st.binary(max_size=200))
def test_no_content_does_harm(content: bytes) -> None:
    try:
        found = parse_users(content, "users").users
    except ConfigError:
        return
    again = "\n".join(["", *sorted(found)]).encode(errors="surrogateescape")
    assert parse_users(again, "again").users == found
