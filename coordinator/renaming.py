"""Renames of a restore (``--map``): what was read from the file, over all mailboxes that there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..groups.renames import Renamed, RenameMap, Whereabouts, parse_renames, renamed_in
from ..proto.errors import ConfigError
from ..proto.records import RunId
from ..proto.structs import Record
from .catalog import Catalog
from .history import MailboxVersion


class Renaming(Record, kw_only=True):
    """Where mailboxes go, by where they were, and what users are called now. ``places`` has all mailboxes of
    a backup, also those that are not restored: others name their users in access lists."""

    places: Mapping[Whereabouts, Whereabouts]

    def place(self, version: MailboxVersion) -> Whereabouts:
        """Where a mailbox goes."""
        return self.places[Whereabouts(version.partition, version.user)]

    def renamed(self, partition: str) -> Renamed:
        """The users whom the mail of a partition may name."""
        return renamed_in(partition, self.places.items())


def read_renames(file: Path) -> RenameMap:
    """Read a map. Raises ConfigError, which names the file, and the line if it is to blame."""
    try:
        return parse_renames(file.read_text(encoding="utf-8", errors="surrogateescape"), str(file))
    except OSError as error:
        raise ConfigError(
            f"{file}: expected a file that can be read: {error.strerror}", file=str(file)
        ) from error


def renaming_of(renames: RenameMap, versions: Iterable[MailboxVersion]) -> Renaming:
    """What a map makes of mailboxes."""
    mailboxes = dict.fromkeys(Whereabouts(version.partition, version.user) for version in versions)
    return Renaming(places={mailbox: renames.place(*mailbox) for mailbox in mailboxes})


def everybody(area: Path, run: RunId) -> list[MailboxVersion]:
    """All mailboxes that are kept as of a run."""
    with Catalog.open(area) as catalog:
        return list(catalog.mailboxes_at(run, nearest=True))
