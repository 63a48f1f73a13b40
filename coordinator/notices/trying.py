"""Whether everybody can be reached: something is sent to all at once, and what each said is told."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo

from ...proto.errors import DeliveryError
from ...proto.structs import Record
from .channels import Channel
from .records import Event, Notice, Saying
from .settings import Receiver
from .wording import letter


class Tried(Record, kw_only=True):
    """What became of a letter to a receiver: ``taken``, with what its server said; or the error."""

    receiver: str
    taken: bool
    said: str


def try_all(
    receivers: Iterable[Receiver],
    channels: Mapping[str, Channel],
    event: Event,
    site: str,
    zone: tzinfo,
    now: datetime,
) -> tuple[Tried, ...]:
    """Send an example of an event to all that receive it, at the same time; nothing of it is on record.
    ``test`` goes to everybody."""
    notice = Notice(
        event=event,
        cause=f"test:{event}",
        subject=f"Test of notices: {event}",
        lines=("Somebody has called `mailhaul notify test`. Nothing has to be done.",),
        facts={"test": True},
    )
    saying = Saying(kind="new", notice=notice, made=now, first=now, times=1)
    found: dict[str, Tried] = {}

    def attempt(name: str) -> None:
        try:
            said = channels[name].deliver(letter(saying, name, site, zone))
            found[name] = Tried(receiver=name, taken=True, said=said)
        except DeliveryError as error:
            found[name] = Tried(receiver=name, taken=False, said=error.message)

    names = [receiver.name for receiver in receivers if event == "test" or event in receiver.events]
    threads = [threading.Thread(target=attempt, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tuple(found[name] for name in names)
