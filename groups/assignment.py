"""Which users a run backs up under which group. Pure: the users are handed in, a record comes back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from ..proto.errors import ConfigError, UsageError
from ..proto.structs import Record
from .definitions import GroupDefinition
from .nearness import hint
from .paths import EVERYBODY

Several = Literal["report", "first-match", "error"]
"""A user whom several groups match belongs to each of them, to the first one defined, or ends the run."""

Ungrouped = Literal["user", "report"]
"""A user whom no group matches is backed up under the group ``user``, or left out and told."""


class GroupRules(Record, kw_only=True):
    """The configured groups, and what happens to users who do not fall into exactly one."""

    definitions: tuple[GroupDefinition, ...] = ()
    several: Several = "report"
    ungrouped: Ungrouped = "user"

    def names(self) -> tuple[str, ...]:
        """Every group there is, the predefined one last."""
        return (*(definition.name for definition in self.definitions), EVERYBODY)


class Assignment(Record, kw_only=True):
    """How users fall into groups.

    ``groups`` holds each chosen group with its users, in the order both were given in; it may hold none.
    ``ungrouped`` are the users whom no configured group matches, ``several`` those whom more than one does,
    with these groups: both tell of all users, chosen or not. ``left_out`` are the users whom a run over
    everything does not back up; a run must list them as skipped.
    """

    groups: Mapping[str, tuple[str, ...]]
    ungrouped: tuple[str, ...] = ()
    several: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()


def assign(users: Iterable[str], rules: GroupRules, chosen: Collection[str] | None = None) -> Assignment:
    """Assign users, each given once, to the ``chosen`` groups; None is a run over everything.

    A run over everything covers the configured groups and, as ``rules.ungrouped`` says, the users in none
    of them; where no groups are configured, everybody is in the group ``user``. Chosen by name, that group
    always holds everybody. Raises UsageError for a chosen group that there is not, ConfigError if the rules
    want it so for a user in several groups, one of them chosen.
    """
    users = tuple(users)
    if chosen is not None and (unknown := sorted(set(chosen) - set(rules.names()))):
        raise UsageError(
            f"there is no group {unknown[0]!r}{hint(unknown[0], rules.names())}; there are "
            f"{', '.join(rules.names())}",
            group=unknown[0],
        )
    if not rules.definitions:
        return Assignment(groups={EVERYBODY: users}, several={})
    matches = {
        user: tuple(group.name for group in rules.definitions if group.matches(user)) for user in users
    }
    several = {user: names for user, names in matches.items() if len(names) > 1}
    if rules.several == "error":
        _refuse_several(several, chosen)
    members = _members(matches, rules)
    ungrouped = tuple(user for user, names in matches.items() if not names)
    left_out: tuple[str, ...] = ()
    if chosen is None and rules.ungrouped == "report":
        left_out = ungrouped
    elif chosen is None and ungrouped:
        members[EVERYBODY] = list(ungrouped)
    elif chosen is not None:
        members[EVERYBODY] = list(users)
        members = {name: members[name] for name in members if name in chosen}
    groups = {name: tuple(held) for name, held in members.items()}
    return Assignment(groups=groups, ungrouped=ungrouped, several=several, left_out=left_out)


def _members(matches: Mapping[str, tuple[str, ...]], rules: GroupRules) -> dict[str, list[str]]:
    """Every configured group with its users."""
    members: dict[str, list[str]] = {definition.name: [] for definition in rules.definitions}
    for user, names in matches.items():
        for name in names[:1] if rules.several == "first-match" else names:
            members[name].append(user)
    return members


def _refuse_several(several: Mapping[str, tuple[str, ...]], chosen: Collection[str] | None) -> None:
    for user, names in several.items():
        if chosen is None or any(name in chosen for name in names):
            raise ConfigError(
                f"the user {user!r} is in several groups ({', '.join(names)}) and groups.several is "
                "'error': expected one group; change the expressions, or choose 'report' or 'first-match'",
                user=user,
                groups=names,
            )
