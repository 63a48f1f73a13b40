"""Mail for folders that a server uses: sessions see it come, under new UIDs, each message once."""

from __future__ import annotations

from collections.abc import Callable

from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.programs import both_servers

ALICE = "alice@example.org"
INBOX = f"/primary/user/{ALICE}/INBOX"
KEYWORDS = tuple(f"keyword{number:02}" for number in range(30))

StartDovecot = Callable[..., Dovecot]


@both_servers
def test_expunged_twice(start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]) -> None:
    """What comes back is never taken for a message that was expunged, though it came back and was expunged
    before; it has all its keywords, those too that only the index can hold; whoever waits is told."""
    server = start_dovecot()
    server.deliver(mails[:3], ALICE)
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.flag([2], "+", "\\Flagged", *KEYWORDS)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    before = server.view(ALICE).folders["INBOX"]
    uid, modseq = 2, before.highestmodseq
    for _ in range(3):
        with server.login(ALICE) as client, server.login(ALICE) as watcher:
            client.open("INBOX")
            client.expunge([uid])
            watcher.open("INBOX")
            with watcher.idle() as told:
                report = mailhaul.run(config, "restore", INBOX)
                assert (report["restored"], report["present"], report["skipped"]) == (1, 2, [])
                assert told() == b"* 3 EXISTS"
        after = server.view(ALICE).folders["INBOX"]
        (new,) = after.messages.keys() - {1, 3}
        assert new > uid
        assert after.messages[new] == before.messages[2]
        assert after.highestmodseq > modseq
        uid, modseq = new, after.highestmodseq


def test_what_was_moved_away_and_back(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """It has another name by now, and other flags: it is there all the same. Of two copies each counts."""
    server = start_dovecot()
    server.deliver([mails[0], mails[1], mails[1]], ALICE)
    config = mailhaul.configure(server)
    mailhaul.run(config, "backup")
    with server.login(ALICE) as client:
        client.make_folder("Away")
        client.open("INBOX")
        client.move([1, 2], "Away")
        client.open("Away")
        client.flag([1], "+", "\\Answered")
        client.move([1, 2], "INBOX")
    before = server.view(ALICE)
    report = mailhaul.run(config, "restore", INBOX)
    assert (report["restored"], report["present"]) == (0, 3)
    assert server.view(ALICE) == before
