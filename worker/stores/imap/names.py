"""What the folders of a mailbox are called on the server: with its separator, below its prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count

from ..folder_names import INBOX

_UNFIT = re.compile(r"[\0-\x1f\x7f-\x9f\ud800-\udfff]")


class FolderNames:
    """``prefix`` is that of the user's own folders, ``separator`` what stands between levels; "" where the
    server has no levels. Each of the names gets another one than all others."""

    def __init__(self, prefix: str, separator: str, names: Iterable[str]) -> None:
        self._prefix = prefix
        self._separator = separator
        self._known = {INBOX: INBOX}
        ordered = sorted(set(names) - {INBOX})
        # Those that can be called what they are called come first: they keep it.
        for name in sorted(ordered, key=lambda name: self._said(name) != self._plain(name)):
            self.on_server(name)

    def on_server(self, name: str) -> str:
        """What a folder is called there, as a person reads it."""
        if name not in self._known:
            said = self._said(name)
            taken = set(self._known.values())
            choices = (said if number == 1 else f"{said}~{number}" for number in count(1))
            self._known[name] = next(choice for choice in choices if choice not in taken)
        return self._known[name]

    def is_altered(self, name: str) -> bool:
        """Whether it can't be called there what it is called."""
        return name != INBOX and self.on_server(name) != self._plain(name)

    def _plain(self, name: str) -> str:
        return self._prefix + name.replace("/", self._separator or "/")

    def _said(self, name: str) -> str:
        levels = name.split("/")
        if self._separator:
            levels = [
                level.replace(self._separator, "_") if self._separator != "/" else level for level in levels
            ]
        fit = (_UNFIT.sub("_", level) for level in levels)
        return self._prefix + (self._separator or "_").join(fit)
