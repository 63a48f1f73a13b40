"""What a plan tells before anything is restored, as the postmaster types it: what the mail would meet in its
target, and which moment is good."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..maildirs import GUID, Maildir
from ..trees import differences, snapshot
from .command import Mailhaul
from .servers.dovecot import Dovecot

JANE = "/primary/user/jane"

DOVEADM = """\
import sys
words = sys.argv[1:]
if words == ["config", "-n"]:
    print("namespace inbox {", "mailbox Trash {", "autoexpunge = 30 days", sep="\\n")
    print("autoexpunge_max_mails = 2", "}", "}", sep="\\n")
elif words[:5] == ["-f", "tab", "quota", "get", "-u"]:
    print("Quota name\\tType\\tValue\\tLimit\\t%")
    print("User quota\\tSTORAGE\\t10\\t" + ("10" if words[5] == "jane" else "-") + "\\t100")
    print("User quota\\tMESSAGE\\t3\\t1000\\t0")
else:
    sys.exit("Error: " + " ".join(words))
"""


class Site:
    """A store of Jane and Joe, its configuration, and the command."""

    def __init__(self, place: Path) -> None:
        self.store = place / "store"
        self.mailhaul = Mailhaul(place)
        self.jane, self.joe = (Maildir(self.store / user) for user in ("jane", "joe"))
        for number in range(12):
            self.jane.message(f"{number}.M1P1.host:2,S", b"Subject: %d\n\n" % number)
        self.jane.uidlist(*(f"{number + 1} :{number}.M1P1.host" for number in range(12)))
        self.jane.folder(".Trash")
        for number in range(3):
            self.jane.message(f"9{number}.M1P1.host:2,S", folder=".Trash")
        self.jane.uidlist(*(f"{number + 1} :9{number}.M1P1.host" for number in range(3)), folder=".Trash")
        self.joe.message("1.M1P1.host:2,S")
        doveadm = place / "doveadm.py"
        doveadm.write_text(DOVEADM)
        self.config = place / "mailhaul.toml"
        self.config.write_text(
            f'[staging]\npath = "{self.mailhaul.staging}"\n\n[[partition]]\nformat = "maildir"\n'
            f"path = {json.dumps(str(self.store))}\n"
        )
        self.backup()
        with self.config.open("a") as config:
            config.write(f"doveadm = {json.dumps([sys.executable, str(doveadm)])}\n")

    def backup(self) -> str:
        options = ("--store", f"maildir:{self.store}", "--staging", self.mailhaul.staging)
        run: str = self.mailhaul.run(None, "backup", *options, status=(0, 3))["run"]
        return run

    def restore(self, *options: str | Path, status: int = 0) -> Any:
        return self.mailhaul.run(self.config, "restore", *options, status=status)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_the_mail_would_meet(site: Site) -> None:
    for number in range(4):
        (site.jane.root / "cur" / f"{number}.M1P1.host:2,S").unlink()
    site.jane.uidlist(header=f"3 V1700 N100 G{GUID}")
    before = snapshot(site.store)
    plan = site.restore("/", "--dry-run")
    # Where it was tried to write, and that in nothing but the time of the directory.
    assert [difference.split(":")[0] for difference in differences(before, snapshot(site.store))] == [
        "b'jane/tmp'",
        "b'joe/tmp'",
    ]
    assert site.jane.leftovers() == site.joe.leftovers() == []

    (room,) = plan["rooms"]
    assert (room["mailboxes"], room["messages"], room["host"]) == (2, 16, "localhost")
    assert room["most_bytes"] > room["size_bytes"] == plan["size_bytes"]
    assert room["free_bytes"] > 0
    assert [(one["place"], one["there"], one["recall"]) for one in plan["needs"]] == [
        ("staging", True, False)
    ]
    (target,) = plan["targets"]
    assert [(trial["path"], trial["error"], trial["owner"]) for trial in target["trials"]] == [
        (str(site.store), "", "")
    ]
    assert target["folders"] == {
        "recreated": 0,
        "existing": 3,
        "another": 1,
        "kept": 0,
        "renumbered": 4,
        "added": 0,
        "present": 12,
    }
    fates = {fate["path"]: fate for fate in target["fates"]}
    assert fates[f"{JANE}/INBOX"] == {
        "path": f"{JANE}/INBOX",
        "kept": 0,
        "renumbered": 4,
        "added": 0,
        "present": 8,
        "uidvalidity": 1500,
        "there": 1700,
    }
    assert [(one["user"], one["kind"], one["limit"]) for one in target["over_quota"]] == [
        ("jane", "storage", 10 * 1024)
    ]
    assert target["quotas_asked"] == 2
    assert target["expiry"] == [
        {
            "rule": {"folder": "Trash", "seconds": 30 * 86_400, "most": 2},
            "messages": 3,
            "due": 3,
            "beyond": 3,
        }
    ]
    assert (target["unseen"], target["troubles"], plan["unreached"]) == (0, [], [])
    assert (plan["rate"], plan["seconds"]) == (None, None)  # nothing was measured, so no number is made up
    # And it is as was told.
    done = site.restore("/")
    assert (done["restored"], done["present"], done["moment"]) == (4, 12, plan["moment"]["run"])


def test_where_nothing_is(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "new"
    options = ("--staging", site.mailhaul.staging, "--to", f"maildir:{target}")
    plan = site.mailhaul.run(None, "restore", "/", "--dry-run", *options)
    (told,) = plan["targets"]
    assert (told["folders"]["recreated"], told["folders"]["kept"], told["expiry"]) == (3, 15, None)
    # Joe's has no list of UIDs that could be kept.
    assert (told["folders"]["renumbered"], told["quotas_asked"]) == (1, 0)
    assert [trial["path"] for trial in told["trials"]] == [str(tmp_path)]
    assert not target.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_where_nothing_can_be_written(site: Site, tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir(mode=0o500)
    options = ("--staging", site.mailhaul.staging, "--to", f"maildir:{place / 'store'}")
    plan = site.mailhaul.run(None, "restore", "/", "--dry-run", *options)
    assert [trial["error"] for trial in plan["targets"][0]["trials"]] == ["Permission denied"]


def test_mailboxes_that_would_become_one(site: Site) -> None:
    plan = site.restore("/", "--as", "joe", "--dry-run", status=2)
    assert [(conflict["user"], conflict["first"], conflict["second"]) for conflict in plan["conflicts"]] == [
        ("joe", JANE, "/primary/user/joe")
    ]
    told = site.restore("/", "--as", "joe", status=2)
    assert "would become that of 'joe'" in told["error"]["message"]


def test_the_latest_good_moment(site: Site) -> None:
    (good,) = (run["run"] for run in site.mailhaul.run(site.config, "runs")["runs"])
    for path in (site.jane.root / "cur").iterdir():
        path.unlink()
    for path in (site.jane.root / ".Trash" / "cur").iterdir():
        path.unlink()
    emptied = site.backup()
    site.joe.message("2.M1P1.host:2,S")
    after = site.backup()
    plan = site.restore(JANE, "--dry-run")
    assert plan["moment"] == {
        "run": after,
        "alarms": [{"path": JANE, "reason": "mailbox-emptied", "detail": "it is empty, and had 15 messages"}],
        "before": good,
        "passed_over": [],
    }
    plan = site.restore(JANE, "--at", "latest-good", "--dry-run")
    assert (plan["moment"]["run"], plan["messages"]) == (good, 15)
    assert [one["run"] for one in plan["moment"]["passed_over"]] == [after, emptied]
    assert site.restore("/primary/user/joe", "--at", "latest-good")["moment"] == after
    assert site.restore(JANE, "--at", "latest-good")["restored"] == 15
    assert site.mailhaul.run(site.config, "verify", JANE, "--at", "latest-good")["messages"] == 15


def test_all_that_lay_on_a_host(site: Site, tmp_path: Path) -> None:
    """With partitions that come to lie beside each other."""
    other = Maildir(tmp_path / "other" / "ann")
    other.message("7.M1P1.host:2,S")
    with site.config.open("a") as config:
        config.write(
            f'\n[[partition]]\nname = "archive"\nformat = "maildir"\npath = "{tmp_path / "other"}"\n'
        )
    site.mailhaul.run(site.config, "backup", status=(0, 3))
    host = ("--host", "localhost")
    to = ("--to", f"maildir:{tmp_path}/new/{{partition}}")
    done = site.restore(*host, *to)
    assert (done["restored"], done["mailboxes"]) == (17, 3)
    for name, store in (("primary", site.store), ("archive", tmp_path / "other")):
        told = differences(snapshot(store), snapshot(tmp_path / "new" / name))
        assert told == []
    headings = site.mailhaul.run(site.config, "ls", *host)["partitions"]
    assert [heading["path"] for heading in headings] == ["/archive", "/primary"]
    for more in ((), ("--any-time",)):
        found = site.mailhaul.run(site.config, "find", *host, "--subject", "11", *more)["messages"]
        assert [one["path"] for one in found] == [f"{JANE}/INBOX/12"]
    of_host, of_all = (site.mailhaul.run(site.config, "verify", *one) for one in (host, ("/",)))
    assert of_host["messages"] == of_all["messages"] >= 17
    site.mailhaul.run(site.config, "recall", *host)
    for command in (("restore", "/archive", *host), ("restore",), ("verify", "/archive", *host)):
        assert site.mailhaul.run(site.config, *command, status=2)["error"]["code"] == "usage"
    assert "nothing that is kept lay on host" in site.restore("--host", "else", status=1)["error"]["message"]
    # A store is one partition.
    one_store = ("--store", f"maildir:{tmp_path}/{{partition}}", "--staging", site.mailhaul.staging)
    assert site.mailhaul.run(None, "backup", *one_store, status=2)["error"]["code"] == "usage"


def test_what_a_real_server_says(
    start_dovecot: Callable[..., Dovecot], mailhaul: Mailhaul, mails: tuple[bytes, ...]
) -> None:
    """Its quota, and the rules by which it removes mail."""
    server = start_dovecot()
    with server.login("alice@example.org") as client:
        client.make_folder("Trash")
        for mail in mails[:3]:
            client.save("INBOX", mail)
            client.save("Trash", mail)
    rules = server.place / "rules.conf"
    rules.write_text("!include dovecot.conf\nnamespace inbox {\nmailbox Trash {\nautoexpunge = 1d\n}\n}\n")
    *program, _ = server.doveadm
    limit = ("-o", "plugin/quota=maildir:User quota", "-o", "plugin/quota_rule=*:storage=1K:messages=1000")
    config = mailhaul.configure(server, doveadm=(*program, str(rules), "-o", "mail_plugins=quota", *limit))
    mailhaul.run(config, "backup")
    (target,) = mailhaul.run(config, "restore", "--dry-run", "/")["targets"]
    assert [(one["user"], one["kind"], one["limit"]) for one in target["over_quota"]] == [
        ("alice@example.org", "storage", 1024)
    ]
    assert (target["quotas_asked"], target["troubles"]) == (1, [])
    assert [(one["rule"]["folder"], one["rule"]["seconds"]) for one in target["expiry"]] == [
        ("Trash", 86_400)
    ]
    assert target["expiry"][0]["messages"] == 3
    assert target["folders"]["present"] == 6
    without = mailhaul.configure(server, doveadm=server.doveadm)
    (target,) = mailhaul.run(without, "restore", "--dry-run", "/")["targets"]
    assert (target["quotas_asked"], target["over_quota"], target["expiry"]) == (0, [], [])
    assert target["troubles"] == ["the server knows no quotas: its plugin for them is not on"]
