"""What a backup holds, as far as no archive has to be read for it."""

from __future__ import annotations

import pytest

from mailhaul.coordinator.backup_set import BackupSet
from mailhaul.coordinator.browsing import levels
from mailhaul.coordinator.browsing.levels import flag_names, groups, partitions, users
from mailhaul.coordinator.history import MailboxVersion
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import NotFoundError
from mailhaul.proto.records import ArchiveId, RunId
from mailhaul.worker.archives.holdings import Holdings


def version(partition: str, group: str, user: str, run: str) -> MailboxVersion:
    return MailboxVersion(
        partition=partition,
        group=group,
        user=user,
        run=RunId(run),
        shard=0,
        archive=ArchiveId(b""),
        folders=1,
        listed=2,
        stored=2,
        skipped=0,
        size_bytes=5,
    )


BACKUP = BackupSet(
    versions=(
        version("p", "a", "ann", "1"),
        version("p", "b", "ann", "2"),
        version("p", "b", "x/y", "2"),
        version("q", "user", "ann", "1"),
    ),
    archives=Holdings(),
)


def test_each_mailbox_counts_once() -> None:
    assert [(partition.path, partition.users, partition.messages) for partition in partitions(BACKUP)] == [
        ("/p", 2, 4),
        ("/q", 1, 2),
    ]
    held = groups(BACKUP, LogicalPath("p"))
    assert [(heading.path, heading.users) for heading in held] == [("/p/a", 1), ("/p/b", 2), ("/p/user", 2)]
    assert [group.path for group in groups(BACKUP, LogicalPath("q"))] == ["/q/user"]


def test_users_come_under_the_group_that_was_named() -> None:
    assert [
        (path, mailbox_version.run) for path, mailbox_version in users(BACKUP, LogicalPath("p", "user"))
    ] == [
        ("/p/user/ann", "2"),
        ("/p/user/x%2Fy", "2"),
    ]
    assert [(path, one.run) for path, one in users(BACKUP, LogicalPath("p", "a"))] == [("/p/a/ann", "1")]


@pytest.mark.parametrize("path", ["/x", "/q/a"])
def test_nothing_of_it(path: str) -> None:
    with pytest.raises(NotFoundError, match=f"{path}: the backup holds nothing of it"):
        users(BACKUP, LogicalPath.parse(path))
    with pytest.raises(NotFoundError):
        groups(BACKUP, LogicalPath("x"))


def test_flags_have_names() -> None:
    assert flag_names("FST", ("$Forwarded",)) == ("\\Flagged", "\\Seen", "\\Deleted", "$Forwarded")


def test_dates_that_no_calendar_has() -> None:
    assert levels.time_ns(10**18) is not None
    assert levels.time_ns(-(2**63)) is not None
    assert levels.time_ns(2**100) is None


def test_a_user_is_found_in_all_partitions_and_groups() -> None:
    found = levels.mailboxes_of(BACKUP, LogicalPath(), "ann")
    assert [path for path, _ in found] == ["/p/a/ann", "/p/b/ann", "/q/user/ann"]
    assert [path for path, _ in levels.mailboxes_of(BACKUP, LogicalPath("q"), "ann")] == ["/q/user/ann"]
    with pytest.raises(NotFoundError, match=r"no mailbox of 'anm'; is it ann\?"):
        levels.mailboxes_of(BACKUP, LogicalPath(), "anm")


def test_a_name_without_its_domain_stands_for_all_of_that_name() -> None:
    names = ("ann@example.org", "ann@example.net", "hann@example.org")
    versions = tuple(version("p", "a", name, run) for name in names for run in ("1", "2"))
    found = levels.mailboxes_of(BackupSet(versions=versions, archives=Holdings()), LogicalPath(), "ann")
    assert [(path, mailbox_version.run) for path, mailbox_version in found] == [
        ("/p/a/ann@example.net", "2"),
        ("/p/a/ann@example.org", "2"),
    ]
