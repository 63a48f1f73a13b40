"""A few mailboxes with archives behind them, backed up each night, beside those of a catalog that is made up.

    python -P -m mailhaul.bench.macro.lived STAGING [--nights 400]

STAGING has the records of ``catalogs``; its last nights are repeated, half an hour later, as real backups
of a store STAGING/../store, by the program, with its clock set to the night. Mail comes each day and some
goes, and a folder is gone since the middle. What these runs recorded is then entered into the catalog of
STAGING, and their archives lie there.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

from mailhaul.coordinator.catalog import database as files
from mailhaul.coordinator.cli import adapters
from mailhaul.coordinator.cli.main import main as mailhaul

from .catalogs import Night, Shape, nights_of

PARTITION = "lived"
GONE = "Projects"

_CONFIGURATION = """\
[staging]
path = "{staging}"
same_device = true

[[partition]]
name = "{partition}"
format = "maildir"
path = "{store}/{{user}}"
"""
_WORDS = (
    "offer",
    "invoice",
    "harbour",
    "minutes",
    "plan",
    "lock",
    "gate",
    "tide",
    "report",
    "week",
    "holiday",
)

# Which columns refer to a number of another table; run numbers are the same in every catalog.
_NUMBERED = ("scopes", "units", "archives", "mailboxes")
_REFERRING: tuple[tuple[str, dict[str, str]], ...] = (
    ("runs", {}),
    ("scopes", {"number": "scopes"}),
    ("units", {"number": "units", "scope": "scopes"}),
    ("archives", {"number": "archives", "unit": "units"}),
    ("locations", {"archive": "archives"}),
    ("refs", {"archive": "archives", "other": "archives"}),
    ("mailboxes", {"number": "mailboxes", "scope": "scopes"}),
    ("versions", {"mailbox": "mailboxes", "unit": "units"}),
    ("present", {"scope": "scopes"}),
)


@dataclass(frozen=True, slots=True)
class Owner:
    """A mailbox: so many messages at first, so many more each day."""

    user: str
    first: int
    daily: int


OWNERS = (
    Owner("few@example.org", 60, 1),
    Owner("some@example.org", 400, 6),
    Owner("many@example.org", 2000, 25),
)


class _Clock:
    """The time of a night, which goes on from there."""

    def __init__(self, then: datetime) -> None:
        self._ahead = then.timestamp() - time.time()

    def __call__(self) -> _Clock:
        return self

    def now(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic()


class _Store:
    """Maildirs in which mail comes and goes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rng = random.Random("lived")
        self._made = 0

    def day(self, number: int, noon: datetime, *, middle: bool) -> None:
        """The mail of a day, counted from 0."""
        for owner in OWNERS:
            box = self._root / owner.user
            for _ in range(owner.first if number == 0 else owner.daily):
                folder = self._rng.choice(("", "", "", ".Sent", *(() if number else (f".{GONE}",))))
                self._deliver(box / folder, noon - timedelta(minutes=self._rng.randrange(600)))
            if number:
                self._remove(box, owner.daily // 4 + number % 2)
            if middle:
                shutil.rmtree(box / f".{GONE}")

    def _deliver(self, folder: Path, when: datetime) -> None:
        if not (folder / "cur").is_dir():
            for name in ("cur", "new", "tmp"):
                (folder / name).mkdir(parents=True)
            if folder.name.startswith("."):
                (folder / "maildirfolder").touch()
        self._made += 1
        path = folder / "cur" / f"{int(when.timestamp())}.M{self._made}P1.store:2,S"
        path.write_bytes(_message(self._made, when, self._rng))
        os.utime(path, (when.timestamp(), when.timestamp()))

    def _remove(self, box: Path, count: int) -> None:
        there = sorted((box / "cur").iterdir())
        for path in self._rng.sample(there, min(count, len(there) // 2)):
            path.unlink()


def _message(number: int, when: datetime, rng: random.Random) -> bytes:
    """With text and HTML, each tenth with an attachment."""
    text = "\n".join(" ".join(rng.choices(_WORDS, k=10)) for _ in range(rng.randrange(3, 25)))
    parts = [("text/plain", text), ("text/html", f"<p>{text.replace(chr(10), '<br>')}</p>")]
    if number % 10 == 0:
        kept = base64.encodebytes(rng.randbytes(6000)).decode()
        named = f'application/pdf\nContent-Disposition: attachment; filename="{number}.pdf"'
        parts.append((f"{named}\nContent-Transfer-Encoding: base64", kept))
    kind = "mixed" if number % 10 == 0 else "alternative"
    body = "".join(f"--cut\nContent-Type: {kind}\n\n{content}\n" for kind, content in parts)
    return (
        f"From: {rng.choice(_WORDS).title()} <{rng.choice(_WORDS)}@example.net>\nTo: somebody@example.org\n"
        f"Subject: {' '.join(rng.choices(_WORDS, k=3))}, {number}\nDate: {when:%a, %d %b %Y %H:%M:%S} +0000\n"
        f"Message-ID: <{number}@example.net>\nMIME-Version: 1.0\n"
        f'Content-Type: multipart/{kind}; boundary="cut"\n\n{body}--cut--\n'
    ).encode()


def add(staging: Path, nights: Sequence[Night]) -> None:
    """Back a store beside a staging area up in these nights, and enter the runs into its catalog."""
    store = staging.with_name("store")
    with tempfile.TemporaryDirectory(prefix="mailhaul-lived-", dir=staging.parent) as place:
        apart = Path(place, "staging")
        config = Path(place, "mailhaul.toml")
        config.write_text(_CONFIGURATION.format(staging=apart, store=store, partition=PARTITION))
        living = _Store(store)
        before = adapters.clock
        try:
            for number, night in enumerate(nights):
                began = night.started + timedelta(minutes=30)
                living.day(number, began - timedelta(hours=14), middle=number == len(nights) // 2)
                adapters.clock = _Clock(began)
                _backed_up(config)
        finally:
            adapters.clock = before
        shutil.copytree(apart / PARTITION, staging / PARTITION)
        _enter(files.place(staging), files.place(apart))


def _backed_up(config: Path) -> None:
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = mailhaul(["--config", str(config), "backup", "--workers", "1"])
    if status not in (0, 3):
        raise SystemExit(f"backup ended with {status}:\n{said.getvalue()}")


def _enter(into: Path, origin: Path) -> None:
    """All that one catalog tells of runs, behind what another tells."""
    with closing(files.open_writer(into)) as catalog:
        catalog.execute("ATTACH ? AS origin", (str(origin),))
        behind = {
            table: catalog.execute(f"SELECT coalesce(max(number), 0) FROM main.{table}").fetchone()[0]
            for table in _NUMBERED
        }
        with files.transaction(catalog):
            for table, refers in _REFERRING:
                columns = [row["name"] for row in catalog.execute(f"PRAGMA origin.table_info({table})")]
                moved = ", ".join(
                    f"{name} + {behind[refers[name]]}" if name in refers else name for name in columns
                )
                catalog.execute(
                    f"INSERT INTO main.{table} ({', '.join(columns)}) SELECT {moved} FROM origin.{table}"
                )


def _last(shape: Shape, count: int) -> Iterator[Night]:
    """The last nights of a shape in which the host was up."""
    yield from list(nights_of(shape))[-count:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Add them, and say what that took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("staging", type=Path, help="with a catalog that catalogs has made")
    parser.add_argument("--nights", type=int, default=400)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    add(options.staging.resolve(), list(_last(Shape(nights=options.nights), options.nights)))
    print(f"made in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
