"""Backups of a store that is in use: mail is delivered, flagged, moved and expunged all the while."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import Imap, SeenAccount, SeenFolder

USERS = ("alice@example.org", "bob@example.net")
ROUNDS = 3
MESSAGES = 1200
LONGEST_SECONDS = 60

StartDovecot = Callable[..., Dovecot]


class Activity:
    """One user's life with mail, in a thread of its own, until it is told to end.

    ``ever`` has every message that ever was in a folder, (folder, UIDVALIDITY) -> UID -> digest. No two
    messages have the same content, and none comes back to a folder that it left.
    """

    def __init__(self, server: Dovecot, user: str) -> None:
        self.user = user
        self.ever: dict[tuple[str, int], dict[int, str]] = {}
        self.steps = 0
        self._server = server
        self._random = random.Random(user)
        self._made = 0
        self._end = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def begin(self) -> None:
        """Fill the account; from then on it changes."""
        with self._server.login(self.user) as client:
            client.make_folder("Archive")
            client.open("INBOX")
            names = [f"{1_600_000_000 + number}.M{number}.mx" for number in range(MESSAGES)]
            self._server.drop(self.user, names, [self._mail() for _ in names])
            client.look()
            client.move(range(1, MESSAGES // 4), "Archive")
            self._note(client, "INBOX", "Archive")
        self._thread.start()

    def end(self) -> None:
        """Raises what went wrong meanwhile."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join(LONGEST_SECONDS)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        until = time.monotonic() + LONGEST_SECONDS
        steps = (self._receive, self._save, self._flag, self._flag, self._move, self._expunge, self._pass_by)
        try:
            with self._server.login(self.user) as client:
                while not self._end.wait(0.005) and time.monotonic() < until:
                    steps[self.steps % len(steps)](client)
                    self.steps += 1
        except BaseException as error:
            self._error = error

    def _receive(self, client: Imap) -> None:
        self._server.deliver([self._mail() for _ in range(3)], self.user)
        self._note(client, "INBOX")

    def _save(self, client: Imap) -> None:
        client.save("Archive", self._mail(), ("\\Seen", "$Forwarded"))
        self._note(client, "Archive")

    def _flag(self, client: Imap) -> None:
        """Every message that is flagged gets another file name."""
        client.open("INBOX")
        client.flag(
            "1:*", self._random.choice("+-"), *self._random.sample(["\\Seen", "\\Flagged", "projectX"], 2)
        )

    def _move(self, client: Imap) -> None:
        client.open("INBOX")
        client.move(self._some(client, 4), "Archive")
        self._note(client, "Archive")

    def _expunge(self, client: Imap) -> None:
        for folder in ("INBOX", "Archive"):
            client.open(folder)
            client.expunge(self._some(client, 2))

    def _pass_by(self, client: Imap) -> None:
        """A folder comes, gets another name, and goes."""
        client.make_folder("Passing", subscribed=False)
        client.save("Passing", self._mail())
        self._note(client, "Passing")
        client.open("INBOX")
        client.rename_folder("Passing", "Past")
        client.delete_folder("Past")

    def _some(self, client: Imap, count: int) -> list[int]:
        return self._random.sample(client.uids(), count)

    def _mail(self) -> bytes:
        self._made += 1
        text = f"message {self._made} of {self.user}\r\n" * self._random.randrange(1, 40)
        return f"Message-ID: <{self._made}.{self.user}>\r\nSubject: {self._made}\r\n\r\n{text}".encode()

    def _note(self, client: Imap, *folders: str) -> None:
        """Take down what came to these folders. Nobody else removes anything, so nothing is missed."""
        for name in folders:
            known = self.ever.setdefault((name, client.uidvalidity(name)), {})
            new = client.messages(name, max(known, default=0) + 1)
            known.update({uid: message.digest for uid, message in new.items()})


class Round:
    """One backup, and how the accounts looked before and after it."""

    def __init__(self, mailhaul: Mailhaul, config: Path, server: Dovecot) -> None:
        self.before = look(server)
        # A mailbox that never holds still may have messages of which nobody can say what became of them.
        report = mailhaul.run(config, "backup", status=(0, 3))
        self.after = look(server)
        self.run = report["run"]
        self.skipped = report["skipped"]


def look(server: Dovecot) -> dict[str, SeenAccount]:
    accounts = {}
    for user in USERS:
        with server.login(user) as client:
            accounts[user] = client.view("INBOX", "Archive")
    return accounts


def test_backups_while_mail_goes_on(start_dovecot: StartDovecot, mailhaul: Mailhaul) -> None:
    server = start_dovecot()
    config = mailhaul.configure(server)
    activities = [Activity(server, user) for user in USERS]
    try:
        for activity in activities:
            activity.begin()
        rounds = []
        for _ in range(ROUNDS):
            steps = [activity.steps for activity in activities]
            rounds.append(Round(mailhaul, config, server))
            assert all(activity.steps > had for activity, had in zip(activities, steps, strict=True))
    finally:
        for activity in activities:
            activity.end()
    mailhaul.run(config, "verify", "--data")
    for one in rounds:
        assert {skipped["reason"] for skipped in one.skipped} <= {"vanished", "unsettled"}
        restored = start_dovecot()
        mailhaul.run(mailhaul.configure(restored), "restore", "/", "--at", one.run)
        accounts = look(restored)
        for activity in activities:
            user = activity.user
            check_account(one.before[user], one.after[user], accounts[user], activity)


def check_account(before: SeenAccount, after: SeenAccount, restored: SeenAccount, activity: Activity) -> None:
    for name, folder in before.folders.items():
        ever = activity.ever[name, folder.uidvalidity]
        problems = list(inconsistencies(folder, after.folders[name], restored.folders[name], ever))
        assert problems == [], f"{activity.user} {name}"


def inconsistencies(
    before: SeenFolder, after: SeenFolder, restored: SeenFolder, ever: dict[int, str]
) -> list[str]:
    """What is wrong with a folder that was backed up at some time between ``before`` and ``after``."""
    found = []
    if restored.uidvalidity != before.uidvalidity:
        found.append("another UIDVALIDITY")
    for uid in before.messages.keys() & after.messages.keys():
        wanted, got = before.messages[uid], restored.messages.get(uid)
        if got is None or (got.digest, got.date) != (wanted.digest, wanted.date):
            found.append(
                f"UID {uid} was there all the time and is {'not the same' if got else 'not restored'}"
            )
    uids = {content: uid for uid, content in ever.items()}
    seen: dict[str, int] = {}
    for uid, message in restored.messages.items():
        if message.digest in seen:
            found.append(f"UIDs {seen[message.digest]} and {uid} are the same message")
        seen[message.digest] = uid
        right = uids.get(message.digest)
        if right is None:
            found.append(f"UID {uid} never was")
        elif uid != right and min(uid, right) < before.uidnext:
            # Only what arrived after the list of UIDs was read may come back under a later UID.
            found.append(f"UID {right} came back as {uid}")
    return found
