"""A restore that is killed before any of its steps on the disk, or of what it sends to a server: nothing
half-written is to be seen, and going on with it makes all exact, nothing twice.

Coordinator and worker are one process here, so both die, between any two steps. ``test_restore_resume`` kills
processes at random times.
"""

from __future__ import annotations

import errno
import imaplib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.backup_set import from_catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.restoration import end_restore, run_tasks
from mailhaul.coordinator.restore_plan import narrowed, plan_restore
from mailhaul.coordinator.restores.journal import Journal, JournalFile, read_journal
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import TargetFullError
from mailhaul.proto.records import Partition, Renumbering, ServerAccess
from mailhaul.worker.choice import Extent
from mailhaul.worker.stores import scaffold

from ..maildirs import GUID, Maildir
from ..scripted_imap import Script, ScriptedImap
from ..trees import Entry, differences, names_of_files, snapshot
from .killed import killed_at, steps_of

ON_DISK = [
    *(
        (os, name)
        for name in ("link", "rename", "unlink", "mkdir", "rmdir", "symlink", "fsync", "write", "utime")
    ),
    (scaffold, "_sync_file_system"),
]
OVER_IMAP = [(imaplib.IMAP4, "send"), (imaplib.IMAP4, "readline"), (os, "write")]
ALL = LogicalPath.parse("/")


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A store, its staging area, and two runs: one of half the mail, one of all."""
    above = tmp_path_factory.mktemp("backup")
    store, staging = above / "store", above / "staging"
    boxes = {user: Maildir(store / user) for user in ("anna", "bert", "cleo")}
    runs = []
    for night in range(2):
        for box in boxes.values():
            box.folder(".Sent")
            lines = []
            for number in range(1, 4):
                uid = 3 * night + number
                box.message(f"{uid}.M1P1.host:2,Sa", b"Subject: %d\n\nFrom here on\n" % uid * uid)
                lines.append(f"{uid} :{uid}.M1P1.host")
            box.message(f"{night}.M2P1.host:2,", b"sent %d\n" % night, folder=".Sent")
            with (box.root / "dovecot-uidlist").open("a") as file:
                file.write(
                    "".join(f"{line}\n" for line in ([] if night else [f"3 V1500 N9 G{GUID}"]) + lines)
                )
            box.keywords("Work")
            (box.root / "subscriptions").write_text("Sent\n")
        shared = boxes["anna"].message(f"8{night}.M1P1.host:2,S", b"to all %d\n" % night)
        for box, folder in ((boxes["anna"], ".Sent"), (boxes["bert"], ""), (boxes["cleo"], ".Sent")):
            os.link(shared, box.root / folder / "cur" / f"9{night}.M1P1.host:2,S")
        words = ("backup", "--store", f"maildir:{store}", "--staging", staging, "--workers", "1")
        done = subprocess.run(
            [sys.executable, "-m", "mailhaul", *words, "--json"], check=True, capture_output=True, timeout=120
        )
        runs.append(json.loads(done.stdout)["run"])
    return store, staging, runs


@dataclass(frozen=True)
class Site:
    """A target at a ``place``, and a journal beside it, into which the runs of a backup are restored."""

    staging: Path
    target: Partition
    place: Path

    @property
    def journal(self) -> Path:
        return self.place / "journal.jsonl"

    def restore(self, run: str, extent: Extent = Extent.ALL) -> None:
        """Restore all of a run, or go on with that."""
        plan = plan_restore(
            from_catalog(self.staging, run, [ALL]),
            [ALL],
            {"primary": self.target},
            as_user=None,
            workers=1,
            extent=extent,
        )
        with JournalFile(self.journal, time.monotonic, _refuse) as file:
            journal = Journal(file.append, read_journal(self.journal))
            left = narrowed(plan, journal)
            report = run_tasks(left.tasks, local_engine(0), lambda _: None, journal)
            assert report.skipped == report.damaged == end_restore(left.targets, local_engine(0)) == ()

    def restored_before(self, run: str, extent: Extent) -> None:
        """Another restore that is done."""
        self.restore(run, extent)
        self.journal.unlink()

    def mailboxes(self) -> list[str]:
        return [mailbox.path for mailbox in read_journal(self.journal)]

    def found(self) -> dict[bytes, Entry]:
        """What is in the target; times of messages only, as others are of the restore."""
        return {
            where: entry if b"/cur/" in where or b"/new/" in where else (*entry[:4], 0, entry[5])
            for where, entry in snapshot(self.place / "mail").items()
            if b".mailhaul-restore-" not in where
        }


def _refuse(error: Exception) -> None:
    raise error


def site_before(staging: Path, runs: list[str], format_: str, before: str, place: Path) -> Site:
    """A target as it is before the restore."""
    path = {"maildir": "mail/{user}", "tar": "mail/all.tar"}.get(format_, "mail")
    target = Partition(
        name="primary",
        format=format_,
        path=f"{place}/{path}",
        renumbering=Renumbering(reserves=before == "provisioned"),
    )
    (place / "mail").mkdir(parents=True)
    site = Site(staging, target, place)
    if (earlier := BEFORE[before]) is not None:
        site.restored_before(runs[earlier[0]], earlier[1])
    return site


def points(steps: int, rounds: int) -> list[int]:
    """Some steps at random; all of them in many rounds."""
    wanted = steps if rounds > 100 else 6
    return sorted(random.Random(steps).sample(range(1, steps + 1), min(steps, wanted)))


BEFORE: dict[str, tuple[int, Extent] | None] = {
    "absent": None,
    "present": (0, Extent.ALL),
    "provisioned": (1, Extent.FRAME),
}


SITES = pytest.mark.parametrize(
    ("format_", "before"),
    [
        ("maildir", "absent"),
        ("maildir", "present"),
        ("maildir", "provisioned"),
        ("mbox", "absent"),
        ("mbox", "present"),
        ("eml", "absent"),
        ("eml", "present"),
        ("tar", "absent"),
    ],
)


@SITES
def test_killed_before_any_step(
    backup: tuple[Path, Path, list[str]], tmp_path: Path, rounds: int, format_: str, before: str
) -> None:
    store, staging, runs = backup

    made = partial(site_before, staging, runs, format_, before)
    one = made(tmp_path / "whole")
    first = one.found()
    steps = steps_of(ON_DISK, lambda: one.restore(runs[1]))
    whole = one.found()
    assert steps > 10
    for step in points(steps, rounds):
        site = made(tmp_path / str(step))
        assert killed_at(step, ON_DISK, partial(site.restore, runs[1]))
        seen = site.found()
        allowed = {where: {first.get(where), whole.get(where)} for where in first.keys() | whole.keys()}
        strange = [
            where
            for where, entry in seen.items()
            if entry[0] == "file" and entry not in allowed.get(where, ())
        ]
        assert [one for one in strange if b"dovecot-" not in one] == [], f"before step {step}"
        if format_ == "tar" and seen:
            continue  # it is whole when it is there; another one is not begun
        done = len(site.mailboxes())
        assert not killed_at(steps * 10, ON_DISK, partial(site.restore, runs[1]))
        assert differences(whole, site.found()) == [], f"before step {step}"
        assert names_of_files(site.place / "mail") == names_of_files(one.place / "mail"), (
            f"before step {step}"
        )
        assert not list((site.place / "mail").rglob(".mailhaul-restore-*")), f"before step {step}"
        mailboxes = site.mailboxes()
        assert len(mailboxes) == len(set(mailboxes)) == 3 >= done
        shutil.rmtree(site.place)
    if format_ == "maildir":
        assert names_of_files(one.place / "mail") == names_of_files(store)


def test_killed_before_anything_that_is_sent(
    backup: tuple[Path, Path, list[str]], tmp_path: Path, rounds: int
) -> None:
    """A server that has taken a message shows it; nobody gets it twice."""
    _, staging, runs = backup
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    access = ServerAccess(password_file=str(tmp_path / "password"))

    def found(server: ScriptedImap) -> dict[tuple[str, str], list[tuple[bytes, str, tuple[str, ...]]]]:
        return {
            (user, name): sorted(
                (message.content, message.date, tuple(sorted(message.flags))) for message in folder.messages
            )
            for user, folders in server.folders.items()
            for name, folder in folders.items()
        }

    def made(place: Path) -> tuple[ScriptedImap, Site]:
        place.mkdir()
        server = ScriptedImap(Script())
        target = Partition(
            name="primary", format="imap", path=f"imap://127.0.0.1:{server.port}", access=access
        )
        return server, Site(staging, target, place)

    server, site = made(tmp_path / "whole")
    with closing(server):
        steps = steps_of(OVER_IMAP, lambda: site.restore(runs[1]))
        whole = found(server)
    assert sum(map(len, whole.values())) == 32
    for step in points(steps, rounds)[:: 1 if rounds > 100 else 3]:
        server, site = made(tmp_path / str(step))
        with closing(server):
            assert killed_at(step, OVER_IMAP, partial(site.restore, runs[1]))
            site.restore(runs[1])
            assert found(server) == whole, f"before step {step}"


# No room


class Refusing:
    """Functions of ``os`` that refuse their n-th call in the target, and any later one, as a file system
    without room, or with a quota that is used up, does."""

    def __init__(self, place: Path, number: int) -> None:
        self._place = os.fsencode(place / "mail")
        self.taken = 0
        self.refuse_at = 0
        self.number = number

    def guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            where = [more[one] for one in ("dir_fd", "dst_dir_fd") if one in more]
            where += [argument for argument in arguments[:1] if isinstance(argument, int)]
            if any(self._is_inside(one) for one in where):
                self.taken += 1
                if self.refuse_at and self.taken >= self.refuse_at:
                    raise OSError(self.number, os.strerror(self.number))
            return function(*arguments, **more)

        return call

    def _is_inside(self, fd: int) -> bool:
        return os.readlink(b"/proc/self/fd/%d" % fd).startswith(self._place)


@SITES
def test_no_room_at_any_step(
    backup: tuple[Path, Path, list[str]], tmp_path: Path, rounds: int, format_: str, before: str
) -> None:
    """It stops, nothing half-written is to be seen, and with room again it goes on: exact."""
    _, staging, runs = backup
    made = partial(site_before, staging, runs, format_, before)
    one = made(tmp_path / "whole")
    first = one.found()

    def tried(site: Site, number: int, refuse_at: int) -> int:
        refusing = Refusing(site.place, number)
        refusing.refuse_at = refuse_at
        with pytest.MonkeyPatch.context() as patch:
            for name in ("write", "link", "mkdir", "symlink", "fchown"):
                patch.setattr(os, name, refusing.guarded(getattr(os, name)))
            site.restore(runs[1])
        return refusing.taken

    steps = tried(one, 0, 0)
    whole = one.found()
    for step in points(steps, rounds):
        number = random.Random(step).choice([errno.ENOSPC, errno.EDQUOT])
        site = made(tmp_path / str(step))
        with pytest.raises(TargetFullError) as told:
            tried(site, number, step)
        assert os.strerror(number) in told.value.message
        allowed = {where: {first.get(where), whole.get(where)} for where in first.keys() | whole.keys()}
        seen = site.found().items()
        assert [
            where
            for where, entry in seen
            if entry[0] == "file" and b"dovecot-" not in where and entry not in allowed.get(where, ())
        ] == [], f"at step {step}"
        site.restore(runs[1])
        assert differences(whole, site.found()) == [], f"at step {step}"
        assert names_of_files(site.place / "mail") == names_of_files(one.place / "mail"), f"at step {step}"
        assert not list((site.place / "mail").rglob(".mailhaul-restore-*")), f"at step {step}"
        shutil.rmtree(site.place)
