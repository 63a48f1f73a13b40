"""Mailboxes as Maildirs again, after FORMAT.md, *What a Maildir needs*. Imports nothing of the product."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .archives import Archives, Home, Mail
from .columns import Refused


def restore(archives: Archives, users: dict[str, Home], target: Path) -> list[str]:
    """Write these mailboxes below ``target``, where they lay below their partition. What could not be
    restored, a line each."""
    missing: list[str] = []
    for user, home in users.items():
        try:
            mailbox = archives.mailbox(home)
        except Refused as error:
            missing.append(f"{user}: {error}")
            continue
        place = mailbox["place"] or os.fsencode(user) + b"/Maildir"
        missing += _Writer(archives, mailbox, os.path.join(os.fsencode(target), place)).write()
    return missing


class _Writer:
    """One mailbox."""

    def __init__(self, archives: Archives, mailbox: dict[str, Any], top: bytes) -> None:
        self._archives = archives
        self._mailbox = mailbox
        self._top = top
        self._home = os.path.dirname(top)
        self._missing: list[str] = []
        self._links: dict[tuple[int, bytes], bytes] = {}
        self._directories: dict[bytes, list[Any]] = {}
        self._lists: dict[bytes, list[Any]] = {}

    def write(self) -> list[str]:
        os.makedirs(self._top, exist_ok=True)
        for folder in self._mailbox["folders"]:
            for row in folder["directories"]:
                kind, path = row[0], os.path.join(self._home if row[0] == "home" else self._top, row[1])
                if kind == "uidlist":
                    self._lists[path] = row
                elif kind in ("folder", "part", "near", "home"):
                    os.makedirs(path, exist_ok=True)
                    self._directories[os.path.normpath(path)] = row
            self._folder(folder)
        for file in self._mailbox["files"]:
            self._file(file)
        for path, row in (*self._lists.items(), *sorted(self._directories.items(), reverse=True)):
            if os.path.lexists(path):
                _dress(path, row[2:7])
        return self._missing

    def _folder(self, folder: dict[str, Any]) -> None:
        top = os.path.join(self._top, folder["path"])
        lines: list[tuple[int, bytes]] = []
        for mail in self._archives.messages(self._mailbox, folder):
            if isinstance(mail, Refused):
                self._missing.append(f"{self._mailbox['user']}/{folder['name']}: {mail}")
                continue
            if mail.uid:
                notes = b" " + mail.notes if mail.notes else b""
                lines.append((mail.uid, b"%d%s :%s\n" % (mail.uid, notes, mail.name)))
            self._message(top, folder["name"], mail)
        if folder["header"]:
            content = folder["header"] + b"\n" + b"".join(line for _, line in sorted(lines))
            Path(os.fsdecode(os.path.join(top, b"dovecot-uidlist"))).write_bytes(content)

    def _message(self, top: bytes, folder: str, mail: Mail) -> None:
        place, suffix, mode, uid, gid = mail.store[:5]
        path = os.path.join(top, os.fsencode(place), mail.name + suffix)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        first = self._links.get((mail.link, mail.digest)) if mail.link else None
        if first is not None:
            os.link(first, path)
            return
        try:
            content = self._archives.content(mail)
        except Refused as error:
            self._missing.append(f"{self._mailbox['user']}/{folder}/{mail.uid}: {error}")
            return
        Path(os.fsdecode(path)).write_bytes(content)
        _dress(path, [mode, uid, gid, mail.date_ns, None])
        if mail.link:
            self._links[mail.link, mail.digest] = path

    def _file(self, file: list[Any]) -> None:
        path = os.path.join(self._home if file[1] else self._top, file[0])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if file[2] is not None:
            os.symlink(file[2], path)
            os.chown(path, file[4], file[5], follow_symlinks=False)
            os.utime(path, ns=(file[6], file[6]), follow_symlinks=False)
            return
        try:
            content = self._archives.file_content(self._mailbox, file)
        except Refused as error:
            self._missing.append(f"{self._mailbox['user']}: {file[0]!r}: {error}")
            return
        Path(os.fsdecode(path)).write_bytes(content)
        _dress(path, [*file[3:7], file[10]])


def _dress(path: bytes, row: list[Any]) -> None:
    """Owner, attributes, mode and time, in this order."""
    mode, uid, gid, mtime, attributes = row
    os.chown(path, uid, gid)
    os.chmod(path, mode)
    for name, value in attributes or ():
        os.setxattr(path, name, value)
    os.utime(path, ns=(mtime, mtime))
