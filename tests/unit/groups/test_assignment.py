"""How users fall into groups."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.groups.assignment import GroupRules, Several, Ungrouped, assign
from mailhaul.groups.definitions import parse_definitions
from mailhaul.proto.errors import ConfigError, UsageError

USERS = ("ann", "lea", "mike", "zoe", "9lives")


def rules(text: str, *, several: Several = "report", ungrouped: Ungrouped = "user") -> GroupRules:
    return GroupRules(definitions=parse_definitions(text, "f"), several=several, ungrouped=ungrouped)


OVERLAPPING = "early=[a-m].*\nlate=[l-z].*\nnobody=!"


def test_without_groups_everybody_is_in_user() -> None:
    assignment = assign(USERS, GroupRules())
    assert assignment.groups == {"user": USERS}
    assert (assignment.ungrouped, assignment.several, assignment.left_out) == ((), {}, ())
    assert assign(USERS, GroupRules(), {"user"}) == assignment


def test_everything_covers_every_group_and_the_rest() -> None:
    assignment = assign(USERS, rules(OVERLAPPING))
    assert assignment.groups == {
        "early": ("ann", "lea", "mike"),
        "late": ("lea", "mike", "zoe"),
        "nobody": (),
        "user": ("9lives",),
    }
    assert assignment.ungrouped == ("9lives",)
    assert assignment.several == {"lea": ("early", "late"), "mike": ("early", "late")}
    assert assignment.left_out == ()


def test_nobody_left_over_makes_no_group_user() -> None:
    assert assign(["ann"], rules("a=a.*")).groups == {"a": ("ann",)}


def test_ungrouped_users_can_be_left_out_and_told() -> None:
    assignment = assign(USERS, rules(OVERLAPPING, ungrouped="report"))
    assert "user" not in assignment.groups
    assert assignment.left_out == assignment.ungrouped == ("9lives",)


def test_first_match_follows_the_order_of_the_file_and_still_reports() -> None:
    assignment = assign(USERS, rules(OVERLAPPING, several="first-match"))
    assert assignment.groups["early"] == ("ann", "lea", "mike")
    assert assignment.groups["late"] == ("zoe",)
    assert set(assignment.several) == {"lea", "mike"}


def test_error_names_the_user_and_the_groups() -> None:
    with pytest.raises(ConfigError, match=r"'lea' is in several groups \(early, late\)"):
        assign(USERS, rules(OVERLAPPING, several="error"))


def test_error_is_raised_only_where_a_chosen_group_is_touched() -> None:
    strict = rules(OVERLAPPING, several="error")
    with pytest.raises(ConfigError):
        assign(USERS, strict, {"late"})
    assert assign(USERS, strict, {"nobody"}).groups == {"nobody": ()}
    assert assign(USERS, strict, {"user"}).groups == {"user": USERS}
    assert assign(("ann", "zoe"), strict).groups["late"] == ("zoe",)


@pytest.mark.parametrize("ungrouped", ["user", "report"])
def test_the_group_user_always_means_everybody(ungrouped: Ungrouped) -> None:
    assignment = assign(USERS, rules(OVERLAPPING, ungrouped=ungrouped), {"user"})
    assert assignment.groups == {"user": USERS}
    assert assignment.left_out == ()


def test_chosen_groups_keep_the_order_of_the_file() -> None:
    assignment = assign(USERS, rules(OVERLAPPING, ungrouped="report"), ["late", "early"])
    assert list(assignment.groups) == ["early", "late"]
    assert assignment.left_out == ()


def test_an_unknown_group_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="no group 'x'; there are early, late, nobody, user"):
        assign(USERS, rules(OVERLAPPING), {"x"})


@given(
    users=st.lists(st.text("almz9", min_size=1, max_size=3), unique=True),
    several=st.sampled_from(["report", "first-match"]),
    ungrouped=st.sampled_from(["user", "report"]),
)
def test_nobody_is_lost(users: list[str], several: Several, ungrouped: Ungrouped) -> None:
    assignment = assign(users, rules(OVERLAPPING, several=several, ungrouped=ungrouped))
    placed = [user for held in assignment.groups.values() for user in held]
    assert sorted({*placed, *assignment.left_out}) == sorted(users)
    if several == "first-match":
        assert len(placed) == len(set(placed))
