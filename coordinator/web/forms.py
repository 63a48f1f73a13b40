"""What a form sends."""

from __future__ import annotations

from urllib.parse import parse_qsl

from ...proto.errors import UsageError

_MOST_FIELDS = 20_000


class Form:
    """The fields of a form, each with its values in their order."""

    def __init__(self, pairs: list[tuple[str, str]] | None = None) -> None:
        self._pairs = pairs or []

    @classmethod
    def parse(cls, body: bytes) -> Form:
        """Of ``application/x-www-form-urlencoded``. Raises UsageError."""
        try:
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
