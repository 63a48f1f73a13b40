"""What a run is asked for, and what of that lasts: how it backs up, as its journal keeps it.

A run that is resumed takes the same folders in the same way, whatever the configuration says by then.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence

from ..groups.nearness import hint
from ..groups.paths import LogicalPath
from ..groups.selection import FolderRules, Selection
from ..proto.errors import DamagedError, UsageError
from ..proto.records import BackupMode
from ..proto.structs import Record, asdict, field
from .clock import utc
from .settings import ExcludeConfig, GroupsConfig
from .users_file import UserList


class Request(Record, kw_only=True):
    """What somebody asks of a run: of which mail (``paths``, these ``users`` only, without these folders
    beside those of the configuration), and how. ``accept_empty``: a partition that lists no mailbox is
    believed; ``accept_moved``: so is one that lies elsewhere than before. With ``rest`` the group ``user``,
    where a path names it, holds the users in no other group only, as it does in a run over everything.

    Raises UsageError for a path to a message.
    """

    paths: tuple[LogicalPath, ...] = (LogicalPath(),)
    users: UserList | None = None
    mode: BackupMode = field(default_factory=BackupMode)
    exclude_folders: tuple[str, ...] = ()
    accept_empty: bool = False
    accept_moved: bool = False
    rest: bool = False

    def __post_init__(self) -> None:
        for path in self.paths:
            if path.uid is not None or path.name is not None:
                raise UsageError(
                    f"{path}: a backup takes no single messages: end the path with the folder, and with a "
                    "slash where the name of a folder is a number",
                    path=str(path),
                )

    @property
    def narrowed(self) -> bool:
        """Whether mail is left out that a run over these paths takes otherwise."""
        return self.users is not None or self.mode.since is not None or bool(self.exclude_folders)

    def options(self) -> str:
        """The options for people, as they would be typed."""
        mode = self.mode
        words = [
            *(["--full"] if mode.full and not mode.self_contained else []),
            *(["--since", utc(mode.since).isoformat()] if mode.since is not None else []),
            *(["--thorough"] if mode.thorough else []),
            *(["--self-contained"] if mode.self_contained else []),
            *(["--accept-empty"] if self.accept_empty else []),
            *(["--accept-moved"] if self.accept_moved else []),
            *(word for name in self.exclude_folders for word in ("--exclude-folder", name)),
            *(["--users", self.users.source] if self.users else []),
        ]
        return shlex.join(words)


def paths_without(
    paths: Sequence[LogicalPath], groups: Collection[str], partitions: Sequence[str], config: GroupsConfig
) -> tuple[LogicalPath, ...]:
    """What these paths to whole partitions select beside ``groups``: each other group in each of the
    partitions, that of the users in no group (``Request.rest``) included, those that are off not. Raises
    UsageError for a group or partition that there is not, a path to less, and if nothing is left."""
    names = config.rules.names()
    for group in groups:
        if group not in names:
            raise UsageError(
                f"there is no group {group!r}{hint(group, names)}; there are {', '.join(names)}", group=group
            )
    for path in paths:
        if path.group is not None or not any(map(path.selects_partition, partitions)):
            raise UsageError(
                f"{path}: without some groups only everything (/) is backed up, or one of the partitions "
                f"{', '.join(partitions)}",
                path=str(path),
            )
    left = [name for name in names if name not in groups and name not in config.off]
    if not left:
        raise UsageError("without these groups there is nothing to back up")
    chosen = [one for one in partitions if any(path.selects_partition(one) for path in paths)]
    return tuple(LogicalPath(partition, group) for partition in chosen for group in left)


class Manner(Record, kw_only=True):
    """How a run backs up what it is over: ``folders`` are the patterns of those that it leaves out
    everywhere, ``group_folders`` those of single groups."""

    mode: BackupMode = field(default_factory=BackupMode)
    paths: tuple[LogicalPath, ...] = ()
    folders: tuple[str, ...] = ()
    group_folders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, exclude: ExcludeConfig) -> Manner:
        """The manner of a run that is begun now."""
        return cls(
            mode=request.mode,
            paths=request.paths,
            folders=(*exclude.folders, *request.exclude_folders),
            group_folders=exclude.group_folders,
        )

    def selection(self, group: str) -> Selection:
        """Which folders of this group's mailboxes are looked at."""
        patterns = dict.fromkeys((*self.folders, *self.group_folders.get(group, ())))
        # Paths that name no folder say nothing that the plan has not decided.
        named = any(path.folder is not None for path in self.paths)
        return Selection(rules=FolderRules(tuple(patterns)), paths=self.paths if named else ())

    def to_json(self) -> str:
        """As the journal keeps it."""
        return json.dumps(
            {
                "mode": asdict(self.mode),
                "paths": [str(path) for path in self.paths],
                "folders": self.folders,
                "group_folders": dict(self.group_folders),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Manner:
        """What ``to_json`` made; the default of a run that an older version has begun (an empty text). Raises
        DamagedError."""
        if not text:
            return cls()
        try:
            kept = json.loads(text)
            return cls(
                mode=BackupMode(**kept["mode"]),
                paths=tuple(map(LogicalPath.parse, kept["paths"])),
                folders=tuple(kept["folders"]),
                group_folders={name: tuple(found) for name, found in kept["group_folders"].items()},
            )
        except (ValueError, LookupError, TypeError, AttributeError, UsageError) as error:
            raise DamagedError(f"the catalog holds a journal that is none: {error}") from None
