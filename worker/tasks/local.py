"""What tasks have in common that run where the archives are, on the host that asks for them."""

from __future__ import annotations

from typing import Self


class LocalTask:
    """A task for the host of the staging area; every attempt at it is the same. See ``proto.ports.Task``."""

    __slots__ = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """See Task."""
        return ()

    def attempted(self, _host: str, _attempt: int) -> Self:
        """See Task."""
        return self
