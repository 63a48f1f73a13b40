"""Any Maildir: what is restored has nothing more and nothing less, and its backup is the same backup."""

from __future__ import annotations

import os
import random
import struct
import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.records import ArchiveId, Partition, RunId, Skipped, Unit
from mailhaul.tests import trees
from mailhaul.tests.archives import in_files
from mailhaul.tests.stored import StoredMailbox, stored_differences, stored_mailboxes
from mailhaul.worker.choice import Choice
from mailhaul.worker.packing.settings import ArchiveSettings
from mailhaul.worker.staging.area import StagingArea
from mailhaul.worker.tasks.backup import BackupTask, run_backup
from mailhaul.worker.tasks.restore import EndTask, RestoreTask, run_end, run_restore

ARCHIVE = ArchiveId(bytes(range(16)))
SECOND_NS = 1_000_000_000
OWNERS = [(os.geteuid(), os.getegid())] + ([(1234, 1234), (1234, 77)] if os.geteuid() == 0 else [])
LAYOUTS = {
    "maildir++": ["", ".Sent", ".Archive.2024", ".Entw&APw-rfe", ".odd\udcff name"],
    "fs": ["", "Sent", "Archive", "Archive/2024", "R&-D"],
    "inbox-below": [".INBOX", ".Sent", ".Sent.Old"],
    "fs-inbox-below": ["INBOX", "Sent", "Archive/2024"],
    "dirname": ["INBOX/mAildir", "Sent/mAildir", "Archive/2024/mAildir"],
    "mixed": ["", ".Sent", "Sent", "Sent/cur2"],
}


class Builder:
    """A random mailbox with all that can be on disk, below ``root/jane/Maildir``."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.home = root / "jane"
        self.mailbox = self.home / "Maildir"
        self._rng = rng
        self._messages: list[Path] = []

    def build(self) -> None:
        rng = self._rng
        self.mailbox.mkdir(parents=True)
        for path in LAYOUTS[rng.choice(sorted(LAYOUTS))]:
            self._folder(self.mailbox / path)
        for name in ("subscriptions", "dovecot-uidvalidity", "maildirsize", "notes.lock"):
            if rng.random() < 0.5:
                (self.mailbox / name).write_bytes(rng.randbytes(rng.choice([0, 30])))
        if rng.random() < 0.5:
            (self.mailbox / "plain" / "deep").mkdir(parents=True)
            (self.mailbox / "plain" / "file").write_text("x")
            (self.mailbox / "link").symlink_to("plain/file")
        if rng.random() < 0.5:
            (self.home / "sieve" / "sub").mkdir(parents=True)
            (self.home / "sieve" / "main.sieve").write_text("keep;")
            (self.home / ".dovecot.sieve").symlink_to("sieve/main.sieve")
        self._dress()

    def _folder(self, directory: Path) -> None:
        rng = self._rng
        for place in ("cur", "new", "tmp"):
            (directory / place).mkdir(parents=True)
        lines = []
        for number in range(rng.choice([0, 1, 4])):
            base = f"{len(self._messages)}.M{number}P1.host"
            if rng.random() < 0.3:
                base += ",S=5"
            place = rng.choice(["cur", "cur", "new"])
            flags = rng.choice([":2,", ":2,S", ":2,FSab"]) if place == "cur" else ""
            path = directory / place / f"{base}{flags}"
            self._message(path)
            self._messages.append(path)
            if rng.random() < 0.8:
                lines.append(f"{number + 1} :{base}\n")
        # A mailbox of a Dovecot without any list is one whose lists lie elsewhere, and that is told.
        if rng.random() < 0.8 or not list(self.mailbox.rglob("dovecot-uidlist")):
            guid = f"{rng.getrandbits(128):032x}"
            (directory / "dovecot-uidlist").write_text(f"3 V77 N9 G{guid}\n" + "".join(lines))
        if rng.random() < 0.5:
            (directory / "dovecot-keywords").write_text("0 $Forwarded\n1 work\n")
        if rng.random() < 0.3:
            (directory / "dovecot-acl").write_text("user=bob lr\n")

    def _message(self, path: Path) -> None:
        rng = self._rng
        if self._messages and rng.random() < 0.25:
            os.link(rng.choice(self._messages), path)
            return
        with path.open("wb") as file:
            file.write(b"Subject: x\n\n" + rng.randbytes(rng.choice([0, 10, 5000])))
            if rng.random() < 0.1:
                file.truncate(3 << 20)

    def _dress(self) -> None:
        """Modes, owners, attributes, then times, what lies below before what is above."""
        rng = self._rng
        paths = [*self.home.rglob("*")]
        for path in sorted([self.home, *paths], key=lambda one: len(one.parts), reverse=True):
            uid, gid = rng.choice(OWNERS)
            os.chown(path, uid, gid, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(rng.choice([0o700, 0o750, 0o2770] if path.is_dir() else [0o600, 0o640, 0o664]))
                self._attributes(path)
            when = rng.choice([1_600_000_000, 1_700_000_000, 5]) * SECOND_NS + rng.randrange(SECOND_NS)
            os.utime(path, ns=(when, when), follow_symlinks=False)

    def _attributes(self, path: Path) -> None:
        rng = self._rng
        try:
            if rng.random() < 0.2:
                os.setxattr(path, "user.note", rng.randbytes(rng.choice([0, 20])))
            if rng.random() < 0.2:
                os.setxattr(path, "system.posix_acl_access", _list(rng))
            if path.is_dir() and rng.random() < 0.2:
                os.setxattr(path, "system.posix_acl_default", _list(rng))
        except OSError:
            return  # a file system without


def _list(rng: random.Random) -> bytes:
    rights = [
        (1, 7, -1),
        (2, rng.choice([4, 7]), 4321),
        (4, rng.choice([0, 5]), -1),
        (16, 7, -1),
        (32, 0, -1),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *right) for right in rights)


Tree = dict[bytes, tuple[object, ...]]


def look(root: Path) -> Tree:
    """Everything there: as ``trees.snapshot`` has it, with attributes, holes, and which names are one file.
    Not what a UID list holds: what is in it of messages is compared as it is stored."""
    groups: dict[int, list[bytes]] = defaultdict(list)
    found: Tree = {}
    for name, entry in trees.snapshot(root).items():
        path = os.path.join(os.fsencode(root), name)
        status = os.lstat(path)
        attributes: tuple[object, ...] = ()
        if entry[0] != "link":
            attributes = tuple((one, os.getxattr(path, one)) for one in sorted(os.listxattr(path)))
        if entry[0] == "file":
            groups[status.st_ino].append(name)
        content = b"" if name.endswith(b"dovecot-uidlist") else entry[5]
        is_sparse = status.st_size > 1 << 20 and status.st_blocks * 512 < status.st_size // 2
        found[name] = (*entry[:5], content, attributes, is_sparse)
    for names in groups.values():
        for name in names:
            found[name] = (*found[name], tuple(sorted(names)))
    return found


def backed_up(root: Path, staging: Path) -> dict[str, StoredMailbox]:
    unit = Unit(
        run=RunId("20261121T031500Z-4f3a"),
        partition=Partition(name="primary", format="maildir", path=f"{root}/{{user}}/Maildir"),
        group="user",
        shard=0,
        users=("jane",),
        archive=ARCHIVE,
    )
    settings = ArchiveSettings(run_started=1_795_000_000.0)
    staging.mkdir()
    area = StagingArea(path=str(staging))
    report = run_backup(
        BackupTask(unit=unit, settings=settings, staging=area, name="a.mha", epoch=1), lambda _: None
    )
    assert report.skipped == ()
    return stored_mailboxes(staging)


def restored(staging: Path, root: Path) -> tuple[Skipped, ...]:
    choice = Choice(archive=ARCHIVE, user="jane", to_user="jane", path=LogicalPath("primary", "user", "jane"))
    target = Partition(name="primary", format="maildir", path=f"{root}/{{user}}/Maildir")
    archives = in_files({ARCHIVE: staging / "a.mha"})
    task = RestoreTask(archives=archives, choices=(choice,), target=target, label="x")
    report = run_restore(task, lambda _: None).total()
    run_end(EndTask(target=target), lambda _: None)
    assert report.damaged == ()
    return report.skipped


@given(st.integers(0, 1 << 32))
def test_restored_backed_up_and_restored(seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        Builder(place / "0", random.Random(seed)).build()
        trees_seen, backups = [look(place / "0")], []
        for number in range(2):
            backups.append(backed_up(place / str(number), place / f"staging{number}"))
            assert look(place / str(number)) == trees_seen[0], "the backup changed the store"
            assert restored(place / f"staging{number}", place / str(number + 1)) == ()
            trees_seen.append(look(place / str(number + 1)))
            assert tree_differences(trees_seen[0], trees_seen[-1]) == []
        backups.append(backed_up(place / "2", place / "staging2"))
        assert [stored_differences(backups[0], other) for other in backups[1:]] == [[], []]


def tree_differences(tree: Tree, other: Tree) -> list[str]:
    """What differs, a line each; empty where nothing does."""
    return [
        f"{name!r}: {_short(tree.get(name))} | {_short(other.get(name))}"
        for name in sorted(tree.keys() | other.keys())
        if tree.get(name) != other.get(name)
    ]


def _short(entry: tuple[object, ...] | None) -> str:
    return repr(tuple(one[:40] if isinstance(one, bytes) else one for one in entry)) if entry else "missing"
