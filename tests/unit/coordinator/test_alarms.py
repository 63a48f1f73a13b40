"""What looks like a loss."""

from __future__ import annotations

import pytest

from mailhaul.coordinator.alarms import Alarm, alarm_of_partition, alarms_of_unit
from mailhaul.proto.records import MailboxSummary
from mailhaul.proto.structs import replace

from ...watched import make_report, make_unit


def alarms(
    before: int, *, vanished: int, added: int = 0, skipped: int = 0, share: float = 0.5
) -> list[tuple[str, str]]:
    """The alarms of a mailbox that had so many messages, by reason and detail."""
    listed = before - vanished + added
    summary = MailboxSummary(
        partition="primary",
        group="sales",
        user="jane",
        folders=1,
        listed=listed,
        stored=listed - skipped,
        skipped=skipped,
        size_bytes=0,
        added=added,
        vanished=vanished,
    )
    found = list(alarms_of_unit(replace(make_report(make_unit()), mailboxes=(summary,)), share))
    assert all(alarm.path == "/primary/sales/jane" and alarm.held == (alarm.path,) for alarm in found)
    return [(alarm.reason, alarm.detail) for alarm in found]


def test_a_mailbox_that_lost_more_than_the_share() -> None:
    assert alarms(1000, vanished=501) == [("mailbox-shrunk", "it has 499 messages, and had 1,000")]
    assert alarms(1000, vanished=500) == []
    assert alarms(1000, vanished=101, share=0.1) == [("mailbox-shrunk", "it has 899 messages, and had 1,000")]


def test_a_small_mailbox_has_to_lose_all() -> None:
    assert alarms(9, vanished=8) == []
    assert alarms(9, vanished=9) == [("mailbox-emptied", "it is empty, and had 9 messages")]
    assert alarms(1, vanished=1) == [("mailbox-emptied", "it is empty, and had 1 message")]


@pytest.mark.parametrize(("vanished", "added"), [(0, 0), (0, 100), (100, 100), (60, 20)])
def test_everyday_work(vanished: int, added: int) -> None:
    """Nothing, new mail, all moved into another folder, cleaning up while mail comes."""
    assert alarms(100, vanished=vanished, added=added) == []


def test_a_new_mailbox_and_an_empty_one() -> None:
    assert alarms(0, vanished=0, added=20) == alarms(0, vanished=0) == []


def test_messages_that_are_there_and_could_not_be_read_are_no_loss() -> None:
    # They are no part of the new version, so they count as vanished; but the store lists them.
    report = replace(
        make_report(make_unit()),
        mailboxes=(
            MailboxSummary(
                partition="p",
                group="g",
                user="u",
                folders=1,
                listed=100,
                stored=10,
                skipped=90,
                size_bytes=0,
                vanished=90,
            ),
        ),
    )
    assert list(alarms_of_unit(report, 0.5)) == []


def test_a_share_of_one_means_never() -> None:
    assert alarms(100, vanished=100, share=1.0) == []
    assert alarm_of_partition("p", ["a"], ["a"], 1.0) is None


def test_a_partition_of_which_too_many_mailboxes_are_gone() -> None:
    known = [f"user{i}" for i in range(1000)]
    assert alarm_of_partition("primary", known, [], 0.5) is None
    assert alarm_of_partition("primary", known, known[:500], 0.5) is None
    assert alarm_of_partition("primary", ["ola", "jane", "a/b"], ["jane", "a/b"], 0.5) == Alarm(
        path="/primary",
        reason="mailboxes-gone",
        detail="2 of 3 mailboxes are gone from the store",
        held=("/primary/user/a%2Fb", "/primary/user/jane"),
    )
