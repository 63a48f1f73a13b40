"""A restore into a server that is in use is taken back: sessions are told, no number is given twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from mailhaul.tests.integration.accounts import fill
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.programs import both_servers, both_servers_with

ALICE = "alice@example.org"
INBOX = f"/primary/user/{ALICE}/INBOX"

StartDovecot = Callable[..., Dovecot]


@both_servers
def test_a_session_sees_it_go(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    server = start_dovecot()
    server.deliver(mails[:4], ALICE)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.expunge([1, 2])
    server.deliver(mails[4:5], ALICE)
    before = server.view(ALICE).folders["INBOX"]
    restored = mailhaul.run(config, "restore", INBOX)
    assert (restored["restored"], restored["present"], restored["undoable"]) == (2, 2, True)
    remembered = server.view(ALICE).folders["INBOX"]
    first, second = sorted(remembered.messages.keys() - before.messages.keys())
    with server.login(ALICE) as client, server.login(ALICE) as watcher:
        client.open("INBOX")
        client.flag([second], "+", "\\Flagged")
        watcher.open("INBOX")
        with watcher.idle() as told:
            planned = mailhaul.run(config, "restore", "--undo", "latest", "--dry-run", status=3)
            undone = mailhaul.run(config, "restore", "--undo", restored["restore"], status=3)
            assert told() == b"* 4 EXPUNGE"
    assert planned["removed"] == undone["removed"] == 1
    assert [(skip["path"], skip["reason"]) for skip in undone["skipped"]] == [
        (f"{INBOX}/{second}", "touched")
    ]
    after = server.view(ALICE).folders["INBOX"]
    assert after.uidvalidity == before.uidvalidity
    assert after.uidnext == remembered.uidnext
    assert after.highestmodseq > remembered.highestmodseq
    assert {uid: message for uid, message in after.messages.items() if uid != second} == before.messages
    with server.login(ALICE) as client:
        changes = client.resync("INBOX", remembered.uidvalidity, remembered.highestmodseq)
    assert changes.vanished == {first}

    # What was taken back comes back as new mail does, as often as one likes.
    again = mailhaul.run(config, "restore", INBOX)
    assert (again["restored"], again["present"]) == (1, 3)
    last = server.view(ALICE).folders["INBOX"]
    (uid,) = last.messages.keys() - after.messages.keys()
    assert uid > second
    assert last.messages[uid] == remembered.messages[first]


@both_servers_with(["maildir++", "fs", "control-index"], ["maildir++"])
def test_folders_and_mailboxes_that_were_not_there(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    """They go, unless mail has come since; what a user has done since stays."""
    server = start_dovecot(layout)
    fill(server, ALICE, mails)
    config = mailhaul.configure(server, **server.apart)
    mailhaul.run(config, "backup")
    whole = server.view(ALICE)
    with server.login(ALICE) as client:
        for folder in ("Archive/2024/Q1", "Archive/2024", "with space"):
            client.delete_folder(folder)
    before = server.view(ALICE)
    restored = mailhaul.run(config, "restore", "/")
    assert server.view(ALICE).folders.keys() == whole.folders.keys()
    with server.login(ALICE) as client:
        client.save("with space", mails[0], ("\\Seen",))
    undone = mailhaul.run(config, "restore", "--undo", "latest")
    assert undone["removed"] == restored["restored"] > 0
    after = server.view(ALICE)
    assert after.folders.keys() - before.folders.keys() == {"with space"}
    assert len(after.folders["with space"].messages) == 1
    for name, seen in before.folders.items():
        assert after.folders[name].messages == seen.messages

    shutil.rmtree(server.home(ALICE))
    for place in ("control", "index"):
        shutil.rmtree(server.place / place / ALICE, ignore_errors=True)
    back = mailhaul.run(config, "restore", "/")
    assert server.maildir(ALICE).exists()
    undone = mailhaul.run(config, "restore", "--undo", back["restore"])
    assert undone["removed"] == back["restored"]
    assert not server.maildir(ALICE).exists()
