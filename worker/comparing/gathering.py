"""In how many archives the metadata of a unit lies: which of it is written again, so that they stay few.

Each night adds an archive, and what it tells of lies there from then on. When there are MOST_ARCHIVES, the
metadata in those that tell of the fewest messages is copied into the new one. docs/decisions/0014.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ...proto.archive.contents import MailboxEntry
from ...proto.records import ArchiveId

MOST_ARCHIVES = 24
"""In so many archives the metadata of a unit may lie after a run."""

_LEFT = MOST_ARCHIVES // 2


def to_gather(entries: Iterable[MailboxEntry]) -> frozenset[ArchiveId]:
    """The archives whose metadata of these mailboxes is to be copied into the one that is going to be
    written.

    With half of them gone, it takes as many nights until there are too many again, and those are the small
    ones: so a message's metadata is copied a few times in a year, and what is copied in a night is on average
    a small share of what a folder's changes make anyway.
    """
    rows = Counter[ArchiveId]()
    for entry in entries:
        for archive, count in entry.rows:
            rows[archive] += count + 1
    if len(rows) < MOST_ARCHIVES:
        return frozenset()
    return frozenset(sorted(rows, key=lambda one: (rows[one], one))[: len(rows) - _LEFT])
