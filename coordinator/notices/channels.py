"""The port through which a saying leaves: one adapter for mail, for programs, for webhooks."""

from __future__ import annotations

from typing import Protocol

from ...proto.plain_text import shown
from ...proto.structs import Record
from .records import Saying

_MOST_SAID = 200


class Letter(Record, kw_only=True):
    """A saying as a receiver gets it. ``key`` is the same whenever the same saying is sent to the same
    receiver again, so that it can be known again; ``thread`` is the same for all that is said of a cause."""

    key: str
    thread: str
    site: str
    saying: Saying
    subject: str
    body: str


class Channel(Protocol):
    """A way to one receiver."""

    def deliver(self, letter: Letter) -> str:
        """Hand it over, in bounded time. Returns what the other side said, in a few words. Raises
        DeliveryError unless the other side has taken it; it may have taken it all the same, where the
        connection broke before it could say so."""


def said(text: str | bytes) -> str:
    """What another program said, on one line of bounded length."""
    line = shown(" ".join((text.decode(errors="replace") if isinstance(text, bytes) else text).split()))
    return line if len(line) <= _MOST_SAID else line[: _MOST_SAID - 1] + "…"
