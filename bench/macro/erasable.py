"""What mailboxes that are erasable one by one cost in bytes: a store is backed up with and without
`erasable`, and once more after a night in which some mailboxes have got the same new mail.

    .venv/bin/python -P -m mailhaul.bench.macro.erasable --store DIR [--night]

Prints of each: bytes of archives, bytes and number of frames of each kind, CPU seconds, the vault's size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from mailhaul.proto.archive.files import LocalFile
from mailhaul.proto.archive.scanning import FoundFrame, scan

PROGRAM = (sys.executable, "-P", "-m", "mailhaul")
_SHARE = 3
_MAIL = b"From: office@example.org\nTo: all@example.org\nSubject: news\n\n"


def main() -> None:
    """The command."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--store", type=Path, required=True, help="a directory of Maildirs: mail below PARTITION/USER"
    )
    made.add_argument("--night", action="store_true", help="copy it, and back up a night as well")
    given = made.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        store = given.store
        if given.night:
            store = place / "store"
            shutil.copytree(given.store, store, symlinks=True)
        rows = {variant: _first(place / variant, store, variant) for variant in ("encrypted", "erasable")}
        if given.night:
            _new_mail(store)
            for variant, row in rows.items():
                row["night"] = _measured(place / variant)
        print(json.dumps(rows, indent=1))


def _first(place: Path, store: Path, variant: str) -> dict[str, object]:
    (place / "etc").mkdir(parents=True)
    make = (*PROGRAM, "keys", "recipient", "make", "ops", "--dir", str(place / "etc"), "--no-passphrase")
    subprocess.run(make, check=True, capture_output=True)
    partitions = "".join(
        f'[[partition]]\nname = "{path.name}"\nformat = "maildir"\npath = "{path}/{{user}}/Maildir"\n'
        for path in sorted(store.iterdir())
        if path.is_dir()
    )
    (place / "mailhaul.toml").write_text(
        f'[staging]\npath = "{place}/staging"\nkeys = "{place}/keys"\nsame_device = true\n{partitions}'
        f'[encryption]\nrecipients = ["{place}/etc/ops.pub"]\n'
        f"erasable = {str(variant == 'erasable').lower()}\n"
    )
    row = _measured(place)
    row["vault bytes"] = sum(one.stat().st_size for one in place.glob("keys/*.vault.sealed"))
    return row


def _measured(place: Path) -> dict[str, object]:
    """One backup, and the archives that it wrote."""
    before = set(place.glob("staging/*/*/*.mha"))
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = (*PROGRAM, "--config", str(place / "mailhaul.toml"), "backup", "--workers", "1")
    subprocess.run(run, check=True, capture_output=True)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = set(place.glob("staging/*/*/*.mha")) - before
    size_bytes: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    for file in sorted(files):
        for found in scan(LocalFile(str(file))):
            if isinstance(found, FoundFrame):
                size_bytes[found.header.type.name] += 72 + found.header.stored_bytes
                frames[found.header.type.name] += 1
    cpu = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    total = sum(os.path.getsize(path) for path in files)
    return {"bytes": total, "CPU s": round(cpu, 1), "bytes of": dict(size_bytes), "frames": dict(frames)}


def _new_mail(store: Path) -> None:
    """Each third mailbox gets one message that it alone has, and one that all of them have."""
    for number, box in enumerate(sorted(path.parent for path in store.glob("*/*/Maildir/cur"))):
        if number % _SHARE == 0:
            for name, body in (
                (b"own", os.urandom(1500).hex().encode()),
                (b"all", b"what there is to say " * 150),
            ):
                file = box / "cur" / f"1700000000.{name.decode()}{number}.bench:2,"
                file.write_bytes(_MAIL + body + b"\n")


if __name__ == "__main__":
    main()
