"""Deliver what is to be said: by one process of a staging area at a time, to each receiver in a thread of its
own, so that a receiver who keeps us waiting keeps nobody else waiting.

A delivery is on record until the receiver has said yes, so a process that dies loses none. If it dies between
that yes and the record, the letter goes out again, under the same key: each receiver gets it at least once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta, tzinfo
from pathlib import Path

from ...proto.errors import BackupError, DeliveryError, LockedError
from ...proto.ports import Clock
from ..clock import utc
from ..flocks import flocked
from ..service.notices import Delivery, NoticeRecord
from .channels import Channel
from .settings import NoticesConfig
from .wording import letter

GIVE_UP = timedelta(days=7)
"""What could not be delivered for so long is not news any more."""

KEPT = timedelta(days=90)
"""So long it stays on record what was said."""

_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 3.0
_REST_SECONDS = 60.0


class Deliverer:
    """Delivers what is due. ``channels`` are the ways to the receivers, by their names. Use within
    ``sending``, which keeps others from delivering the same."""

    def __init__(
        self,
        staging: Path,
        config: NoticesConfig,
        site: str,
        zone: tzinfo,
        clock: Clock,
        channels: Mapping[str, Channel],
    ) -> None:
        self._record = NoticeRecord(staging)
        self._receivers = {receiver.name: receiver.events for receiver in config.receivers}
        self._site = site
        self._zone = zone
        self._clock = clock
        self._channels = channels
        self._busy: dict[str, threading.Thread] = {}
        self._resting: dict[str, float] = {}
        self._got: set[tuple[int, str]] = set()

    def begin(self) -> bool:
        """Begin with what is due, and do not wait for it. Returns whether anything goes on. Raises
        StagingError and DamagedError if the record can't be read or written."""
        self._busy = {name: one for name, one in self._busy.items() if one.is_alive()}
        now = utc(self._clock.now())
        self._record.address(self._receivers, now)
        due: dict[str, list[Delivery]] = {}
        for delivery in self._record.due(now):
            due.setdefault(delivery.channel, []).append(delivery)
        for name, deliveries in due.items():
            if name not in self._busy and self._clock.monotonic() >= self._resting.get(name, 0.0):
                # No process waits for these when it ends: what they had under way goes out again.
                thread = threading.Thread(target=self._deliver, args=(name, deliveries), daemon=True)
                self._busy[name] = thread
                thread.start()
        return bool(self._busy)

    def finish(self, seconds: float) -> bool:
        """Deliver all that is due, for so long at most. Returns whether all of it was tried. Raises as
        ``begin``."""
        until = self._clock.monotonic() + seconds
        while self.begin():
            if self._clock.monotonic() >= until:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _deliver(self, name: str, deliveries: list[Delivery]) -> None:
        try:
            for delivery in deliveries:
                if not self._hand_over(delivery):
                    return
        except BackupError:
            # The record can't be written (the disk is full): nobody is to be asked each second meanwhile.
            self._resting[name] = self._clock.monotonic() + _REST_SECONDS

    def _hand_over(self, delivery: Delivery) -> bool:
        """Returns whether the receiver can be reached."""
        now = utc(self._clock.now())
        key = (delivery.saying.id, delivery.channel)
        if key not in self._got:
            if delivery.attempts and now - delivery.saying.made > GIVE_UP:
                self._record.give_up(delivery)
                return True
            try:
                self._channels[delivery.channel].deliver(
                    letter(delivery.saying, delivery.channel, self._site, self._zone)
                )
            except DeliveryError as error:
                self._failed(delivery, error.message, unreachable=error.unreachable)
                return not error.unreachable
            except Exception as error:
                # An error of our own, that this letter meets, most likely. Others still go out.
                self._failed(delivery, f"{type(error).__name__}: {error}", unreachable=False)
                return True
        self._got.add(key)  # until that is on record: what was delivered does not go out again
        self._record.delivered(delivery, utc(self._clock.now()))
        self._got.discard(key)
        return True

    def _failed(self, delivery: Delivery, error: str, *, unreachable: bool) -> None:
        self._record.failed(delivery, error, utc(self._clock.now()), unreachable=unreachable)


@contextmanager
def sending(staging: Path, patience_seconds: float = 0.0) -> Iterator[None]:
    """Within, no other process delivers the notices of a staging area. Raises LockedError if one does, longer
    than the patience; StagingError."""
    path = staging / ".mailhaul" / "notices.lock"
    with flocked(path, "notices are being delivered", patience_seconds=patience_seconds):
        yield


def deliver_now(deliverer: Deliverer, staging: Path, seconds: float) -> None:
    """Deliver what is due, for so long at most, unless a process does that stays: it will. Raises as
    ``Deliverer.begin``."""
    with suppress(LockedError), sending(staging, _PATIENCE_SECONDS):
        deliverer.finish(seconds)
