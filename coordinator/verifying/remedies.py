"""From where what is lost could still be had. Deciding only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ...proto.records import ArchiveId, RunId
from ...proto.structs import Record
from ...worker.verifying.losses import Loss
from ...worker.verifying.spares import Spares, covered

Remedy = Literal["archive", "next-backup", "moment", "nowhere"]
"""``archive``: another archive holds the same; ``next-backup``: the mailbox still has it, so the next backup
reads it again; ``moment``: only the mailbox as it was at another moment; ``nowhere``: it is gone."""


class Affected(Record, kw_only=True):
    """What can't be restored at the moments from ``first`` to ``last``, because of the damage of an archive
    (its id and file), and why. ``source`` is the file or run that the ``remedy`` means."""

    path: str
    first: RunId
    last: RunId
    archive: ArchiveId
    file: str
    reason: str
    detail: str
    remedy: Remedy
    source: str = ""


def affected(loss: Loss, spares: Spares, files: Mapping[ArchiveId, str]) -> Affected:
    """A loss with its remedy; ``files`` are where archives lie."""
    remedy, source = remedy_of(loss, spares, files)
    return Affected(
        path=loss.path,
        first=loss.first,
        last=loss.last,
        archive=loss.archive,
        file=file_of(loss.archive, files),
        reason=loss.reason,
        detail=loss.detail,
        remedy=remedy,
        source=source,
    )


def remedy_of(loss: Loss, spares: Spares, files: Mapping[ArchiveId, str]) -> tuple[Remedy, str]:
    """The best remedy, and what it means."""
    holders = _holders(loss, spares)
    if holders:
        return "archive", ", ".join(file_of(holder, files) for holder in holders)
    if loss.digest and loss.twin is not None:
        return "archive", file_of(loss.twin, files)
    if loss.current:
        return "next-backup", ""
    if loss.near is not None:
        return "moment", loss.near
    return "nowhere", ""


def file_of(archive: ArchiveId, files: Mapping[ArchiveId, str]) -> str:
    """The file of an archive; of one whose place is not known its id."""
    return files.get(archive) or f"archive {archive.hex()}"


def _holders(loss: Loss, spares: Spares) -> list[ArchiveId]:
    """The archives that together hold all that is lacking; none if some of it is in none."""
    found: dict[ArchiveId, None] = {}
    for archive, stretch in loss.lacking:
        chosen = covered(stretch, spares.get(archive, ()))
        if not chosen:
            return []
        found.update((spare.archive, None) for spare in chosen)
    return list(found)
