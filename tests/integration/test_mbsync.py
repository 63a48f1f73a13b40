"""mbsync kept a copy of the account until the server was lost: after the restore it sees nothing to do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.tests.integration.accounts import fill
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.mbsync import Mbsync
from mailhaul.tests.integration.servers.programs import both_servers, both_servers_with
from mailhaul.tests.integration.servers.settings import LAYOUTS

ALICE = "alice@example.org"

StartDovecot = Callable[..., Dovecot]
MakeMbsync = Callable[[int, str], Mbsync]
NOTHING_TO_DO = (0, "")


@both_servers_with(LAYOUTS, ["maildir++"])
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


def lost_after_more_mail(server: Dovecot, make_mbsync: MakeMbsync, mailhaul: Mailhaul) -> tuple[Path, Mbsync]:
    """Three messages, a backup, three more, which the client fetches; then the home is lost."""
    server.deliver([numbered(number) for number in (1, 2, 3)], ALICE)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    server.deliver([numbered(number) for number in (4, 5, 6)], ALICE)
    mbsync = make_mbsync(server.ports.imap, ALICE)
    assert mbsync.sync()[0] == 0
    assert copied(mbsync) == {1, 2, 3, 4, 5, 6}
    shutil.rmtree(server.home(ALICE))
    return config, mbsync


@both_servers
@pytest.mark.parametrize("margin", [None, 0])
def test_mail_that_came_after_the_backup(
    start_dovecot: StartDovecot, make_mbsync: MakeMbsync, mailhaul: Mailhaul, margin: int | None
) -> None:
    """The client has seen UIDs that were given out after the backup. New mail does not get them again; with
    no margin it would, and be hidden from the client: the danger is real."""
    server = start_dovecot()
    config, mbsync = lost_after_more_mail(server, make_mbsync, mailhaul)
    options = () if margin is None else ("--uid-margin", str(margin))
    mailhaul.run(config, "restore", "/", *options)
    server.deliver([numbered(number) for number in (7, 8)], ALICE)

    assert mbsync.sync() == (0, "")
    if margin == 0:
        assert not copied(mbsync) & {7, 8}
        return
    # What nobody has any more is removed from the copy as any mail that was removed on the server.
    assert copied(mbsync) == {1, 2, 3, 7, 8}
    (old,) = (mbsync.copy / "INBOX").glob("*/*,U=3:2,*")
    old.unlink()
    assert mbsync.sync() == (0, "")
    assert copied(mbsync) == stored(server) == {1, 2, 7, 8}


def test_a_new_uidvalidity_stops_the_client(
    start_dovecot: StartDovecot, make_mbsync: MakeMbsync, mailhaul: Mailhaul
) -> None:
    """It removes nothing on either side, says so, and a new copy has everything."""
    server = start_dovecot()
    config, mbsync = lost_after_more_mail(server, make_mbsync, mailhaul)
    mailhaul.run(config, "restore", "/", "--new-uidvalidity")
    server.deliver([numbered(number) for number in (7, 8)], ALICE)
    status, said = mbsync.sync()
    assert (status, "Unable to recover from UIDVALIDITY change" in said) == (1, True)
    assert copied(mbsync) == {1, 2, 3, 4, 5, 6}
    assert stored(server) == {1, 2, 3, 7, 8}


def test_a_client_that_gets_over_a_new_uidvalidity(
    start_dovecot: StartDovecot, make_mbsync: MakeMbsync, mailhaul: Mailhaul
) -> None:
    """It finds that enough of the messages are those that it knows, and goes on with their UIDs: new mail may
    not have one of them under the new UIDVALIDITY either."""
    server = start_dovecot()
    kept = set(range(1, 41))
    server.deliver([numbered(number) for number in sorted(kept)], ALICE)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    server.deliver([numbered(41)], ALICE)
    mbsync = make_mbsync(server.ports.imap, ALICE)
    assert mbsync.sync()[0] == 0
    shutil.rmtree(server.home(ALICE))
    mailhaul.run(config, "restore", "/", "--new-uidvalidity")
    assert mbsync.sync()[0] == 0
    assert copied(mbsync) == kept
    server.deliver([numbered(42)], ALICE)
    assert mbsync.sync() == (0, "")
    assert copied(mbsync) == stored(server) == kept | {42}


def numbered(number: int) -> bytes:
    return (
        f"From: jane@example.org\r\nMessage-ID: <{number}@example.org>\r\nSubject: number {number}\r\n"
        f"\r\n{number}\r\n"
    ).encode()


def copied(mbsync: Mbsync) -> set[int]:
    """The numbers of the messages in the client's copy of the INBOX."""
    files = [path for place in ("cur", "new") for path in (mbsync.copy / "INBOX" / place).iterdir()]
    return {int(path.read_text().split()[-1]) for path in files}


def stored(server: Dovecot) -> set[int]:
    """The numbers of the messages in the INBOX."""
    files = [path for place in ("cur", "new") for path in (server.maildir(ALICE) / place).iterdir()]
    return {int(path.read_text().split()[-1]) for path in files}


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
