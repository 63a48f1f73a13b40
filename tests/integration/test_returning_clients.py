"""A store went on living after its last backup, was lost, and is restored: what are its clients told?

A QRESYNC client asks for what has changed and vanished since the HIGHESTMODSEQ that it remembers; a POP3
client compares names; every client trusts that a UID is given out once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence

from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import Changes, SeenFolder
from mailhaul.tests.integration.servers.programs import both_servers, both_servers_with

MARGIN = 10_000_000
ALICE, BOB = "alice@example.org", "bob@example.org"

StartDovecot = Callable[..., Dovecot]


def fill(server: Dovecot, folders: Iterable[str], mails: Sequence[bytes]) -> None:
    """Five messages in each of these folders, one of them flagged."""
    with server.login(ALICE) as client:
        for folder in folders:
            if folder != "INBOX":
                client.make_folder(folder)
            for number, mail in enumerate(mails[:5]):
                client.save(folder, mail, ("\\Answered",) if number == 4 else ())


def live_on(server: Dovecot, folders: Iterable[str], mails: Sequence[bytes]) -> dict[str, SeenFolder]:
    """Two more messages, three flags: what a client that was there last remembers."""
    with server.login(ALICE) as client:
        for folder in folders:
            for mail in mails[5:7]:
                client.save(folder, mail)
            client.open(folder)
            client.flag([1, 2, 3], "+", "\\Flagged")
        return client.view(*folders).folders


def told(server: Dovecot, folder: str, remembered: SeenFolder) -> Changes:
    with server.login(ALICE) as client:
        known = ",".join(map(str, remembered.messages))
        return client.resync(folder, remembered.uidvalidity, remembered.highestmodseq, known)


def after(remembered: SeenFolder, changes: Changes) -> dict[int, frozenset[str]]:
    """The flags that a client shows, by UID, which has remembered a folder and is told of changes."""
    shown = {uid: message.flags for uid, message in remembered.messages.items()} | changes.flagged
    return {uid: flags for uid, flags in shown.items() if uid not in changes.vanished}


def shown(server: Dovecot, folder: str) -> dict[int, frozenset[str]]:
    """The flags that a client without a memory shows."""
    with server.login(ALICE) as client:
        return {uid: message.flags for uid, message in client.messages(folder).items()}


@both_servers_with(["maildir++", "control-index"], ["maildir++", "control-index"])
def test_a_lost_mailbox(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    server = start_dovecot(layout)
    folders = ("INBOX", "Work", "empty")
    fill(server, ("INBOX", "Work"), mails)
    with server.login(ALICE) as client:
        client.make_folder("empty")
    config = mailhaul.configure(server, **server.apart)
    mailhaul.run(config, "backup")
    remembered = live_on(server, folders[:2], mails)
    with server.login(ALICE) as client:
        for mail in mails[:2]:
            client.save("empty", mail)
        remembered |= client.view("empty").folders
        client.make_folder("Later")
        later = client.uidvalidity("Later")
    lose(server)

    report = mailhaul.run(config, "restore", "/")
    assert (report["skipped"], report["folders_without_modseq"]) == ([], 0)
    shown(server, "Work")  # another client comes first
    for folder in folders:
        changes = told(server, folder, remembered[folder])
        kept = {1, 2, 3, 4, 5} if folder != "empty" else set()
        assert changes.vanished == remembered[folder].messages.keys() - kept, folder
        assert changes.flagged.keys() == kept
        assert after(remembered[folder], changes) == shown(server, folder)
        assert changes.highestmodseq > remembered[folder].highestmodseq
    # What comes now has numbers that nobody has seen, and the next return is told as it should be.
    with server.login(ALICE) as client:
        uid = client.save("INBOX", mails[7])
        seen = client.view_folder("INBOX")
        client.make_folder("Later")
        assert client.uidvalidity("Later") > later
    assert uid >= remembered["INBOX"].uidnext - 2 + MARGIN
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.expunge([2])
        client.flag([4], "+", "\\Seen")
    changes = told(server, "INBOX", seen)
    assert changes.vanished == {2}
    assert changes.flagged == {4: {"\\Seen"}}


def lose(server: Dovecot) -> None:
    """All that the server has of an account."""
    shutil.rmtree(server.home(ALICE))
    for place in ("control", "index"):
        shutil.rmtree(server.place / place / ALICE, ignore_errors=True)


@both_servers
def test_a_lost_folder(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    """It comes back into a mailbox that its server uses meanwhile; the other folders are as they were."""
    server = start_dovecot()
    fill(server, ("INBOX", "Work/2024"), mails)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    remembered = live_on(server, ("INBOX", "Work/2024"), mails)
    with server.login(ALICE) as client:
        client.delete_folder("Work/2024")
        client.open("INBOX")
        report = mailhaul.run(config, "restore", f"/primary/user/{ALICE}/Work/2024")
    assert (report["restored"], report["folders_without_modseq"]) == (5, 0)
    changes = told(server, "Work/2024", remembered["Work/2024"])
    assert changes.vanished == {6, 7}
    assert after(remembered["Work/2024"], changes) == shown(server, "Work/2024")
    assert told(server, "INBOX", remembered["INBOX"]) == Changes(
        {}, frozenset(), remembered["INBOX"].highestmodseq
    )


def test_lost_twice(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    """Before the next backup: what the first restore gave out is recorded nowhere in the mail's backup."""
    server = start_dovecot()
    fill(server, ("INBOX",), mails)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    for _ in range(2):
        live_on(server, ("INBOX",), mails)
        lose(server)
        mailhaul.run(config, "restore", "/")
    remembered = live_on(server, ("INBOX",), mails)["INBOX"]
    lose(server)
    mailhaul.run(config, "restore", "/")
    changes = told(server, "INBOX", remembered)
    assert after(remembered, changes) == shown(server, "INBOX")
    with server.login(ALICE) as client:
        assert client.save("INBOX", mails[7]) > max(remembered.messages)


@both_servers
def test_another_server(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    """The disk is gone, the mail comes back to another host: by ``--to``, as the runbook says."""
    old, new = start_dovecot(), start_dovecot()
    fill(old, ("INBOX",), mails)
    mailhaul.run(mailhaul.configure(old), "backup")
    remembered = live_on(old, ("INBOX",), mails)["INBOX"]
    old.stop()
    target = ("--staging", mailhaul.staging, "--to", f"maildir:{new.template}")
    mailhaul.run(None, "restore", "/", *target, "--doveadm", " ".join(new.doveadm))
    changes = told(new, "INBOX", remembered)
    assert changes.vanished == {6, 7}
    assert after(remembered, changes) == shown(new, "INBOX")
    assert changes.highestmodseq > remembered.highestmodseq


@both_servers
def test_without_doveadm(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    """The restore says so, and a client keeps what is gone; with a new UIDVALIDITY it reads all anew."""
    server = start_dovecot()
    fill(server, ("INBOX", "Work"), mails)
    config = mailhaul.configure(server, doveadm=())
    mailhaul.run(config, "backup")
    names = server.pop3_names(ALICE)
    remembered = live_on(server, ("INBOX", "Work"), mails)
    lose(server)
    assert mailhaul.run(config, "restore", "/")["folders_without_modseq"] == 2
    assert server.pop3_names(ALICE) == names
    changes = told(server, "INBOX", remembered["INBOX"])
    assert (changes.flagged, changes.vanished) == ({}, frozenset())

    lose(server)
    report = mailhaul.run(config, "restore", "/", "--new-uidvalidity")
    assert report["folders_without_modseq"] == 0
    with server.login(ALICE) as client:
        validities = {folder: client.uidvalidity(folder) for folder in remembered}
    assert len({*validities.values(), *(seen_folder.uidvalidity for seen_folder in remembered.values())}) == 4
    assert all(validities[folder] > one.uidvalidity for folder, one in remembered.items())
    assert shown(server, "INBOX").keys() == {1, 2, 3, 4, 5}
    # POP3 names are made of UIDVALIDITY and UID: none of them may stand for another message.
    assert not set(names) & set(server.pop3_names(ALICE))
    with server.login(ALICE) as client:
        client.make_folder("Later")
        assert client.uidvalidity("Later") > max(validities.values())


def test_an_index_that_is_elsewhere(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """The server never looks at what was written for it: then the restore says so."""
    server = start_dovecot("index-elsewhere")
    fill(server, ("INBOX", "Work"), mails)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    lose(server)
    report = mailhaul.run(config, "restore", "/", status=3)
    (notice,) = report["skipped"]
    assert (notice["reason"], f"{server.home(ALICE)}/index/.INBOX" in notice["detail"]) == ("doveadm", True)
    assert (report["restored"], report["folders_without_modseq"]) == (10, 2)
