"""The dead man's switch: worked after each good night, so that somebody else notices when there is none."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from ... import __version__
from ...proto.errors import AccessError, DeliveryError
from .addresses import read_address
from .requests import send
from .settings import SwitchConfig


def work(switch: SwitchConfig, now: datetime) -> None:
    """Ask the URL, touch the file: what there is of both, also if one fails. Raises DeliveryError for what
    failed. Repeatable."""
    errors = []
    for is_there, part in ((switch.url_file, _ask), (switch.file, _touch)):
        if is_there is not None:
            try:
                part(switch, now)
            except DeliveryError as error:
                errors.append(error.message)
    if errors:
        raise DeliveryError("; ".join(errors), unreachable=True)


def _ask(switch: SwitchConfig, _now: datetime) -> None:
    assert switch.url_file is not None  # noqa: S101 (asked by work)
    try:
        address = read_address(switch.url_file)
    except AccessError as error:
        raise DeliveryError(error.message) from None
    headers = {"User-Agent": f"mailhaul/{__version__}"}
    send(address, switch.method, b"", headers, switch.ca_file, switch.limit_seconds)


def _touch(switch: SwitchConfig, now: datetime) -> None:
    """Its time of change is what counts; when the night was looked at stands in it, for people."""
    assert switch.file is not None  # noqa: S101 (asked by work)
    try:
        _write(switch.file, f"{now.isoformat(timespec='seconds')}\n".encode())
    except OSError as error:
        raise DeliveryError(f"{switch.file}: {error.strerror}") from None


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
