"""Users who are called differently when their mail comes back, and partitions that are spread or poured
together (``restore --map``)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.restores.failures import failure_of
from mailhaul.proto.records import Skipped
from mailhaul.proto.structs import asdict

from ..maildirs import Maildir
from ..trees import differences, snapshot, without_times
from .command import Mailhaul
from .servers.dovecot import OWNER, Dovecot, ensure_owner, free_ports
from .servers.programs import installed

ACCESS = b"user=bob@old.example lrs\ngroup=staff lr\nuser=zoe l\nuser=stranger l\n"
SUBSCRIBED = b"V\t2\n\nshared/bob@old\texample/INBOX\nshared/zoe\nProjects\n"

Run = Callable[..., Any]


def partition(name: str, place: Path) -> str:
    return f'[[partition]]\nname = "{name}"\nformat = "maildir"\npath = "{place}/{name}/{{user}}/Maildir"\n\n'


def mailbox(home: Path) -> None:
    box = Maildir(home / "Maildir")
    box.message("1.M1P1.host:2,S", b"Subject: of %s\n\n" % home.name.encode())
    box.uidlist("1 :1.M1P1.host")


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """Ann, Bob and Carl lie in one partition, Zoe in another; Ann shares a folder, and reads others'."""
    place = tmp_path / "mail"
    for name in ("old1/ann", "old1/bob@old.example", "old1/carl", "old2/zoe"):
        mailbox(place / name)
    ann = place / "old1/ann/Maildir"
    box = Maildir(ann)
    shared = box.folder(".Projects")
    box.uidlist(folder=".Projects")
    (shared / "dovecot-acl").write_bytes(ACCESS)
    (ann / "subscriptions").write_bytes(SUBSCRIBED)
    return place


@pytest.fixture
def run(
    mail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs a command with a configuration of these partitions; its JSON, or what it complains of."""
    monkeypatch.setattr(adapters, "make_engine", lambda *_, **__: local_engine(0))
    monkeypatch.chdir(tmp_path)

    def run(partitions: str, command: str, *arguments: str, status: int = 0) -> Any:
        config = tmp_path / "mailhaul.toml"
        tables = "".join(partition(name, mail) for name in partitions.split())
        config.write_text(f'[staging]\npath = "{tmp_path}/staging"\nsame_device = true\n\n{tables}')
        ended = main(["--config", str(config), command, "--json", *arguments])
        captured = capsys.readouterr()
        assert ended == status, captured.err
        return json.loads(captured.out) if status in (0, 3) else captured.out + captured.err

    run("old1 old2", "backup")
    return run


def test_spread_poured_and_renamed(run: Run, mail: Path, tmp_path: Path) -> None:
    (tmp_path / "map").write_text(
        r"old1:(.*)@old\.example = new1:\1@new.example" + "\nold1: = new2:\nold2:zoe = new1:zora\n"
    )
    plan = run("new1 new2", "restore", "/", "--map", "map", "--dry-run")
    assert {(one["path"].rsplit("/")[-1], one["to"]["user"]) for one in plan["mailboxes"]} == {
        ("ann", "ann"),
        ("bob@old.example", "bob@new.example"),
        ("carl", "carl"),
        ("zoe", "zora"),
    }
    done = run("new1 new2", "restore", "/", "--map", "map")
    assert (done["restored"], done["skipped"], done["damaged"]) == (4, [], [])
    assert sorted(str(one.relative_to(mail)) for one in mail.glob("new*/*")) == [
        "new1/bob@new.example",
        "new1/zora",
        "new2/ann",
        "new2/carl",
    ]
    ann = mail / "new2/ann/Maildir"
    assert (ann / ".Projects/dovecot-acl").read_bytes() == (
        b"user=bob@new.example lrs\ngroup=staff lr\nuser=zora l\nuser=stranger l\n"
    )
    assert (ann / "subscriptions").read_bytes() == (
        b"V\t2\n\nshared/bob@new\texample/INBOX\nshared/zora\nProjects\n"
    )
    for before, after in (
        ("old1/ann", "new2/ann"),
        ("old1/bob@old.example", "new1/bob@new.example"),
        ("old1/carl", "new2/carl"),
        ("old2/zoe", "new1/zora"),
    ):
        found = differences(snapshot(mail / before / "Maildir"), snapshot(mail / after / "Maildir"))
        assert all("dovecot-acl" in one or "subscriptions" in one for one in found), found
    undone = run("new1 new2", "restore", "--undo", "latest")
    assert undone["skipped"] == []
    assert [path for name in ("new1", "new2") for path in (mail / name).rglob("*.host*")] == []
    assert len(list(mail.rglob("*.host*"))) == 4


def test_the_newest_mail_first(run: Run, mail: Path, tmp_path: Path) -> None:
    """Who logs in is called as in the target. Ended on the way and gone on with, it brings what a restore
    without an order does."""
    now = time.time()
    for home in ("old1/ann", "old1/bob@old.example", "old1/carl", "old2/zoe"):
        box = Maildir(mail / home / "Maildir")
        days = {"1.M1P1.host:2,S": 500, "2.M1P1.host:2,S": 200, "3.M1P1.host:2,S": 60, "4.M1P1.host:2,": 3}
        for name, age in days.items():
            when = now - 86_400 * age
            os.utime(box.message(name, b"Subject: %d days\n\n" % age), (when, when))
        box.uidlist(*(f"{uid} :{name.partition(':')[0]}" for uid, name in enumerate(days, 1)))
    shared = Maildir(mail / "old1/ann/Maildir")
    shared.message("5.M1P1.host:2,S", folder=".Projects")
    shared.uidlist("1 :5.M1P1.host", folder=".Projects")
    run("old1 old2", "backup")
    (tmp_path / "map").write_text(
        r"old1:(.*)@old\.example = new1:\1@new.example" + "\nold1: = new1:\nold2:zoe = new2:zora\n"
    )
    words = ("restore", "/", "--map", "map")
    run("new1 new2", *words)
    whole = without_times(snapshot(mail))
    for name in ("new1", "new2"):
        shutil.rmtree(mail / name)

    first = tmp_path / "first"
    first.mkdir()
    for user in ("carl", "bob@old.example", "zora"):  # in the order of their names
        (first / user).touch()
    done = run("new1 new2", *words, "--order", "newest", "--first-from", "first")
    assert (done["restored"], done["skipped"]) == (17, [])
    directory = tmp_path / "staging" / ".mailhaul" / "restores" / done["restore"]
    lines = (directory / "journal.jsonl").read_text().splitlines(keepends=True)
    came = [(one["path"].rpartition("/")[2], one.get("reach", "")) for one in map(json.loads, lines)]
    newest = came[1][1]
    assert came[:4] == [(user, reach) for user in ("carl", "zoe") for reach in ("folders", newest)]
    for reach in {reach for _, reach in came}:
        assert [user for user, there in came if there == reach][:2] == ["carl", "zoe"]
    assert differences(whole, without_times(snapshot(mail))) == []

    # All of it is there, and not all on record.
    (directory / "state.json").unlink()
    (directory / "journal.jsonl").write_text("".join(lines[:9]))
    (status,) = run("new1 new2", "status")["restores"]
    assert {one["reach"]: one["mailboxes"] for one in status["reached"]} == dict(
        Counter(dict(came[:9]).values())
    )
    done = run("new1 new2", "restore", "--resume", "latest")
    assert (done["mailboxes"], done["skipped"]) == (4, [])
    assert differences(whole, without_times(snapshot(mail))) == []
    each = run("new1 new2", "status", "--restored")["restored"]
    assert {one["reach"] for one in each} == {"all"}


def test_a_single_mailbox_names_those_who_are_not_restored_with_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "map").write_text(r"(.*)@old\.example = \1@new.example" + "\n")
    to = f"maildir:{tmp_path}/back/{{partition}}/{{user}}"
    run("old1 old2", "restore", "/old1/user/ann", "--map", "map", "--to", to)
    text = (tmp_path / "back/old1/ann/.Projects/dovecot-acl").read_bytes()
    assert text == ACCESS.replace(b"bob@old", b"bob@new")


def test_a_user_who_becomes_several_is_told(run: Run, mail: Path, tmp_path: Path) -> None:
    for name in ("old2", "old3"):
        mailbox(mail / name / "dan")
    (mail / "old1/ann/Maildir/.Projects/dovecot-acl").write_bytes(b"user=dan l\n")
    run("old1 old2 old3", "backup")
    (tmp_path / "map").write_text("old2:dan = new:dan2\nold3:dan = new:dan3\nold1: = new:\n")
    done = run("new", "restore", "/old1", "--map", "map", status=3)
    assert [(skip["reason"], "'dan'" in skip["detail"]) for skip in done["skipped"]] == [("who", True)]
    assert (mail / "new/ann/Maildir/.Projects/dovecot-acl").read_bytes() == b"user=dan l\n"


@pytest.mark.parametrize(
    ("renames", "options", "told"),
    [
        ("old1: = new1:", ("--to", "maildir:back"), "{partition}"),
        ("old1: = new1:", ("--as", "joe"), "leave out one"),
        ("old1: = new1:", (), "no target for partition 'new1'"),
        ("ann = carl", (), "would become that of 'carl'"),
        ("nonsense", (), "map, line 1"),
    ],
)
def test_what_can_not_be(run: Run, tmp_path: Path, renames: str, options: tuple[str, ...], told: str) -> None:
    (tmp_path / "map").write_text(renames)
    assert told in run("old1 old2", "restore", "/", "--map", "map", *options, status=2)


@pytest.mark.parametrize("below", [".", "Maildir"])
def test_mail_comes_where_the_new_name_has_its_own(mailhaul: Mailhaul, tmp_path: Path, below: str) -> None:
    for name in ("ann", "bob"):
        Maildir(tmp_path / "store" / name / below).message(
            f"1.M1P1.{name}:2,S", f"Subject: {name}\n\n".encode()
        )
    store, staging = f"maildir:{tmp_path}/store", ("--staging", tmp_path / "staging")
    mailhaul.run(None, "backup", "--store", store, *staging)
    (tmp_path / "map").write_text("ann = bob\n")
    words = ("--map", tmp_path / "map", *staging, "--to")
    told = mailhaul.run(None, "restore", "/", *words, f"maildir:{tmp_path}/new", status=2)
    assert "would become that of 'bob'" in told["error"]["message"]
    mailhaul.run(None, "restore", "/primary/user/ann", *words, store)
    there = sorted(path.name for path in (tmp_path / "store/bob" / below / "cur").iterdir())
    assert there == ["1.M1P1.ann:2,S", "1.M1P1.bob:2,S"]


# With a server


SHARING = """
mail_plugins = acl
protocol imap {{
  mail_plugins = acl imap_acl
}}
plugin {{
  acl = vfile
  acl_shared_dict = file:{place}/shared.db
}}
namespace shared {{
  type = shared
  separator = /
  prefix = shared/%%u/
  location = maildir:{place}/home/%%d/%%n/Maildir:INDEXPVT=~/shared/%%u
  subscriptions = no
  list = children
}}
"""
TEAM = "Team/plans"


@pytest.fixture
def sharing(require_tool: Callable[[str], Path]) -> Iterator[Dovecot]:
    """A server whose users share folders. (2.4 has other words for it, and the same files.)"""
    programs = installed(require_tool)
    if programs.version >= (2, 4):
        pytest.skip("the configuration is one of 2.3")
    if reason := ensure_owner():
        pytest.skip(reason)
    place = Path(tempfile.mkdtemp(prefix="mh-"))
    place.chmod(0o755)
    server = Dovecot(programs, place, "maildir++", free_ports())
    with (place / "dovecot.conf").open("a") as settings:
        settings.write(SHARING.format(place=place))
    shutil.chown(place, OWNER, OWNER)  # the server makes shared.db
    server.start()
    yield server
    server.stop()
    complaints = server.complaints()
    shutil.rmtree(place)
    assert complaints == []


def test_what_was_shared_is_shared_under_the_new_names(sharing: Dovecot, tmp_path: Path) -> None:
    def doveadm(*words: str) -> list[str]:
        command = [*sharing.doveadm, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.splitlines()

    jane, bob = "jane@example.org", "bob@example.org"
    with sharing.login(jane) as client:
        client.make_folder(TEAM)
    for folder in ("INBOX", TEAM):
        doveadm("acl", "set", "-u", jane, folder, f"user={bob}", "lookup", "read")
        doveadm("mailbox", "subscribe", "-u", bob, f"shared/{jane}/{folder}")
    sharing.deliver([b"Subject: shared\n\nx\n"], jane, bob)
    mailhaul = Mailhaul(tmp_path)
    config = mailhaul.configure(sharing)
    mailhaul.run(config, "backup")
    (tmp_path / "map").write_text(r"(.*)@example\.org = new.\1@example.com" + "\n")
    assert mailhaul.run(config, "restore", "/", "--map", tmp_path / "map")["skipped"] == []
    doveadm("acl", "recalc", "-u", "new.jane@example.com")
    shared = {f"shared/new.jane@example.com{below}" for below in ("", f"/{TEAM}")}
    assert shared <= set(doveadm("mailbox", "list", "-s", "-u", "new.bob@example.com"))
    assert shared <= set(doveadm("mailbox", "list", "-u", "new.bob@example.com"))
    with sharing.login("new.bob@example.com") as client:
        assert len(client.messages("shared/new.jane@example.com")) == 1


def test_a_map_that_was_changed_since_is_refused(run: Run, mail: Path, tmp_path: Path) -> None:
    """What is done would stay in one place, and the rest go to another."""
    renames = tmp_path / "map"
    renames.write_text("old1:ann = new1:anna\nold1: = new1:\n")
    done = run("new1", "restore", "/old1", "--map", "map")
    directory = tmp_path / "staging" / ".mailhaul" / "restores" / done["restore"]
    told = json.loads((directory / "report.json").read_text())
    told["failures"] = [asdict(failure_of(Skipped("/old1/user/ann", "busy", "")))]
    (directory / "report.json").write_text(json.dumps(told))
    (directory / "state.json").unlink()
    (directory / "journal.jsonl").unlink()
    shutil.rmtree(mail / "new1/anna")

    for text in ("old1:ann = new1:annette\nold1: = new1:\n", None):
        if text is None:
            renames.unlink()
        else:
            renames.write_text(text)
        for option in ("--resume", "--retry", "--undo"):
            assert "the map is not as it was" in run("new1", "restore", option, done["restore"], status=2)
    assert sorted(path.name for path in (mail / "new1").iterdir()) == ["bob@old.example", "carl"]

    renames.write_text("old1:ann = new1:anna\nold1: = new1:\n")
    assert run("new1", "restore", "--resume", done["restore"])["restored"] == 1
    for before, after in (("ann", "anna"), ("carl", "carl")):
        there = (snapshot(mail / one, times=False) for one in (f"old1/{before}", f"new1/{after}"))
        found = differences(*there)
        assert all("dovecot-acl" in one or "subscriptions" in one for one in found), found
