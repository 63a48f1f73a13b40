#!/usr/bin/env python3
"""The demo of serve: a week of nights on a sample mail store, then ``mailhaul serve`` with its page.

Builds the store, lets mail come and go, and backs it up, sweeps it to a destination and drills a sample
of it for each of the last nights, as if it were then (``then.py``). On the Tuesday of that week jane
deletes a folder; the night before the last tomas loses all of his mail, which raises an alarm. Prints
the address of the page, opens it where there is a screen, and serves until Ctrl-C. KEEP=1 in the
environment keeps the directory.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from pathlib import Path

import make_store

TUESDAY = 1
CONFIGURATION = """\
[staging]
path = "{place}/staging"
same_device = true

[[partition]]
name = "primary"
format = "maildir"
path = "{place}/store/{{domain}}/{{user}}/Maildir"

[groups]
file = "backup-groups.conf"

[[destination]]
name = "vault"
kind = "directory"
path = "{place}/vault"

[schedule]
zone = "UTC"
backup = "02:00"
sweep = "03:00"
drill = "04:00"

[drill]
mailboxes = 3
"""
GROUPS = "north=.*@example\\.org\nsouth=.*@example\\.net\n"
JANE, TOMAS = "example.org/jane", "example.org/tomas"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nights", type=int, default=7)
    parser.add_argument("--messages", type=int, default=2000)
    options = parser.parse_args(arguments)
    place = Path(tempfile.mkdtemp(prefix="mailhaul-serve-demo-"))
    try:
        week = Week(place, options.messages)
        for night in range(options.nights):
            week.night(options.nights - 1 - night)
        return serve(place, week.lost)
    except KeyboardInterrupt:
        return 0
    finally:
        if os.environ.get("KEEP") == "1":
            print(f"kept: {place}")
        else:
            shutil.rmtree(place)


class Week:
    """The store, and what becomes of it."""

    def __init__(self, place: Path, messages: int) -> None:
        self.place = place
        self.store = place / "store"
        self.rng = random.Random(1)
        self.samples = make_store.Samples(self.rng, 1)
        self.made = 0
        self.lost = ""
        print("a sample store ...", flush=True)
        make_store.main([str(self.store), "--messages", str(messages)])
        self.boxes = sorted(path.parent for path in self.store.glob("*/*/Maildir"))
        (place / "vault").mkdir()
        (place / "mailhaul.toml").write_text(CONFIGURATION.format(place=place))
        (place / "backup-groups.conf").write_text(GROUPS)
        run(place, "destination", "check", "vault")

    def night(self, back: int) -> None:
        """A day and the night after it, so many before the last that is over."""
        over = datetime.now(UTC) - timedelta(hours=3, days=back)
        two = (over - timedelta(hours=2)).replace(hour=2, minute=0, second=0, microsecond=0)
        self.day(two - timedelta(hours=12), back)
        print(f"the night of {two:%A, %Y-%m-%d} ...", flush=True)
        run(self.place, "backup", at=two)
        run(self.place, "sweep", "--to", "vault", at=two + timedelta(hours=1))
        run(self.place, "drill", at=two + timedelta(hours=2))

    def day(self, noon: datetime, back: int) -> None:
        """Mail comes and goes."""
        for box in self.boxes:
            for _ in range(self.rng.randrange(2, 9)):
                self.deliver(box, noon + timedelta(minutes=self.rng.randrange(-240, 240)))
            old = sorted((box / "Maildir" / "cur").iterdir())
            for path in self.rng.sample(old, min(len(old), self.rng.randrange(3))):
                path.unlink()
        if noon.weekday() == TUESDAY:
            shutil.rmtree(self.store / JANE / "Maildir" / ".Archive.2024", ignore_errors=True)
            self.lost = f"on Tuesday, {noon:%d %B}, jane deleted the folder Archive/2024"
        if back == 1:  # an alarm
            for folder in (self.store / TOMAS).rglob("*"):
                if folder.name in ("cur", "new"):
                    for path in folder.iterdir():
                        path.unlink()

    def deliver(self, box: Path, when: datetime) -> None:
        """A new message."""
        self.made += 1
        _, mail = self.samples.next()
        stamp = int(when.timestamp())
        mail = re.sub(rb"\nDate: [^\r\n]*", b"\nDate: " + formatdate(stamp).encode(), mail, count=1)
        path = box / "Maildir" / "new" / f"{stamp}.M{self.made}P1.store"
        path.write_bytes(mail)
        os.utime(path, (stamp, stamp))


def run(place: Path, *words: str, at: datetime | None = None) -> None:
    """A command, as if it were given then. Skipped entries, and what a drill finds, end nothing."""
    program: list[str | Path] = [Path(sys.executable).with_name("mailhaul")]
    if at is not None:
        program = [sys.executable, Path(__file__).with_name("then.py"), at.isoformat()]
    done = subprocess.run([*program, *words], cwd=place, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3, 4):
        raise SystemExit(f"mailhaul {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")


def serve(place: Path, lost: str) -> int:
    """The page, until Ctrl-C; what was ``lost`` is a hint on what to look for."""
    program = Path(sys.executable).with_name("mailhaul")
    process = subprocess.Popen([program, "serve", "--browse"], cwd=place, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        for line in process.stderr:
            found = re.search(r"one browser, once: (\S+)", line)
            if found:
                told(found[1], lost)
        return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def told(address: str, lost: str) -> None:
    print(f"\nthe page, for one browser, once: {address}")
    if lost:
        print(f"{lost}: find it in Mailboxes, a few clicks bring it back")
    print("Ctrl-C ends it", flush=True)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


if __name__ == "__main__":
    sys.exit(main())
