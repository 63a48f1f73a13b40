"""What a mail store looks like on disk, for comparing two of them exactly."""

from __future__ import annotations

import os
import re
from pathlib import Path

# What a server makes again by itself, or what a restore need not bring back.
_LEFT_OUT = re.compile(
    rb"^(dovecot\.index.*|dovecot\.list\.index.*|dovecot\.mailbox\.log.*|.*\.lock|dovecot-uidvalidity.*)$"
)

Entry = tuple[str, int, int, int, int, bytes]


def snapshot(root: Path, *, times: bool = True) -> dict[bytes, Entry]:
    """Every file and directory below a root: kind, mode, owner, mtime (ns), content or link target.

    A UID list counts by what it says, not by its bytes: the names in it may carry flags or not. The next UID
    is left out, and so is the counter of UIDVALIDITYs: a restore sets them higher than they were (that has
    tests of its own).
    """
    found: dict[bytes, Entry] = {}
    top = os.fsencode(root)
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            stat = os.lstat(path)
            mtime = stat.st_mtime_ns if times else 0
            where = os.path.relpath(path, top)
            if os.path.islink(path):
                entry = ("link", 0, stat.st_uid, stat.st_gid, mtime, os.readlink(path))
            elif os.path.isdir(path):
                entry = ("directory", stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, mtime, b"")
            elif _LEFT_OUT.match(name) or not os.path.isfile(path):
                continue
            else:
                content = Path(os.fsdecode(path)).read_bytes()
                if name == b"dovecot-uidlist":
                    content = _uids(content)
                entry = ("file", stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, mtime, content)
            found[where] = entry
    return found


def without_times(found: dict[bytes, Entry]) -> dict[bytes, Entry]:
    """The same, with the times of messages only: where a folder was there, its lists are written anew."""
    return {
        where: entry if b"/cur/" in where or b"/new/" in where else (*entry[:4], 0, entry[5])
        for where, entry in found.items()
    }


def names_of_files(root: Path) -> set[frozenset[bytes]]:
    """The paths below a root that are names of one file, where a file has several there."""
    found: dict[tuple[int, int], set[bytes]] = {}
    top = os.fsencode(root)
    for directory, _, files in os.walk(top):
        for path in (os.path.join(directory, name) for name in files):
            stat = os.lstat(path)
            found.setdefault((stat.st_dev, stat.st_ino), set()).add(os.path.relpath(path, top))
    return {frozenset(names) for names in found.values() if len(names) > 1}


def differences(one: dict[bytes, Entry], other: dict[bytes, Entry]) -> list[str]:
    """What differs, a line each; empty where nothing does."""
    return [
        f"{where!r}: {_shown(one.get(where))} | {_shown(other.get(where))}"
        for where in sorted(one.keys() | other.keys())
        if one.get(where) != other.get(where)
    ]


def differing_files(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """The files whose content differs, a line each with the sizes and the first place; empty where none
    does."""

    def shown(name: str) -> str:
        here, there = one.get(name), other.get(name)
        if here is None or there is None:
            return f"{name}: only {'the second' if here is None else 'the first'} has this file"
        shared = os.path.commonprefix([here, there])  # noqa: RUF071 - bytes, no paths
        at = slice(len(shared), len(shared) + 40)
        return f"{name}: {len(here)} | {len(there)} bytes, from {at.start} on {here[at]!r} | {there[at]!r}"

    return [shown(name) for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]


def _uids(content: bytes) -> bytes:
    header, _, lines = content.partition(b"\n")
    entries = sorted(
        (int(line.split(b" ", 1)[0]), line.split(b" :", 1)[-1].partition(b":")[0])
        for line in lines.splitlines()
        if line.strip()
    )
    header = re.sub(rb" N\d+", b"", header)
    return header + b"\n" + b"\n".join(b"%d %s" % entry for entry in entries)


def _shown(entry: Entry | None) -> str:
    return "missing" if entry is None else repr((*entry[:5], entry[5][:60], len(entry[5])))
