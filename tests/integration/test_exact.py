"""Mailboxes that become just as they were while a server uses them, a warm standby, and the way back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import SeenAccount
from mailhaul.tests.integration.servers.programs import both_servers, both_servers_with

ALICE = "alice@example.org"
COUNTS = ("restored", "flagged", "moved", "aside")

StartDovecot = Callable[..., Dovecot]
Mail = dict[str, Counter[tuple[str, frozenset[str]]]]


def mail_of(account: SeenAccount) -> Mail:
    """The messages of each folder, each by its content and its flags."""
    return {
        name: Counter((message.digest, message.flags - {"\\Recent"}) for message in folder.messages.values())
        for name, folder in account.folders.items()
    }


def without_aside(mail: Mail) -> Mail:
    return {name: some for name, some in mail.items() if not name.startswith("Set aside ")}


def contents(mail: Mail) -> Counter[str]:
    return Counter(digest for some in mail.values() for digest, _ in some.elements())


@both_servers_with(["maildir++", "fs", "control-index"], ["maildir++"])
def test_as_it_was_and_back(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    server = start_dovecot(layout)
    with server.login(ALICE) as client:
        for folder in ("Sent", "Work", "Work/2024"):
            client.make_folder(folder)
    server.deliver(mails[:5], ALICE)
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([1, 2], "+", "\\Seen", "projectX")
        client.save("Sent", mails[5], ("\\Seen",))
        client.save("Work/2024", mails[6])
    config = mailhaul.configure(server, **server.apart)
    mailhaul.run(config, "backup")
    then = mail_of(server.view(ALICE))

    # What a user does, and does wrong.
    server.deliver(mails[7:9], ALICE)
    with server.login(ALICE) as client:
        client.make_folder("New")
        client.save("New", mails[9], ("\\Flagged", "projectY"))
        client.open("INBOX")
        client.flag([1], "-", "\\Seen", "projectX")
        client.flag([3], "+", "\\Answered", "projectZ")
        client.move([2], "Sent")
        client.expunge([4])
        client.delete_folder("Work/2024")
    seen = server.view(ALICE)
    before = mail_of(seen)
    planned = mailhaul.run(config, "restore", "/", "--exact", "--dry-run")
    with server.login(ALICE) as watcher:
        watcher.open("INBOX")
        done = mailhaul.run(config, "restore", "/", "--exact")
        assert watcher.look() == 5
    assert [planned[count] for count in COUNTS] == [done[one] for one in COUNTS] == [2, 2, 1, 3]
    after = server.view(ALICE)
    day = datetime.now(UTC).date().isoformat()
    assert without_aside(mail_of(after)) == then
    assert {f"Set aside {day}/INBOX", f"Set aside {day}/New"} <= after.folders.keys()
    assert mail_of(after)[f"Set aside {day}/New"] == before["New"]
    assert not contents(before) - contents(mail_of(after))
    for name, old in seen.folders.items():
        if name in after.folders:
            new = after.folders[name]
            assert new.uidvalidity == old.uidvalidity
            assert new.uidnext >= old.uidnext
            assert new.highestmodseq >= old.highestmodseq

    again = mailhaul.run(config, "restore", "/", "--exact")
    assert [again[one] for one in COUNTS] == [0, 0, 0, 0]
    assert server.view(ALICE) == after

    # Mail that came since stays where it came; all else is as before.
    server.deliver(mails[10:11], ALICE)
    mailhaul.run(config, "restore", "--undo", again["restore"])
    undone = mailhaul.run(config, "restore", "--undo", done["restore"])
    assert (undone["removed"], undone["skipped"]) == (2, [])
    back = mail_of(server.view(ALICE))
    (came,) = (back["INBOX"] - before["INBOX"]).elements()
    back["INBOX"][came] -= 1
    back["INBOX"] += Counter()
    assert {name: some for name, some in back.items() if some or name in before} == before


@both_servers
def test_state_is_taken_back(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    server = start_dovecot()
    server.deliver(mails[:4], ALICE)
    with server.login(ALICE) as client:
        client.make_folder("Kept")
        client.open("INBOX")
        client.flag([1, 2, 3], "+", "\\Seen")
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([1, 2], "-", "\\Seen")
        client.flag([1], "+", "projectX")
        client.move([4], "Kept")
    before = mail_of(server.view(ALICE))
    done = mailhaul.run(config, "restore", "/", "--state-only")
    assert (done["flagged"], done["moved"], done["undoable"]) == (2, 1, True)
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([2], "+", "\\Flagged")
    undone = mailhaul.run(config, "restore", "--undo", "latest", status=3)
    assert (undone["flagged"], undone["moved"], undone["removed"]) == (1, 1, 0)
    assert [skip["path"] for skip in undone["skipped"]] == [f"/primary/user/{ALICE}/INBOX/2"]
    after = mail_of(server.view(ALICE))
    assert after["Kept"] == before["Kept"]
    touched = {flags for _, flags in after["INBOX"] - before["INBOX"]}
    assert touched == {frozenset({"\\Seen", "\\Flagged"})}


@both_servers
def test_a_warm_standby(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    """Each night the second server becomes as the first one was."""
    first, second = start_dovecot(), start_dovecot()
    config = mailhaul.configure(first)
    standby = ("/", "--exact", "--to", f"maildir:{second.template}", "--doveadm", " ".join(second.doveadm))
    first.deliver(mails[:3], ALICE)
    for night in range(3):
        first.deliver(mails[3 + night : 4 + night], ALICE)
        with first.login(ALICE) as client:
            client.make_folder(f"Folder {night}")
            client.open("INBOX")
            client.flag([1 + night], "+", "\\Seen")
            if night:
                client.move([2 * night], "Folder 0")
                client.expunge([2 * night + 1])
        mailhaul.run(config, "backup")
        done = mailhaul.run(config, "restore", *standby)
        assert done["aside"] == (1 if night else 0)
        assert without_aside(mail_of(second.view(ALICE))) == mail_of(first.view(ALICE))
        again = mailhaul.run(config, "restore", *standby)
        assert [again[count] for count in COUNTS] == [0, 0, 0, 0]
