"""What the program's records are made of: one choice for all of them (docs/decisions/0048-records.md).

A record is a class with typed fields below ``Record``, or ``Mutable`` for what changes while work goes on. No
other module imports msgspec or dataclasses.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

from msgspec import Struct, convert, field
from msgspec.structs import asdict, astuple

if TYPE_CHECKING:
    # For mypy the function that it knows: it checks the names and the types of what is replaced.
    from dataclasses import replace
else:
    from msgspec.structs import replace

__all__ = [
    "Mutable",
    "Record",
    "asdict",
    "astuple",
    "converted",
    "field",
    "field_names",
    "json_schemas",
    "replace",
]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record(Struct, frozen=True):
    """A record that never changes. Two of one class are equal, and have the same hash, if all fields are."""


@dataclass_transform(field_specifiers=(field,))
class Mutable(Struct):
    """A record whose fields may be set; compared by all of them, without a hash."""


def field_names(record: Record | Mutable | type[Record] | type[Mutable]) -> tuple[str, ...]:
    """The names of the fields, in their order."""
    return record.__struct_fields__


R = TypeVar("R", bound=Record)


def converted(document: object, kind: type[R], *, from_text: bool = False) -> R:
    """A record from what a JSON document held; ``from_text``: from texts alone, as an address has them. The
    types of all fields are checked. Raises ValueError, which names the field."""
    return convert(document, kind, strict=not from_text)


def json_schemas(kinds: Sequence[Any], reference: str) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """The JSON Schema of each of these types, of which the records are described apart, by their names; what
    refers to one does so with ``reference``, in which ``{name}`` stands for its name."""
    from msgspec.json import schema_components  # nobody but the API's description needs it

    return schema_components(kinds, schema_hook=_schema_of_others, ref_template=reference)


def _schema_of_others(kind: type) -> dict[str, Any]:
    return {"type": "string"} if issubclass(kind, Path) else {"description": "any value"}
