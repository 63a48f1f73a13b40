"""Files of ``restore --map``: who becomes whom, and where their mail goes."""

from __future__ import annotations

from collections import Counter

import pytest

from mailhaul.groups.renames import Renamed, Whereabouts, parse_renames, renamed_in
from mailhaul.proto.errors import ConfigError

MAP = r"""
# one by name, some by an expression, the rest by partition
jane@old.example        = jane.doe@new.example
old1:bob                = new1:robert
(.*)@old\.example       = \1@new.example
old1:[a-m].*            = new1:
old1:                   = new2:
old2:                   = new1: | new2: | new3:
"""


def place(text: str, partition: str, user: str) -> tuple[str, str]:
    return parse_renames(text, "f").place(partition, user)


@pytest.mark.parametrize(
    ("partition", "user", "where"),
    [
        ("old1", "jane@old.example", ("old1", "jane.doe@new.example")),
        ("old9", "joe.x@old.example", ("old9", "joe.x@new.example")),
        ("old1", "joe@oldxexample", ("new1", "joe@oldxexample")),
        ("old1", "bob", ("new1", "robert")),
        ("old3", "bob", ("old3", "bob")),
        ("old1", "zoe", ("new2", "zoe")),
        ("old1", "ann\udce4", ("new1", "ann\udce4")),
    ],
)
def test_the_first_rule_that_matches_counts(partition: str, user: str, where: tuple[str, str]) -> None:
    assert place(MAP, partition, user) == where


def test_a_name_that_looks_like_an_expression_is_no_expression() -> None:
    assert place("a.b+c@x = d\na.*= e\n", "p", "a.b+c@x") == ("p", "d")
    assert place("a.b+c@x = d\n", "p", "aXbbc@x") == ("p", "aXbbc@x")


def test_bytes_that_are_no_text_pass_through() -> None:
    assert place(r"(.*)@a = \1@b", "p", "j\udcff@a") == ("p", "j\udcff@b")


def test_users_are_spread_evenly_and_stay_where_they_are() -> None:
    users = [f"u{number}@example.org" for number in range(3000)]
    two = parse_renames("old: = new1: | new2:", "f")
    three = parse_renames("old: = new1: | new2: | new3:", "f")
    before, after = ({user: m.place("old", user).partition for user in users} for m in (two, three))
    assert min(Counter(before.values()).values()) > 1400
    assert min(Counter(after.values()).values()) > 900
    assert all(after[user] in (before[user], "new3") for user in users)
    assert three.partitions == {"new1", "new2", "new3"}


def test_many_names_are_looked_up_and_keep_their_order() -> None:
    lines = [f"u{number} = v{number}" for number in range(20_000)]
    renames = parse_renames("\n".join(["u7 = first", *lines, "u.* = late"]), "f")
    assert renames.place("p", "u7").user == "first"
    assert renames.place("p", "u19999").user == "v19999"
    assert renames.place("p", "ux").user == "late"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("jane", "expected .PARTITION"),
        ("= bob", "expected .PARTITION"),
        ("jane =", "expected .PARTITION"),
        (r"(.*)@a = \2@b", "has 1 pairs"),
        (r"(.*)@a = \x@b", r"expected \\1 to \\9"),
        ("(.*)@a = b\\", r"expected \\1 to \\9"),
        ("(a = b", "regular expression"),
        (r"jane = \1", "no expression"),
        ("old: = bob", "not all users become"),
        ("old: = new1: | bob", "expected partitions"),
        ("", "expected lines such as"),
    ],
)
def test_what_is_no_rule_is_told_with_its_line(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        parse_renames(f"# x\n{line}\n", "map")
    assert raised.value.message.startswith("map, line 2: " if line else "map: ")


def test_who_has_several_mailboxes_is_called_as_beside_the_mail() -> None:
    mailboxes = [("p", "ann"), ("q", "ann"), ("q", "joe"), ("r", "joe"), ("q", "bob"), ("p", "zoe")]
    renames = parse_renames("p:ann = anna\nq:ann = anne\nq:joe = jo\nbob = robert", "f")
    places = [(Whereabouts(*mailbox), renames.place(*mailbox)) for mailbox in mailboxes]
    assert renamed_in("p", places) == Renamed({"ann": "anna", "bob": "robert"}, frozenset({"joe"}))
    assert renamed_in("q", places).users == {"ann": "anne", "joe": "jo", "bob": "robert"}
    assert renamed_in("r", places) == Renamed({"bob": "robert"}, frozenset({"ann"}))
