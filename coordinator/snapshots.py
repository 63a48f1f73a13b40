"""Records in files that others read while they change: each version is written whole, as JSON, and then
takes the place of the one before. Nothing relies on them, so none is made to survive a crash.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from types import NoneType, TracebackType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..proto.structs import Record, field_names

SECONDS = 1.0
"""How often a status is written."""

_LARGEST_BYTES = 64 << 20

RecordT = TypeVar("RecordT")


def as_json(record: object) -> str:
    """A record as ``read_snapshot`` reads it; ASCII."""
    return json.dumps(record, default=_encoded, separators=(",", ":"))


def write_snapshot(path: Path, record: object) -> None:
    """Put a record into a file. Raises OSError."""
    text = as_json(record)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.touch(mode=0o600)  # users' names are in it: nobody else may read it
        partial.write_text(text + "\n", encoding="ascii")
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read_snapshot(path: Path, kind: type[RecordT]) -> RecordT | None:
    """The record in a file; None if there is none, or none that this version understands."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_BYTES)
        value = json.loads(text, parse_constant=_refuse)
        return _decoded(kind, value)  # type: ignore[no-any-return]
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def from_json(text: bytes | str, kind: type[RecordT]) -> RecordT:
    """The record that a text is, whoever wrote it. Raises ValueError if it is none."""
    try:
        return _decoded(kind, json.loads(text, parse_constant=_refuse))  # type: ignore[no-any-return]
    except (TypeError, RecursionError) as error:
        raise ValueError(f"no {kind.__name__}: {error}") from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _encoded(value: object) -> object:
    if isinstance(value, Record):
        kind: type = type(value)
        return {name: getattr(value, name) for name in _types(kind)}
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a record can't hold a {type(value).__name__}")


@cache
def _types(kind: type) -> dict[str, Any]:
    """The fields of a record and their types."""
    hints = get_type_hints(kind)
    return {name: hints[name] for name in field_names(kind)}


def _decoded(kind: Any, value: Any) -> Any:
    """A value as a field of this type holds it. Raises ValueError or TypeError if it can't."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Record) and isinstance(value, dict):
        types = _types(kind)
        return kind(**{name: _decoded(types[name], value[name]) for name in types if name in value})
    if origin is tuple and isinstance(value, list):
        return tuple(_decoded(inner[0], one) for one in value)
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {name: _decoded(inner[1], one) for name, one in value.items()}
    if origin is UnionType and NoneType in inner:
        return None if value is None else _decoded(inner[0], value)
    if origin is Literal and value in inner:
        return value
    if kind is datetime and isinstance(value, str):
        when = datetime.fromisoformat(value)
        if when.tzinfo is not None:
            return when
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise ValueError(f"{value!r} is no {kind}")


class Publisher:
    """Writes what ``take`` returns into a file, about once a second, as long as the context lasts and once at
    its end. A file that can't be written is left as it is until it can."""

    def __init__(self, path: Path, take: Callable[[], object], seconds: float = SECONDS) -> None:
        self._path = path
        self._take = take
        self._seconds = seconds
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._publish, name="status", daemon=True)

    def __enter__(self) -> Publisher:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._write()

    def _publish(self) -> None:
        while not self._ending.wait(self._seconds):
            self._write()

    def _write(self) -> None:
        with suppress(OSError):  # a full disk, most likely; the run itself will meet it, and say so
            write_snapshot(self._path, self._take())
