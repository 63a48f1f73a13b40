"""What is wrong with a configuration, in words: the file, the key, the value, what was expected."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic_core import ErrorDetails

from ...proto.errors import ConfigError
from .root import TABLES

_KINDS = [repr(name.removeprefix("destination.")) for name in TABLES if name.startswith("destination.")]


def config_error(path: Path, errors: Sequence[ErrorDetails]) -> ConfigError:
    """One error for all that is wrong, a line each."""
    lines = [_line(path, error) for error in errors]
    keys = [_dotted(error["loc"]) for error in errors]
    return ConfigError("\n".join(lines), file=str(path), keys=keys)


def _line(path: Path, error: ErrorDetails) -> str:
    key = _dotted(error["loc"])
    if error["type"].startswith("union_tag"):
        return f"{path}: {_kind(key, error)}: expected one of {', '.join(_KINDS)}"
    *table, name = _names(error["loc"])
    fields = TABLES[".".join(table)].model_fields
    if error["type"] == "extra_forbidden":
        return f"{path}: {key}: no such key; expected one of {', '.join(fields)}"
    expected = f"expected {fields[name].description}"
    if error["type"] == "missing":
        return f"{path}: {key} is missing: {expected}"
    reason = f" ({error['ctx']['error']})" if error["type"] == "value_error" else ""
    return f"{path}: {key} = {_shown(error['input'])}: {expected}{reason}"


def _kind(key: str, error: ErrorDetails) -> str:
    """What is wrong with the kind of a destination."""
    if error["type"] == "union_tag_not_found":
        return f"{key}.kind is missing"
    return f"{key}.kind = {_shown(error['input']['kind'])}"


def _names(location: tuple[int | str, ...]) -> list[str]:
    """The tables that a key is in, as TABLES has them, and the key; of what should be the table of a group,
    or of a host, the key that holds these tables."""
    names = [part for part in location if isinstance(part, str)]
    if names[0] == "destination":
        return names[:3]
    if len(names) > 2 and names[1] in ("group", "host"):
        names[2] = "NAME"
    return names[:2] if names[2:] == ["NAME"] else names


def wrong_value(path: Path, key: str, value: object, expected: str) -> ConfigError:
    """The error for a value that is wrong only beside others."""
    return ConfigError(f"{path}: {key} = {_shown(value)}: expected {expected}", file=str(path), keys=[key])


def check_names(path: Path, key: str, names: Collection[str], groups: Collection[str]) -> None:
    """Raise the error for the first of these names that no group has."""
    for name in names:
        if name not in groups:
            expected = f"names of groups that are defined: {', '.join(groups) or 'there are none'}"
            raise wrong_value(path, key, name, expected)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"


def _dotted(location: tuple[int | str, ...]) -> str:
    """``partition[0].path``"""
    if location[0] == "destination":
        # The third part is the kind, which no key is called by.
        location = (*location[:2], *location[3:])
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )
