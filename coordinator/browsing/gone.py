"""Folders that a mailbox had at some kept moment and has not any more: what people ask for most."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...groups.paths import LogicalPath
from ...proto.archive.stored import OpenArchive
from ...proto.errors import DamagedError, ErasedError
from ...proto.records import RunId
from ...proto.structs import Record, replace
from .metadata import MailboxFrames
from .timeline import Span, Timeline, differs


class GoneFolder(Record, kw_only=True):
    """A folder that is not there at the newest moment. ``last`` is the last moment that has it, ``messages``
    what it had then."""

    path: str
    name: str
    last: RunId
    messages: int


class GoneFolders(Record, kw_only=True):
    """Those that were found looking back to the moment ``since``; ``whole`` is whether that is the oldest."""

    folders: tuple[GoneFolder, ...]
    since: RunId | None
    whole: bool


def gone_folders(
    archives: OpenArchive, timeline: Timeline, whose: LogicalPath, goes_on: Callable[[int], bool]
) -> GoneFolders:
    """The folders that are gone, those that went last first. Looks back as long as ``goes_on`` says so, which
    is asked with the number of versions that were read. What of a version can't be read is passed over."""
    *earlier, newest = timeline.spans
    now = _folders(archives, newest)
    gone: dict[str, GoneFolder] = {}
    since = newest.first
    for read, span in enumerate(_that_differ(earlier, newest)):
        if not goes_on(read):
            return GoneFolders(folders=tuple(gone.values()), since=since, whole=False)
        since = span.first
        for name, messages in _folders(archives, span).items():
            if name not in now and name not in gone:
                gone[name] = GoneFolder(
                    path=str(replace(whose, folder=name)), name=name, last=span.last, messages=messages
                )
    return GoneFolders(folders=tuple(gone.values()), since=since, whole=True)


def _that_differ(earlier: list[Span], newest: Span) -> Iterator[Span]:
    """The spans before the newest, the newest first, but for those that the next one says is like them."""
    after = newest
    for span in reversed(earlier):
        if differs(span.version, after.version):
            yield span
        after = span


def _folders(archives: OpenArchive, span: Span) -> dict[str, int]:
    version = span.version
    if version.archive is None:
        return {}
    try:
        mailbox = MailboxFrames(archives, version.archive, version.user)
        return {name: entry.messages for name, entry in mailbox.folders.items()}
    except (DamagedError, ErasedError):
        return {}
