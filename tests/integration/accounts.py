"""What the accounts of the tests hold: mail that came in every way, in folders with all sorts of names."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from .servers.dovecot import OWNER, Dovecot

# As IMAP has them, in modified UTF-7: Entwürfe, 日本語, Rock & Roll.
FOLDERS = (
    *("Archive", "Archive/2024", "Archive/2024/Q1", "Entw&APw-rfe", "&ZeVnLIqe-", "Rock &- Roll"),
    *("with space", 'quo"te', "back\\slash", "empty"),
)
UNSUBSCRIBED = "Archive/2024/Q1"
FLAGS = (
    *((), ("\\Seen",), ("\\Seen", "\\Answered", "$Forwarded"), ("\\Flagged", "NonJunk"), ("\\Draft",)),
    *(("\\Seen", "projectX", "NonJunk"), ("\\Deleted", "\\Seen"), ("$MDNSent", "\\Seen", "projectX")),
)
FIRST_DATE = datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC)
BETWEEN_DATES = timedelta(days=101, seconds=61)
SIEVE = b'require "fileinto";\nif header :contains "subject" "gauges" { fileinto "Archive"; }\n'


class File(NamedTuple):
    """What a file system knows of a file."""

    digest: str
    mtime_ns: int
    mode: int
    owner: tuple[int, int]


def fill(server: Dovecot, user: str, mails: Sequence[bytes]) -> None:
    """Let an account come about as accounts do: delivered, saved, flagged, moved, expunged, subscribed."""
    server.deliver(mails[:8], user)
    with server.login(user) as client:
        for folder in FOLDERS:
            client.make_folder(folder, subscribed=folder != UNSUBSCRIBED)
        client.make_folder("Gone")
        client.delete_folder("Gone")
        for number, mail in enumerate(mails[8:]):
            folder = FOLDERS[number % (len(FOLDERS) - 1)]
            when = FIRST_DATE + number * BETWEEN_DATES
            client.save(folder, mail, FLAGS[number % len(FLAGS)], when)
        client.open("Archive")
        client.expunge([1])
        client.save("Archive", mails[0], ("onceUsed",))
        last = client.save("Archive", mails[1])
        client.open("Archive")
        client.expunge([last])
        client.open("INBOX")
        client.flag([1, 3, 4], "+", "\\Seen")
        client.flag([3], "+", "$Forwarded", "projectX")
        client.flag([4], "+", "\\Flagged")
        client.expunge([2])
        client.move([1, 5], "Archive/2024")
    # What nobody has looked at yet lies in new/; a foreign agent's names tell no sizes.
    server.drop(user, [f"{1_000_000_000 + number}.{number}.mx" for number in range(4)], mails[15:19])
    server.deliver(mails[:2], user)
    write_sieve(server.home(user))


def write_sieve(home: Path) -> None:
    """A filter in the home, active by way of a link, as pigeonhole keeps it."""
    script = home / "sieve" / "main.sieve"
    script.parent.mkdir()
    script.write_bytes(SIEVE)
    (home / ".dovecot.sieve").symlink_to("sieve/main.sieve")
    for path in (script.parent, script):
        shutil.chown(path, OWNER, OWNER)
    os.utime(script, (1_600_000_000, 1_600_000_000))


def message_files(maildir: Path) -> dict[str, File]:
    """Every message file of a Maildir and of the folders in it, by its name below the Maildir."""
    found = {}
    for place in ("cur", "new"):
        for path in maildir.rglob(f"{place}/*"):
            stat = path.stat()
            content = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
            owner = (stat.st_uid, stat.st_gid)
            found[str(path.relative_to(maildir))] = File(content, stat.st_mtime_ns, stat.st_mode, owner)
    return found
