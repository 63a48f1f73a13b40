"""What is said, in words: pure functions from a saying to a letter."""

from __future__ import annotations

import hashlib
import shlex
from datetime import datetime, tzinfo

from .channels import Letter
from .records import PASSING, Kind, Saying

_OPENINGS: dict[Kind, str] = {"new": "", "again": "Still: ", "over": "Over: "}


def letter(saying: Saying, receiver: str, site: str, zone: tzinfo) -> Letter:
    """What a receiver gets of a saying. The matter stands first in the subject, as a phone shows forty
    letters of it; times are those of the zone."""
    return Letter(
        # The time tells letters apart whose numbers are the same as the record was lost in between.
        key=f"{saying.id}.{_milliseconds(saying.made)}.{_digest(receiver)}",
        thread=f"{_digest(saying.notice.cause)}.{_milliseconds(saying.first)}",
        site=site,
        saying=saying,
        subject=f"{_OPENINGS[saying.kind]}{saying.notice.subject} [{site}]",
        body="\n".join(_lines(saying, zone)) + "\n",
    )


def _lines(saying: Saying, zone: tzinfo) -> list[str]:
    notice = saying.notice
    if notice.event == "digest":
        return list(notice.lines)
    lines = [f"{_OPENINGS[saying.kind]}{notice.subject}.", *_apart(notice.lines)]
    if notice.event in PASSING:
        return lines
    first = _when(saying.first, zone)
    if saying.kind == "over":
        return [*lines, "", f"It had been so since {first}. Nothing more has to be done about this notice."]
    since = f"Since {first}" + (f", found {saying.times:,} times." if saying.times > 1 else ".")
    return [
        *lines,
        "",
        since,
        "This is said again each day until it is over, or until somebody says that it is known:",
        f"  mailhaul notify acknowledge {shlex.quote(notice.cause)}",
    ]


def _apart(lines: tuple[str, ...]) -> list[str]:
    return ["", *lines] if lines else []


def _when(moment: datetime, zone: tzinfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")


def _milliseconds(moment: datetime) -> str:
    return f"{int(moment.timestamp() * 1000):x}"


def _digest(text: str) -> str:
    return hashlib.blake2s(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
