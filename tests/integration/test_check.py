"""The store of a real server beside its backup: what people do with their mail is no damage, what happens to
files behind the server's back is; and looking changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mailhaul.proto.errors import EXIT_DAMAGED, EXIT_SKIPPED
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import Dovecot
from mailhaul.tests.integration.servers.programs import both_servers_with
from mailhaul.tests.integration.servers.settings import INBOXES
from mailhaul.tests.trees import differences, snapshot

ALICE, BOB = "alice@example.org", "bob@example.org"
INBOX, WORK = f"/primary/user/{ALICE}/INBOX", f"/primary/user/{ALICE}/Work"
LAYOUTS = ["maildir++", "control-index"]

StartDovecot = Callable[..., Dovecot]


def fill(server: Dovecot, mails: tuple[bytes, ...]) -> None:
    """Ten messages in three folders of Alice; Bob has one."""
    with server.login(ALICE) as client:
        for folder in ("INBOX", "Work", "Passing"):
            if folder != "INBOX":
                client.make_folder(folder)
            for number in range(10):
                client.save(folder, mails[number % len(mails)] + b"%d\r\n" % number)
    with server.login(BOB) as client:
        client.save("INBOX", mails[0])


def inbox_files(server: Dovecot) -> list[Path]:
    """The files of the messages in the INBOX of Alice, in the order of their UIDs."""
    inbox = server.maildir(ALICE) / INBOXES.get(server.layout, "")
    lists = server.place / "control" / ALICE / ".INBOX" if "control" in server.apart else inbox
    lines = (lists / "dovecot-uidlist").read_text().splitlines()[1:]
    bases = [line.split(" :", 1)[1].split(":")[0] for line in lines]
    there = {path.name.split(":")[0]: path for place in ("new", "cur") for path in (inbox / place).iterdir()}
    return [there[base] for base in bases if base in there]


@both_servers_with(LAYOUTS, LAYOUTS[:1])
def test_what_people_do_is_no_damage(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], layout: str
) -> None:
    server = start_dovecot(layout)
    fill(server, mails)
    config = mailhaul.configure(server, **server.apart)
    mailhaul.run(config, "backup")
    assert mailhaul.run(config, "check", "--data")["messages"] == 31
    with server.login(ALICE) as client:
        client.open("INBOX")
        client.expunge([2])
        client.flag([3, 4], "+", "\\Flagged")
        client.move([5], "Work")
        client.open("Work")
        client.expunge("1:5")
        client.open("INBOX")
        client.delete_folder("Passing")
        client.rename_folder("Work", "Works")
        client.save("INBOX", mails[1])
    server.deliver([mails[2]], ALICE, BOB)
    before = snapshot(server.place / "home")
    found = mailhaul.run(config, "check", "--data")
    assert (found["damaged"], found["untold"], found["unlooked"]) == ([], 0, [])
    assert (found["messages"], found["gone"], found["new"]) == (31, 1 + 5 + 10, 1 + 1 + 2), (
        "what was moved is there"
    )
    assert differences(before, snapshot(server.place / "home")) == []


@both_servers_with(LAYOUTS, LAYOUTS[:1])
def test_damage_is_found_and_mended(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], tmp_path: Path, layout: str
) -> None:
    server = start_dovecot(layout)
    fill(server, mails)
    seen = server.view(ALICE)
    config = mailhaul.configure(server, **server.apart)
    mailhaul.run(config, "backup")
    files = inbox_files(server)
    os.truncate(files[0], 20)
    files[1].write_bytes(bytes(files[1].stat().st_size))
    times = files[2].stat().st_mtime_ns
    files[2].write_bytes(files[2].read_bytes().swapcase())
    os.utime(files[2], ns=(times, times))
    files[3].unlink()
    shutil.rmtree(server.maildir(ALICE) / ".Work")
    shutil.move(server.maildir(BOB), tmp_path / "bob")

    found = mailhaul.run(config, "check", status=EXIT_DAMAGED)
    assert {one["path"]: one["kind"] for one in found["damaged"]} == {
        f"{INBOX}/1": "truncated",
        f"{INBOX}/2": "changed",
        f"{INBOX}/4": "missing",
        WORK: "missing",
        f"/primary/user/{BOB}": "missing",
    }
    assert found["damaged_messages"] == 3 + 10 + 1
    (part,) = found["by_partition"]
    assert (part["partition"], part["host"], part["damaged_mailboxes"]) == ("primary", "localhost", 2)
    with_data = mailhaul.run(config, "check", "--data", INBOX, status=EXIT_DAMAGED)
    assert {one["path"] for one in with_data["damaged"]} == {f"{INBOX}/{uid}" for uid in (1, 2, 3, 4)}
    report = tmp_path / "report.json"
    report.write_text(json.dumps(with_data))

    lost = mailhaul.run(config, "restore", "--only-damaged", f"{INBOX}/4")
    assert (lost["restored"], lost["skipped"]) == (1, []), "while the server counts on it"
    mailhaul.run(config, "backup", status=(0, EXIT_SKIPPED))  # which stores what is damaged
    done = mailhaul.run(config, "restore", "--only-damaged", report)
    assert (done["restored"], done["present"], done["skipped"]) == (3, 1, [])
    mended = mailhaul.run(config, "check", "--data", "--at", found["moment"], INBOX)
    assert mended["damaged"] == []
    with server.login(ALICE) as client:
        inbox = client.view("INBOX").folders["INBOX"]
    before = seen.folders["INBOX"]
    assert (inbox.uidvalidity, inbox.messages) == (before.uidvalidity, before.messages)
