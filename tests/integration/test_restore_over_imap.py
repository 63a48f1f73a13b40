"""Mail of a real Dovecot is restored to other servers over IMAP: what do their clients see?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mailhaul.tests.faults.tcp_proxy import Proxy
from mailhaul.tests.integration.accounts import fill
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.cyrus import ADMIN, Cyrus
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
        name: [message for _, message in sorted(folder.messages.items())]
        for name, folder in account.folders.items()
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
    assert {skip["reason"] for skip in report["skipped"]} == {"not-mail", "subscription"}
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

    plan = mailhaul.run(config, "restore", f"{MAILBOX}/Archive", *to, "--dry-run")
    ((address, user),) = {(mailbox["to"]["path"], mailbox["to"]["user"]) for mailbox in plan["mailboxes"]}
    assert (address, user) == (to[1], ALICE)
    report = mailhaul.run(config, "restore", f"{MAILBOX}/Archive", *to, "--into", "Back")
    names = [name for name in after.folders if name.startswith("Archive")]
    with new.login(ALICE) as client:
        below = in_any_order(client.view(*(f"Back/{name}" for name in names)))
    assert below == {f"Back/{name}": in_any_order(after)[name] for name in names}
    assert report["restored"] == sum(sum(one.values()) for one in below.values())


def check_uids(uids: list[dict[str, object]], before: SeenAccount, after: SeenAccount) -> None:
    """The report says which UID each message has got."""
    checked = 0
    for uid in uids:
        if uid["mailbox"] != MAILBOX:
            continue
        name = encode(str(uid["new_folder"])).decode()
        old, new = before.folders[name], after.folders[name]
        assert (old.uidvalidity, new.uidvalidity) == (uid["uidvalidity"], uid["new_uidvalidity"])
        pairs = zip(expanded(uid["uids"]), expanded(uid["new_uids"]), strict=True)
        for was, now in pairs:
            assert old.messages[was] == new.messages[now]
            checked += 1
    assert checked > 20


def expanded(sequence: object) -> list[int]:
    ranges = (part.partition(":")[::2] for part in str(sequence).split(","))
    return [number for first, last in ranges for number in range(int(first), int(last or first) + 1)]


# Other servers


ODD = (
    b"Subject: caf\xe9\n\nheader beyond ASCII\n",
    b"Subject: returns\n\nCR CR LF\r\r\nand a CR at the end\r",
    b"Subject: bare\n\na CR\rin the midst\n",
    b"no header at all\n",
    b"Subject: long\n\n" + b"x" * 20_000 + b"\n",
    b"",
)
"""What servers are known to alter, or might."""


def key(message: SeenMessage) -> tuple[frozenset[str], datetime, int, str]:
    """What two servers say alike of the same message."""
    when = datetime.strptime(message.date.strip(), "%d-%b-%Y %H:%M:%S %z")
    return message.flags, when, message.size, message.digest


def check_but_for_what_is_told(report: Any, before: SeenAccount, after: SeenAccount) -> list[str]:
    """All that went over is the same but for the messages and folders that the report names; returns why
    these messages are not."""
    refused = before.folders.keys() - after.folders.keys()
    paths = {skip["path"] for skip in report["skipped"] if skip["reason"] == "refused"}
    assert {f"{MAILBOX}/{name}" for name in refused} <= paths
    told = [one for one in report["skipped"] if one["path"].rpartition("/")[2].isdigit()]
    was = Counter(
        key(message)
        for name, messages in contents(before).items()
        if name not in refused
        for message in messages
    )
    now = Counter(key(seen_message) for messages in contents(after).values() for seen_message in messages)
    assert sum((was - now).values()) == len(told)
    assert sum((now - was).values()) == len([one for one in told if one["reason"] == "altered"])
    assert report["restored"] == sum(now.values())
    return sorted(f"{one['reason']}: {one['detail']}" for one in told)


def test_cyrus(
    start_dovecot: StartDovecot,
    start_cyrus: Callable[..., Cyrus],
    mailhaul: Mailhaul,
    mails: tuple[bytes, ...],
    password: Path,
) -> None:
    old, new = start_dovecot(), start_cyrus("jane")
    fill(old, ALICE, mails)
    drop_odd(old)
    before = old.view(ALICE)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    to = ("--to", f"imap://127.0.0.1:{new.port}", "--master", ADMIN, "--password-file", password)

    report = mailhaul.run(config, "restore", MAILBOX, "--as", "jane", *to, "--verify", status=3)
    after = new.view("jane")
    assert check_but_for_what_is_told(report, before, after) == [
        "altered: the bytes are not the same, though they are as many (38)",
        "refused: Message contains invalid header",
        "refused: Zero-length message literal",
    ]
    assert before.folders.keys() - after.folders.keys() == {'quo"te', "back\\slash"}

    again = mailhaul.run(config, "restore", MAILBOX, "--as", "jane", *to, status=3)
    assert (again["restored"], again["present"]) == (0, report["restored"])
    assert new.view("jane") == after


def test_mdbox(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], password: Path
) -> None:
    old, new = start_dovecot(), start_dovecot("mdbox")
    fill(old, ALICE, mails)
    drop_odd(old)
    before = old.view(ALICE)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    to = ("--to", f"imap://127.0.0.1:{new.ports.imap}", "--password-file", password)
    report = mailhaul.run(config, "restore", MAILBOX, *to, "--verify", status=3)
    altered, refused = check_but_for_what_is_told(report, before, new.view(ALICE))
    assert altered == "altered: 51 bytes became 49"  # CR CR LF, and a CR at the end
    assert refused.startswith("refused: Can't save a zero byte message")


def drop_odd(server: Dovecot) -> None:
    server.drop(ALICE, [f"{1_100_000_000 + number}.odd.mx" for number in range(len(ODD))], ODD)
    with server.login(ALICE) as client:
        client.open("INBOX")


def test_killed_and_resumed(start_dovecot: StartDovecot, mailhaul: Mailhaul, password: Path) -> None:
    """Killed while messages are on their way: what the server has got of them is not sent again."""
    old, new = start_dovecot(), start_dovecot("mdbox")
    mails = [b"Subject: %d\r\n\r\n%s\r\n" % (number // 2, b"x" * 30_000) for number in range(400)]
    with old.login(ALICE) as client:
        client.make_folder("Pairs")
    old.drop(ALICE, [f"{1_100_000_000 + number}.pair.mx" for number in range(len(mails))], mails)
    config = mailhaul.configure(old)
    mailhaul.run(config, "backup")
    with Proxy(new.ports.imap) as proxy:
        words = ["restore", "/", "--to", f"imap://127.0.0.1:{proxy.port}", "--password-file", str(password)]
        running = subprocess.Popen(
            [Path(sys.executable).with_name("mailhaul"), "--config", config, *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + 60
        while proxy.forwarded_bytes < 5_000_000 and time.monotonic() < until:
            time.sleep(0.001)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert running.returncode < 0, "it was killed before its end"
        report = mailhaul.run(config, "restore", "--resume", "latest")
    assert report["restored"] + report["present"] == len(mails)
    there = Counter(message.digest for message in new.view(ALICE).folders["INBOX"].messages.values())
    assert set(there.values()) == {2}
    assert sum(there.values()) == len(mails)
