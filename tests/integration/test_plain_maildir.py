"""A Maildir that no Dovecot has seen: backed up, restored, and then served by one."""

from __future__ import annotations

import imaplib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from mailhaul.tests.integration.accounts import File, message_files
from mailhaul.tests.integration.command import Mailhaul
from mailhaul.tests.integration.servers.dovecot import OWNER, Dovecot
from mailhaul.tests.integration.servers.imap import digest

ALICE = "alice@example.org"

StartDovecot = Callable[..., Dovecot]


def test_plain_maildir(
    start_dovecot: StartDovecot, mailhaul: Mailhaul, mails: tuple[bytes, ...], tmp_path: Path
) -> None:
    """Mail that no Dovecot has seen yet, restored to where one starts: it assigns UIDs as to any new mail."""
    source = tmp_path / "source"
    maildir = source / "example.org" / "alice" / "Maildir"
    files = {**plain_folder(maildir, mails[:9]), **plain_folder(maildir / ".Archive", mails[9:12])}
    assert message_files(maildir) == files
    mailhaul.run(None, "backup", "--store", f"maildir:{source}", "--staging", "staging")

    server = start_dovecot()
    home = server.place / "home"
    report = mailhaul.run(None, "restore", "/", "--staging", "staging", "--to", f"maildir:{home}")
    assert report["restored"] == 12
    assert message_files(server.maildir(ALICE)) == files
    account = server.view(ALICE)
    for name, expected in (("INBOX", mails[:9]), ("Archive", mails[9:12])):
        folder = account.folders[name]
        assert {message.digest for message in folder.messages.values()} == {
            on_the_wire(one) for one in expected
        }
        assert len(folder.messages) == len(expected)
    (answered,) = [
        seen_message
        for seen_message in account.folders["INBOX"].messages.values()
        if "\\Answered" in seen_message.flags
    ]
    assert answered.flags == {"\\Seen", "\\Answered"}
    assert imaplib.Internaldate2tuple(b'INTERNALDATE "%b"' % answered.date.encode()) == time.localtime(
        1_700_000_003
    )
    check_delivery(server)


def plain_folder(folder: Path, mails: tuple[bytes, ...]) -> dict[str, File]:
    """Make a folder of a Maildir, owned as the mail of a server is."""
    for place in ("cur", "new", "tmp"):
        (folder / place).mkdir(parents=True)
    if folder.name.startswith("."):
        (folder / "maildirfolder").touch()
    for number, mail in enumerate(mails):
        name = f"{1_700_000_000 + number}.{number}.plain"
        path = folder / ("new" / Path(name) if number < 2 else f"cur/{name}:2,{'RS' if number == 3 else 'S'}")
        path.write_bytes(mail)
        os.utime(path, ns=(0, (1_700_000_000 + number) * 10**9 + 123_456_789))
    for path in (folder.parent, folder, *folder.rglob("*")):
        shutil.chown(path, OWNER, OWNER)
    root = folder.parent if folder.name.startswith(".") else folder
    return {name: file for name, file in message_files(root).items() if (root / name).is_relative_to(folder)}


def on_the_wire(mail: bytes) -> str:
    """The digest of a message as IMAP shows it: every line ends with CR LF."""
    return digest(mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def check_delivery(server: Dovecot) -> None:
    uidnext = server.view(ALICE).folders["INBOX"].uidnext
    server.deliver([b"Subject: new\r\n\r\nnew\r\n"], ALICE)
    assert max(server.view(ALICE).folders["INBOX"].messages) == uidnext
