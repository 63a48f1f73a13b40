"""How users fall into groups, told before a backup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest

from mailhaul.coordinator.dispatch.engine import Engine, Outcome
from mailhaul.coordinator.preparation import make_plan
from mailhaul.coordinator.request import Request
from mailhaul.coordinator.settings import Config, ExcludeConfig, GroupsConfig, StagingConfig
from mailhaul.coordinator.survey import GroupSurvey, take_survey
from mailhaul.groups.assignment import GroupRules
from mailhaul.groups.definitions import parse_definitions
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import NotFoundError, StoreError, UsageError
from mailhaul.proto.ports import MailboxReader, MailStore
from mailhaul.proto.records import MailboxSize, Partition, RunId, Skipped
from mailhaul.proto.structs import replace
from mailhaul.worker.inventory import take_stock

GROUPS = "early=[a-m].*\nvowel=[aeiou].*\n"


class Store:
    """Users and nothing else: each mailbox has 2 messages of 50 bytes."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def users(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def left_out(self) -> tuple[Skipped, ...]:
        return ()

    def measure(self, user: str) -> MailboxSize:
        return MailboxSize(user=user, messages=2, size_bytes=100)

    def open_mailbox(self, *_: object, **__: object) -> AbstractContextManager[MailboxReader]:
        raise NotImplementedError


class Broken(Store):
    def users(self) -> Iterator[str]:
        raise StoreError("not mounted")


STORES: dict[str, MailStore] = {"one": Store("anna", "ben", "zoe"), "two": Store("zack"), "bad": Broken()}


def _look(_function: object, tasks: Sequence[Any], _on_progress: object) -> Iterator[Outcome[Any, Any]]:
    """An engine that takes stock of STORES."""
    for task in tasks:
        try:
            report = take_stock(STORES[task.partition.name], task.paths, task.known)
            yield Outcome(task=task, report=report)
        except StoreError as error:
            yield Outcome(task=task, error=error)


look = cast(Engine, _look)


def config(place: Path, *names: str, rules: GroupRules | None = None) -> Config:
    return Config(
        staging=StagingConfig(path=place),
        partitions=tuple(Partition(name=name, format="maildir", path=f"/{name}") for name in names),
        groups=GroupsConfig(rules=rules or GroupRules(definitions=parse_definitions(GROUPS, "groups"))),
    )


def test_groups_of_every_partition(tmp_path: Path) -> None:
    survey = take_survey(config(tmp_path, "one", "two"), [LogicalPath()], engine=look)
    assert survey.groups == tuple(
        GroupSurvey(
            partition=partition,
            group=group,
            users=users,
            shards=1,
            messages=2 * users,
            size_bytes=100 * users,
        )
        for partition, group, users in (
            ("one", "early", 2),
            ("one", "user", 1),
            ("one", "vowel", 1),
            ("two", "user", 1),
        )
    )
    assert survey.ungrouped == ("/one/user/zoe", "/two/user/zack")
    assert survey.several == {"/one/user/anna": ("early", "vowel")}
    assert not survey.ungrouped_left_out
    assert list(tmp_path.iterdir()) == []


def test_who_is_left_out_is_told_too(tmp_path: Path) -> None:
    rules = GroupRules(definitions=parse_definitions(GROUPS, "groups"), several="error", ungrouped="report")
    survey = take_survey(config(tmp_path, "one", rules=rules), [LogicalPath()], engine=look)
    assert [group.group for group in survey.groups] == ["early", "vowel"]
    assert (survey.ungrouped, survey.ungrouped_left_out) == (("/one/user/zoe",), True)
    assert survey.several == {"/one/user/anna": ("early", "vowel")}


def test_without_groups_there_is_one(tmp_path: Path) -> None:
    survey = take_survey(config(tmp_path, "one", rules=GroupRules()), [LogicalPath()], engine=look)
    assert [(group.group, group.users) for group in survey.groups] == [("user", 3)]
    assert (survey.ungrouped, survey.several) == ((), {})


def test_what_a_run_passes_over_is_told(tmp_path: Path) -> None:
    settings = replace(
        config(tmp_path, "one"),
        exclude=ExcludeConfig(
            folders=("Junk",), group_folders={"vowel": ("Old",)}, listed_users=frozenset({"ben"})
        ),
    )
    settings = replace(settings, groups=replace(settings.groups, off=frozenset({"vowel"})))
    survey = take_survey(settings, [LogicalPath()], engine=look)
    assert [(group.group, group.users) for group in survey.groups] == [("early", 1), ("user", 1)]
    assert survey.left_out == (
        Skipped("/one/vowel", "group-off", "1 mailbox"),
        Skipped("/one/user/ben", "excluded-user"),
    )
    assert survey.excluded_folders == {"": ("Junk",), "vowel": ("Old",)}


def test_a_partition_that_fails_is_told(tmp_path: Path) -> None:
    survey = take_survey(config(tmp_path, "bad", "two"), [LogicalPath()], engine=look)
    assert [failure.what for failure in survey.failures] == ["bad"]
    assert [group.partition for group in survey.groups] == ["two"]
    with pytest.raises(StoreError, match="not mounted"):
        take_survey(config(tmp_path, "bad"), [LogicalPath()], engine=look)


@pytest.mark.parametrize(
    ("path", "error", "told"),
    [
        ("/nix", NotFoundError, "no such partition; there are: one, two"),
        ("/one/nix", UsageError, "no group 'nix'"),
        ("/one/user/nix", NotFoundError, "/one/user/nix"),
        ("/one/early/zoe", NotFoundError, "no mailbox to back up in /one"),
    ],
)
def test_paths_that_select_nothing(path: str, error: type[Exception], told: str, tmp_path: Path) -> None:
    request = Request(paths=(LogicalPath.parse(path),))
    with pytest.raises(error, match=told):
        make_plan(config(tmp_path, "one", "two"), RunId(""), request, None, look, workers=1)
