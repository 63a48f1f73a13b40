"""What the commands for tapes have in common: the destination, its volumes, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ...proto.errors import NotFoundError, UsageError
from ...worker.destinations.settings import TapeDestination
from ...worker.destinations.tape.inventory import KnownVolume
from ...worker.destinations.tape.library import Cartridge
from ...worker.destinations.tape.opening import Tape, open_tape
from ..destinations import named, ready
from . import output
from .configuration import configured
from .output import Column, number, shown, size
from .program import Invocation

VOLUMES = [
    Column("label", "<"),
    Column("pool", "<"),
    Column("state", "<"),
    Column("archives"),
    Column("size"),
    Column("written", "<"),
    Column("where", "<"),
    Column("volume", "<", extra=True),
]


@contextmanager
def tape_of(invocation: Invocation, name: str) -> Iterator[Tape]:
    """The tape destination of this name; its drive is let go at the end. Raises UsageError, ConfigError."""
    config = configured(invocation)
    settings = ready(named(config.destinations, name), config.staging.path)
    if not isinstance(settings, TapeDestination):
        raise UsageError(f"destination {name!r} is of the kind {settings.kind}, not tape")
    tape = open_tape(settings)
    try:
        yield tape
    finally:
        tape.mounts.release()


def volume_of(tape: Tape, text: str) -> KnownVolume:
    """The known volume that is called so. Raises NotFoundError; UsageError if several are."""
    fit = [
        volume
        for volume in tape.inventory.all()
        if text in (volume.label.volume, volume.label.label, volume.tag)
    ]
    if not fit:
        raise NotFoundError(
            f"no volume {text!r} is known; `mailhaul tape inventory` looks for it", volume=text
        )
    if len(fit) > 1:
        uuids = ", ".join(known_volume.label.volume for known_volume in fit)
        raise UsageError(f"several volumes are called {text!r}: name one by its UUID: {uuids}")
    return fit[0]


def cartridge_of(tape: Tape, text: str) -> Cartridge:
    """The cartridge in reach that is called so, by its bar code or by where it is. Raises NotFoundError."""
    for cartridge in tape.library.cartridges():
        if text in (cartridge.tag, cartridge.where):
            return cartridge
    raise NotFoundError(f"{text!r} is the bar code, or the place, of no volume in reach", volume=text)


def state(known: KnownVolume) -> str:
    """In one word."""
    if known.retired:
        return "retired"
    if known.contents.finished:
        return "full"
    return "empty" if not known.contents.entries else "open"


def row(known: KnownVolume, where: str) -> Sequence[str]:
    """Of the table of volumes."""
    entries = [entry for entry in known.contents.entries if not entry.removed]
    return (
        shown(known.label.label),
        output.name(known.label.pool),
        state(known),
        number(len(entries)),
        size(sum(entry.bytes for entry in entries)),
        known.written[:10],
        shown(where),
        known.label.volume,
    )


def document(known: KnownVolume, where: str) -> dict[str, object]:
    """A volume as JSON has it."""
    entries = [entry for entry in known.contents.entries if not entry.removed]
    label = known.label
    return {
        "volume": label.volume,
        "label": label.label,
        "pool": label.pool,
        "state": state(known),
        "archives": len(entries),
        "size_bytes": sum(entry.bytes for entry in entries),
        "record_bytes": label.record_bytes,
        "written": known.written,
        "where": where,
        "generation": label.generation,
        "worm": label.worm,
        "uses": label.uses,
        "retired": known.retired,
        "alerts": known.alerts,
    }
