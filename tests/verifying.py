"""A chain of incremental backups of mailboxes that change each day, and ways to damage it: for tests of
verification and repair. Commands run in this process."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main
from mailhaul.coordinator.dispatch.engine import Engine, Outcome
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType
from mailhaul.proto.errors import WorkerLostError

from .archives import frames_of
from .maildirs import Maildir
from .trees import Entry, differences, snapshot

SHARED = os.urandom(60_000)
"""An attachment that comes again and again: archives refer to the one that has it."""


def mail(day: int, number: int, attachment: bytes = b"") -> bytes:
    head = b"From: a@example.org\nSubject: day %d, %d\n" % (day, number)
    if not attachment:
        return head + b"\n" + os.urandom(300).hex().encode() + b"\n"
    return (
        head
        + b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n--b\n'
        + b"Content-Type: text/plain\n\nsee there\n--b\n"
        + b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(attachment)
        + b"--b--\n"
    )


@dataclass
class Store:
    """Mailboxes that change each day."""

    root: Path
    day: int = 0
    mailboxes: dict[str, Maildir] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for user in ("jane", "ola", "tomas"):
            self.mailboxes[user] = Maildir(self.root / user)

    def live(self) -> None:
        """A day: deliveries, one with the attachment; flags; an expunge; a folder that comes and goes."""
        self.day += 1
        day = self.day
        jane, ola, tomas = self.mailboxes.values()
        for number in range(3):
            content = mail(day, number, SHARED + b"%d" % day if number == 0 else b"")
            jane.message(f"{day}{number}.M{day}P1.host:2,S", content)
        if day % 2:
            ola.message(f"{day}.M{day}P2.host:2,", mail(day, 9))
            (ola.root / "subscriptions").write_text(f"INBOX\n{day}\n")
        if day == 1:
            tomas.message("1.M1P3.host:2,", mail(1, 7, SHARED))
        if day == 4:
            (jane.root / "cur" / "11.M1P1.host:2,S").unlink()
            old = jane.root / "cur" / "21.M2P1.host:2,S"
            old.rename(old.with_name("21.M2P1.host:2,RS"))
            ola.folder(".Old")
            ola.message("7.M7P2.host:2,S", mail(4, 1), folder=".Old")
        if day == 6:
            shutil.rmtree(ola.root / ".Old")


@contextmanager
def in_this_process(engine: Engine) -> Iterator[None]:
    """Commands work in the process that calls them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "make_engine", lambda *_, **__: engine)
        patch.setattr(adapters, "make_lanes", lambda names: local_engine(0, attempts=1, lanes=names))
        yield


@contextmanager
def carried_out_by(engine: Engine) -> Iterator[None]:
    """Commands have this engine do what they dispatch."""
    _engines.append(engine)
    try:
        yield
    finally:
        _engines.pop()


@contextmanager
def interrupted_after(outcomes: int, *, fires: bool = True) -> Iterator[None]:
    """Commands fail after so many outcomes of tasks. ``fires``: so many there are."""
    left = [outcomes]

    def engine(function: Any, tasks: Any, on_progress: Any) -> Iterator[Outcome[Any, Any]]:
        for outcome in local_engine(0)(function, tasks, on_progress):
            if not left[0]:
                raise WorkerLostError("a planned failure")
            left[0] -= 1
            yield outcome

    with carried_out_by(engine):
        yield
    assert not fires or not left[0], "the planned failure never fired"


_engines: list[Engine] = [local_engine(0)]


def command(name: str, *arguments: object, status: tuple[int, ...] = (0,)) -> Any:
    """Run a command; what it printed as JSON (None: nothing), if its exit status is among these."""
    ended, told = command_status(name, *arguments)
    assert ended in status, (ended, told)
    return told


def command_status(name: str, *arguments: object) -> tuple[int, Any]:
    """Run a command: its exit status, and what it printed as JSON (else what it printed on stderr)."""
    ended, text, error = run(*name.split(), "--json", *arguments)
    assert "this is a bug" not in error, error
    return ended, json.loads(text) if text else error or None


def run(*arguments: object) -> tuple[int, str, str]:
    """Run a command: its exit status, and what it printed on stdout and stderr."""
    out = io.TextIOWrapper(io.BytesIO())
    with in_this_process(_engines[-1]), redirect_stdout(out), redirect_stderr(io.StringIO()) as err:
        ended = main([*map(str, arguments)])
    out.seek(0)
    return ended, out.read(), err.getvalue()


@dataclass
class Backups:
    """A staging area, and what the store looked like at each of its moments."""

    staging: Path
    store: Store
    moments: dict[str, dict[bytes, Entry]] = field(default_factory=dict)

    def back_up(self) -> str:
        told = command("backup", "--store", f"maildir:{self.store.root}", "--staging", self.staging)
        self.moments[told["run"]] = snapshot(self.store.root, times=False)
        return str(told["run"])

    def archives(self) -> list[Path]:
        return sorted(self.staging.glob("[!.]*/*/*.mha"))

    def copied(self, to: Path) -> Backups:
        shutil.copytree(self.staging, to)
        return Backups(to, self.store, dict(self.moments))

    def verify(self, *options: str, damaged: bool | None = None) -> Any:
        status = {None: (0, 4), True: (4,), False: (0,)}[damaged]
        return command("verify", "--staging", self.staging, *options, status=status)

    def restored(self, moment: str, to: Path) -> set[str]:
        """What a restore of a moment fails on; it is compared with the store as it was, where it is whole."""
        done = command(
            "restore", "/", "--at", moment, "--staging", self.staging, "--to", f"maildir:{to}", status=(0, 4)
        )
        failed = {one["path"] for one in (*done["damaged"], *done["skipped"])}
        if not failed:
            assert differences(mail_of(self.moments[moment]), mail_of(snapshot(to, times=False))) == []
        shutil.rmtree(to, ignore_errors=True)
        return failed

    def failing(self, to: Path) -> set[tuple[str, str]]:
        """Moment and path of all that can't be restored."""
        return {(moment, path) for moment in self.moments for path in self.restored(moment, to)}

    def told(self, document: Any) -> set[tuple[str, str]]:
        """The same, as a verification tells it."""
        return {
            (moment, one["path"])
            for one in document["affected"]
            for moment in self.moments
            if one["first"] <= moment <= one["last"]
        }


def mail_of(tree: dict[bytes, Entry]) -> dict[bytes, Entry]:
    return {where: entry for where, entry in tree.items() if entry[0] == "file" and b"uidlist" not in where}


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0x40
    file.write_bytes(data)


def hit(file: Path, kind: FrameType, number: int = 0) -> None:
    """Damage the payload of a frame of a kind."""
    found = frames_of(file.read_bytes(), kind)
    flip(file, found[number % len(found)].at + HEADER_BYTES + 3)


def damage_data(file: Path) -> None:
    """Damage every block of an archive."""
    for number in range(len(frames_of(file.read_bytes(), FrameType.BLOCK))):
        hit(file, FrameType.BLOCK, number)


def make_chain(place: Path, days: int) -> Backups:
    """A backup each day."""
    backups = Backups(place / "staging", Store(place / "store"))
    for _ in range(days):
        backups.store.live()
        backups.back_up()
    return backups
