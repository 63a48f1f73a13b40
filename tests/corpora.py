"""Real mail to test with, where it is at hand; it is no part of the project."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def shared_place() -> Path | None:
    """The directory with real mail and ``make_store.py``: env MAILHAUL_SHARED, or ``shared`` beside the
    checkout. None: there is none."""
    place = Path(os.environ.get("MAILHAUL_SHARED") or _ROOT.parent / "shared")
    return place if (place / "corpus").is_dir() else None


def corpus(shared: Path, *names: str) -> list[bytes]:
    """The messages of the corpora of these names. ``tricky`` has 359 that were made or chosen to be hard,
    ``sample`` 600 that came as mail does."""
    mails: list[bytes] = []
    for name in names:
        with tarfile.open(shared / "corpus" / f"{name}.tar.xz") as archive:
            opened = (archive.extractfile(member) for member in archive if member.isfile())
            mails += (content.read() for content in opened if content)
    return mails
