"""What a look at a target has found, as it adds up: the first of many are told each, all are counted."""

from __future__ import annotations

from ...proto.target_facts import FateCounts, FileSystemRoom, FolderFate, QuotaExcess
from .rooms import Rooms

MOST_TOLD = 200
"""So many folders, failures and excesses are told one by one, by each task."""


class Findings:
    """Facts of the folders and users that were looked at."""

    def __init__(self) -> None:
        self.counts = FateCounts()
        self._fates: list[FolderFate] = []
        self._excesses: list[QuotaExcess] = []
        self._troubles: dict[str, None] = {}

    @property
    def fates(self) -> tuple[FolderFate, ...]:
        return tuple(self._fates)

    @property
    def excesses(self) -> tuple[QuotaExcess, ...]:
        return tuple(self._excesses)

    @property
    def troubles(self) -> tuple[str, ...]:
        return tuple(self._troubles)

    def folder(self, fate: FolderFate, *, recreated: bool = False) -> None:
        """The fate of a folder that is there, or that will be made (``recreated``)."""
        if len(self._fates) < MOST_TOLD:
            self._fates.append(fate)
        counts = self.counts
        self.counts = FateCounts(
            recreated=counts.recreated + recreated,
            existing=counts.existing + (not recreated),
            another=counts.another + fate.is_another,
            kept=counts.kept + fate.kept,
            renumbered=counts.renumbered + fate.renumbered,
            added=counts.added + fate.added,
            present=counts.present + fate.present,
        )

    def quota(self, user: str, root: str, kind: str, used: int, limit: int, wanted: int) -> None:
        """A quota of a user (0: without a limit), and how much is to come."""
        if limit and used + wanted > limit and len(self._excesses) < MOST_TOLD:
            self._excesses.append(
                QuotaExcess(user=user, root=root, kind=kind, used=used, limit=limit, wanted=wanted)
            )

    def rooms(self, rooms: Rooms) -> tuple[FileSystemRoom, ...]:
        """How much room there is; where the file system does not say, that is a trouble."""
        try:
            return rooms.all()
        except OSError as error:
            self.trouble(f"how much room there is can't be told: {error.strerror}")
            return ()

    def trouble(self, told: str) -> None:
        """Something went wrong, in words."""
        if len(self._troubles) < MOST_TOLD:
            self._troubles[told] = None
