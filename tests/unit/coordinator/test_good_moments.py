"""Which moments are good to restore from, and what is told of the others."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.backup_set import from_catalog
from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.good_moments import LATEST_GOOD, ChosenMoment, latest_good, told_of
from mailhaul.coordinator.holds import Hold, add_holds, release
from mailhaul.coordinator.verifying.checked import Journal, Order
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import NotFoundError
from mailhaul.proto.records import ArchiveId, RunId, Skipped
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.worker.verifying.losses import Loss

JANE, JOE = "/primary/user/jane", "/primary/user/joe"
NOW = datetime(2026, 8, 20, tzinfo=UTC)


def mail(*messages: str) -> dict[str, tuple[bytes, ...]]:
    return {"INBOX": tuple(message.encode() for message in messages)}


@pytest.fixture
def chain(tmp_path: Path) -> StagedChain:
    """Three nights of two mailboxes."""
    made = StagedChain(tmp_path / "staging")
    for number in range(3):
        made.run({"jane": mail(*(f"jane {one}" for one in range(number + 1))), "joe": mail("joe")})
    return made


def runs(chain: StagedChain) -> list[RunId]:
    return list(chain.moments)


def raise_alarm(chain: StagedChain, run: RunId, path: str, reason: str = "mailbox-emptied") -> None:
    """As a run does it."""
    if reason != "archive-missing":
        add_holds(chain.staging, [Hold(path=path, reason=reason, since=NOW, automatic=True)])
    with Catalog.open(chain.staging, write=True) as catalog:
        catalog.note_alarms(run, [Skipped(path, reason, "it is empty")])


def good(chain: StagedChain, *paths: str, needs: Collection[ArchiveId] = ()) -> ChosenMoment:
    with Catalog.open(chain.staging) as catalog:
        return latest_good(catalog, chain.staging, [*map(LogicalPath.parse, paths)], lambda _: needs)


def told(chain: StagedChain, run: RunId, *paths: str) -> ChosenMoment:
    with Catalog.open(chain.staging) as catalog:
        return told_of(catalog, chain.staging, run, [*map(LogicalPath.parse, paths)])


def test_the_newest_is_good_as_long_as_nothing_is_known_against_it(chain: StagedChain) -> None:
    assert good(chain, "/") == ChosenMoment(run=runs(chain)[-1])


def test_an_alarm_stands_until_it_is_released(chain: StagedChain) -> None:
    first, second, third = runs(chain)
    raise_alarm(chain, second, JANE)
    found = good(chain, JANE)
    assert found.run == first
    assert [(over.run, over.reason) for over in found.passed_over] == [
        (third, "mailbox-emptied"),
        (second, "mailbox-emptied"),
    ]
    # It concerns nobody else, but whoever restores more than the others.
    assert good(chain, JOE).run == third
    assert good(chain, "/primary").run == first
    release(chain.staging, LogicalPath.parse(JANE))
    assert good(chain, JANE).run == third


def test_an_alarm_that_holds_nothing_is_one_of_its_run(chain: StagedChain) -> None:
    _, second, third = runs(chain)
    raise_alarm(chain, third, "/primary/user", "archive-missing")
    assert good(chain, JANE).run == second
    raise_alarm(chain, second, "/primary/user", "archive-missing")
    chain.run({"jane": mail("jane 9"), "joe": mail("joe")})
    assert good(chain, JANE).run == runs(chain)[-1]


def test_what_a_verification_found_lost(chain: StagedChain) -> None:
    first, second, third = runs(chain)
    loss = Loss(
        mailbox=("primary", "jane"),
        path=f"{JANE}/INBOX/1",
        first=second,
        last=third,
        archive=ArchiveId(bytes(16)),
        reason="block",
        detail="",
    )
    with Journal(chain.staging, Order(data=True), lambda: NOW) as journal:
        journal.ended(set(), [loss, loss])
    found = good(chain, JANE)
    assert (found.run, [over.reason for over in found.passed_over]) == (first, ["damaged", "damaged"])
    assert good(chain, JOE).run == third
    # One that reads no mail does not see it again, and so does not take it back; one that does, may.
    for order, expected in ((Order(), first), (Order(path=JOE, data=True), first), (Order(data=True), third)):
        with Journal(chain.staging, order, lambda: NOW) as journal:
            journal.ended(set())
        assert good(chain, JANE).run == expected


def test_archives_that_are_gone(chain: StagedChain) -> None:
    first, second, third = runs(chain)
    with Catalog.open(chain.staging, write=True) as catalog:
        (record,) = catalog.archives(third)
        catalog.set_missing(record.archive)
    found = from_catalog(chain.staging, LATEST_GOOD, [LogicalPath.parse(JANE)])
    assert found.moment is not None
    assert (found.moment.run, found.versions[0].run) == (second, second)
    assert [over.reason for over in found.moment.passed_over] == ["missing"]
    assert first < second


def test_a_mailbox_that_is_gone_is_looked_for_where_it_was(chain: StagedChain) -> None:
    chain.run({"joe": mail("joe", "more")}, departed=["jane"])
    assert good(chain, JANE).run == runs(chain)[2]
    assert good(chain, "/primary").run == runs(chain)[3]


def test_no_moment_is_good(chain: StagedChain) -> None:
    raise_alarm(chain, runs(chain)[0], JANE)
    with pytest.raises(NotFoundError, match="no moment is good: of 3 that are kept none; the newest, "):
        good(chain, JANE)


def test_a_moment_of_mass_loss_is_told_with_the_one_before(chain: StagedChain) -> None:
    first, second, third = runs(chain)
    assert told(chain, third, "/") == ChosenMoment(run=third)
    raise_alarm(chain, second, JANE)
    raise_alarm(chain, third, "/primary/user", "archive-missing")
    for run in (second, third):
        found = told(chain, run, JANE)
        assert ([alarm.reason for alarm in found.alarms], found.before) == (["mailbox-emptied"], first)
    assert told(chain, first, JANE) == ChosenMoment(run=first)
    assert told(chain, third, JOE) == ChosenMoment(run=third)
    raise_alarm(chain, first, JOE)
    assert told(chain, third, JOE).before is None
