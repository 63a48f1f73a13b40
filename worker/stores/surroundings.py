"""What belongs to the mailboxes of a partition and lies outside of them: homes and control directories."""

from __future__ import annotations

from collections.abc import Sequence

from ...proto.errors import ConfigError
from ...proto.records import Partition
from .location import Location
from .template import Template


class Surroundings:
    """``home``, ``control`` and ``index`` are templates as that of the mailboxes; empty: the home is the
    directory above a mailbox that has a name of its own there, and its server keeps everything in it.
    ``also`` are patterns of what belongs to the mail in a home (see ``home_files``). Raises ConfigError for
    what can't be."""

    def __init__(self, home: str = "", control: str = "", index: str = "", also: Sequence[str] = ()) -> None:
        self._home = Template(home) if home else None
        self._control = Template(control) if control else None
        self._index = Template(index) if index else None
        self.also = tuple(also)

    @property
    def separate_homes(self) -> bool:
        """Whether homes are not the directories above the mailboxes."""
        return self._home is not None

    def home(self, user: str, mailbox: Location) -> Location | None:
        """The home of a user; None if there is none. Raises StoreError."""
        if self._home is not None:
            return self._home.locate(user)
        return mailbox.above() if mailbox.has_home else None

    def control(self, user: str) -> Location | None:
        """The control directory of a user's mailbox; None: its files lie in the mailbox. Raises
        StoreError."""
        return self._control.locate(user) if self._control is not None else None

    def index(self, user: str) -> Location | None:
        """The directory of the index files of a user's mailbox; None: they lie in the mailbox. Raises
        StoreError."""
        return self._index.locate(user) if self._index is not None else None


def surroundings_of(partition: Partition) -> Surroundings:
    """Those of a partition. Raises ConfigError."""
    try:
        return Surroundings(partition.home, partition.control, partition.index, partition.also)
    except ConfigError as error:
        raise ConfigError(f"partition {partition.name!r}: {error.message}") from None
