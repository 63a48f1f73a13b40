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
from urllib.parse import quote

import make_store

WIDTH = 79


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
    store, staging, restored = place / "store", place / "staging", place / "restored"
    print("mailhaul demo: back up a sample mail store, restore it elsewhere, compare\n")

    began = time.perf_counter()
    made = make_store.main([str(store)])
    told("build a sample store", began)
    print(
        f"    {made['mailboxes']} mailboxes as Dovecot keeps them, {made['messages']:,} messages, "
        f"{made['bytes'] / 1e6:.1f} MB"
    )

    mailhaul(place, "backup --store maildir:store --staging staging --workers 2")
    archives = sorted(staging.rglob("*.mha"))
    size = sum(archive.stat().st_size for archive in archives)
    print(f"    {len(archives)} archives, {size / 1e6:.1f} MB: {made['bytes'] / size:.1f} times smaller")

    mailhaul(place, "verify --data --staging staging")
    print("    every message read again and checked")

    mailhaul(place, "restore / --staging staging --to maildir:restored --workers 2")
    found = differences(store, restored)
    files = sum(1 for _ in tree(store))
    uids = sum(1 for _ in store.rglob("dovecot-uidlist"))
    if found:
        print(f"    {len(found)} DIFFERENCES, as {found[0]}")
    else:
        print(f"    {files:,} files: names, bytes, times and modes the same; {uids} lists of UIDs the same")

    user, uid, message = middle_message(store)
    path = f"/primary/user/{quote(user, safe='')}/INBOX/{uid}"
    shown = mailhaul(place, f"show --staging staging {path}")
    for line in re.findall(rb"^(?:From|Subject|Date): .*", shown, re.MULTILINE)[:3]:
        print(f"    {line.decode()[: WIDTH - 4]}")
    same = shown == message.read_bytes()
    print("    the very bytes of its file\n" if same else "    DIFFERENT from its file\n")
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
    print(f"{what:<{WIDTH - 7}} {took:>6}" if len(what) < WIDTH - 6 else f"{what}\n{took:>{WIDTH}}")


def tree(root: Path) -> Iterator[Path]:
    """Everything that is no directory below a root, relative to it."""
    for directory, _, names in os.walk(root):
        for name in sorted(names):
            yield Path(directory, name).relative_to(root)


def differences(store: Path, restored: Path) -> list[str]:
    """What is missing, differs, or is there in addition, each with the reason."""
    found = [f"{path}: not in the store" for path in set(tree(restored)) - set(tree(store))]
    for path in tree(store):
        old, new = store / path, restored / path
        if not os.path.lexists(new):
            found.append(f"{path}: missing")
        elif reason := difference(old, new):
            found.append(f"{path}: {reason}")
    return found


def difference(old: Path, new: Path) -> str:
    """How two files differ; empty if they do not."""
    before, after = old.lstat(), new.lstat()
    if before.st_mode != after.st_mode:
        return f"mode {stat.filemode(before.st_mode)} became {stat.filemode(after.st_mode)}"
    if old.is_symlink():
        return "" if old.readlink() == new.readlink() else "another target"
    if old.name == "dovecot-uidlist":
        return "" if uid_list(old) == uid_list(new) else "other UIDs"
    if before.st_mtime_ns != after.st_mtime_ns:
        return "another time"
    return "" if old.read_bytes() == new.read_bytes() else "other bytes"


def uid_list(path: Path) -> tuple[str, dict[str, str]]:
    """UIDVALIDITY and the like, and the UID of each message, as ``dovecot-uidlist`` has them."""
    head, *lines = path.read_text().splitlines()
    return head, {name: uid for uid, _, name in (line.partition(" :") for line in lines)}


def middle_message(store: Path) -> tuple[str, str, Path]:
    """(user, UID, file) of the message in the middle of one INBOX."""
    mailbox = store / "example.org" / "jane" / "Maildir"
    _, uids = uid_list(mailbox / "dovecot-uidlist")
    messages = sorted((int(uids[path.name.partition(":")[0]]), path) for path in (mailbox / "cur").iterdir())
    uid, path = messages[len(messages) // 2]
    return "example.org/jane", str(uid), path


if __name__ == "__main__":
    sys.exit(main())
