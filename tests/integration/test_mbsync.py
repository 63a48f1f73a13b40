"""mbsync kept a copy of the account until the server was lost: after the restore it sees nothing to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.tests.integration.accounts import fill
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import LAYOUTS, Dovecot
from mailhaul.tests.integration.servers.mbsync import Mbsync

ALICE = "alice@example.org"

StartDovecot = Callable[..., Dovecot]
MakeMbsync = Callable[[int, str], Mbsync]
NOTHING_TO_DO = (0, "")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_client_that_had_synced_before(
    start_dovecot: StartDovecot,
    make_mbsync: MakeMbsync,
    mailhaul: Mailhaul,
    mails: tuple[bytes, ...],
    layout: str,
) -> None:
    old = start_dovecot(layout)
    fill(old, ALICE, mails)
    mbsync = make_mbsync(old.ports.imap, ALICE)
    status, _ = mbsync.sync()
    assert status == 0
    assert mbsync.sync() == NOTHING_TO_DO
    copy = mbsync.remembered()
    assert len(copy) > len(mails)
    mailhaul.run(mailhaul.configure(old), "backup")
    old.stop()

    new = start_dovecot(layout, ports=old.ports)
    mailhaul.run(mailhaul.configure(new), "restore", "/")
    assert mbsync.sync() == NOTHING_TO_DO
    assert mbsync.remembered() == copy
    check_both_directions(new, mbsync)


def check_both_directions(server: Dovecot, mbsync: Mbsync) -> None:
    """The restored account and the old copy go on together."""
    before = mbsync.remembered()
    server.deliver([b"Subject: later\r\n\r\nlater\r\n"], ALICE)
    forwarded = next(mbsync.copy / name for name in before if re.fullmatch("INBOX/cur/.*:2,PS", name))
    forwarded.rename(str(forwarded).removesuffix("PS") + "FPS")
    flagged = count_flagged(server)
    assert mbsync.sync()[0] == 0
    assert [name for name in mbsync.remembered().keys() - before if name.startswith("INBOX/new/")]
    assert count_flagged(server) == flagged + 1


def count_flagged(server: Dovecot) -> int:
    with server.login(ALICE) as client:
        return sum("\\Flagged" in message.flags for message in client.messages("INBOX").values())


def test_uids_that_were_lost_are_noticed(
    start_dovecot: StartDovecot, make_mbsync: MakeMbsync, mails: tuple[bytes, ...], tmp_path: Path
) -> None:
    """What the test above relies on: mbsync complains where a folder came back with other UIDs."""
    server = start_dovecot()
    fill(server, ALICE, mails)
    mbsync = make_mbsync(server.ports.imap, ALICE)
    assert mbsync.sync()[0] == 0
    for name in ("dovecot-uidlist", "dovecot.index", "dovecot.index.log", "dovecot.index.cache"):
        (server.maildir(ALICE) / name).unlink(missing_ok=True)
    assert mbsync.sync() != NOTHING_TO_DO
