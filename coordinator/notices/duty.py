"""Notices, while a coordinator stays: looked for now and then, said again, delivered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from pathlib import Path

from ...proto.errors import LockedError
from ..service.notices import NoticeRecord
from .delivery import KEPT, Deliverer, sending

LOOK = timedelta(minutes=1)
"""So often it is looked what lasts, and what is to be said again."""

Job = Callable[[datetime], object]


class NoticesDuty:
    """A ``Duty``. ``jobs`` are looks at how things are: one after the other in a thread of their own, as some
    take their time; what they raise is raised by a tick."""

    def __init__(self, staging: Path, deliverer: Deliverer, *jobs: Job) -> None:
        self._staging = staging
        self._deliverer = deliverer
        self._jobs = (*jobs, self._forget)
        self._sending = ExitStack()
        self._may_send = False
        self._looking: threading.Thread | None = None
        self._look_at: datetime | None = None
        self._raised: list[Exception] = []

    def tick(self, now: datetime) -> None:
        """See Duty."""
        looking = self._looking is not None and self._looking.is_alive()
        if not looking and self._is_time(now):
            self._look_at = now + LOOK
            self._looking = threading.Thread(target=self._look, args=(now,), name="looks", daemon=True)
            self._looking.start()
        if not self._may_send:
            with suppress(LockedError):  # a command that has just ended is at it
                self._sending.enter_context(sending(self._staging))
                self._may_send = True
        if self._may_send:
            self._deliverer.begin()
        if self._raised:
            raise self._raised.pop(0)

    def close(self) -> None:
        """Leave sending to others. Repeatable."""
        self._may_send = False
        self._sending.close()

    def _is_time(self, now: datetime) -> bool:
        return self._look_at is None or not timedelta(0) < self._look_at - now <= LOOK

    def _look(self, now: datetime) -> None:
        for job in self._jobs:
            try:
                job(now)
            except Exception as error:  # the others are looked at, and this is reported
                self._raised.append(error)

    def _forget(self, now: datetime) -> None:
        NoticeRecord(self._staging).forget(now - KEPT)
