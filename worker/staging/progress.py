"""Progress of workers on a cluster: by way of the receiver to the coordinator, which may be on any host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...proto.ports import ProgressSink
from ...proto.structs import Record
from .area import ReceiverAddress, StagingArea
from .events import EventReceiver, EventSender
from .links import SharedConnection


class ProgressSender(Record):
    """Makes the sink of a worker on a host; may be sent there itself."""

    address: ReceiverAddress
    lease_seconds: float

    def __call__(self, host: str) -> ProgressSink:
        """Raises AccessError if the host has no key for the receiver."""
        share = SharedConnection(self.address, host, self.lease_seconds)
        return EventSender(share.connection)


class ProgressWatch:
    """What workers tell, on the host of the coordinator."""

    def __init__(self, events: EventReceiver) -> None:
        self._events = events

    def poll(self, sink: ProgressSink) -> None:
        """Hand on what has come since the last time. Does not wait."""
        for _, progress in self._events.poll():
            sink(progress)


@contextmanager
def watch_progress(area: StagingArea, address: ReceiverAddress) -> Iterator[ProgressWatch]:
    """Raises AccessError if the host of the area has no key of its own."""
    share = SharedConnection(address, area.host, area.lease_seconds)
    events = EventReceiver(share.connection)
    try:
        yield ProgressWatch(events)
    finally:
        events.close()
        share.close()
