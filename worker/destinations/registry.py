"""From the settings of a destination to its adapter, which is imported only when one is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...proto.structs import asdict
from ..archives.ports import Place
from .settings import (
    CommandDestination,
    Destination,
    DirectoryDestination,
    S3Destination,
    TapeDestination,
)


def open_destination(settings: Destination) -> Place:
    """The place. Nothing is reached before the first call of a method."""
    return _OPENERS[type(settings)](settings)


def adapter_module(settings: Destination) -> str:
    """The module of its adapter, by its whole name: for who wants it imported before a place is opened."""
    return f"{__package__}.{_MODULES[type(settings)]}"


def probe_destination(settings: Destination) -> Mapping[str, bool]:
    """What the other side can do, found out by doing it, and kept where the adapter looks for it. Raises what
    the methods of a place raise."""
    if not isinstance(settings, S3Destination):
        return {}
    from .s3.probing import probe

    return asdict(probe(settings))


def free_bytes(place: Place) -> int | None:
    """How much room there is; None where a place can't tell. Raises what its methods raise."""
    ask: Callable[[], int] | None = getattr(place, "free_bytes", None)
    return None if ask is None else ask()


def _directory(settings: DirectoryDestination) -> Place:
    from .directory import DirectoryPlace

    return DirectoryPlace(settings.name, settings.path, area=settings.area)


def _s3(settings: S3Destination) -> Place:
    from .s3.place import S3Place

    return S3Place(settings)


def _tape(settings: TapeDestination) -> Place:
    from .tape.opening import open_tape_place

    return open_tape_place(settings)


def _command(settings: CommandDestination) -> Place:
    from .command import CommandPlace

    return CommandPlace(settings)


_OPENERS: Mapping[type, Callable[[Any], Place]] = {
    DirectoryDestination: _directory,
    S3Destination: _s3,
    TapeDestination: _tape,
    CommandDestination: _command,
}

_MODULES: Mapping[type, str] = {
    DirectoryDestination: "directory",
    S3Destination: "s3.place",
    TapeDestination: "tape.opening",
    CommandDestination: "command",
}
"""Where the openers import their adapters from."""
