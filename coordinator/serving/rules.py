"""What may run beside what, and why something waits: pure rules over what operations need.

What they follow are the locks of the commands: backups, purges and repairs hold the ``RunLock`` of the
staging area; restores and verifications read archives, while which purges delete none (``readers``); one
sweep at a time goes to each destination; a tape destination has its drives for one program at a time.

An operation that could take its locks might still be unwise: two restores to the same mailboxes would both
put there what neither has seen from the other. And a purge that meets readers would end without having
deleted much: it waits for them; who is in a hurry (a restore) does not wait for it, others do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...groups.paths import LogicalPath
from ...proto.structs import Record, field
from ..service.records import UNDER_WAY, Kind, Operation

RUN = "run"
"""The lock of whoever writes archives or the catalog."""

ARCHIVES = "archives"
"""The lock of readers of archives against who deletes some."""

DRILL = "drill"
"""There is one scratch server."""

RESTORES_AT_ONCE = 4
"""Each has workers of its own, and all write to the same live server. Those that wait themselves, for a tape
that somebody has to bring or for cold storage, do not count: that may take days."""

RESTORES_IN_ALL = 16
"""With those that wait: each is a process."""

NAMES: Mapping[Kind, str] = {"inventory": "tape inventory"}
"""What kinds are called, where it is not by their name."""

_LONGEST_ARGUMENTS = 60


class Needs(Record, kw_only=True):
    """What an operation holds as long as it runs: the names of locks, ``alone`` or ``shared``. Somebody waits
    for one that is ``urgent``. A restore brings back the mail of ``paths`` to the place ``into``; None: it is
    no restore."""

    alone: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    urgent: bool = False
    paths: tuple[LogicalPath, ...] = ()
    into: str | None = None


class Going(Record):
    """An operation under way."""

    operation: Operation
    needs: Needs

    @property
    def is_held_up(self) -> bool:
        """Whether it waits itself, for somebody outside of the queue."""
        return self.operation.state in UNDER_WAY and bool(self.operation.waits_for)


class Outside(Record, kw_only=True):
    """What is held by programs that the queue has not started, by the names of locks: who holds it, as the
    end of a sentence that begins with "waits:"."""

    held: Mapping[str, str] = field(default_factory=dict)


def sweep_lock(destination: str) -> str:
    """The lock of who sweeps to a destination."""
    return f"sweep:{destination}"


def drive_lock(destination: str) -> str:
    """The lock of who has the drives of a tape destination."""
    return f"tape:{destination}"


def obstacle(needs: Needs, going: Sequence[Going], ahead: Iterable[Going], outside: Outside) -> str:
    """Why an operation with these needs can't begin now; empty: it can. ``ahead`` are those that were asked
    for earlier and wait, too."""
    for one in going:
        if _collide(needs, one.needs):
            return f"waits for {named(one.operation)}"
    if needs.into is not None:
        restores = [one for one in going if one.needs.into is not None]
        at_work = [restore for restore in restores if not restore.is_held_up]
        if len(at_work) >= RESTORES_AT_ONCE:
            return f"waits until one of {len(at_work)} restores has ended"
        if len(restores) >= RESTORES_IN_ALL:
            return f"waits until one of {len(restores)} restores has ended, most of which wait themselves"
    # What can't begin for days does not keep anybody else from it.
    readers_leave = not any(one.is_held_up and ARCHIVES in one.needs.shared for one in going)
    for one in ahead if readers_leave else ():
        if not needs.urgent and ARCHIVES in one.needs.alone and ARCHIVES in needs.shared:
            return f"waits for {named(one.operation)}, which was asked for before"
    for lock in sorted(needs.alone):
        if lock in outside.held:
            return f"waits: {outside.held[lock]}"
    return ""


def named(operation: Operation) -> str:
    """An operation in a sentence: ``the backup 12 of /primary/staff``."""
    kind = operation.request.kind
    words = " ".join(argument for argument in operation.request.arguments if not argument.startswith("-"))
    if len(words) > _LONGEST_ARGUMENTS:
        words = f"{words[: _LONGEST_ARGUMENTS - 1]}…"
    return f"the {NAMES.get(kind, kind)} {operation.id}" + (f" of {words}" if words.startswith("/") else "")


def _collide(new: Needs, old: Needs) -> bool:
    locks = new.alone & (old.alone | old.shared) | new.shared & old.alone
    if new.urgent:
        locks -= new.shared & {ARCHIVES}  # what deletes does so for moments only, and readers wait for that
    return bool(locks) or _same_mailboxes(new, old)


def _same_mailboxes(new: Needs, old: Needs) -> bool:
    if new.into is None or old.into is None:
        return False
    if new.into != old.into:
        return False
    return any(_overlap(path, other) for path in new.paths for other in old.paths)


def _overlap(path: LogicalPath, other: LogicalPath) -> bool:
    """Whether some mailbox may be in both. A user may be in several groups."""
    if None not in (path.partition, other.partition) and path.partition != other.partition:
        return False
    if path.user is not None and other.user is not None:
        return path.user == other.user
    return True
