"""How much of a mail host's attention backups and restores may take."""

from __future__ import annotations

from typing import Literal

from ...proto.structs import Record

IoClass = Literal["", "idle", "best-effort"]


class LoadLimits(Record, kw_only=True):
    """What the workers on one host may do together, of all runs. Zero and empty stand for no limit.

    ``bytes_per_second`` and ``messages_per_second`` are averages over about a second of what is read from
    the mail store, or written to it; files that are no messages count as one each. A restore begins with a
    tenth of these, and has all of it after ``ramp_seconds``. Workers are at least as ``nice`` as told, and
    read and write in the class ``ionice`` of the disk scheduler, best-effort at its lowest level. Where
    they have a ``governor`` (by name) they do a share of all this, as that says while they work
    (``share``).
    """

    bytes_per_second: int = 0
    messages_per_second: int = 0
    nice: int = 0
    ionice: IoClass = ""
    ramp_seconds: float = 60.0
    governor: str = ""

    @property
    def has_rates(self) -> bool:
        """Whether there is anything to book."""
        return bool(self.bytes_per_second or self.messages_per_second)

    @property
    def holds_back(self) -> bool:
        """Whether there is anything to keep to while mail is read or written."""
        return self.has_rates or bool(self.governor)


NO_LIMITS = LoadLimits()
"""As much as there is."""
