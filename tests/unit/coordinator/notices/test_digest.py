"""The digest, as somebody reads it at seven in the morning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from mailhaul.coordinator.drills.shares import Share
from mailhaul.coordinator.notices.digest import (
    Coming,
    Digest,
    GroupBehind,
    GroupNight,
    Lasting,
    RunNight,
    Unreached,
    lines,
    problems,
    subject,
)
from mailhaul.coordinator.notices.morning import why_untried
from mailhaul.coordinator.notices.space import PlaceSpace
from mailhaul.coordinator.service.proofs import Untried
from mailhaul.proto.structs import replace

ZONE = ZoneInfo("Europe/Berlin")
SEVEN = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TB = 10**12

GOOD = Digest(
    site="backup01",
    since=SEVEN - DAY,
    until=SEVEN,
    runs=(RunNight(run="20260301T010000Z-0001", paths="/", state="done", seconds=872.0),),
    groups=(
        GroupNight(
            partition="primary",
            group="staff",
            mailboxes=1204,
            added=12310,
            new_bytes=1_210_000_000,
            seconds=840.0,
        ),
        GroupNight(
            partition="primary",
            group="guests",
            mailboxes=310,
            added=401,
            new_bytes=12_000_000,
            seconds=61.0,
            skipped=2,
        ),
    ),
    reasons={"unreadable": 2},
    copied=True,
    spaces=(
        PlaceSpace(
            place="staging",
            used_bytes=6 * TB // 10,
            free_bytes=4 * TB // 10,
            growth_bytes=1e9,
            days_left=400.0,
        ),
        PlaceSpace(place="vault", used_bytes=5 * TB, free_bytes=3 * TB, growth_bytes=2e10, days_left=150.0),
    ),
    drilled=True,
    proven=52,
    proofs=(
        Share(
            partition="primary",
            group="staff",
            mailboxes=1204,
            proven=1120,
            failed=0,
            ever=1120,
            never=84,
            share=1120 / 1204,
            oldest=SEVEN - DAY,
        ),
        Share(
            partition="primary",
            group="guests",
            mailboxes=310,
            proven=310,
            failed=0,
            ever=310,
            never=0,
            share=1.0,
            oldest=SEVEN,
        ),
    ),
    coming=(Coming(moment=SEVEN + timedelta(hours=19), what="backup"),),
)

AN_ALL_RIGHT_MORNING = """\
All is well.

Last night (Sat 28 Feb 07:00 - Sun 01 Mar 07:00): 1 backup, 14:32, 12,711 new messages, 1.2 GB
  primary/guests    310 mailboxes     401 new  12.0 MB   1:01  done, 2 left out
  primary/staff   1,204 mailboxes  12,310 new   1.2 GB  14:00  done
  left out: unreadable 2

Copies  each archive in 2 places or more
Space   vault: 3.0 TB of 8.0 TB free (38%), is full in 150 days
        staging: 400.0 GB of 1.0 TB free (40%), lasts for more than a year
Proof   52 mailboxes restored and compared last night
        primary/staff: 93% of mailboxes within 30 days
        primary/guests: 100% of mailboxes within 30 days
Next    Mon 02 Mar 02:00 backup
"""

BAD = replace(
    GOOD,
    not_good=("the backup of / has ended as partial", "the scheduled backup:guests was not begun"),
    groups=(
        *GOOD.groups,
        GroupNight(
            partition="primary",
            group="archive",
            mailboxes=0,
            added=0,
            new_bytes=0,
            seconds=0.0,
            failed=1,
            error="/srv/mail can't be read",
        ),
    ),
    behind=(
        GroupBehind(
            partition="primary", group="archive", mailboxes=41, behind=41, never=0, since=SEVEN - 2 * DAY
        ),
    ),
    alone=12,
    alone_since=SEVEN - 3 * DAY,
    failed_drills=1,
    proofs=(*GOOD.proofs, replace(GOOD.proofs[1], group="legal", proven=0, share=0.0)),
    untried={"primary/legal": "there is no private key for it here", "primary/staff": "it was away"},
    lasting=(
        Lasting(
            event="tape-wanted", cause="t", subject="Tape wanted in robot: TAPE07", since=SEVEN - 2 * DAY
        ),
        Lasting(
            event="failed",
            cause="failed:backup /",
            subject="Backup of / failed in part",
            since=SEVEN - DAY / 4,
        ),
        Lasting(
            event="failed",
            cause="failed:restore /primary/staff/joe",
            subject="Restore of /primary/staff/joe failed",
            since=SEVEN - 3 * DAY,
        ),
        Lasting(
            event="space",
            cause="space:vault",
            subject="The destination vault is full in 5 days",
            since=SEVEN - 9 * DAY,
            acknowledged_by="cli:anna",
        ),
        Lasting(
            event="alarm",
            cause="a",
            subject="ALARM: /primary/staff/jane: mailbox-emptied",
            since=SEVEN - DAY / 4,
        ),
    ),
    unreached=(Unreached(receiver="chat", since=SEVEN - DAY, error="503"),),
)

A_BAD_MORNING = """\
NOT ALL IS WELL: 6 things need somebody.
  - ALARM: /primary/staff/jane: mailbox-emptied
  - Backup of / failed in part
  - Restore of /primary/staff/joe failed (for 3 days)
  - Tape wanted in robot: TAPE07 (for 2 days)
  - the scheduled backup:guests was not begun
  - chat gets no notices (for 1 day)

Last night (Sat 28 Feb 07:00 - Sun 01 Mar 07:00): 1 backup, 14:32, 12,711 new messages, 1.2 GB
  primary/archive      0 mailboxes       0 new      0 B    0 s  FAILED: /srv/mail can't be read
  primary/guests     310 mailboxes     401 new  12.0 MB   1:01  done, 2 left out
  primary/staff    1,204 mailboxes  12,310 new   1.2 GB  14:00  done
  left out: unreadable 2
  NOT BACKED UP: primary/archive: 41 mailboxes of 41, whole on Fri 27 Feb 07:00

Copies  12 archives in 1 place only, the oldest since Thu 26 Feb 07:00
Space   vault: 3.0 TB of 8.0 TB free (38%), is full in 150 days
        staging: 400.0 GB of 1.0 TB free (40%), lasts for more than a year
Proof   52 mailboxes restored and compared last night, 1 FAILED
        primary/legal: 0% of mailboxes within 30 days: there is no private key for it here
        primary/staff: 93% of mailboxes within 30 days
        primary/guests: 100% of mailboxes within 30 days
Known   The destination vault is full in 5 days (since Fri 20 Feb 07:00, known to cli:anna)
Next    Mon 02 Mar 02:00 backup
"""


def text(digest: Digest) -> str:
    return "\n".join(lines(digest, ZONE)) + "\n"


def test_a_morning_on_which_all_is_well() -> None:
    assert text(GOOD) == AN_ALL_RIGHT_MORNING
    assert subject(GOOD) == "Backups: all is well"


def test_a_morning_on_which_somebody_is_needed() -> None:
    assert text(BAD) == A_BAD_MORNING
    assert subject(BAD) == "Backups: ALARM: /primary/staff/jane: mailbox-emptied (and 5 more)"


def test_a_night_that_was_not_good_is_not_well_though_nobody_raised_anything() -> None:
    silent = replace(GOOD, not_good=("the scheduled backup was not begun",), runs=(), groups=(), reasons={})
    assert problems(silent) == ["the scheduled backup was not begun"]
    assert text(silent).startswith(
        "NOT ALL IS WELL: 1 thing needs somebody.\n  - the scheduled backup was not begun\n"
    )
    assert "Last night (Sat 28 Feb 07:00 - Sun 01 Mar 07:00): no backup." in text(silent)


def test_what_somebody_knows_of_is_no_problem_any_more() -> None:
    known = replace(
        GOOD,
        lasting=tuple(replace(lasting, acknowledged_by="page:anna") for lasting in BAD.lasting),
    )
    assert text(known).startswith("All is well.\n")
    assert text(known).count("known to page:anna") == 5


def test_many_groups_and_problems_stay_a_page() -> None:
    many = replace(
        BAD,
        groups=tuple(
            replace(BAD.groups[0], group=f"group{number:03}", failed=number % 2) for number in range(500)
        ),
        behind=tuple(replace(BAD.behind[0], group=f"group{number:03}") for number in range(500)),
        proofs=tuple(replace(BAD.proofs[0], group=f"group{number:03}") for number in range(500)),
        lasting=tuple(replace(BAD.lasting[0], cause=f"t{number}") for number in range(500)),
    )
    assert len(lines(many, ZONE)) < 80
    assert "488 groups more" in text(many)
    # Those that failed come first, so that none of them is among the rest.
    listed = [line for line in lines(many, ZONE) if line.startswith("  primary/group")]
    assert len(listed) == 12
    assert all(line.endswith("FAILED") for line in listed)
    assert "and 488 groups more, 93% or more of each" in text(many)
    acknowledged = (replace(one, acknowledged_by="me") for one in many.lasting)
    known = replace(many, lasting=(*many.lasting, *acknowledged))
    assert text(known).count("known to me") == 12


def test_why_nothing_of_a_group_was_tried_is_told_without_the_files_in_which_that_was_met() -> None:
    def untried(group: str, error: str, mailboxes: int) -> Untried:
        return Untried(partition="primary", group=group, error=error, mailboxes=mailboxes)

    locked = "the mail is encrypted, for legal (--identity FILE names a private key)"
    found = why_untried(
        [
            untried("legal", f"/spool/primary/legal/1.mha: {locked}", 1),
            untried("legal", f"/spool/primary/legal/2.mha: {locked}", 1),
            untried("legal", "depot: it was away", 1),
            untried("staff", "depot: it was away", 3),
        ]
    )
    assert found == {"primary/legal": locked, "primary/staff": "depot: it was away"}


def test_nights_of_other_zones_are_told_in_theirs() -> None:
    told = "\n".join(lines(GOOD, ZoneInfo("Asia/Kathmandu")))
    assert "Sat 28 Feb 11:45 - Sun 01 Mar 11:45" in told
