"""A site with encrypted archives whose mail, names and terms are words that stand nowhere else, and what an
attacker can read of files without keys. Commands run in this process."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lz4.block
import zstandard

from mailhaul.proto.archive import frames
from mailhaul.proto.archive.frames import HEADER_BYTES, Codec
from mailhaul.proto.errors import BackupError
from mailhaul.proto.keys.paper import paper_text
from mailhaul.proto.keys.recipients import recipient, write_recipient
from mailhaul.proto.keys.records import Kem
from mailhaul.proto.keys.secret_files import Secret
from mailhaul.proto.keys.wrapping import public_of

from ..maildirs import Maildir
from ..trees import Entry, snapshot
from ..verifying import command
from .servers.object_storage import S3Server

USERS = (
    "rosalinde.zwiebel@firma.example",
    "ottokar.quitte@firma.example",
    "walpurga.fenchel@amt.example",
    "kunigunde.raps@amt.example",
)
LAYOUT = "{domain}/{user}/Maildir"
WORDS = {
    "user": b"zwiebel",
    "domain": b"firma.example",
    "folder": b"Geheimakten",
    "subject": b"Uebernahmeangebot",
    "sender": b"hinz.kunz",
    "message id": b"kennzeichen-4711",
    "body": b"schwarzkasse",
    "attachment name": b"bilanzluecke.pdf",
    "attachment": b"doppelte-buchfuehrung",
    "keyword": b"erpressbar",
    "file": b"abwesenheitsnotiz",
    "file name": b"spitzelnetz.sieve",
    "who went": b"fenchel",
    "what could not be read": b"vergraben.M1P",
    "who is erased": b"kunigunde",
    "held": b"quitte",
    "why it is held": b"hausdurchsuchung",
}
"""What nobody without a key may learn, by what it is."""

MAIL = b"""\
From: Hinz Kunz <hinz.kunz@firma.example>
To: %s
Subject: Uebernahmeangebot %d
Message-ID: <kennzeichen-4711.%d@firma.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: text/plain

In der schwarzkasse liegen %d Taler.
--b
Content-Type: application/pdf; name="bilanzluecke.pdf"
Content-Disposition: attachment; filename="bilanzluecke.pdf"
Content-Transfer-Encoding: base64

%s
--b--
"""


class GuardedSite:
    """A store of some users, whose mail is backed up for one recipient and swept to some destinations."""

    def __init__(
        self, place: Path, server: S3Server, names: Sequence[str] = ("vault",), *, encrypted: bool = True
    ) -> None:
        self.place, self.server, self.names, self.encrypted = place, server, names, encrypted
        place.mkdir(exist_ok=True)
        self.store, self.staging, self.keys = place / "store", place / "staging", place / "keys"
        self.bucket = server.new_bucket() if "bucket" in names else ""
        self.private = secrets.token_bytes(32)
        ops = recipient("ops", Kem.X25519, public_of(Kem.X25519, self.private))
        self.public = write_recipient(place, ops)
        self.secret = Secret(name="ops", kem=Kem.X25519, recipient=ops.id, private=self.private)
        self.encrypted = encrypted
        self.config = self.configured(place, encrypted=encrypted)
        self.moments: dict[str, dict[bytes, Entry]] = {}
        self._delivered = 0
        self.boxes = {user: self._mailbox(user) for user in USERS}
        for name in names:
            self.run("destination check", name)

    def configured(self, place: Path, *, encrypted: bool = True) -> Path:
        """A configuration with staging area and keys at this place."""
        config = place / "mailhaul.toml"
        tables = [
            f'[staging]\npath = "{place}/staging"\nkeys = "{place}/keys"\n',
            'same_device = true\nreserve = "1 MB"\n',
            f'[[partition]]\nformat = "maildir"\npath = "{self.store}/{LAYOUT}"\nalso = ["*.sieve"]\n',
            *map(self.destination, self.names),
            (
                f'[sweep]\ncopies = {json.dumps(list(self.names))}\nlook_again = "0s"\nkeep_staged = "0s"\n'
                "keep_newest = false\n"
            ),
            f'[encryption]\nrecipients = ["{self.public}"]\n' if encrypted else "",
            "[retention]\ncompact_below = 1.0\n",
        ]
        config.write_text("\n".join(tables))
        return config

    def destination(self, name: str) -> str:
        """The table of one of them."""
        facts: dict[str, object] = {"kind": "directory", "path": f"{self.place}/vault"}
        if name == "bucket":
            key = self.place / "bucket.env"
            key.touch(mode=0o600)
            key.write_text(
                f"AWS_ACCESS_KEY_ID={self.server.key}\nAWS_SECRET_ACCESS_KEY={self.server.secret}\n"
            )
            facts = {
                "kind": "s3",
                "endpoint": self.server.endpoint,
                "bucket": self.bucket,
                "prefix": "site1/",
                "credentials": str(key),
            }
        elif name == "drive":
            facts = {"kind": "tape", "file": f"{self.place}/tapes", "record": "10 KiB", "capacity": "6 MB"}
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in facts.items()]
        return f'[[destination]]\nname = "{name}"\n{"".join(lines)}'

    def run(self, name: str, *arguments: object, status: tuple[int, ...] = (0,)) -> Any:
        return command(f"--config {self.config} {name}", *arguments, status=status)

    def _mailbox(self, user: str) -> Maildir:
        name, _, domain = user.partition("@")
        box = Maildir(self.store / domain / name / "Maildir")
        box.folder(".Geheimakten")
        box.keywords("erpressbar")
        (box.root.parent / "spitzelnetz.sieve").write_bytes(b'vacation "abwesenheitsnotiz";\n')
        return box

    def deliver(self, user: str, folder: str = "") -> None:
        """A message arrives."""
        self._delivered += 1
        number = self._delivered
        # Of its own, so that there is something to store each night.
        attachment = base64.encodebytes(b"doppelte-buchfuehrung " * 40 + secrets.token_bytes(3000))
        content = MAIL % (user.encode(), number, number, number, attachment)
        box = self.boxes[user]
        box.message(f"{number}.M1P{number}.store:2,Sa", content, folder)
        there = sorted(int(name.split(".")[0]) for name in box.names(folder) if name[0].isdigit())
        box.uidlist(*(f"{one} :{one}.M1P{one}.store" for one in there), folder=folder)

    def night(self, *, status: tuple[int, ...] = (0,)) -> None:
        """Mail arrives and is backed up."""
        for user, box in self.boxes.items():
            if box.root.exists():
                for folder in ("", ".Geheimakten"):
                    self.deliver(user, folder)
        run = self.run("backup", "--workers", "1", status=status)["run"]
        self.moments[run] = mail_in(self.store)

    def paper(self, place: Path) -> Path:
        """The private key, typed from paper."""
        typed = place / "typed"
        typed.touch(mode=0o600)
        typed.write_text(paper_text(self.secret))
        return typed

    def add_recipient(self) -> None:
        """Somebody who comes later can open what is there."""
        later = write_recipient(self.place, recipient("safe", Kem.X25519, public_of(Kem.X25519, bytes(32))))
        typed = self.paper(self.place)
        added = self.run("keys recipient add", later, "--identity", typed)
        assert added["written"] > 0
        typed.unlink()

    def objects(self) -> dict[str, bytes]:
        """All that lies in the bucket, with what stands beside it: by a client that knows nothing of us."""
        client = self.server.client()
        found = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for one in page.get("Contents", []):
                answer = client.get_object(Bucket=self.bucket, Key=one["Key"])
                beside = repr(sorted(answer["Metadata"].items())).encode()
                found[one["Key"]] = answer["Body"].read()
                found[f"{one['Key']}\nmetadata"] = beside
        return found


def mail_in(root: Path, *, times: bool = True) -> dict[bytes, Entry]:
    """All that lies in the mailboxes."""
    return {where: one for where, one in snapshot(root, times=times).items() if b"/Maildir/" in where}


def files_in(*roots: Path) -> dict[str, bytes]:
    """All files below some directories, by name."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def found_in(files: dict[str, bytes]) -> dict[str, set[str]]:
    """Which of the words can be read in which files, or in their names, without a key: what they are."""
    found: dict[str, set[str]] = {}
    for name, data in files.items():
        for view in (name.encode(), *views(data)):
            lower = view.lower()
            for what, word in WORDS.items():
                if any(form.lower() in lower for form in _forms(word)):
                    found.setdefault(name, set()).add(what)
    return found


def _forms(word: bytes) -> Iterator[bytes]:
    yield word
    yield word.hex().encode()
    yield word.decode().encode("utf-16-le")
    for shift, first in ((0, 0), (1, 2), (2, 3)):  # base64, wherever it begins: what only the word tells
        yield base64.b64encode(bytes(shift) + word)[first : (shift + len(word)) * 8 // 6]


def views(data: bytes, depth: int = 3) -> Iterator[bytes]:
    """Bytes as they are, and all that can be unpacked of them: payloads of frames by their codec, gzip and
    zstd streams wherever they begin, SQLite databases."""
    yield data
    if not depth:
        return
    for plain in (*_frames(data), *_streams(data), *_rows(data)):
        yield from views(plain, depth - 1)


def _frames(data: bytes) -> Iterator[bytes]:
    at = -1
    while (at := data.find(frames.MAGIC, at + 1)) >= 0:
        try:
            header = frames.decode_header(data[at : at + HEADER_BYTES], "here")
        except BackupError:
            continue
        stored = data[at + HEADER_BYTES :][: header.stored_bytes]
        for start in (0, 8):  # behind a counter, too
            try:
                if header.codec is Codec.LZ4:
                    yield lz4.block.decompress(stored[start:], uncompressed_size=frames.LARGEST_FRAME)
                elif header.codec is Codec.ZSTD:
                    yield zstandard.ZstdDecompressor().decompress(stored[start:], frames.LARGEST_FRAME)
            except (lz4.block.LZ4BlockError, zstandard.ZstdError):
                continue


def _streams(data: bytes) -> Iterator[bytes]:
    at = -1
    while (at := data.find(b"\x1f\x8b\x08", at + 1)) >= 0:
        try:
            yield zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data[at:])
        except zlib.error:
            continue
    at = -1
    while (at := data.find(b"\x28\xb5\x2f\xfd", at + 1)) >= 0:
        try:
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data[at:])
        except zstandard.ZstdError:
            continue


def _rows(data: bytes) -> Iterator[bytes]:
    if not data.startswith(b"SQLite format 3\0"):
        return
    database = sqlite3.connect(":memory:")
    database.deserialize(
        data[:18] + b"\1\1" + data[20:]
    )  # without its journal (WAL), which is a file of its own
    database.text_factory = bytes
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for row in database.execute(f"SELECT * FROM {table.decode()}"):
            yield from (value for value in row if isinstance(value, bytes))
    database.close()
