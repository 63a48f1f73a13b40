"""What a verification is to look at: archives, and the kept versions of mailboxes. Deciding only: nothing of
an archive is read here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from ...groups.paths import EVERYBODY, LogicalPath
from ...proto.errors import NotFoundError
from ...proto.records import STAGING, ArchiveId, Location, Losses, RunId, Skipped
from ...proto.structs import Record, field, replace
from ...worker.archives.holdings import Holdings, PlaceSettings
from ...worker.destinations.settings import Destination
from ...worker.verifying.kept import KeptMailbox, KeptVersion
from ..absence import unknown
from ..backup_set import BackupSet
from ..catalog import Catalog
from ..history import ArchiveRecord, NamelessLoss, Version
from ..holdings import holdings
from ..run_archives import damaged_run_archives
from ..sidecars import damaged_sidecars
from ..structure_keys import area_at, keys_at
from .set_aside import set_aside, set_aside_folder, strangers


class Examinee(Record, kw_only=True):
    """A copy of an archive that is to be checked, and its file for people. ``record`` is what the catalog
    says of it, where it was asked."""

    archive: ArchiveId
    location: Location
    file: str
    record: ArchiveRecord | None = None


class MailShare(Record, kw_only=True):
    """Mailboxes that are to be looked at, in all their kept versions: those whose newest version ``archive``
    tells of."""

    archive: ArchiveId
    mailboxes: tuple[KeptMailbox, ...]


class Examination(Record, kw_only=True):
    """All that is to be looked at for a path. ``holdings`` are all archives that may be needed, and
    ``set_aside`` damaged files of them, which lie in ``aside``; ``references`` are those that the metadata of
    an archive refers to; ``lost`` is what of them is known to be lost. ``strangers`` are files that the
    catalog does not know, ``missing`` archives whose files are recorded as gone, ``nameless`` mailboxes of
    which nothing tells any more, ``run_archives`` archives of runs that are damaged,
    ``sidecars`` those that are not what they were."""

    path: LogicalPath
    archives: tuple[Examinee, ...]
    mail: tuple[MailShare, ...]
    holdings: Holdings
    references: Mapping[ArchiveId, tuple[ArchiveId, ...]]
    lost: Mapping[ArchiveId, Losses] = field(default_factory=dict)
    set_aside: Mapping[ArchiveId, tuple[Location, ...]] = field(default_factory=dict)
    aside: tuple[PlaceSettings, ...] = ()
    strangers: tuple[str, ...] = ()
    missing: frozenset[ArchiveId] = frozenset()
    nameless: tuple[NamelessLoss, ...] = ()
    run_archives: tuple[Skipped, ...] = ()
    sidecars: tuple[Skipped, ...] = ()

    def copies_of(self, archive: ArchiveId) -> tuple[Location, ...]:
        """All files of an archive, whole or not."""
        return (*self.holdings.locations.get(archive, ()), *self.set_aside.get(archive, ()))

    @property
    def places(self) -> tuple[PlaceSettings, ...]:
        """The places of all these files."""
        return (*self.holdings.places, *self.aside)


def examine_staging(
    staging: Path,
    path: LogicalPath,
    *,
    at: str | None = None,
    since: datetime | None = None,
    destinations: Sequence[Destination] = (),
) -> Examination:
    """What the catalog of a staging area knows of a path: all that is kept, or only as of the moment ``at``;
    only archives sealed ``since`` then, and the versions that they tell of. An archive that has left the
    staging area is no file to check here; the mail in it is looked at wherever it is. Raises
    NotFoundError."""
    with Catalog.open(staging) as catalog:
        moment = None if at is None else catalog.resolve_time(at)
        records = {record.archive: record for record in catalog.archives()}
        chosen = {
            one.archive
            for one in records.values()
            if since is None or one.sealed is None or one.sealed >= since
        }
        mail = _Mail(chosen)
        for partition, user, versions, counts in _kept(catalog, path, moment):
            mail.add(partition, user, versions, counts)
        references = catalog.references(mail.archives)
        missing = frozenset(catalog.missing())
        nameless = [loss for loss in catalog.nameless_losses(moment) if loss.archive in chosen]
        there = holdings(catalog, area_at(staging), destinations)
        run_archives = tuple(damaged_run_archives(staging, catalog)) if path == LogicalPath() else ()
    shares = mail.shares()
    needed = mail.archives | {
        archive_id for archive in mail.archives for archive_id in references.get(archive, ())
    }
    wanted = [
        archive_record
        for archive_record in records.values()
        if archive_record.archive in needed or (at is None and _holds(path, archive_record))
        if archive_record.archive in chosen
    ]
    # Of what is known there may be none that is new enough: the nights before found nothing changed.
    if not wanted and not shares and not (since and any(_holds(path, one) for one in records.values())):
        with Catalog.open(staging) as catalog:
            raise NotFoundError(f"{path}: {unknown(catalog, path)}", path=str(path))
    return Examination(
        path=path,
        archives=tuple(
            Examinee(
                archive=one.archive,
                location=Location(STAGING, one.staged_name or one.name),
                file=str(staging / (one.staged_name or one.name)),
                record=one,
            )
            for one in wanted
            if one.staged_name or one.missing
        ),
        mail=shares,
        holdings=there,
        references=references,
        lost={one.archive: one.lost for one in records.values() if one.lost},
        set_aside=set_aside(staging, records.values()),
        aside=(set_aside_folder(staging),),
        missing=missing,
        nameless=tuple(
            nameless_loss
            for nameless_loss in nameless
            if path.user is None
            and path.selects_partition(nameless_loss.partition)
            and path.selects_group(nameless_loss.group)
        ),
        strangers=strangers(staging, {one.name for one in records.values()}) if path == LogicalPath() else (),
        run_archives=run_archives,
        sidecars=tuple(damaged_sidecars(staging, keys_at(staging).keys)) if path == LogicalPath() else (),
    )


def together(examinations: Sequence[Examination]) -> Examination:
    """What is to be looked at of several partitions of a staging area, as one."""
    first, *others = examinations
    if not others:
        return first
    archives = {examinee.archive: examinee for each in examinations for examinee in each.archives}
    return replace(
        first,
        path=LogicalPath(),
        archives=tuple(archives.values()),
        mail=tuple(share for each in examinations for share in each.mail),
        references={archive: one for each in examinations for archive, one in each.references.items()},
        nameless=tuple(loss for each in examinations for loss in each.nameless),
    )


def examine_files(backup: BackupSet, path: LogicalPath) -> Examination:
    """What archive files that were named hold of a path. Raises NotFoundError."""
    backup.select(path)
    mail = _Mail(set(backup.archives.locations))
    mailbox, order = attrgetter("partition", "user"), attrgetter("partition", "user", "group", "run")
    for (partition, user), found in groupby(sorted(backup.matching(path), key=order), mailbox):
        rows = list(found)
        versions = [
            KeptVersion(group=row.group, archive=row.archive, first=row.run, last=row.run) for row in rows
        ]
        mail.add(
            partition,
            user,
            versions,
            {version.archive: (version.stored, version.size_bytes) for version in rows},
        )
    shares = mail.shares()
    return Examination(
        path=path,
        archives=tuple(
            Examinee(archive=archive_id, location=copies[0], file=backup.archives.path(archive_id))
            for archive_id, copies in backup.archives.locations.items()
            if archive_id in mail.archives or path == LogicalPath()
        ),
        mail=shares,
        holdings=backup.archives,
        references={archive: tuple(backup.archives.locations) for archive in mail.archives},
    )


def _holds(path: LogicalPath, record: ArchiveRecord) -> bool:
    """Whether a path selects an archive as a whole."""
    return path.user is None and path.selects_partition(record.partition) and path.selects_group(record.group)


Counts = tuple[int, int]


class _Mail:
    """Mailboxes as their versions are gathered. Only those that ``chosen`` archives tell of count.

    The mailboxes of a group mostly have versions in the same archives: each different one, and each different
    history, is in memory once.
    """

    def __init__(self, chosen: set[ArchiveId]) -> None:
        self._chosen = chosen
        self._versions: dict[KeptVersion, KeptVersion] = {}
        self._histories: dict[tuple[KeptVersion, ...], tuple[KeptVersion, ...]] = {}
        self._mailboxes: dict[tuple[str, str], tuple[tuple[KeptVersion, ...], int, int]] = {}

    def add(
        self, partition: str, user: str, versions: Iterable[KeptVersion], counts: Mapping[ArchiveId, Counts]
    ) -> None:
        """Add versions of a mailbox in one group; ``counts`` has messages and bytes of each."""
        new = [
            self._versions.setdefault(version, version)
            for version in versions
            if version.archive in self._chosen
        ]
        if not new:
            return
        known, messages, size_bytes = self._mailboxes.get((partition, user), ((), 0, 0))
        history = (*known, *new)
        self._mailboxes[partition, user] = (
            self._histories.setdefault(history, history),
            messages + sum(counts[kept_version.archive][0] for kept_version in new),
            size_bytes + sum(counts[one.archive][1] for one in new),
        )

    @property
    def archives(self) -> set[ArchiveId]:
        """All that tell of them."""
        return {version.archive for version in self._versions}

    def shares(self) -> tuple[MailShare, ...]:
        """The mailboxes by the archive that tells of their newest version."""
        found: dict[ArchiveId, list[KeptMailbox]] = {}
        for (partition, user), (versions, messages, size_bytes) in self._mailboxes.items():
            mailbox = KeptMailbox(
                partition=partition,
                user=user,
                versions=versions,
                messages=messages,
                size_bytes=size_bytes,
            )
            found.setdefault(max(versions, key=lambda one: one.last).archive, []).append(mailbox)
        return tuple(MailShare(archive=archive, mailboxes=tuple(those)) for archive, those in found.items())


def _kept(
    catalog: Catalog, path: LogicalPath, at: RunId | None
) -> Iterator[tuple[str, str, list[KeptVersion], dict[ArchiveId, Counts]]]:
    """The mailboxes that a path selects, in each of their groups: the versions that are kept, or the one that
    is to be seen at a moment."""
    moments: dict[tuple[str, str], list[RunId]] = {}
    group = None if path.group == EVERYBODY else path.group
    rows = catalog.histories(partition=path.partition, group=group, user=path.user)
    for (partition, name, user), found in groupby(rows, attrgetter("partition", "group", "user")):
        if (partition, name) not in moments:
            moments[partition, name] = [moment.run for moment in catalog.moments(partition, name)]
        versions = list(found)
        if at is None:
            kept = list(kept_versions(versions, moments[partition, name]))
        else:
            kept = [version for version in kept_versions(versions, [at]) if version.last == at]
        yield (
            partition,
            user,
            kept,
            {one.archive: (one.stored, one.size_bytes) for one in versions if one.archive},
        )


def kept_versions(versions: Iterable[Version], moments: list[RunId]) -> Iterator[KeptVersion]:
    """The versions of a mailbox in a group (oldest first) with the moments at which they are to be seen.
    One that is to be seen at none of them was kept for another reason: it stands for its own run."""
    rows = list(versions)
    for number, row in enumerate(rows):
        if row.archive is None:
            continue
        last_of_all = number + 1 == len(rows)
        begin = bisect_left(moments, row.run)
        end = len(moments) if last_of_all else bisect_left(moments, rows[number + 1].run)
        seen = moments[begin:end]
        yield KeptVersion(
            group=row.group,
            archive=row.archive,
            first=seen[0] if seen else row.run,
            last=seen[-1] if seen else row.run,
            current=last_of_all,
        )
