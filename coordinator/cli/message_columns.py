"""Columns in which single messages are listed: when, from whom, about what, where."""

from __future__ import annotations

from datetime import datetime

from . import output
from .output import Column, moment

_SENDER, _SUBJECT = 30, 40

MESSAGE = [
    (Column("date", "<"), 20),
    (Column("from", "<"), _SENDER),
    (Column("subject", "<"), _SUBJECT),
]
FIRST = (Column("first", "<"), 21)
LAST = (Column("last", "<"), 21)
PATH = (Column("path", "<"), 4)


def message_cells(date: datetime | None, sender: str, subject: str) -> tuple[str, str, str]:
    """What stands in the columns ``MESSAGE``; long texts are cut off."""
    return moment(date), output.cut(sender, _SENDER), output.cut(subject, _SUBJECT)
