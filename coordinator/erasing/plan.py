"""What an erasure is to do, decided before anything is done: who is meant, what holds them, and which
archives have to be written anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from ...groups.nearness import hint
from ...groups.paths import EVERYBODY, LogicalPath
from ...proto.erased import ErasedMailbox
from ...proto.errors import BackupError, DamagedError, HeldError, NotFoundError, UsageError
from ...proto.records import STAGING, ArchiveId, RunId, Skipped
from ...proto.structs import Record, replace
from ...worker.archives.holdings import Holdings
from ...worker.archives.stretches import common
from ...worker.purging.bounds import as_stretches, unpacked
from ...worker.purging.compaction import Remains
from ...worker.purging.liveness import LiveData
from ...worker.tasks.purging import DeadTask, run_dead
from ..absence import unknown
from ..catalog import Catalog
from ..dispatch.engine import Engine
from ..history import ArchiveRecord, Version
from ..holds import Hold, Holds
from ..purging.plan import ArchivesPlan, Compaction, StoredArchives, dead_archives
from ..purging.survey import live_data_of, reports

_AT_ONCE = 64


class Mailbox(Record, order=True):
    """A mailbox that is to be erased, in all groups of its partition."""

    partition: str
    user: str


class Whom(Record, kw_only=True):
    """Whose mail is to be erased: what was stored of these ``mailboxes`` at so many moments (``versions``),
    from the ``first`` run to the ``last``. ``present`` are those that the store still had at the last run:
    the next one would store them again."""

    mailboxes: tuple[Mailbox, ...]
    groups: tuple[tuple[str, str], ...]
    versions: int
    first: RunId
    last: RunId
    messages: int
    size_bytes: int
    present: tuple[Mailbox, ...] = ()


class PlaceCopies(Record, kw_only=True):
    """Copies at a place that have to go: so many, of so many bytes; the last of their locks ends then."""

    place: str
    copies: int
    size_bytes: int
    locked: int = 0
    until: datetime | None = None


class ArchivesToErase(Record, kw_only=True):
    """What becomes of archives: those that nobody else needs are deleted, others written anew to the byte.
    ``undone`` can't be written anew as they are, and why; of ``encrypted`` ones blocks have to be parted,
    which takes their content keys."""

    plan: ArchivesPlan
    dead_bytes: int = 0
    encrypted: tuple[ArchiveId, ...] = ()
    undone: tuple[Skipped, ...] = ()


def find_mailboxes(catalog: Catalog, who: str) -> Whom:
    """The mailboxes that are meant by a user's name (or address), in all partitions, or by a path to one.
    Raises NotFoundError, UsageError."""
    versions = list(catalog.histories(*_named(who)))
    if not versions:
        near = (
            unknown(catalog, LogicalPath.parse(who))
            if who.startswith("/")
            else f"the backup holds nothing of it{hint(who, _users(catalog))}"
        )
        raise NotFoundError(f"{who}: {near}", path=who)
    mailboxes = sorted({Mailbox(version.partition, version.user) for version in versions})
    # Groups are views of the same mailboxes: what is erased goes from all of them.
    versions = [
        history
        for mailbox in mailboxes
        for history in catalog.histories(mailbox.partition, None, mailbox.user)
    ]
    return _whom(catalog, mailboxes, versions)


def _named(who: str) -> tuple[str | None, str | None, str]:
    """Partition and group (None: all) and user."""
    if not who.startswith("/"):
        return None, None, who
    path = LogicalPath.parse(who)
    if path.user is None or path.folder is not None:
        raise UsageError(f"{who}: what is erased is a mailbox as a whole: name its user", path=who)
    return path.partition, None if path.group == EVERYBODY else path.group, path.user


def _users(catalog: Catalog) -> Iterator[str]:
    return (user for scope in catalog.scopes() for user in catalog.known_users(*scope))


def _whom(catalog: Catalog, mailboxes: Sequence[Mailbox], versions: Sequence[Version]) -> Whom:
    newest: dict[Mailbox, Version] = {}
    for one in versions:
        if not one.departed:
            mailbox = Mailbox(one.partition, one.user)
            newest[mailbox] = max(newest.get(mailbox, one), one, key=lambda version: version.run)
    there = catalog.present_users()
    return Whom(
        mailboxes=tuple(mailboxes),
        groups=tuple(sorted({(one.partition, one.group) for one in versions})),
        versions=len(versions),
        first=min(one.run for one in versions),
        last=max(one.run for one in versions),
        messages=sum(one.stored for one in newest.values()),
        size_bytes=sum(one.size_bytes for one in newest.values()),
        present=tuple(one for one in mailboxes if (one.partition, one.user) in there),
    )


def refuse_held(holds: Holds, whom: Whom) -> None:
    """Raise HeldError if somebody, or an alarm, holds one of the mailboxes, or a run at which one was there.
    What restores hold to be taken back does not stand against an erasure."""
    found = tuple(hold for hold in holds.all if not hold.restore and _is_on(hold, whom))
    if found:
        told = "; ".join(f"{one.what}: {one.reason or 'no reason given'}" for one in found)
        raise HeldError(
            f"held, and what is held is not erased: {told} (`mailhaul release` ends a hold)",
            holds=[one.what for one in found],
        )


def _is_on(hold: Hold, whom: Whom) -> bool:
    if hold.run is not None:
        return hold.run >= whom.first
    only = Holds((hold,))
    return any(
        only.holds_user(partition, group, mailbox.user)
        for mailbox in whom.mailboxes
        for partition, group in whom.groups
        if partition == mailbox.partition
    )


def plan_archives(
    stored: StoredArchives, erased: Sequence[ErasedMailbox], holdings: Holdings, engine: Engine
) -> tuple[ArchivesToErase, LiveData]:
    """Which archives hold anything that nobody needs, to the byte, or name mailboxes that were erased; when
    the catalog has forgotten these. Also what is alive."""
    live = live_data_of(stored, engine)
    gone = dead_archives(stored, live)
    undone = [*_damaged(stored, live)]
    left_alone = {archive_record.archive for archive_record in gone} | stored.lacking | live.untouchable
    remains = {
        archive: replace(stored.remains(archive, live), erased=tuple(erased))
        for archive, record in stored.records.items()
        if archive not in left_alone and not record.missing
    }
    compactions: list[Compaction] = []
    encrypted: list[ArchiveId] = []
    dead_bytes = 0
    tasks = list(_tasks(remains, stored.archives))
    for found in reports(engine, run_dead, tasks):
        for archive, told in found.items():
            record = stored.records[archive]
            if isinstance(told, BackupError):
                undone.append(Skipped(record.name, told.code, told.message))
            elif told:
                compactions.append(Compaction(record=record, remains=remains[archive]))
                dead_bytes += told.data_bytes
                encrypted += [archive] if told.mixed else []
    compactions.sort(key=lambda compaction: compaction.record.name)
    compactions = [one for one in compactions if not _out_of_reach(one.record, holdings, undone)]
    return (
        ArchivesToErase(
            plan=ArchivesPlan(dead=gone, compactions=tuple(compactions)),
            dead_bytes=dead_bytes,
            encrypted=tuple(encrypted),
            undone=tuple(undone),
        ),
        live,
    )


def _damaged(stored: StoredArchives, live: LiveData) -> Iterator[Skipped]:
    for archive in sorted(stored.lacking | live.untouchable):
        if archive in stored.records:
            yield Skipped(
                stored.records[archive].name,
                DamagedError.code,
                "metadata that may need something of it is damaged: `mailhaul verify --fix` first",
            )


def _out_of_reach(record: ArchiveRecord, holdings: Holdings, undone: list[Skipped]) -> bool:
    """Whether no copy can be read; noted as undone then."""
    if holdings.are_there(record.archive):
        return False
    undone.append(Skipped(record.name, "not-yet", "no copy of it can be read now"))
    return True


def _tasks(remains: Mapping[ArchiveId, Remains], holdings: Holdings) -> Iterator[DeadTask]:
    archives = list(remains.items())
    for at in range(0, len(archives), _AT_ONCE):
        part = dict(archives[at : at + _AT_ONCE])
        yield DeadTask(archives=part, holdings=holdings.of(part))


def shared_bytes(stored: StoredArchives, whom: Whom, live: LiveData, engine: Engine) -> int:
    """How many bytes of their mail other mailboxes have too: these stay. ``stored`` is from before they were
    forgotten, ``live`` from after."""
    users = {mailbox.user for mailbox in whom.mailboxes}
    partitions = {one.partition for one in whom.mailboxes}
    theirs = {
        archive: frozenset(users & named)
        for archive, named in stored.needed.users.items()
        if users & named and stored.records[archive].partition in partitions
    }
    only = replace(stored, needed=replace(stored.needed, users=theirs))
    own = live_data_of(only, engine)
    return sum(
        stretch.length
        for archive, packed in own.stretches.items()
        for stretch in common(
            tuple(as_stretches(unpacked(packed))),
            tuple(as_stretches(unpacked(live.stretches.get(archive, b"")))),
        )
    )


def old_copies(plan: ArchivesPlan) -> tuple[PlaceCopies, ...]:
    """The copies at destinations, and elsewhere outside of the staging area, that have to go."""
    found: dict[str, PlaceCopies] = {}
    records = (*plan.dead, *(compaction.record for compaction in plan.compactions))
    for copy in (copy for record in records for copy in record.copies if copy.place != STAGING):
        known = found.get(copy.place, PlaceCopies(place=copy.place, copies=0, size_bytes=0))
        until = max(filter(None, (known.until, copy.locked_until)), default=None)
        found[copy.place] = replace(
            known,
            copies=known.copies + 1,
            size_bytes=known.size_bytes + copy.size_bytes,
            locked=known.locked + (copy.locked_until is not None),
            until=until,
        )
    return tuple(found[name] for name in sorted(found))
