"""Finds out which tasks hold keys of archives: those must not leave this host in clear."""

from __future__ import annotations

import io
import pickle
from typing import Any

from ...proto.keys.records import Keyring, MailboxSecret, StructureKey


def pickled(task: object) -> tuple[bytes, bool]:
    """A pickled task, and whether there are keys in it: not whoever makes tasks has to think of that."""
    buffer = io.BytesIO()
    pickler = _Noticing(buffer)
    pickler.dump(task)
    return buffer.getvalue(), pickler.has_keys


class _Noticing(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.has_keys = False

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, StructureKey | MailboxSecret) or (
            isinstance(value, Keyring) and bool(value.structures or value.contents or value.secrets)
        ):
            self.has_keys = True
        return NotImplemented
