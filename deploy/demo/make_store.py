#!/usr/bin/env python3
"""Build a sample mail store: Maildirs as Dovecot keeps them, DIR/DOMAIN/USER/Maildir.

The messages come from the files in mail/ beside this program: as they are, or as new text made of
their paragraphs, some with an attachment that recurs or is new. One mail goes to one or several
users; each copy has its own delivery lines on top, a few are hard links instead. The same options
give the same store. Python 3.11, nothing to install.
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

USERS = [
    *("jane@example.org", "bjorn@example.net", "priya@example.org", "yuki@example.net"),
    *("ola@example.org", "samir@example.net", "tomas@example.org", "ines@example.net"),
]

# Directory of a folder -> weight of its share of the mail; Entw&APw-rfe is Entwürfe in modified UTF-7.
FOLDERS = {"": 60, ".Sent": 14, ".Archive": 4, ".Archive.2024": 12, ".Entw&APw-rfe": 3, ".Trash": 7}
# Flags in the name of a message (None: in new/, not seen by any client) -> weight. Small letters: keywords.
FLAGS = {None: 6, "": 4, "S": 72, "RS": 10, "FS": 4, "Sa": 2, "Sb": 1, "FRSab": 1}
KEYWORDS = "0 $Forwarded\n1 NonJunk\n"
FIRST_DAY, LAST_DAY = 1_690_000_000, 1_760_000_000
MIME_LINES = re.compile(rb"(?im)^(?:mime-version|content-[a-z-]+):[^\n]*\n(?:[ \t][^\n]*\n)*")
PLAIN = re.compile(rb"(?i)(?:[^\r\n]+\n)*Content-Type: text/plain.*\nContent-Transfer-Encoding: 7bit\n(?!\r)")


@dataclass
class Folder:
    """A folder and the messages delivered to it: (time, name without flags)."""

    path: Path
    names: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Mailbox:
    address: str
    path: Path
    folders: dict[str, Folder]


class Samples:
    """Makes mails out of the sample messages."""

    def __init__(self, rng: random.Random, seed: int) -> None:
        files = sorted((Path(__file__).parent / "mail").glob("*.eml"))
        self.mails = [file.read_bytes() for file in files]
        self.plain = [mail for mail in self.mails if PLAIN.match(mail)]
        texts = (part.strip() for mail in self.plain for part in mail.split(b"\n\n")[1:])
        self.paragraphs = [text for text in texts if 40 < len(text) < 600]
        self.rng, self.seed, self.made = rng, seed, 0

    def next(self) -> tuple[int, bytes]:
        """(time, message) of one more mail, with a Message-ID and a date of its own."""
        self.made += 1
        when = self.rng.randrange(FIRST_DAY, LAST_DAY)
        as_it_is = self.rng.random() < 0.2
        mail = self.rng.choice(self.mails) if as_it_is else self.compose(self.rng.choice(self.plain))
        mail = re.sub(rb"<sample-\d+@", b"<%d.%d@" % (when, self.made), mail, count=1)
        return when, re.sub(rb"\nDate: [^\r\n]*", b"\nDate: " + formatdate(when).encode(), mail, count=1)

    def compose(self, template: bytes) -> bytes:
        """A mail with the header of another one and a new text, sometimes with an attachment."""
        head = template.partition(b"\n\n")[0] + b"\n"
        text = b"\n\n".join(self.rng.choices(self.paragraphs, k=self.rng.randrange(2, 12))) + b"\n"
        text += b"\nRef. %d/%d\n" % (self.rng.randrange(10**6), self.made)
        if self.rng.random() > 0.15:
            return head + b"\n" + text
        recurring = self.rng.random() < 0.35
        number = int(25 * self.rng.random() ** 2) if recurring else 1000 + self.made
        mark = b"part-%d" % self.made
        parts = (b"Content-Type: text/plain; charset=us-ascii\n\n" + text, attachment(self.seed, number))
        body = b"".join(b"--%s\n%s\n" % (mark, part) for part in parts) + b"--%s--\n" % mark
        kind = b'MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary="%s"\n\n' % mark
        return MIME_LINES.sub(b"", head) + kind + body


@functools.lru_cache(maxsize=64)
def attachment(seed: int, number: int) -> bytes:
    """The MIME part with attachment ``number``: a table that compresses, or bytes that do not."""
    rng = random.Random(f"{seed}/{number}")
    size = min(max(int(rng.lognormvariate(10.6, 1.1)), 400), 4 << 20)
    if number % 5 == 0:
        rows = (b"pier-%d;%d;%d" % (rng.randrange(9), rng.randrange(10**6), i) for i in range(size // 16))
        kind, name, data = b"text/csv", b"table-%d.csv" % number, b"\r\n".join(rows)
    else:
        kind, name, data = (
            b"application/pdf",
            b"document-%d.pdf" % number,
            b"%PDF-1.4\n" + rng.randbytes(size),
        )
    line = base64.b64encode(data)
    lines = b"\n".join(line[i : i + 76] for i in range(0, len(line), 76))
    head = b'Content-Type: %s; name="%s"\nContent-Transfer-Encoding: base64\n\n' % (kind, name)
    return head + lines + b"\n"


class Store:
    """The tree that is being written."""

    def __init__(self, root: Path, users: int, seed: int) -> None:
        self.rng = random.Random(f"{seed}/store")
        self.samples = Samples(self.rng, seed)
        self.messages = self.size = self.links = 0
        more = (f"user{i:04d}@example.{'org' if i % 2 else 'net'}" for i in range(len(USERS), users))
        self.boxes = [self.mailbox(root, address) for address in [*USERS, *more][:users]]

    def mailbox(self, root: Path, address: str) -> Mailbox:
        user, domain = address.split("@")
        home = root / domain / user
        folders = {name: Folder(home / "Maildir" / name) for name in FOLDERS}
        for name, folder in folders.items():
            for sub in ("cur", "new", "tmp"):
                (folder.path / sub).mkdir(parents=True, mode=0o700)
            if name:
                (folder.path / "maildirfolder").touch(0o600)
        names = sorted(name[1:].replace(".", "\t") for name in FOLDERS if name)
        (home / "Maildir" / "subscriptions").write_text("\n".join(["V\t2", "", *names, ""]))
        (home / "sieve").mkdir(mode=0o700)
        (home / "sieve" / "main.sieve").write_text('require ["fileinto"];\nkeep;\n')
        (home / ".dovecot.sieve").symlink_to("sieve/main.sieve")
        return Mailbox(address, home / "Maildir", folders)

    def deliver(self, wanted: int) -> None:
        """One more mail, to one user or to several, but not more than ``wanted`` copies."""
        rng, (when, mail) = self.rng, self.samples.next()
        count = min(1 if rng.random() < 0.8 else rng.randrange(2, 7), wanted)
        boxes = rng.sample(self.boxes, min(count, len(self.boxes)))
        shared = len(boxes) > 1 and rng.random() < 0.15
        data, path = self.trace("all", when, mail), None
        for box in boxes:
            if not shared:
                data, path = self.trace(box.address, when, mail), None
            path = self.file(box, when, data, link=path)

    def trace(self, address: str, when: int, mail: bytes) -> bytes:
        """The mail with the lines that a delivery to this address puts on top."""
        end = "\r\n" if b"\r\n" in mail else "\n"
        queue = f"{self.rng.randrange(16**10):010X}"
        lines = (
            f"Return-Path: <bounce-{queue}@example.net>",
            f"Delivered-To: {address}",
            f"Received: from relay.example.net (relay.example.net [192.0.2.{self.rng.randrange(1, 99)}])",
            f"\tby store.example.org with LMTP id {queue}",
            f"\tfor <{address}>; {formatdate(when)}",
        )
        return "".join(line + end for line in lines).encode() + mail

    def file(self, box: Mailbox, when: int, data: bytes, link: Path | None) -> Path:
        """Put one message into a folder of the mailbox, as a file or as a link to one; returns its path."""
        (folder,) = self.rng.choices(list(FOLDERS), list(FOLDERS.values()))
        (flags,) = self.rng.choices(list(FLAGS), list(FLAGS.values()))
        flags = "DS" if folder == ".Entw&APw-rfe" else flags
        self.messages += 1
        self.size += len(data)
        wide = len(data) + data.count(b"\n") - data.count(b"\r\n")
        name = f"{when}.M{self.rng.randrange(10**6):06d}P{self.messages}.store,S={len(data)},W={wide}"
        box.folders[folder].names.append((when, name))
        path = box.folders[folder].path / ("new" if flags is None else "cur")
        path /= name if flags is None else f"{name}:2,{flags}"
        if link:
            self.links += 1
            path.hardlink_to(link)
            return path
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        os.utime(path, (when, when))
        return path

    def finish(self) -> None:
        """Write what Dovecot keeps beside the messages: UIDs in order of arrival, with gaps; keywords."""
        for box in self.boxes:
            for folder in box.folders.values():
                uid, lines = 0, []
                for _, name in sorted(folder.names):
                    uid += 1 if self.rng.random() < 0.95 else self.rng.randrange(2, 9)
                    lines.append(f"{uid} :{name}\n")
                valid = self.rng.randrange(FIRST_DAY, LAST_DAY)
                head = f"3 V{valid} N{uid + 1} G{self.rng.randbytes(16).hex()}\n"
                (folder.path / "dovecot-uidlist").write_text(head + "".join(lines))
                (folder.path / "dovecot-keywords").write_text(KEYWORDS)
            (box.path / "dovecot-uidvalidity").write_text(f"{LAST_DAY:08x}")
            (box.path / f"dovecot-uidvalidity.{LAST_DAY:08x}").touch(0o444)


def main(arguments: Sequence[str] | None = None) -> dict[str, int]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="where the store is made; must not exist")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--users", type=int, default=len(USERS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    options.directory.mkdir(parents=True)
    store = Store(options.directory, options.users, options.seed)
    while store.messages < options.messages:
        store.deliver(options.messages - store.messages)
    store.finish()
    return {
        "mailboxes": len(store.boxes),
        "messages": store.messages,
        "bytes": store.size,
        "links": store.links,
    }


if __name__ == "__main__":
    print(json.dumps(main()))
