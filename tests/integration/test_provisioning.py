"""Folders that a restore made before their mail came back: the server opens, new mail comes, and the old mail
comes in under its old UIDs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from mailhaul.tests.integration.accounts import fill, message_files
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import SeenAccount
from mailhaul.tests.integration.servers.mbsync import Mbsync
from mailhaul.tests.integration.servers.programs import both_servers, both_servers_with

ALICE = "alice@example.org"
INBOX = f"/primary/user/{ALICE}/INBOX"
MARGIN = 10_000_000
MANY = 2100

StartDovecot = Callable[..., Dovecot]


def lose(server: Dovecot) -> None:
    """All that the server has of an account."""
    shutil.rmtree(server.home(ALICE))
    for place in ("control", "index"):
        shutil.rmtree(server.place / place / ALICE, ignore_errors=True)


def provisioned(server: Dovecot, mailhaul: Mailhaul, config: Path, before: SeenAccount) -> SeenAccount:
    """Make the folders, and look at them as a client does; mail comes."""
    report = mailhaul.run(config, "restore", "/", "--provision-only")
    assert (report["restored"], report["skipped"]) == (0, [])
    assert message_files(server.maildir(ALICE)) == {}
    seen = server.view(ALICE)
    assert seen.subscribed == before.subscribed
    assert seen.folders.keys() == before.folders.keys()
    for name, folder in seen.folders.items():
        old = before.folders[name]
        assert (folder.uidvalidity, folder.messages) == (old.uidvalidity, {})
        assert folder.uidnext >= old.uidnext + MARGIN
    return seen


@both_servers_with(["maildir++", "fs", "control-index"], ["maildir++"])
def test_a_provisioned_mailbox_gets_its_mail(
    start_dovecot: StartDovecot,
    make_mbsync: Callable[[int, str], Mbsync],
    mailhaul: Mailhaul,
    mails: tuple[bytes, ...],
    layout: str,
) -> None:
    server = start_dovecot(layout)
    fill(server, ALICE, mails)
    config = mailhaul.configure(server, **server.apart)
    mailhaul.run(config, "backup")
    before = server.view(ALICE)
    # What clients have seen last: one that keeps copies, and one that knows QRESYNC.
    mbsync = make_mbsync(server.ports.imap, ALICE)
    assert mbsync.sync()[0] == 0
    copy = mbsync.remembered()
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([3], "-", "\\Seen")
        gone = client.save("INBOX", mails[3])
        remembered = client.view("INBOX").folders["INBOX"]
    lose(server)

    empty = provisioned(server, mailhaul, config, before)
    assert (server.home(ALICE) / ".dovecot.sieve").is_symlink()
    assert all(
        seen_folder.highestmodseq > before.folders[name].highestmodseq
        for name, seen_folder in empty.folders.items()
    )
    server.deliver(mails[20:22], ALICE)
    meanwhile = server.view(ALICE)
    assert min(meanwhile.folders["INBOX"].messages) > MARGIN

    report = mailhaul.run(config, "restore", "/")
    assert (report["skipped"], report["folders_without_modseq"]) == ([], 0)
    assert report["restored"] == sum(len(one.messages) for one in before.folders.values())
    after = server.view(ALICE)
    for name, folder in after.folders.items():
        new = meanwhile.folders[name]
        assert folder.messages == before.folders[name].messages | new.messages
        assert folder.uidvalidity == new.uidvalidity
        assert folder.uidnext >= new.uidnext
        assert folder.highestmodseq >= new.highestmodseq
    with server.login(ALICE) as client:
        known = ",".join(map(str, remembered.messages))
        told = client.resync("INBOX", remembered.uidvalidity, remembered.highestmodseq, known)
    assert told.vanished == {gone}
    assert "\\Seen" in told.flagged[3]
    assert mbsync.sync()[0] == 0
    kept = {name for name in copy if "/cur/" in name or "/new/" in name}
    assert kept <= mbsync.remembered().keys()

    # What was given back is not free a second time.
    first = min(before.folders["INBOX"].messages)
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.expunge([first])
    assert mailhaul.run(config, "restore", INBOX)["restored"] == 1
    again = server.view(ALICE).folders["INBOX"].messages
    assert first not in again
    assert max(again) >= after.folders["INBOX"].uidnext


@both_servers
def test_in_parts_while_somebody_looks(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """A message first, then the rest: those with lower UIDs have theirs still free, the others have not. Who
    has the folder open has to come back."""
    server = start_dovecot()
    server.deliver(mails[:5], ALICE)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    before = server.view(ALICE)
    lose(server)
    provisioned(server, mailhaul, config, before)
    with server.login(ALICE) as watcher:
        watcher.open("INBOX")
        mailhaul.run(config, "restore", f"{INBOX}/3")
        assert "please relogin" in watcher.bye()
    messages = before.folders["INBOX"].messages
    assert server.view(ALICE).folders["INBOX"].messages == {3: messages[3]}

    report = mailhaul.run(config, "restore", INBOX)
    assert (report["restored"], report["present"], report["skipped"]) == (4, 1, [])
    after = server.view(ALICE).folders["INBOX"].messages
    assert {uid: message for uid, message in after.items() if uid < MARGIN} == {
        uid: messages[uid] for uid in (1, 2, 3)
    }
    assert sorted(seen_message.digest for seen_message in after.values()) == sorted(
        one.digest for one in messages.values()
    )


def test_a_large_folder(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    """It is filled in one step, so that nobody waits for its lock; who has it open has to come back."""
    server = start_dovecot()
    server.deliver(mails[:1], ALICE)
    server.drop(
        ALICE,
        [f"{1_600_000_000 + number}.M{number}P1.host" for number in range(MANY)],
        [b"Subject: %d\n\nhi\n" % number for number in range(MANY)],
    )
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag(f"2:{MANY}", "+", "\\Seen")  # and one lies in new/
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    before = server.view(ALICE).folders["INBOX"].messages
    lose(server)
    mailhaul.run(config, "restore", "/", "--provision-only")
    server.deliver(mails[1:2], ALICE)
    with server.login(ALICE) as watcher, server.login(ALICE) as client:
        client.open("INBOX")
        (new,) = client.uids()
        client.flag([new], "+", "\\Flagged")
        number = (server.maildir(ALICE) / "cur").stat().st_ino
        watcher.open("INBOX")
        with watcher.idle() as told:
            report = mailhaul.run(config, "restore", "/")
            assert b"please relogin" in told()
        assert (report["restored"], report["skipped"]) == (MANY + 1, [])
        assert (server.maildir(ALICE) / "cur").stat().st_ino != number, "in one step"
        assert "please relogin" in client.bye()
    server.deliver(mails[2:3], ALICE)
    after = server.view(ALICE).folders["INBOX"].messages
    assert {uid: message for uid, message in after.items() if uid < MARGIN} == before
    assert after[new].flags == {"\\Flagged"}
    assert len(after) == MANY + 3


def test_a_client_that_looks_in_between(
    start_dovecot: StartDovecot,
    make_mbsync: Callable[[int, str], Mbsync],
    mailhaul: Mailhaul,
    mails: tuple[bytes, ...],
) -> None:
    """It throws its copy away, and asks for nothing below the highest UID that it has seen. As new messages
    the mail comes back to it, too."""
    server = start_dovecot()
    server.deliver(mails[:5], ALICE)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    before = server.view(ALICE)
    mbsync = make_mbsync(server.ports.imap, ALICE)
    assert mbsync.sync()[0] == 0
    assert copied(mbsync) == 5
    lose(server)
    provisioned(server, mailhaul, config, before)
    server.deliver(mails[20:21], ALICE)
    assert mbsync.sync()[0] == 0
    assert copied(mbsync) == 1

    report = mailhaul.run(config, "restore", "/", "--new-uidvalidity")
    assert (report["restored"], report["skipped"]) == (5, [])
    after = server.view(ALICE).folders["INBOX"]
    assert after.uidvalidity == before.folders["INBOX"].uidvalidity
    assert min(after.messages) > MARGIN
    assert mbsync.sync()[0] == 0
    assert copied(mbsync) == len(after.messages) == 6


def copied(mbsync: Mbsync) -> int:
    """How many messages a client has."""
    return sum("/cur/" in name or "/new/" in name for name in mbsync.remembered())


def test_a_backup_of_empty_folders_reserves_nothing(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """What a UID list says of free UIDs is true for that list only."""
    server = start_dovecot()
    server.deliver(mails[:2], ALICE)
    config = mailhaul.configure(server)
    first = mailhaul.run(config, "backup")["run"]
    before = server.view(ALICE)
    lose(server)
    provisioned(server, mailhaul, config, before)
    mailhaul.run(config, "backup", status=3)  # it tells that all mail is gone
    lose(server)
    mailhaul.run(config, "restore", "/")
    assert b"Mailhaul" not in (server.maildir(ALICE) / "dovecot-uidlist").read_bytes()
    mailhaul.run(config, "restore", "/", "--at", first)
    assert min(server.view(ALICE).folders["INBOX"].messages) > MARGIN
