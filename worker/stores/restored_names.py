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
        for message in messages:
            for base in dict.fromkeys((message.base, portable_name(message.base))):
                self._named.setdefault(base, message)
                self._variants.setdefault(variant_parts(base), []).append(message)

    def find(self, base: bytes, size: int) -> Message | None:
        """The message that has this name now, and this size."""
        message = self._named.get(base)
        if message is not None and message.size == size:
            return message
        found = _VARIANT.fullmatch(base)
        many = self._variants.get((found["begin"], found["end"]), []) if found else []
        return next((one for one in many if one.size == size), None)
