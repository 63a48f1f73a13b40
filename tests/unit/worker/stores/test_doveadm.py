"""HIGHESTMODSEQ by way of doveadm: recorded with folders, raised after a restore, and never silently not."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest

from mailhaul.proto.errors import StoreError
from mailhaul.proto.records import Renumbering
from mailhaul.worker.stores.doveadm import Doveadm, ServerFolder
from mailhaul.worker.stores.maildir import MaildirStore
from mailhaul.worker.stores.maildir_target import MaildirTarget

from ....known_mail import remember
from ....maildirs import GUID, Maildir, copy_mail

OTHER = GUID[::-1]
TABLE = b"mailbox\tuidnext\thighestmodseq\tguid\n" + b"".join(
    b"%s\t5\t%d\t%s\n" % row
    for row in ((b"INBOX", 15, GUID.encode()), ("Entwürfe/\x01n".encode(), 7, OTHER.encode()), (b"x", 1, b""))
)

SCRIPT = """
import pathlib, sys
here = pathlib.Path(__file__).parent
words, options = [], []
rest = iter(sys.argv[1:])
for word in rest:
    (options.append(next(rest)) if word == "-o" else words.append(word))
with (here / "calls").open("a") as calls:
    print(*words, sep="|", file=calls)
if (here / "fails").exists():
    sys.exit("Error: first\\nError: no such user")
if words[2:4] == ["mailbox", "path"]:
    place = here / "index-of-inbox"
    print(place.read_text() if place.exists() else here / "new" / "jane")
    sys.exit()
views = [pathlib.Path(word.removeprefix("mail_path=")) for word in options if word.startswith("mail_path=")]
if not views:
    sys.stdout.buffer.write((here / "answer").read_bytes())
    sys.exit((here / "partly").exists())
assert f"mail_location=maildir:{views[0]}" in options
folders = [] if (here / "elsewhere").exists() else sorted(views[0].iterdir())
if words[2:4] == ["mailbox", "list"]:
    print("INBOX", *("INBOX." + folder.name[1:] for folder in folders), sep="\\n")
elif "force-resync" in words:
    for folder in folders:
        (folder / "dovecot.index.log").touch()
        (folder / "dovecot.index.tmp").touch()
        if any((folder / "cur").iterdir()) and not (here / "lazy").exists():
            (folder / "dovecot.index").touch()
elif (here / "full").exists():
    sys.exit("Error: no space")
"""


@pytest.fixture
def doveadm(tmp_path: Path) -> tuple[str, ...]:
    """A command that notes how it was called in ``calls``, and answers with the file ``answer`` when it is
    asked for the status of folders. It treats the folders that it is pointed at as a server would: lists
    them, and writes index files into those that have messages."""
    script = tmp_path / "doveadm.py"
    script.write_text(SCRIPT)
    (tmp_path / "answer").write_bytes(TABLE)
    return sys.executable, str(script), "-c", "my.conf"


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_folders_by_guid(tmp_path: Path, doveadm: tuple[str, ...]) -> None:
    assert Doveadm(doveadm).folders("jane") == {
        GUID: ServerFolder(b"INBOX", 15),
        OTHER: ServerFolder("Entwürfe/\n".encode(), 7),
    }
    assert calls(tmp_path) == ["-c|my.conf|-f|tab|mailbox|status|-u|jane|highestmodseq guid|*|*"]


def test_one_folder_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, doveadm: tuple[str, ...]
) -> None:
    (tmp_path / "partly").touch()
    assert set(Doveadm(doveadm).folders("jane")) == {GUID, OTHER}


@pytest.mark.parametrize("answer", [b"", b"\n", b"mailbox\n", b"guid\thighestmodseq\nabc\n", b"\xff\t\0\n"])
def test_answers_that_say_nothing(tmp_path: Path, doveadm: tuple[str, ...], answer: bytes) -> None:
    (tmp_path / "answer").write_bytes(answer)
    assert Doveadm(doveadm).folders("jane") == {}


def test_a_command_that_fails_says_why(tmp_path: Path, doveadm: tuple[str, ...]) -> None:
    (tmp_path / "fails").touch()
    with pytest.raises(StoreError, match="no such user"):
        Doveadm(doveadm).folders("jane")
    with pytest.raises(StoreError, match="No such file"):
        Doveadm((str(tmp_path / "missing"),)).folders("jane")
    with pytest.raises(StoreError):
        Doveadm(doveadm).folders("ja\0ne")


def test_no_user_is_taken_for_a_pattern(tmp_path: Path, doveadm: tuple[str, ...]) -> None:
    for user in ("j*", "jan?"):
        with pytest.raises(StoreError, match="pattern"):
            Doveadm(doveadm).folders(user)
        with pytest.raises(StoreError, match="pattern"):
            Doveadm(doveadm).names(user, "/tmp")
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize("view", ["/srv/a b/x", "/srv/%u", "/srv/a:INDEX=x", "/srv/~", "/srv/$x", "", "/a\n"])
def test_no_path_is_taken_for_a_setting(tmp_path: Path, doveadm: tuple[str, ...], view: str) -> None:
    with pytest.raises(StoreError, match="character"):
        Doveadm(doveadm).names("jane", view)
    assert not (tmp_path / "calls").exists()


def original(tmp_path: Path) -> Maildir:
    box = Maildir(tmp_path / "old" / "jane")
    box.message("1.host")
    box.uidlist("1 :1.host")
    box.folder(".Plain")
    return box


def test_recorded_and_raised(tmp_path: Path, doveadm: tuple[str, ...]) -> None:
    original(tmp_path)
    store = MaildirStore(f"{tmp_path}/old/{{user}}", doveadm)
    with store.open_mailbox("jane") as mailbox:
        assert {folder.folder.name: folder.folder.highest_modseq for folder in mailbox.folders()} == {
            "INBOX": 15, "Plain": 0
        }  # fmt: skip
        assert mailbox.skipped() == []
    (tmp_path / "calls").unlink()
    target = MaildirTarget(f"{tmp_path}/new/{{user}}", doveadm)
    assert copy_mail(store, target) == []
    made = [call.removeprefix("-c|my.conf|") for call in calls(tmp_path)]
    listed, raised, *resyncs, asked = [call for call in made if "status" not in call]
    assert asked == "mailbox|path|-u|jane|-t|index|INBOX"
    assert listed == "mailbox|list|-u|jane"
    found = re.fullmatch(
        r"mailbox\|update\|-u\|jane\|--min-highest-modseq\|100000015\|--\|(INBOX.*0)", raised
    )
    assert found
    assert resyncs == [f"force-resync|-u|jane|{found[1].removesuffix('0')}*"] * 2
    # Of what the server wrote only the index is kept: a log would say that nothing has vanished.
    new = tmp_path / "new" / "jane"
    assert sorted(name for name in os.listdir(new) if "index" in name) == ["dovecot.index"]
    assert not [name for name in os.listdir(new / ".Plain") if "index" in name]
    # A folder that was there counts on by itself.
    (tmp_path / "calls").unlink()
    assert copy_mail(store, target) == []
    assert not any("update" in call for call in calls(tmp_path))


def test_a_folder_without_messages_has_one_until_its_index_is_written(
    tmp_path: Path, doveadm: tuple[str, ...]
) -> None:
    box = original(tmp_path)
    box.uidlist(folder=".Plain")
    store = MaildirStore(f"{tmp_path}/old/{{user}}", doveadm)
    assert copy_mail(store, MaildirTarget(f"{tmp_path}/new/{{user}}", doveadm)) == []
    new = Maildir(tmp_path / "new" / "jane")
    assert (new.root / ".Plain" / "dovecot.index").exists()
    assert new.names(".Plain") == []
    assert sum("force-resync" in call for call in calls(tmp_path)) == 3
    times = [(tmp_path / box / "jane" / ".Plain" / "cur").stat().st_mtime_ns for box in ("old", "new")]
    assert times[0] == times[1]


def test_what_cannot_be_recorded_is_told(tmp_path: Path, doveadm: tuple[str, ...]) -> None:
    original(tmp_path)
    store = MaildirStore(f"{tmp_path}/old/{{user}}", doveadm)
    (tmp_path / "answer").write_bytes(b"mailbox\tguid\thighestmodseq\n")
    with store.open_mailbox("jane") as mailbox:
        assert [folder.folder.highest_modseq for folder in mailbox.folders()] == [0, 0]
        (told,) = mailbox.skipped()
    assert (told.path, told.reason) == (".", "doveadm")
    (tmp_path / "fails").touch()
    with store.open_mailbox("jane") as mailbox:
        assert [reader.folder.highest_modseq for reader in mailbox.folders()] == [0, 0]
        (told,) = mailbox.skipped()
    assert (told.reason, "no such user" in told.detail) == ("doveadm", True)


def test_the_server_is_asked_once_and_only_if_a_folder_has_changed(
    tmp_path: Path, doveadm: tuple[str, ...]
) -> None:
    box = original(tmp_path)
    store = MaildirStore(f"{tmp_path}/old/{{user}}", doveadm)
    time.sleep(0.03)
    first = remember(store, "jane")
    assert len(calls(tmp_path)) == 1
    (tmp_path / "calls").unlink()
    (tmp_path / "answer").write_bytes(TABLE.replace(b"15", b"99"))
    second = remember(store, "jane", first)
    assert not (tmp_path / "calls").exists()
    assert (second["INBOX"].unchanged, second["INBOX"].folder.highest_modseq) == (True, 15)
    box.message("2.host", folder=".Plain")
    third = remember(store, "jane", first)
    assert (third["INBOX"].folder.highest_modseq, third["Plain"].unchanged) == (15, False)
    box.message("2.host")
    assert remember(store, "jane", first)["INBOX"].folder.highest_modseq == 99
    assert len(calls(tmp_path)) == 2


@pytest.mark.parametrize(
    ("fault", "told", "left"),
    [
        ("fails", "no such user", []),
        ("elsewhere", "not in place yet", []),
        ("full", "no space", []),
        ("lazy", "wrote no dovecot.index for 2 of 2", ["dovecot.index.log"]),
    ],
)
def test_what_cannot_be_raised_is_told(
    tmp_path: Path, doveadm: tuple[str, ...], fault: str, told: str, left: list[str]
) -> None:
    box = original(tmp_path)
    box.uidlist(folder=".Plain")
    store = MaildirStore(f"{tmp_path}/old/{{user}}")
    with store.open_mailbox("jane") as reader:
        folders = [folder_reader.folder for folder_reader in reader.folders()]
    (tmp_path / fault).touch()
    with MaildirTarget(f"{tmp_path}/new/{{user}}", doveadm).open_mailbox("jane") as writer:
        for folder in folders:
            writer.open_folder(folder).finish()
        writer.commit()
        (notice,) = writer.skipped()
        assert writer.without_modseq() == 2
    assert (notice.path, notice.reason, told in notice.detail) == (".", "doveadm", True)
    new = Maildir(tmp_path / "new" / "jane")
    assert [name for name in os.listdir(new.root) if "index" in name] == left
    assert new.names() == new.names(".Plain") == []
    assert new.leftovers() == []


@pytest.mark.parametrize(("place", "told"), [("/index", ["doveadm"]), ("", [])])
def test_index_files_where_the_server_does_not_look_are_told(
    tmp_path: Path, doveadm: tuple[str, ...], place: str, told: list[str]
) -> None:
    """A server that keeps none at all has no numbers that a client could remember."""
    original(tmp_path)
    with MaildirStore(f"{tmp_path}/old/{{user}}").open_mailbox("jane") as reader:
        folders = [folder_reader.folder for folder_reader in reader.folders()]
    (tmp_path / "index-of-inbox").write_text(place)
    with MaildirTarget(f"{tmp_path}/new/{{user}}", doveadm).open_mailbox("jane", layout=folders) as writer:
        for folder in folders:
            writer.open_folder(folder).finish()
        writer.commit()
        assert [skip.reason for skip in writer.skipped()] == told
        assert all("keeps its index in /index," in one.detail for one in writer.skipped())
        assert writer.without_modseq() == len(told)


def test_folders_that_no_server_counts_are_counted(tmp_path: Path) -> None:
    original(tmp_path)
    with MaildirStore(f"{tmp_path}/old/{{user}}").open_mailbox("jane") as reader:
        folders = [folder_reader.folder for folder_reader in reader.folders()]
    for renumbering, expected in ((Renumbering(), 1), (Renumbering(new_uidvalidity=True), 0)):
        target = MaildirTarget(f"{tmp_path}/new{expected}/{{user}}", renumbering=renumbering)
        with target.open_mailbox("jane") as writer:
            for folder in folders:
                writer.open_folder(folder).finish()
            writer.commit()
            assert (writer.without_modseq(), list(writer.skipped())) == (expected, [])
