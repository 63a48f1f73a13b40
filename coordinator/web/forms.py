"""What a form sends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

from ...proto.errors import UsageError

_MOST_FIELDS = 20_000
_MOST_PARTS = 20
_LONGEST_HEAD = 1000
_PARAMETER = re.compile(r';?\s*([a-z*]+)="?([^";]*)"?')


class Form:
    """The fields of a form, each with its values in their order."""

    def __init__(self, pairs: list[tuple[str, str]] | None = None) -> None:
        self._pairs = pairs or []

    @classmethod
    def parse(cls, body: bytes, content_type: str = "") -> Form:
        """Of ``multipart/form-data`` if the content type says so, where a file has its name under the field's
        with ``_name`` behind; else ``application/x-www-form-urlencoded``. Raises UsageError."""
        kind, _, parameters = content_type.partition(";")
        try:
            if kind.strip().lower() == "multipart/form-data":
                return cls(list(_parts(body, _parameter(parameters, "boundary"))))
            text = body.decode("ascii")
            return cls(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
        except ValueError:
            raise UsageError("the form can't be read") from None

    def get(self, name: str) -> str:
        """The first value of a field; empty where there is none."""
        return next((value for key, value in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self._pairs if key == name]

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._pairs)


def _parts(body: bytes, boundary: str) -> Iterator[tuple[str, str]]:
    """The fields of a form with files (RFC 7578), all in memory. Raises ValueError."""
    if not boundary or len(boundary) > 70:
        raise ValueError("no boundary")
    # The first line has no line break before it, which the others have.
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("ascii"))
    if len(parts) > _MOST_PARTS + 2 or not parts[-1].startswith(b"--"):
        raise ValueError("too many parts, or not all")
    for part in parts[1:-1]:
        head, blank, content = part.partition(b"\r\n\r\n")
        if not blank or len(head) > _LONGEST_HEAD:
            raise ValueError("a part without a head, or with one that is too long")
        lines = head.decode("utf-8", "replace").split("\r\n")
        (said,) = (line for line in lines if line.lower().startswith("content-disposition:"))
        parameters = said.partition(";")[2]
        name = _parameter(parameters, "name")
        yield name, content.decode("utf-8", "replace")
        if file := _parameter(parameters, "filename"):
            yield f"{name}_name", file


def _parameter(parameters: str, name: str) -> str:
    """Of those behind a semicolon in a line of a head. Browsers write a quote within a name as %22."""
    if len(parameters) > _LONGEST_HEAD:
        raise ValueError("too long a line")
    return next((value for key, value in _PARAMETER.findall(parameters) if key == name), "")
