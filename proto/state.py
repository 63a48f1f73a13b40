"""What a moment says of a message beside its content: flags and keywords; and what is done about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .records import Listed
from .structs import Record


class Flags(NamedTuple):
    """The letters of the flags of a message, and the names of its keywords, in order (see ``Message``)."""

    letters: str
    keywords: tuple[str, ...]


class WantedState(Record, kw_only=True):
    """A message as a folder has listed it, and what flags it is to have: ``decide`` is told those that it
    has when its turn comes, which may be others than were listed."""

    listed: Listed
    decide: Callable[[Flags], Flags]
