#!/usr/bin/env python3
"""The demo: build a sample mail store, back it up, restore it elsewhere, compare, show one message.

Runs the installed ``mailhaul`` in a temporary directory and prints what happened, on one screen.
Exits with 1 if anything came back different. KEEP=1 in the environment keeps the directory.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import make_store

WIDTH = 79
COUNTER = "dovecot-uidvalidity"
CONFIGURATION = """\
[staging]
path = "staging"

[[partition]]
name = "primary"
format = "maildir"
path = "STORE/{domain}/{user}/Maildir"

[groups]
file = "backup-groups.conf"
"""
GROUPS = """\
north=.*@example\\.org
south=.*@example\\.net
"""


def main() -> int:
    place = Path(tempfile.mkdtemp(prefix="mailhaul-demo-"))
    try:
        return demo(place)
    finally:
        if os.environ.get("KEEP") == "1":
            print(f"kept: {place}")
        else:
            shutil.rmtree(place)


def demo(place: Path) -> int:
    """All steps, in this directory. Returns the exit status."""
    store, restored = place / "store", place / "new"
    print("mailhaul demo: back up a sample mail store, restore it elsewhere, compare\n")

    began = time.perf_counter()
    made = make_store.main([str(store)])
    told("build a sample store: Maildirs as Dovecot keeps them", began)
    print(f"    {made['mailboxes']} mailboxes, {made['messages']:,} messages, {made['bytes'] / 1e6:.1f} MB")
    (place / "mailhaul.toml").write_text(CONFIGURATION.replace("STORE", str(store)))
    (place / "backup-groups.conf").write_text(GROUPS)
    print(f"    backup-groups.conf: {', '.join(GROUPS.split())}")

    mailhaul(place, "backup --workers 2")
    archives = list((place / "staging").rglob("*.mha"))
    size = sum(archive.stat().st_size for archive in archives)
    print(f"    {len(archives)} archives, {size / 1e6:.1f} MB: {made['bytes'] / size:.1f} times smaller")

    mailhaul(place, "verify --data")
    print("    every message read again and checked")

    mailhaul(place, "restore / --to maildir:new/{domain}/{user}/Maildir --workers 2")
    found = differences(store, restored)
    if found:
        print(f"    {len(found)} DIFFERENCES, as {found[0]}")
    else:
        files = sum(not (store / path).is_dir() for path in tree(store))
        lists = sum(path.name == "dovecot-uidlist" for path in tree(store))
        print(f"    {files:,} files: names, bytes, times and modes the same, UIDs in {lists} lists, too;")
        print("    new mail gets UIDs above all that clients may have seen since the backup")

    uid, message = middle_message(store / "example.org" / "jane" / "Maildir")
    shown = mailhaul(place, f"show /primary/north/jane@example.org/INBOX/{uid}")
    for line in re.findall(rb"^(?:From|Subject|Date): .*", shown, re.MULTILINE)[:3]:
        print(f"    {line.decode()[: WIDTH - 4]}")
    same = shown == message.read_bytes()
    print("    byte for byte its file\n" if same else "    DIFFERENT from its file\n")
    print("all as it was" if same and not found else "FAILED: not all came back as it was")
    return 0 if same and not found else 1


def mailhaul(place: Path, arguments: str) -> bytes:
    """Run one command, tell what it took, return its output. Ends the demo if it fails."""
    began = time.perf_counter()
    program = Path(sys.executable).with_name("mailhaul")
    done = subprocess.run([program, *arguments.split()], cwd=place, capture_output=True, check=False)
    told(f"$ mailhaul {arguments}", began)
    if done.returncode != 0:
        sys.stdout.flush()
        sys.stderr.buffer.write(done.stdout + done.stderr)
        raise SystemExit(f"mailhaul ended with exit status {done.returncode}")
    return done.stdout


def told(what: str, began: float) -> None:
    took = f"{time.perf_counter() - began:.1f} s"
    print(f"{what:<{WIDTH - 1 - max(5, len(took))}} {took:>5}")


def tree(root: Path) -> Iterator[Path]:
    """All files below a root, and the directories of its mailboxes, relative to it; without the marker beside
    the counter of UIDVALIDITYs, whose name is the count."""
    for directory, below, names in os.walk(root):
        place = Path(directory).relative_to(root)
        if "Maildir" in place.parts:
            yield from (place / name for name in below)
        yield from (place / name for name in names if not name.startswith(f"{COUNTER}."))


def differences(store: Path, restored: Path) -> list[str]:
    """What is missing, differs, or is there in addition, each with the reason."""
    before, after = set(tree(store)), set(tree(restored))
    found = [f"{path}: not in the store" for path in after - before]
    found += [f"{path}: missing" for path in before - after]
    reasons = {path: difference(store / path, restored / path) for path in before & after}
    return found + [f"{path}: {reason}" for path, reason in reasons.items() if reason]


def difference(old: Path, new: Path) -> str:
    """How two files or directories differ; empty if they do not."""
    before, after = old.lstat(), new.lstat()
    if before.st_mode != after.st_mode:
        return f"mode {stat.filemode(before.st_mode)} became {stat.filemode(after.st_mode)}"
    if old.name == COUNTER:
        return "" if int(new.read_text(), 16) > int(old.read_text(), 16) else "gives numbers a second time"
    if old.is_symlink():
        return "" if old.readlink() == new.readlink() else "another target"
    if before.st_mtime_ns != after.st_mtime_ns:
        return "another time"
    if old.name == "dovecot-uidlist":
        if next_uid(old) >= next_uid(new):
            return "gives UIDs a second time"
        return "" if uid_list(old) == uid_list(new) else "other UIDs"
    return "" if old.is_dir() or old.read_bytes() == new.read_bytes() else "other bytes"


def uid_list(path: Path) -> tuple[list[str], dict[str, str]]:
    """UIDVALIDITY and the like, and the UID of each message, as ``dovecot-uidlist`` has them."""
    head, *lines = path.read_text().splitlines()
    fields = [field for field in head.split() if not field.startswith("N")]
    return fields, {name: uid for uid, _, name in (line.partition(" :") for line in lines)}


def next_uid(path: Path) -> int:
    """The UID that the next message of a folder gets."""
    head, *_ = path.read_text().splitlines()
    return next(int(field[1:]) for field in head.split() if field.startswith("N"))


def middle_message(mailbox: Path) -> tuple[int, Path]:
    """(UID, file) of the message in the middle of an INBOX."""
    _, uids = uid_list(mailbox / "dovecot-uidlist")
    messages = sorted((int(uids[path.name.partition(":")[0]]), path) for path in (mailbox / "cur").iterdir())
    return messages[len(messages) // 2]


if __name__ == "__main__":
    sys.exit(main())
