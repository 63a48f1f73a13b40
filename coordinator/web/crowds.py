"""How much of something one account may have going on at a time, so that it leaves room for others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ...proto.errors import BusyError


class Crowd:
    """Lets in so many of each account, and so many in all (None: as many as come). For any thread.

    ``what`` is what there may be so many of, for people; ``retry_seconds`` is when it may be worth to ask
    again.
    """

    def __init__(self, what: str, *, each: int, in_all: int | None, retry_seconds: int) -> None:
        self._what = what
        self._each = each
        self._in_all = in_all
        self._retry_seconds = retry_seconds
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()

    @contextmanager
    def entered(self, whose: str) -> Iterator[None]:
        """As long as the context lasts there is more by one of it. Nobody waits: raises BusyError where
        there is no room for it."""
        with self._lock:
            if self._inside[whose] >= self._each:
                raise self._busy(f"you have {self._each} {self._what} already", yours=True)
            if self._in_all is not None and self._inside.total() >= self._in_all:
                raise self._busy(f"there are {self._in_all} {self._what} already", yours=False)
            self._inside[whose] += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside[whose] -= 1
                if not self._inside[whose]:
                    del self._inside[whose]

    def _busy(self, text: str, *, yours: bool) -> BusyError:
        return BusyError(f"{text}: try again in a moment", yours=yours, retry_seconds=self._retry_seconds)
