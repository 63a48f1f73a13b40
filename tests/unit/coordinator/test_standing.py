"""How mailboxes stand: which have a good backup, since when, and which are there at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.history import GoodBackup
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import Skipped, UnitReport
from mailhaul.proto.structs import replace

from ...catalogs import ODD, START, begin, report, run_id, unchanged, unit

USERS = ("anna", "bob", ODD)
OVER = {("primary", "user")}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, write=True) as catalog:
        yield catalog


def night(catalog: Catalog, day: int, told: UnitReport, users: tuple[str, ...] = USERS) -> None:
    """A run over everything that ends with this report."""
    catalog.begin_run(run_id(day), START + timedelta(days=day), paths="/")
    catalog.plan_units([unit(day, users=users)], OVER)
    catalog.commit_unit(told, sealed=START + timedelta(days=day, hours=1))
    catalog.end_run(run_id(day), START + timedelta(days=day, hours=2))


def whole(day: int, users: tuple[str, ...] = USERS) -> UnitReport:
    return report(unit(day, users=users))


def unread(day: int, *users: str, reason: str = "mailbox") -> UnitReport:
    """A night in which these mailboxes could not be opened."""
    opened = tuple(user for user in USERS if user not in users)
    entries = tuple(Skipped(str(LogicalPath("primary", "user", user)), reason, "no rights") for user in users)
    return replace(report(unit(day, users=opened)), skipped=entries, unopened=entries)


def only(catalog: Catalog) -> GoodBackup:
    (found,) = catalog.last_good()
    return found


def test_a_group_is_as_good_as_its_worst_mailbox(catalog: Catalog) -> None:
    night(catalog, 0, whole(0))
    assert (only(catalog).run, only(catalog).behind) == (run_id(0), 0)
    night(catalog, 1, unread(1, "bob"))
    night(catalog, 2, unread(2, "bob"))
    good = only(catalog)
    assert (good.run, good.sealed) == (run_id(0), START + timedelta(hours=1))
    assert good.newest == START + timedelta(days=2, hours=1)
    assert (good.mailboxes, good.behind, good.never) == (3, 1, 0)
    (behind,) = catalog.behind()
    assert (behind.user, behind.good, behind.since) == ("bob", run_id(0), run_id(0))
    assert (behind.reason, behind.detail) == ("mailbox", "no rights")
    night(catalog, 3, replace(whole(3), archive=None, name=""))
    assert (only(catalog).run, list(catalog.behind())) == (run_id(3), [])


def test_a_night_in_which_nothing_could_be_read_is_not_good(catalog: Catalog) -> None:
    night(catalog, 0, whole(0))
    night(catalog, 1, replace(unread(1, *USERS), archive=None, name=""))
    assert (only(catalog).run, only(catalog).behind) == (run_id(0), 3)


def test_what_is_left_out_on_purpose_or_vanished_is_no_fault(catalog: Catalog) -> None:
    entries = tuple(
        Skipped(f"/primary/user/anna/Trash{number}", reason)
        for number, reason in enumerate(("excluded", "vanished", "not-asked"))
    )
    night(catalog, 0, replace(whole(0), skipped=entries))
    assert (only(catalog).run, only(catalog).behind) == (run_id(0), 0)
    run = catalog.run("latest")
    assert (run.skipped, run.excluded) == (0, 2)
    assert catalog.reasons(run.run) == {"excluded": 1, "vanished": 1, "not-asked": 1}


def test_one_message_that_could_not_be_read_leaves_its_mailbox_behind(catalog: Catalog) -> None:
    fault = Skipped("/primary/user/anna/INBOX/7", "io-error", "EIO")
    night(catalog, 0, replace(whole(0), skipped=(fault,)))
    assert [(behind.user, behind.good, behind.reason) for behind in catalog.behind()] == [
        ("anna", None, "io-error")
    ]
    assert (only(catalog).run, only(catalog).never) == (None, 1)


def test_mailboxes_that_are_gone_or_not_taken_any_more_do_not_count(catalog: Catalog) -> None:
    night(catalog, 0, whole(0))
    night(catalog, 1, whole(1, ("anna",)), ("anna",))
    assert (only(catalog).run, only(catalog).mailboxes) == (run_id(1), 1)
    # A run over one of them leaves the others as they are.
    catalog.begin_run(run_id(2), START + timedelta(days=2), paths="/primary/user/bob")
    catalog.plan_units([unit(2, users=("bob",))])
    catalog.commit_unit(whole(2, ("bob",)), sealed=START + timedelta(days=2))
    assert (only(catalog).run, only(catalog).mailboxes) == (run_id(1), 2)


@pytest.mark.parametrize(
    ("paths", "narrowed", "counts"),
    [
        ("/", False, True),
        ("/primary/user/anna /primary/user/bob", False, True),
        ("/primary/user/anna/INBOX", False, False),
        ("/", True, False),
    ],
)
def test_only_a_look_at_all_of_a_mailbox_counts(
    catalog: Catalog, paths: str, narrowed: bool, counts: bool
) -> None:
    users = ("anna", "bob")
    night(catalog, 0, whole(0, users), users)
    catalog.begin_run(run_id(1), START + timedelta(days=1), paths=paths, narrowed=narrowed)
    catalog.plan_units([unit(1, users=users)])
    catalog.commit_unit(unchanged(unit(1, users=users)), sealed=START + timedelta(days=1))
    assert only(catalog).run == run_id(1 if counts else 0)


def test_a_unit_that_fails_leaves_its_mailboxes_behind(catalog: Catalog) -> None:
    night(catalog, 0, whole(0))
    begin(catalog, 1, unit(1, users=USERS))
    catalog.fail_unit(unit(1, users=USERS), "the worker was lost", attempts=3)
    assert {(behind.user, behind.reason, behind.detail) for behind in catalog.behind()} == {
        (user, "failed", "the worker was lost") for user in USERS
    }
    assert [backup.run for backup in catalog.last_good()] == [run_id(0)]


def test_who_has_no_good_backup_since_a_time(catalog: Catalog) -> None:
    night(catalog, 0, whole(0))
    night(catalog, 1, unread(1, "bob"))
    night(catalog, 2, unread(2, "bob", "anna"), (*USERS, "new"))
    listed = [behind.user for behind in catalog.behind(START + timedelta(days=1))]
    assert listed == ["new", "bob"]  # the worst first
    assert [one.user for one in catalog.behind(START + timedelta(days=2))] == ["new", "bob", "anna"]
    assert [one.user for one in catalog.behind(START)] == ["new"]


def test_what_runs_did_in_all_is_counted_once(catalog: Catalog) -> None:
    for day in range(3):
        night(catalog, day, whole(day))
        catalog.commit_unit(whole(day), sealed=START)  # repeated
    (totals,) = catalog.totals()
    assert (totals.messages, totals.read, totals.archive_bytes) == (3 * 27, 3 * 9, 3 * 300)
    catalog.forget("primary", "user", [run_id(2)], lambda _: False)
    assert catalog.totals() == [totals]
