"""HIGHESTMODSEQ by way of doveadm: recorded with folders, raised after a restore, and never silently not."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from mailhaul.proto.errors import StoreError
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


@pytest.fixture
def doveadm(tmp_path: Path) -> tuple[str, ...]:
    """A command that answers with the file ``answer`` and notes how it was called in ``calls``."""
    script = tmp_path / "doveadm.py"
    script.write_text(
        "import pathlib, sys\n"
        "here = pathlib.Path(__file__).parent\n"
        "with (here / 'calls').open('a') as calls:\n"
        "    print(*sys.argv[1:], sep='|', file=calls)\n"
        "if (here / 'fails').exists():\n"
        "    sys.exit('Error: first\\nError: no such user')\n"
        "sys.stdout.buffer.write((here / 'answer').read_bytes())\n"
        "sys.exit((here / 'partly').exists())\n"
    )
    (tmp_path / "answer").write_bytes(TABLE)
    return sys.executable, str(script), "-c", "my.conf"


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_folders_by_guid(tmp_path: Path, doveadm: tuple[str, ...]) -> None:
    assert Doveadm(doveadm).folders("jane") == {
        GUID: ServerFolder(b"INBOX", 15),
        OTHER: ServerFolder("Entwürfe/\n".encode(), 7),
    }
    assert calls(tmp_path) == ["-c|my.conf|-f|tab|mailbox|status|-u|jane|highestmodseq guid|*"]


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
        assert {one.folder.name: one.folder.highest_modseq for one in mailbox.folders()} == {
            "INBOX": 15, "Plain": 0
        }  # fmt: skip
        assert mailbox.skipped() == []
    (tmp_path / "calls").unlink()
    target = MaildirTarget(f"{tmp_path}/new/{{user}}", doveadm)
    assert copy_mail(store, target) == []
    assert calls(tmp_path)[-1] == "-c|my.conf|mailbox|update|-u|jane|--min-highest-modseq|1015|--|INBOX"
    # A folder that was there counts on by itself.
    (tmp_path / "calls").unlink()
    assert copy_mail(store, target) == []
    assert not any("update" in call for call in calls(tmp_path))


def test_what_cannot_be_recorded_is_told(tmp_path: Path, doveadm: tuple[str, ...]) -> None:
    original(tmp_path)
    store = MaildirStore(f"{tmp_path}/old/{{user}}", doveadm)
    (tmp_path / "answer").write_bytes(b"mailbox\tguid\thighestmodseq\n")
    with store.open_mailbox("jane") as mailbox:
        assert [one.folder.highest_modseq for one in mailbox.folders()] == [0, 0]
        (told,) = mailbox.skipped()
    assert (told.path, told.reason) == (".", "doveadm")
    (tmp_path / "fails").touch()
    with store.open_mailbox("jane") as mailbox:
        assert [one.folder.highest_modseq for one in mailbox.folders()] == [0, 0]
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


@pytest.mark.parametrize("missing", [False, True])
def test_what_cannot_be_raised_is_told(tmp_path: Path, doveadm: tuple[str, ...], missing: bool) -> None:
    original(tmp_path)
    store = MaildirStore(f"{tmp_path}/old/{{user}}", doveadm)
    with store.open_mailbox("jane") as reader:
        folder = next(iter(reader.folders())).folder
    if missing:
        (tmp_path / "answer").write_bytes(b"mailbox\tguid\thighestmodseq\n")
    else:
        (tmp_path / "fails").touch()
    with MaildirTarget(f"{tmp_path}/new/{{user}}", doveadm).open_mailbox("jane") as writer:
        writer.open_folder(folder).finish()
        writer.commit()
        (told,) = writer.skipped()
    assert (told.path, told.reason) == (".", "doveadm")
    assert os.listdir(tmp_path / "new" / "jane")
