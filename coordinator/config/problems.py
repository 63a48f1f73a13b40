"""What is wrong with a configuration, in words: the file, the key, the value, what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic_core import ErrorDetails

from ...proto.errors import ConfigError
from .tables import TABLES


def config_error(path: Path, errors: Sequence[ErrorDetails]) -> ConfigError:
    """One error for all that is wrong, a line each."""
    lines = [_line(path, error) for error in errors]
    keys = [_dotted(error["loc"]) for error in errors]
    return ConfigError("\n".join(lines), file=str(path), keys=keys)


def _line(path: Path, error: ErrorDetails) -> str:
    *table, name = _names(error["loc"])
    fields = TABLES[".".join(table)].model_fields
    key = _dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{path}: {key}: no such key; expected one of {', '.join(fields)}"
    expected = f"expected {fields[name].description}"
    if error["type"] == "missing":
        return f"{path}: {key} is missing: {expected}"
    reason = f" ({error['ctx']['error']})" if error["type"] == "value_error" else ""
    return f"{path}: {key} = {_shown(error['input'])}: {expected}{reason}"


def _names(location: tuple[int | str, ...]) -> list[str]:
    """The tables that a key is in, as TABLES has them, and the key; of what should be the table of a group,
    the key that holds these tables."""
    names = [part for part in location if isinstance(part, str)]
    if len(names) > 2 and names[1] == "group":
        names[2] = "NAME"
    return names[:2] if names[2:] == ["NAME"] else names


def wrong_value(path: Path, key: str, value: object, expected: str) -> ConfigError:
    """The error for a value that is wrong only beside others."""
    return ConfigError(f"{path}: {key} = {_shown(value)}: expected {expected}", file=str(path), keys=[key])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"


def _dotted(location: tuple[int | str, ...]) -> str:
    """``partition[0].path``"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )
