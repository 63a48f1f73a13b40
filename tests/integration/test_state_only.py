"""Flags, keywords, places and subscriptions of a moment, given back to a mailbox that is in use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mailhaul.tests.integration.accounts import fill, message_files
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import SeenAccount, differences
from mailhaul.tests.integration.servers.programs import both_servers, both_servers_with

ALICE = "alice@example.org"
MAILBOX = f"/primary/user/{ALICE}"
INBOX = f"{MAILBOX}/INBOX"
MANY = tuple(f"word{number:02}" for number in range(26))

StartDovecot = Callable[..., Dovecot]


def state(mailhaul: Mailhaul, config: Path, *arguments: str, status: int = 0) -> Any:
    return mailhaul.run(config, "restore", "--state-only", *arguments, status=status)


def marks(account: SeenAccount) -> list[tuple[str, str, frozenset[str]]]:
    """Every message by folder and content, with its flags, whatever its UID."""
    return sorted(
        (name, message.digest, message.flags)
        for name, folder in account.folders.items()
        for message in folder.messages.values()
    )


def contents(server: Dovecot) -> list[tuple[str, int]]:
    """Every message file by content and time."""
    return sorted((file.digest, file.mtime_ns) for file in message_files(server.maildir(ALICE)).values())


@both_servers_with(["maildir++", "fs", "control-index"], ["maildir++"])
def test_as_it_was(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    """A client has lost all flags, moved mail away, deleted a folder and its subscription; another one waits
    and is told; one that comes back (QRESYNC) misses nothing."""
    server = start_dovecot(layout)
    fill(server, ALICE, mails)
    config = mailhaul.configure(server, **server.apart)
    server.view(ALICE)  # what was new is seen by somebody
    mailhaul.run(config, "backup")
    before = server.view(ALICE)
    files = contents(server)
    with server.login(ALICE) as client:
        client.make_folder("Later")
        client.open("INBOX")
        client.flag("1:*", "", "\\Seen")
        client.move([3, 4], "Later")
        client.open("Archive/2024")
        client.flag("1:*", "-", "\\Seen", "\\Flagged", "projectX", "NonJunk", "$Forwarded")
        client.move(client.uids(), "Later")
        client.open("INBOX")
        client.delete_folder("Archive/2024")
        client.unsubscribe("Archive")
        remembered = client.view("INBOX").folders["INBOX"]
        later = client.view("Later").folders["Later"]
    planned = state(mailhaul, config, MAILBOX, "--flags", "exact", "--dry-run")
    assert contents(server) == files
    with server.login(ALICE) as watcher:
        watcher.open("INBOX")
        with watcher.idle() as told:
            report = state(mailhaul, config, MAILBOX, "--flags", "exact")
            assert any(b" FETCH (" in told() for _ in range(9))
    assert report["skipped"] == []
    assert report["moved"] == 2 + len(before.folders["Archive/2024"].messages)
    keys = ("restored", "flagged", "moved", "present")
    assert [planned[key] for key in keys] == [report[key] for key in keys]
    assert (planned["subscriptions"], report["files"]) == (1, 1)
    after = server.view(ALICE)
    assert marks(after) == marks(before)
    assert after.subscribed == before.subscribed | {"Later"}
    assert contents(server) == files
    for name in before.folders.keys() - {"Archive/2024"}:
        assert after.folders[name].uidvalidity == before.folders[name].uidvalidity
        assert after.folders[name].highestmodseq >= before.folders[name].highestmodseq
    stayed = {uid: message for uid, message in before.folders["INBOX"].messages.items() if uid not in (3, 4)}
    assert {
        uid: seen_message for uid, seen_message in after.folders["INBOX"].messages.items() if uid in stayed
    } == stayed
    with server.login(ALICE) as client:
        known = ",".join(map(str, remembered.messages))
        told_late = client.resync("INBOX", remembered.uidvalidity, remembered.highestmodseq, known)
    with server.login(ALICE) as client:
        known = ",".join(map(str, later.messages))
        gone = client.resync("Later", later.uidvalidity, later.highestmodseq, known)
    assert gone.vanished == later.messages.keys()
    changed = {uid for uid, one in remembered.messages.items() if one.flags != stayed[uid].flags}
    assert changed
    assert {uid: told_late.flagged.get(uid) for uid in changed} == {uid: stayed[uid].flags for uid in changed}

    again = state(mailhaul, config, MAILBOX, "--flags", "exact")
    assert (again["restored"], again["skipped"]) == (0, [])
    assert differences(after, server.view(ALICE)) == []


@both_servers
def test_flag_by_flag(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    """What was done since the newest backup stays; what was done before that, and after the moment, is taken
    back. Where there is no such backup, flags are put together. No message is marked for deletion."""
    server = start_dovecot()
    server.deliver(mails[:5], ALICE)
    config = mailhaul.configure(server)
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([1, 2], "+", "\\Seen", "work")
        client.flag([4], "+", "\\Deleted")
    first = mailhaul.run(config, "backup")["run"]
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([1, 2, 4], "-", "\\Seen", "work", "\\Deleted")
        client.flag([3], "+", "\\Seen", "other")
        client.flag([5], "+", "\\Deleted")
    # Without another backup nobody knows what of this was meant.
    assert state(mailhaul, config, INBOX, "--at", first)["flagged"] == 3
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([1, 2], "-", "\\Seen", "work")
        client.flag([5], "+", "\\Deleted")
    assert flags(server) == [set(), set(), {"\\Seen", "other"}, set(), {"\\Deleted"}]
    mailhaul.run(config, "backup")
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([1], "+", "\\Answered", "WORK")
        client.flag([2], "+", "\\Flagged")
        client.flag([3], "-", "other")
    report = state(mailhaul, config, MAILBOX, "--at", first)
    assert report["flagged"] == 4
    assert flags(server) == [
        {"\\Seen", "\\Answered", "work"},
        {"\\Seen", "work", "\\Flagged"},
        set(),
        set(),
        set(),
    ]
    assert state(mailhaul, config, MAILBOX, "--at", first, "--flags", "exact")["flagged"] == 3
    assert flags(server) == [{"\\Seen", "work"}, {"\\Seen", "work"}, set(), {"\\Deleted"}, set()]


def flags(server: Dovecot) -> list[set[str]]:
    """Of the messages in the INBOX."""
    return [set(message.flags) for _, message in sorted(server.view(ALICE).folders["INBOX"].messages.items())]


@both_servers
def test_keywords_for_which_there_are_no_letters(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """The server is asked for them, and told: of messages that stay, that come back, and in a folder that is
    made anew. Without it that is told."""
    server = start_dovecot()
    with server.login(ALICE) as client:
        client.make_folder("Other")
        for mail in mails[:3]:
            client.save("INBOX", mail)
            client.save("Other", mail + b"other")
        for folder in ("INBOX", "Other"):
            client.open(folder)
            client.flag([1], "+", *MANY)
            client.flag([2, 3], "+", "word03", "beyondOne")
            client.flag([3], "+", "beyond&Two")
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    before = server.view(ALICE)
    assert before.folders["Other"].messages[3].flags >= {"beyondOne", "beyond&Two", "word03"}
    with server.login(ALICE) as client:
        client.make_folder("Away")
        client.open("INBOX")
        client.flag([2], "-", "beyondOne", "word03")
        client.flag([1], "+", "beyondOne")
        client.move([3], "Away")
        client.open("Other")
        client.move([1, 2, 3], "Away")
        client.open("Away")
        client.delete_folder("Other")
        client.flag("1:*", "", "\\Seen")
    mute = mailhaul.configure(server, doveadm=())
    report = state(mailhaul, mute, INBOX, "--flags", "exact", "--dry-run")
    assert {skip["reason"] for skip in report["skipped"]} == {"keyword"}
    report = state(mailhaul, config, MAILBOX, "--flags", "exact")
    assert (report["moved"], report["skipped"]) == (4, [])
    after = server.view(ALICE)
    assert marks(after) == marks(before)

    # A folder that is absent in a mailbox that is there.
    with server.login(ALICE) as client:
        client.delete_folder("Other")
    assert mailhaul.run(config, "restore", f"{MAILBOX}/Other")["skipped"] == []
    assert server.view(ALICE).folders["Other"].messages == before.folders["Other"].messages


def test_what_was_removed_and_what_is_the_same(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """A message that was expunged is told, and nothing else is taken for it; a copy that came since stays; a
    file that another program has put elsewhere is known by its content; of a folder that was renamed nothing
    moves."""
    server = start_dovecot()
    with server.login(ALICE) as client:
        for number in (0, 1, 2, 2):
            client.save("INBOX", mails[number])
        client.make_folder("Old")
        client.save("Old", mails[3], ("\\Flagged",))
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.expunge([1])
        client.make_folder("Copies")
        client.copy([2], "Copies")
        client.move([3], "Copies")
        client.rename_folder("Old", "New")
        client.open("New")
        client.flag([1], "-", "\\Flagged")
        uid = client.save("Copies", mails[2])
        client.open("Copies")
        client.expunge([uid - 1])
    report = state(mailhaul, config, MAILBOX, status=3)
    ((path, kind),) = [(skip["path"], skip["kind"]) for skip in report["skipped"]]
    assert (path, kind) == (INBOX, "hard")
    assert (report["moved"], report["flagged"]) == (1, 1)
    after = server.view(ALICE)
    assert len(after.folders["INBOX"].messages) == 3
    assert len(after.folders["Copies"].messages) == 1
    assert [message.flags for message in after.folders["New"].messages.values()] == [{"\\Flagged"}]
    assert "Old" not in after.folders


def test_a_folder_whose_name_the_server_has_forgotten(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """With LAYOUT=index nobody but the server can give it one: nothing goes where nobody would find it."""
    server = start_dovecot("index")
    with server.login(ALICE) as client:
        client.make_folder("Work")
        client.save("Work", mails[0], ("\\Flagged",))
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    before = server.view(ALICE)
    with server.login(ALICE) as client:
        client.open("Work")
        client.move([1], "INBOX")
        client.delete_folder("Work")
    report = state(mailhaul, config, MAILBOX, status=1)
    assert [(skip["path"], skip["reason"]) for skip in report["skipped"]] == [(f"{MAILBOX}/Work", "folder")]
    assert len(server.view(ALICE).folders["INBOX"].messages) == 1
    with server.login(ALICE) as client:
        client.make_folder("Work")
    assert state(mailhaul, config, MAILBOX)["moved"] == 1
    assert marks(server.view(ALICE)) == marks(before)
