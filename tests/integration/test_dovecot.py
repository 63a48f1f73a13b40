"""A real Dovecot is backed up while it runs, and restored into others: what do IMAP clients see then?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mailhaul.tests.corpora import corpus
from mailhaul.tests.integration.accounts import FLAGS, SIEVE, fill, message_files
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import (
    SeenAccount,
    SeenFolder,
    SeenMessage,
    differences,
    folder_differences,
    raised,
)
from mailhaul.tests.integration.servers.programs import both_servers, both_servers_with
from mailhaul.tests.integration.servers.settings import LAYOUTS

MARGIN = 10_000_000
ALICE, BOB, CAROL = "alice@example.org", "bob@example.net", "carol@example.org"
MAILBOX = f"/primary/user/{ALICE}"

StartDovecot = Callable[..., Dovecot]


def lowered(before: SeenAccount, after: SeenAccount) -> dict[str, tuple[int, int]]:
    """The folders whose HIGHESTMODSEQ went backwards, with what it was and became."""
    pairs = (
        (name, old.highestmodseq, after.folders[name].highestmodseq) for name, old in before.folders.items()
    )
    return {name: (old, new) for name, old, new in pairs if new < old}


def goes_on_above(before: SeenAccount, after: SeenAccount) -> bool:
    """Whether the UIDs of all folders go on far above those that were given out before."""
    return set(raised(before, after)) == set(before.folders) and min(raised(before, after).values()) >= MARGIN


def contents(messages: Mapping[int, SeenMessage]) -> Counter[SeenMessage]:
    """Messages without their UIDs, which the server gives in an order of its own."""
    return Counter(messages.values())


def without(account: SeenAccount, folder: str) -> SeenAccount:
    """An account but for one folder."""
    rest = {name: seen for name, seen in account.folders.items() if name != folder}
    return SeenAccount(rest, account.subscribed)


@both_servers_with(LAYOUTS, ["maildir++"])
def test_blank_server(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    old, new = start_dovecot(layout), start_dovecot(layout)
    fill(old, ALICE, mails)
    fill(old, BOB, mails[::-1])
    before = {user: old.view(user) for user in (ALICE, BOB)}
    files = {user: message_files(old.maildir(user)) for user in before}
    assert any("/new/" in f"/{name}" for name in files[ALICE])
    with old.login(ALICE) as client:
        client.open("INBOX", readonly=True)  # somebody reads while the backup runs
        mailhaul.run(mailhaul.configure(old), "backup")
    assert differences(before[ALICE], old.view(ALICE)) == [], "the backup changed the store"
    mailhaul.run(mailhaul.configure(old), "verify", "--data")

    report = mailhaul.run(mailhaul.configure(new), "restore", "/")
    assert report["restored"] == sum(map(len, files.values()))
    for user in before:
        after = new.view(user)
        assert differences(before[user], after) == []
        assert lowered(before[user], after) == {}
        assert goes_on_above(before[user], after)
        assert message_files(new.maildir(user)) == files[user]
        check_home(old.home(user), new.home(user))
    check_server_goes_on(new)


def check_home(old: Path, new: Path) -> None:
    """The sieve script is there, as active as it was, and the server may write beside it."""
    script = new / "sieve" / "main.sieve"
    assert script.read_bytes() == SIEVE
    assert (new / ".dovecot.sieve").readlink() == Path("sieve/main.sieve")
    assert script.stat().st_mtime_ns == (old / "sieve" / "main.sieve").stat().st_mtime_ns
    for place in (".", "sieve", "sieve/main.sieve", "Maildir"):
        one, other = (old / place).stat(), (new / place).stat()
        assert (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid), place


def check_server_goes_on(server: Dovecot) -> None:
    """New mail and new folders in a restored account continue where it was."""
    before = server.view(ALICE)
    server.deliver([b"Subject: new\r\n\r\nnew\r\n"], ALICE)
    with server.login(ALICE) as client:
        client.make_folder("Archive/later")
        client.open("Archive")
        client.flag([2], "+", "\\Flagged", "laterWord")
    after = server.view(ALICE)
    assert after.folders["INBOX"].messages.keys() - before.folders["INBOX"].messages == {
        before.folders["INBOX"].uidnext
    }
    validities = {folder.uidvalidity for folder in before.folders.values()}
    assert after.folders["Archive/later"].uidvalidity > max(validities)
    assert after.folders["Archive"].messages[2].flags == before.folders["Archive"].messages[2].flags | {
        "\\Flagged",
        "laterWord",
    }


def test_restore_in_place_changes_nothing(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    server = start_dovecot("fs")
    fill(server, ALICE, mails)
    before, files = server.view(ALICE), message_files(server.maildir(ALICE))
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    report = mailhaul.run(config, "restore", "/")
    assert (report["restored"], report["present"]) == (0, len(files))
    after = server.view(ALICE)
    assert differences(before, after) == []
    assert lowered(before, after) == {}
    assert raised(before, after) == {}
    assert message_files(server.maildir(ALICE)) == files


@both_servers
def test_client_with_memory(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """A client that knows QRESYNC asks for what is newer than the HIGHESTMODSEQ that it remembers. If that
    went backwards, it would not be told what changes after the restore."""
    old, new = start_dovecot(), start_dovecot()
    with old.login(ALICE) as client:
        client.make_folder("Archive")
        for mail in mails[:6]:
            client.save("Archive", mail)
        client.open("Archive")
        for _ in range(20):
            client.flag("1:*", "+", "\\Flagged")
            client.flag("1:*", "-", "\\Flagged")
        remembered = client.view_folder("Archive")
    mailhaul.run(mailhaul.configure(old), "backup")
    mailhaul.run(mailhaul.configure(new), "restore", "/")
    mailhaul.run(mailhaul.configure(new, doveadm=()), "restore", MAILBOX, "--as", CAROL)

    told = {}
    for user in (ALICE, CAROL):
        with new.login(user) as other:
            assert not [*folder_differences(remembered, other.view_folder("Archive"))]
            other.open("Archive")
            other.flag([2], "+", "\\Flagged")
            other.expunge([4])
        with new.login(user) as client:
            told[user] = client.resync("Archive", remembered.uidvalidity, remembered.highestmodseq)
    assert told[ALICE].flagged[2] == {"\\Flagged"}
    assert 4 in told[ALICE].vanished
    assert told[ALICE].highestmodseq > remembered.highestmodseq
    # Where the server's own command was not at hand the client misses both: the danger is real.
    assert (told[CAROL].flagged, told[CAROL].vanished) == ({}, frozenset())
    assert told[CAROL].highestmodseq < remembered.highestmodseq


def test_folder_that_was_deleted_under_doveadm(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """doveadm then tells of all the other folders and ends with an error: nothing is lost for these."""
    old, new = start_dovecot(), start_dovecot()
    with old.login(ALICE) as client:
        client.save("INBOX", mails[0])
        client.open("INBOX")
        for change in "+-" * 10:
            client.flag([1], change, "\\Flagged")
        before = client.view()
    deleted = ("sh", "-c", '"$0" "$@"; echo "Error: Mailbox Gone: Mailbox was deleted under us" >&2; exit 68')
    mailhaul.run(mailhaul.configure(old, doveadm=(*deleted, *old.doveadm)), "backup")
    mailhaul.run(mailhaul.configure(new), "restore", "/")
    after = new.view(ALICE)
    assert differences(before, after) == []
    assert lowered(before, after) == {}


@both_servers
def test_deleted_message(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    server = start_dovecot()
    fill(server, ALICE, mails)
    config = mailhaul.configure(server)
    before = server.view(ALICE)
    mailhaul.run(config, "backup")
    with server.login(ALICE) as client, server.login(ALICE) as watcher:
        client.open("INBOX")
        client.expunge([3])
        watcher.open("INBOX")
        left = watcher.look()
        assert mailhaul.run(config, "restore", f"{MAILBOX}/INBOX/3")["restored"] == 1
        assert watcher.look() == left + 1
    after = server.view(ALICE)
    new = check_one_came_back(before.folders["INBOX"], after.folders["INBOX"], 3)
    assert differences(without(before, "INBOX"), without(after, "INBOX")) == []

    report = mailhaul.run(config, "restore", f"{MAILBOX}/INBOX/3")
    assert (report["restored"], report["present"]) == (0, 1)
    assert differences(after, server.view(ALICE)) == []
    check_usable(server, new)


def check_usable(server: Dovecot, uid: int) -> None:
    """A restored message takes flags and can be removed again."""
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([uid], "+", "\\Answered", "anotherWord")
        assert {"\\Answered", "anotherWord"} < client.messages("INBOX")[uid].flags
        client.open("INBOX")
        client.expunge([uid])
        assert uid not in client.messages("INBOX")


def check_one_came_back(before: SeenFolder, after: SeenFolder, uid: int) -> int:
    """Message ``uid`` was removed and restored: it has a new UID, and all else is as it was. Returns it."""
    (new,) = after.messages.keys() - before.messages
    assert new >= before.uidnext
    assert after.messages[new] == before.messages[uid]
    assert after.messages | {uid: before.messages[uid]} == before.messages | {new: after.messages[new]}
    assert uid not in after.messages
    assert after.uidvalidity == before.uidvalidity
    assert after.highestmodseq > before.highestmodseq
    return new


@both_servers_with(LAYOUTS, ["maildir++"])
def test_deleted_folder(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    server = start_dovecot(layout)
    fill(server, ALICE, mails)
    config = mailhaul.configure(server)
    before = server.view(ALICE)
    mailhaul.run(config, "backup")
    with server.login(ALICE) as client:
        client.delete_folder("Archive/2024")
        client.delete_folder("Rock &- Roll")
        for folder in ("Archive/2024", "Rock &- Roll"):
            with pytest.raises(AssertionError, match="doesn't exist"):
                client.open(folder)
    # A folder takes those below it along; the path is told as people read it.
    mailhaul.run(config, "restore", f"{MAILBOX}/Archive/2024/", f"{MAILBOX}/Rock & Roll")
    after = server.view(ALICE)
    assert differences(before, after) == []
    assert lowered(before, after) == {}
    assert sorted(raised(before, after)) == ["Archive/2024", "Rock &- Roll"]
    assert min(raised(before, after).values()) >= MARGIN


@both_servers
def test_folder_with_other_mail(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """The same name is a folder of its own there: its keywords have other letters, its UIDs are taken."""
    old, new = start_dovecot("fs"), start_dovecot("fs")
    with old.login(ALICE) as client:
        client.make_folder("Projects")
        for number, mail in enumerate(mails[:8]):
            client.save("Projects", mail, FLAGS[number])
        messages = client.messages("Projects")
        wanted, sixth = contents(messages), messages[6]
    mailhaul.run(mailhaul.configure(old), "backup")

    with new.login(ALICE) as client:
        client.save("INBOX", mails[20], ("projectX",))
        client.make_folder("Projects")
        for mail, flags in zip(
            mails[9:12], [("own1",), ("own2", "projectX"), ("own3", "\\Seen")], strict=True
        ):
            client.save("Projects", mail, flags)
        before = client.view()
        # A client that stays is told of what comes.
        client.open("Projects")
        config = mailhaul.configure(new)
        assert mailhaul.run(config, "restore", f"{MAILBOX}/Projects/6")["restored"] == 1
        assert client.look() == 4
        report = mailhaul.run(config, "restore", f"{MAILBOX}/Projects")
        assert (report["restored"], report["present"]) == (7, 1)
        assert client.look() == 11

    after = new.view(ALICE)
    assert differences(without(before, "Projects"), without(after, "Projects")) == []
    theirs, ours = before.folders["Projects"], after.folders["Projects"]
    assert ours.uidvalidity == theirs.uidvalidity
    assert {uid: ours.messages[uid] for uid in theirs.messages} == theirs.messages
    added = {uid: message for uid, message in ours.messages.items() if uid not in theirs.messages}
    assert min(added) >= theirs.uidnext
    assert added[theirs.uidnext] == sixth
    assert contents(added) == wanted
    assert ours.uidnext == max(added) + 1
    assert ours.highestmodseq > theirs.highestmodseq


def test_other_user(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    server = start_dovecot()
    fill(server, ALICE, mails)
    server.deliver(mails[30:32], BOB)
    before = {user: server.view(user) for user in (ALICE, BOB)}
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup", MAILBOX)
    for user in (BOB, CAROL):
        mailhaul.run(config, "restore", MAILBOX, "--as", user)

    assert differences(before[ALICE], server.view(ALICE)) == []
    assert differences(before[ALICE], server.view(CAROL)) == []
    bob = server.view(BOB)
    # He had an INBOX, which keeps what it had; everything else is new to him.
    assert differences(without(before[ALICE], "INBOX"), without(bob, "INBOX")) == []
    had, has = before[BOB].folders["INBOX"], bob.folders["INBOX"]
    assert had.uidvalidity == has.uidvalidity
    assert {uid: has.messages[uid] for uid in had.messages} == had.messages
    added = {uid: message for uid, message in has.messages.items() if uid not in had.messages}
    assert contents(added) == contents(before[ALICE].folders["INBOX"].messages)


def test_mail_of_many_kinds(start_dovecot: StartDovecot, mailhaul: Mailhaul, shared: Path) -> None:
    """Real mail and the oddest that parsers are tested with, in the three ways that mail comes in."""
    samples = corpus(shared, "sample")
    tricky = corpus(shared, "tricky")
    old, new = start_dovecot(), start_dovecot()
    old.deliver(samples[:100], ALICE)
    with old.login(ALICE) as client:
        for folder, mails in (("Lists", samples[100:200]), ("Tricky", tricky[::3])):
            client.make_folder(folder)
            for number, mail in enumerate(mails):
                if mail:
                    client.save(folder, mail, FLAGS[number % len(FLAGS)])
    rest = samples[200:] + tricky
    old.drop(ALICE, [f"{1_000_000_000 + number}.{number}.mx" for number in range(len(rest))], rest)
    before, files = old.view(ALICE), message_files(old.maildir(ALICE))
    assert len(files) > 1000
    mailhaul.run(mailhaul.configure(old), "backup")
    mailhaul.run(mailhaul.configure(new), "restore", "/")
    assert differences(before, new.view(ALICE)) == []
    assert message_files(new.maildir(ALICE)) == files
