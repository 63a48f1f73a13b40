"""Which message of a backup a file of a folder is, by the names that a restore gives."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ...proto.records import Message
from .message_places import portable_name, variant_parts

_VARIANT = re.compile(rb"(?P<begin>.*_r)\d+(?P<end>(?:,.*)?)", re.DOTALL)


class RestoredNames:
    """The lasting names that these messages may have got when they were restored (see ``lasting_names``)."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._named: dict[bytes, Message] = {}
        self._variants: dict[tuple[bytes, bytes], list[Message]] = {}
        for one in messages:
            for base in dict.fromkeys((one.base, portable_name(one.base))):
                self._named.setdefault(base, one)
                self._variants.setdefault(variant_parts(base), []).append(one)

    def find(self, base: bytes, size: int) -> Message | None:
        """The message that has this name now, and this size."""
        one = self._named.get(base)
        if one is not None and one.size == size:
            return one
        found = _VARIANT.fullmatch(base)
        many = self._variants.get((found["begin"], found["end"]), []) if found else []
        return next((one for one in many if one.size == size), None)
