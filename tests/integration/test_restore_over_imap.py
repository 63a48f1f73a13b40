"""Mail of a real Dovecot is restored to other servers over IMAP: what do their clients see?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mailhaul.tests.integration.accounts import fill
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.imap import PASSWORD, SeenAccount, SeenMessage
from mailhaul.tests.integration.servers.programs import both_servers
from mailhaul.worker.stores.folder_names import encode

ALICE, BOB = "alice@example.org", "bob@example.net"
MAILBOX = f"/primary/user/{ALICE}"

StartDovecot = Callable[..., Dovecot]


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def contents(account: SeenAccount) -> dict[str, list[SeenMessage]]:
    """The messages of each folder in the order of their UIDs."""
    return {
        name: [one for _, one in sorted(folder.messages.items())] for name, folder in account.folders.items()
    }


def in_any_order(account: SeenAccount) -> dict[str, Counter[SeenMessage]]:
    return {name: Counter(messages) for name, messages in contents(account).items()}


@both_servers
def test_dovecot(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], password: Path
) -> None:
    old, new = start_dovecot(), start_dovecot("fs")
    for user in (ALICE, BOB):
        fill(old, user, mails)
    before = old.view(ALICE)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    to = ("--to", f"imap://127.0.0.1:{new.ports.imap}", "--password-file", password)

    report = mailhaul.run(config, "restore", "/", *to, "--verify", status=3)
    after = new.view(ALICE)
    # What nobody had looked at has a UID only now, in the order of names; the rest keeps its order.
    assert in_any_order(before) == in_any_order(after)
    assert before.subscribed == after.subscribed | {"Gone"}
    assert in_any_order(old.view(BOB)) == in_any_order(new.view(BOB))
    messages = sum(map(len, contents(after).values())) + sum(map(len, contents(new.view(BOB)).values()))
    assert (report["restored"], report["present"]) == (messages, 0)
    # The sieve script and the link to it are no mail; what was deleted can't be subscribed to.
    assert {one["reason"] for one in report["skipped"]} == {"not-mail", "subscription"}
    check_uids(report["uids"], before, after)

    report = mailhaul.run(config, "restore", "/", *to, status=3)
    assert (report["restored"], report["present"]) == (0, messages)
    assert new.view(ALICE) == after

    with new.login(ALICE) as client:
        client.open("Archive")
        client.expunge([2])
    report = mailhaul.run(config, "restore", f"{MAILBOX}/Archive", *to, status=0)
    assert report["restored"] == 1
    assert in_any_order(new.view(ALICE)) == in_any_order(after)


def check_uids(uids: list[dict[str, object]], before: SeenAccount, after: SeenAccount) -> None:
    """The report says which UID each message has got."""
    checked = 0
    for one in uids:
        if one["mailbox"] != MAILBOX:
            continue
        name = encode(str(one["new_folder"])).decode()
        old, new = before.folders[name], after.folders[name]
        assert (old.uidvalidity, new.uidvalidity) == (one["uidvalidity"], one["new_uidvalidity"])
        pairs = zip(expanded(one["uids"]), expanded(one["new_uids"]), strict=True)
        for was, now in pairs:
            assert old.messages[was] == new.messages[now]
            checked += 1
    assert checked > 20


def expanded(sequence: object) -> list[int]:
    ranges = (part.partition(":")[::2] for part in str(sequence).split(","))
    return [number for first, last in ranges for number in range(int(first), int(last or first) + 1)]
