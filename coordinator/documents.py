"""Records as JSON documents: the same for ``--json`` and for the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from ..proto.plain_text import escaped
from ..proto.structs import Mutable, Record, field_names
from .texts import moment


def plain(value: object) -> object:
    """A record, or anything made of records, as JSON can hold it."""
    if type(value) is str:  # nearly all of what there is, and by far the cheapest to tell
        return without_surrogates(value)
    if isinstance(value, int | float) or value is None:
        return value
    if isinstance(value, Record | Mutable):
        return {name: plain(getattr(value, name)) for name in field_names(value)}
    match value:
        case datetime():
            return moment(value)
        case bytes():
            return value.hex()
        case Path() | str():
            return without_surrogates(str(value))
        case Mapping():
            return {without_surrogates(str(key)): plain(one) for key, one in value.items()}
        case Iterable():
            return [plain(one) for one in value]
    return without_surrogates(str(value))


def without_surrogates(text: str) -> str:
    """A text without what UTF-8 does not have: those bytes are percent-encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(escaped(char) if "\ud800" <= char <= "\udfff" else char for char in text)
    return text
