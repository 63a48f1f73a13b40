"""Small Maildirs for tests, and mail carried from a store to a target without an archive between them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mailhaul.proto.ports import MailboxReader, MailboxWriter, MailStore, MailTarget
from mailhaul.proto.records import Attributes, Folder, Listed, Message, Ownership, Skipped, StoredFile

GUID = "914b7e3a786d016b9d45000083ecc375"
DATE_NS = 1_600_000_000_123_456_789


class Maildir:
    """A Maildir that is being put together. Paths of folders are relative to it; "" is INBOX."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder("")

    def folder(self, path: str | bytes) -> Path:
        """Make a folder; its directory."""
        directory = self.root / os.fsdecode(path)
        for name in ("cur", "new", "tmp"):
            (directory / name).mkdir(parents=True, mode=0o700, exist_ok=True)
        return directory

    def message(
        self, name: str | bytes, content: bytes = b"Subject: x\n\nhi\n", folder: str = "", place: str = "cur"
    ) -> Path:
        """Put a message into a folder; its file."""
        path = self.root / folder / place / os.fsdecode(name)
        path.write_bytes(content)
        path.chmod(0o600)
        os.utime(path, ns=(DATE_NS, DATE_NS))
        return path

    def uidlist(self, *lines: str | bytes, header: str = f"3 V1500 N100 G{GUID}", folder: str = "") -> Path:
        """Write the UID list of a folder."""
        path = self.root / folder / "dovecot-uidlist"
        path.write_bytes(b"".join(os.fsencode(line) + b"\n" for line in (header, *lines)))
        return path

    def keywords(self, *names: str, folder: str = "") -> Path:
        """Write the keywords of a folder."""
        path = self.root / folder / "dovecot-keywords"
        path.write_text("".join(f"{number} {name}\n" for number, name in enumerate(names)))
        return path

    def names(self, folder: str = "", place: str = "cur") -> list[str]:
        """What lies in a folder."""
        return sorted(path.name for path in (self.root / folder / place).iterdir())

    def leftovers(self) -> list[str]:
        """Temporary names in and beside the mailbox."""
        places = (self.root.parent, self.root, self.root / "tmp")
        return [
            name
            for place in places
            if place.is_dir()
            for name in os.listdir(place)
            if name.startswith(".mailhaul-restore-")
        ]


def message(
    base: bytes = b"1.M1P1.host",
    content: bytes = b"",
    *,
    suffix: bytes = b":2,S",
    uid: int = 0,
    place: str = "cur",
    fields: bytes = b"",
    flags: str = "",
    date_ns: int = DATE_NS,
    owner: Ownership | None = None,
    attributes: Attributes = (),
    link: int = 0,
) -> Message:
    """The record of a stored message; what it says of an archive is not used by targets."""
    mine = owner or Ownership(0o600, os.geteuid(), os.getegid())
    facts = uid, base, suffix, place, flags, fields, date_ns, mine, len(content), bytes(16), ()
    return Message(*facts, attributes=attributes, link=link)


def file(
    path: bytes,
    content: bytes = b"",
    *,
    home: bool = False,
    target: bytes | None = None,
    owner: Ownership | None = None,
) -> StoredFile:
    """The record of a stored file."""
    mine = owner or Ownership(0o600, os.geteuid(), os.getegid())
    return StoredFile(path, home, target, mine, DATE_NS, len(content), bytes(16), ())


def read_mailbox(mailbox: MailboxReader) -> list[tuple[Folder, list[tuple[Listed, bytes]]]]:
    """All folders and messages of a mailbox with their bytes."""
    found = []
    for folder in mailbox.folders():
        messages = []
        for listed in folder.messages():
            opened = folder.open_message(listed)
            messages.append((opened.listed or listed, opened.read(opened.stat.size + 1)))
            opened.close()
        assert len(messages) == len(folder)
        found.append((folder.folder, messages))
    return found


def read_files(mailbox: MailboxReader) -> dict[bytes, bytes]:
    """The other files of a mailbox: content, or ``-> target``, by path; those of the home under ``../``."""
    found = {}
    for listed_file in mailbox.files():
        path = b"../" + listed_file.path if listed_file.home else listed_file.path
        if listed_file.target is not None:
            found[path] = b"-> " + listed_file.target
        else:
            opened = mailbox.open_file(listed_file)
            found[path] = opened.read(1 << 20)
            opened.close()
    return found


def copy_mail(store: MailStore, target: MailTarget, users: Iterable[str] | None = None) -> list[Skipped]:
    """Carry mailboxes from a store to a target; what either of them told as skipped."""
    skipped: list[Skipped] = []
    for user in store.users() if users is None else users:
        with store.open_mailbox(user) as reader:
            layout = [folder.folder for folder in reader.folders()]
        with store.open_mailbox(user) as reader, target.open_mailbox(user, reader.place, layout) as writer:
            copy_mailbox(reader, writer)
            writer.commit()
            skipped += [*reader.skipped(), *writer.skipped()]
    return skipped


def copy_mailbox(reader: MailboxReader, writer: MailboxWriter) -> None:
    """Carry one mailbox over."""
    for folder in reader.folders():
        into = writer.open_folder(folder.folder)
        for listed in folder.messages():
            opened = folder.open_message(listed)
            now, content = opened.listed or listed, opened.read(opened.stat.size + 1)
            opened.close()
            stored = message(
                now.base,
                content,
                suffix=now.suffix,
                uid=listed.uid,
                place=now.place,
                fields=listed.fields,
                flags=now.flags,
                date_ns=opened.stat.mtime_ns,
                owner=opened.stat.owner,
                attributes=opened.stat.attributes,
            )
            into.add(stored, [content])
        into.finish()
    for listed_file in reader.files():
        stat, content = reader.link_stat(listed_file) if listed_file.target is not None else None, b""
        if stat is None:
            opened = reader.open_file(listed_file)
            stat, content = opened.stat, opened.read(1 << 20)
            opened.close()
        kept = StoredFile(
            listed_file.path,
            listed_file.home,
            listed_file.target,
            stat.owner,
            stat.mtime_ns,
            len(content),
            bytes(16),
            (),
            stat.attributes,
        )
        writer.add_file(kept, [content])
