"""Mailboxes through time: which version of one is what a restore of which kept moments gives.

Pure: from what the catalog tells of versions and moments, no archive is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from ...proto.records import RunId
from ...proto.structs import Record
from ..history import Version


class Span(Record, kw_only=True):
    """A version of a mailbox, and the first and the last kept moment at which the mailbox is this version (or
    has departed, if the version says so). Of one that is held, and that no kept moment shows, both are the
    run that stored it: the mailbox can be had as of that."""

    version: Version
    first: RunId
    last: RunId


class Timeline(Record, kw_only=True):
    """One mailbox through all kept moments, oldest first. At moments before the first span it was unknown."""

    partition: str
    user: str
    spans: tuple[Span, ...]

    def at(self, run: RunId) -> Version | None:
        """The version that is restored as of a run; None if there is none, or it has departed."""
        found = None
        for span in self.spans:
            if span.first <= run:
                found = span.version
        return found if found and not found.departed else None

    def between(self, first: RunId, last: RunId) -> list[Span]:
        """The spans in which some moment from ``first`` to ``last`` lies, both included."""
        return [span for span in self.spans if span.first <= last and span.last >= first]


def timelines(
    versions: Iterable[Version], moments: Sequence[RunId], group: str | None = None
) -> Iterator[Timeline]:
    """The timelines of mailboxes, from their versions in all their groups, one mailbox after the other.

    The versions are all that are still kept; ``moments`` are the kept runs, ascending. Where one run stored a
    mailbox in several groups, the version in ``group`` is told.
    """
    for (partition, user), found in groupby(versions, key=lambda one: (one.partition, one.user)):
        spans = tuple(_spans(list(_states(found, group)), moments))
        if spans:
            yield Timeline(partition=partition, user=user, spans=spans)


def _states(versions: Iterable[Version], group: str | None) -> Iterator[tuple[RunId, Version]]:
    """(run, version) where a run changed what a restore gives: the newest version of all groups that the
    mailbox has not departed from, or that it has departed from all of them."""
    newest: dict[str, Version] = {}
    told: Version | None = None
    for run, found in groupby(sorted(versions, key=lambda one: one.run), key=lambda one: one.run):
        for last in found:
            newest[last.group] = last
        held = [version for version in newest.values() if not version.departed] or [last]
        best = max(held, key=lambda one: (one.run, one.group == group))
        if best is not told:
            yield run, best
        told = best


def _spans(states: Sequence[tuple[RunId, Version]], moments: Sequence[RunId]) -> Iterator[Span]:
    ends = [bisect_left(moments, run) for run, _ in states[1:]] + [len(moments)]
    for (run, version), end in zip(states, ends, strict=True):
        begin = bisect_left(moments, run)
        if begin < end:
            yield Span(version=version, first=moments[begin], last=moments[end - 1])
        elif not version.departed:
            # No kept moment shows it, and yet it was not purged: it is held, or how things are now.
            yield Span(version=version, first=run, last=run)


def differs(before: Version | None, after: Version) -> bool:
    """Whether a version seems to differ from the one that is told before it. (What ``after`` says of itself
    was said of another one, where that is not kept any more.)"""
    if before is None or after.changed or before.departed != after.departed:
        return True
    return (before.stored, before.size_bytes, before.folders) != (
        after.stored,
        after.size_bytes,
        after.folders,
    )
