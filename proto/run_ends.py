"""Records of how runs ended, as the catalog and the archives of runs (``archive.run_end``) tell it."""

from __future__ import annotations

from .records import ArchiveId, RunId, Skipped
from .structs import Record


class UnitEnd(Record, kw_only=True):
    """What became of a unit: ``state`` and counts as the catalog has them; of one that was sealed the archive
    and where it lay below the staging area. Times are in seconds since 1970."""

    partition: str
    group: str
    shard: int
    state: str
    archive: ArchiveId | None
    file: str
    attempts: int
    error: str
    counts: tuple[int, ...]
    seconds: float
    cpu_seconds: float
    ended: float | None


class ScopeEnd(Record, kw_only=True):
    """The mailboxes of a group in a partition that were there: all that archives tell of and that had not
    departed, but for those ``passed_over``. ``good`` is the last run that stored them whole, ``others`` are
    those of whom that is not so: user, last good run (empty: none), first run that was to store it, reason,
    detail."""

    partition: str
    group: str
    good: str
    others: tuple[tuple[str, str, str, str, str], ...] = ()
    passed_over: tuple[str, ...] = ()


class RunEnd(Record, kw_only=True):
    """A run, after it went on for the ``resumed``-th time. Times are in seconds since 1970. ``stores`` are
    the partitions that it was over (name, format, path, hosts with a space between), ``failed`` are
    partitions that could not be listed (name, code, text), ``left_out`` what no unit holds; ``skipped`` what
    units left out, by the place of the unit in ``units``."""

    run: RunId
    started: float
    ended: float | None
    state: str
    resumed: int
    paths: str
    options: str
    narrowed: bool
    error: str
    stores: tuple[tuple[str, str, str, str], ...] = ()
    units: tuple[UnitEnd, ...] = ()
    failed: tuple[tuple[str, str, str], ...] = ()
    left_out: tuple[Skipped, ...] = ()
    alarms: tuple[Skipped, ...] = ()
    skipped: tuple[tuple[int, Skipped], ...] = ()
    scopes: tuple[ScopeEnd, ...] = ()
