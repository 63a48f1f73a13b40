"""Who is backed up in which group, who is left out, and who has departed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mailhaul.coordinator.departures import Carried, find_departures, with_carried, with_departures
from mailhaul.coordinator.history import MailboxVersion
from mailhaul.coordinator.inventory import Inventory
from mailhaul.coordinator.plan import Muster, make_units, muster
from mailhaul.coordinator.settings import ExcludeConfig, GroupsConfig
from mailhaul.groups.assignment import GroupRules, Several, Ungrouped
from mailhaul.groups.definitions import parse_definitions
from mailhaul.groups.expressions import compile_expression
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import ConfigError, NotFoundError, UsageError
from mailhaul.proto.records import ArchiveId, Departed, MailboxSize, Partition, RunId, Skipped, Unit

from ...watched import RUN

GROUPS = "early=[a-m].*\nlate=[n-z].*\n"


def stock(name: str, *users: str) -> Inventory:
    return Inventory(
        partition=Partition(name=name, format="maildir", path=f"/{name}"),
        sizes={user: MailboxSize(user=user, messages=10, size_bytes=1000) for user in users},
    )


def rules(text: str = GROUPS, *, several: Several = "report", ungrouped: Ungrouped = "user") -> GroupRules:
    return GroupRules(definitions=parse_definitions(text, "groups"), several=several, ungrouped=ungrouped)


def assigned(
    *paths: str,
    stocks: tuple[Inventory, ...] = (stock("one", "anna", "zoe", "ben", "4711"),),
    groups: GroupsConfig | None = None,
    exclude: ExcludeConfig | None = None,
) -> Muster:
    return muster(
        list(map(LogicalPath.parse, paths)),
        stocks,
        groups or GroupsConfig(rules=rules()),
        exclude or ExcludeConfig(),
    )


def members(found: Muster) -> dict[str, list[str]]:
    return {f"{partition}/{group}": sorted(users) for (partition, group), users in found.members.items()}


class TestMuster:
    def test_everything(self) -> None:
        found = assigned("/")
        assert members(found) == {
            "one/early": ["anna", "ben"],
            "one/late": ["zoe"],
            "one/user": ["4711"],
        }
        assert found.left_out == ()

    def test_paths_add_up_and_nobody_is_told_twice(self) -> None:
        groups = GroupsConfig(rules=rules(ungrouped="report"), off=frozenset({"late"}))
        found = assigned("/", "/one", "/one/early/anna", groups=groups)
        assert members(found) == {"one/early": ["anna", "ben"]}
        assert found.left_out == (
            Skipped("/one/late", "group-off", "1 mailbox"),
            Skipped("/one/user/4711", "no-group"),
        )

    @pytest.mark.parametrize("path", ["/one/late", "/one/late/zoe"])
    def test_a_group_that_is_off_is_taken_where_it_is_named(self, path: str) -> None:
        groups = GroupsConfig(rules=rules(), off=frozenset({"late", "early"}))
        found = assigned(path, groups=groups)
        assert (members(found), found.left_out) == ({"one/late": ["zoe"]}, ())

    def test_the_rest_of_a_run_is_who_is_in_no_other_group(self) -> None:
        paths, stocks = (
            [LogicalPath("one", "late"), LogicalPath("one", "user")],
            [stock("one", "anna", "zoe", "4711")],
        )
        rest = muster(paths, stocks, GroupsConfig(rules=rules()), ExcludeConfig(), rest=True)
        assert members(rest) == {"one/late": ["zoe"], "one/user": ["4711"]}
        reported = GroupsConfig(rules=rules(ungrouped="report"))
        rest = muster(paths, stocks, reported, ExcludeConfig(), rest=True)
        assert members(rest) == {"one/late": ["zoe"]}
        assert rest.left_out == (Skipped("/one/user/4711", "no-group"),)

    def test_excluded_users_are_told_and_taken_where_they_are_named(self) -> None:
        exclude = ExcludeConfig(users=(compile_expression("an.*"),), listed_users=frozenset({"zoe"}))
        found = assigned("/", exclude=exclude)
        assert members(found) == {"one/early": ["ben"], "one/late": [], "one/user": ["4711"]}
        assert found.left_out == (
            Skipped("/one/user/anna", "excluded-user"),
            Skipped("/one/user/zoe", "excluded-user"),
        )
        found = assigned("/one/early/anna", exclude=exclude)
        assert (members(found), found.left_out) == ({"one/early": ["anna"]}, ())

    def test_an_excluded_user_offends_no_rule(self) -> None:
        groups = GroupsConfig(rules=rules("a=.*\nb=4.*", several="error"))
        with pytest.raises(ConfigError, match="in several groups"):
            assigned("/", groups=groups)
        assert assigned("/", groups=groups, exclude=ExcludeConfig(listed_users=frozenset({"4711"})))

    @pytest.mark.parametrize(
        ("path", "error"),
        [("/two", NotFoundError), ("/one/nix", UsageError), ("/one/user/nix", NotFoundError)],
    )
    def test_what_there_is_not(self, path: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            assigned(path)


def test_groups_without_users_make_no_units() -> None:
    units = make_units(
        RUN,
        {("one", "early"): {"anna": None, "ben": None}, ("one", "late"): {}},
        [stock("one", "anna", "ben")],
        workers=4,
        largest_bytes=2**30,
        previous={},
    )
    assert [(unit.label, unit.users, unit.messages) for unit in units] == [
        ("one/early/0", ("anna", "ben"), 20)
    ]


def versions(*users: str, shard: int = 0) -> Mapping[str, MailboxVersion]:
    return {
        user: MailboxVersion(
            partition="",
            group="",
            user=user,
            run=RunId("20260101T000000Z-0000"),
            shard=shard,
            archive=ArchiveId(bytes(16)),
            folders=1,
            listed=1,
            stored=1,
            skipped=0,
            size_bytes=1,
        )
        for user in users
    }


def departed(
    *paths: str,
    known: Mapping[tuple[str, str], Mapping[str, MailboxVersion]],
    stocks: tuple[Inventory, ...],
    groups: GroupsConfig | None = None,
    exclude: ExcludeConfig | None = None,
) -> dict[tuple[str, str], tuple[Departed, ...]]:
    groups = groups or GroupsConfig(rules=rules())
    exclude = exclude or ExcludeConfig()
    asked = list(map(LogicalPath.parse, paths))
    taken = muster(asked, stocks, groups, exclude)
    return find_departures(
        asked,
        stocks,
        known,
        taken.members,
        groups.rules,
        off=groups.off,
        excluded=exclude.leaves_out,
    )


class TestDepartures:
    def test_a_mailbox_that_the_store_does_not_list(self) -> None:
        known = {("one", "early"): versions("anna", "ben"), ("one", "late"): versions("zoe")}
        stocks = (stock("one", "ben", "zoe"),)
        gone = {("one", "early"): (Departed("anna", "removed"),)}
        assert departed("/", known=known, stocks=stocks) == gone
        assert departed("/one", known=known, stocks=stocks) == gone
        assert departed("/one/early", known=known, stocks=stocks) == gone
        assert departed("/one/late", known=known, stocks=stocks) == {}

    def test_a_run_over_a_part_takes_nobody_to_be_gone(self) -> None:
        known = {("one", "early"): versions("anna", "ben")}
        stocks = (stock("one", "ben"),)
        assert departed("/one/early/ben", known=known, stocks=stocks) == {}

    def test_a_partition_that_could_not_be_listed_has_lost_nobody(self) -> None:
        known = {("one", "early"): versions("anna"), ("two", "early"): versions("ben")}
        assert departed("/", known=known, stocks=(stock("one", "anna"),)) == {}

    def test_a_user_in_another_partition_has_moved(self) -> None:
        known = {("one", "early"): versions("anna", "ben")}
        stocks = (stock("one", "ben"), stock("two", "anna"))
        assert departed("/", known=known, stocks=stocks) == {
            ("one", "early"): (Departed("anna", "moved", "now in partition two"),)
        }

    def test_a_user_in_another_group_has_left(self) -> None:
        known = {("one", "early"): versions("anna", "ben", "zoe")}
        stocks = (stock("one", "anna", "ben", "zoe"),)
        groups = GroupsConfig(rules=rules("early=b.*\nlate=z.*\nolder=z.*"))
        told = (
            Departed("anna", "left-group", "now in group user"),
            Departed("zoe", "left-group", "now in groups late, older"),
        )
        assert departed("/", known=known, stocks=stocks, groups=groups) == {("one", "early"): told}

    def test_who_is_in_another_group_stays_until_it_is_stored_there(self) -> None:
        """Else a run over the old group would leave it in none."""
        known = {("one", "early"): versions("anna", "ben")}
        stocks = (stock("one", "anna", "ben"),)
        groups = GroupsConfig(rules=rules("early=b.*\nlate=a.*"))
        assert departed("/one/early", known=known, stocks=stocks, groups=groups) == {}
        known[("one", "late")] = versions("anna")
        assert departed("/one/early", known=known, stocks=stocks, groups=groups) == {
            ("one", "early"): (Departed("anna", "left-group", "now in group late"),)
        }

    def test_a_group_that_is_no_more_is_left_by_all(self) -> None:
        known = {("one", "sales"): versions("anna")}
        assert departed("/", known=known, stocks=(stock("one", "anna"),)) == {
            ("one", "sales"): (Departed("anna", "left-group", "now in group early"),)
        }

    def test_who_is_left_out_has_not_departed(self) -> None:
        known = {
            ("one", "early"): versions("anna", "ben", "carl"),
            ("one", "late"): versions("zoe"),
            ("one", "user"): versions("4711"),
        }
        stocks = (stock("one", "anna", "zoe", "4711", "ben"),)
        groups = GroupsConfig(rules=rules(ungrouped="report"), off=frozenset({"late"}))
        exclude = ExcludeConfig(listed_users=frozenset({"anna", "carl"}))
        # Also carl is excluded; but he is gone.
        assert departed("/", known=known, stocks=stocks, groups=groups, exclude=exclude) == {
            ("one", "early"): (Departed("carl", "removed"),)
        }

    def test_who_is_in_several_groups_is_no_error_here(self) -> None:
        known = {("one", "late"): versions("anna"), ("one", "early"): versions("anna")}
        groups = GroupsConfig(rules=rules("early=a.*\nolder=a.*\nlate=z.*", several="error"))
        assert departed("/one/late", known=known, stocks=(stock("one", "anna"),), groups=groups) == {
            ("one", "late"): (Departed("anna", "left-group", "now in groups early, older"),)
        }

    def test_another_group_carries_on_what_a_group_that_is_no_more_has_told(self) -> None:
        """Of those who are in no group any more: where the others went is told there."""
        here = stock("one", "anna", "ben")
        there = stock("two", "zoe")
        units = [
            Unit(run=RUN, partition=here.partition, group=group, shard=0, users=(user,))
            for group, user in (("early", "anna"), ("late", "ben"))
        ]
        units.append(Unit(run=RUN, partition=there.partition, group="late", shard=0, users=("zoe",)))
        gone = Departed("carl", "removed", "", RunId("20260801T000000Z-0001"))
        moved = Departed("dan", "moved", "now in partition two", RunId("20260802T000000Z-0001"))
        left = Departed("ben", "left-group", "now in group late", RunId("20260801T000000Z-0001"))
        own = Departed("eve", "removed", "", RunId("20260803T000000Z-0001"))
        carried: Carried = {
            ("one", "sales"): {0: (gone, left), 1: (moved,)},
            ("one", "early"): {0: (own, gone)},
        }
        assert [unit.carried for unit in with_carried(units, carried)] == [(own, gone, moved), (), ()]

    def test_each_is_told_by_the_unit_of_its_shard(self) -> None:
        here = stock("one", "anna", "ben", "zoe")
        known = {
            ("one", "early"): {**versions("al", shard=1), **versions("bo", shard=7), **versions("cy")},
            ("one", "sales"): versions("dan", shard=3),
        }

        def unit(shard: int, user: str) -> Unit:
            return Unit(run=RUN, partition=here.partition, group="early", shard=shard, users=(user,))

        gone = {
            ("one", "early"): tuple(Departed(user, "removed") for user in ("al", "bo", "cy")),
            ("one", "sales"): (Departed("dan", "removed"),),
        }
        units = with_departures(RUN, [unit(1, "ben"), unit(0, "anna")], gone, known, [here])
        assert [(one.label, one.users, [gone.user for gone in one.departed]) for one in units] == [
            ("one/early/1", ("ben",), ["al"]),
            ("one/early/0", ("anna",), ["bo", "cy"]),
            ("one/sales/0", (), ["dan"]),
        ]
