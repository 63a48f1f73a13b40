"""What ``restore --dry-run`` tells: the plan, and what it would meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...groups.paths import printable
from ...proto.errors import EXIT_DAMAGED, EXIT_OK, EXIT_USAGE
from ...proto.records import ArchiveId, Partition
from ...proto.target_facts import (
    ExpiryToll,
    FateCounts,
    FileSystemRoom,
    FolderFate,
    ServerTalk,
    TargetFacts,
    Trial,
)
from ...worker.stores.registry import can_be_asked, keeps_places
from ..backup_set import BackupSet, NeededFile
from ..prospect import Prospect
from ..restore_plan import PlannedMailbox, RestorePlan
from ..restores.rates import Rate
from . import output
from .output import Column, counted, duration, number, say, size
from .restore_warnings import named, sized

_NEEDS_LISTED = 50
_MAILBOXES_LISTED = 1000
_FATES_LISTED = 20

_MAILBOXES = [Column("messages"), Column("size"), Column("what", "<"), Column("to", "<")]
_ROOMS = [
    Column("messages"),
    Column("size"),
    Column("at most"),
    Column("free"),
    Column("inodes"),
    Column("free"),
    Column("host", "<"),
    Column("file system of", "<"),
    Column("", "<"),
]
_FATES = [
    Column("kept"),
    Column("new"),
    Column("present"),
    Column("folder that is there", "<"),
    Column("", "<"),
]


def tell_plan(
    plan: RestorePlan,
    backup: BackupSet,
    recalls: Sequence[ArchiveId],
    prospect: Prospect,
    rate: Rate | None,
    *,
    as_json: bool,
) -> int:
    """Print it; the exit status. ``recalls`` are the archives that have to come back first, ``rate`` is how
    fast earlier restores were."""
    output.list_skipped(backup.damaged, "damaged")
    if as_json:
        _print_document(plan, backup, set(recalls), prospect, rate)
    else:
        _print_text(plan, set(recalls), prospect)
        _tell_time(plan, rate)
    if plan.conflicts:
        return EXIT_USAGE
    return EXIT_DAMAGED if backup.damaged or plan.lacking else EXIT_OK


# As text


def _print_text(plan: RestorePlan, recalls: set[ArchiveId], prospect: Prospect) -> None:
    left = _MAILBOXES_LISTED
    for file, group in _by_archive(plan).items():
        if not left:
            break
        say(output.shown(f"from {file}"))
        output.print_table(_MAILBOXES, map(_mailbox_row, group[:left]))
        left -= len(group[:left])
        say()
    if len(plan.mailboxes) > _MAILBOXES_LISTED:
        say(f"and {counted(len(plan.mailboxes) - _MAILBOXES_LISTED, 'more mailbox', 'more mailboxes')}\n")
    _tell_needs(plan, recalls)
    if prospect.rooms:
        output.print_table(_ROOMS, map(_room_row, prospect.rooms))
        say()
    for facts in prospect.targets:
        _tell_target(facts)
    for target, why in prospect.unreached:
        asked = can_be_asked(target)
        output.note(f"partition {target.name} could not be looked at: {why}" if asked else why)
    for conflict in plan.conflicts[:_FATES_LISTED]:
        output.note(f"conflict: {conflict}")
    if len(plan.conflicts) > _FATES_LISTED:
        output.note(f"conflict: and {number(len(plan.conflicts) - _FATES_LISTED)} more (--json lists all)")
    say(
        f"{counted(len(plan.mailboxes), 'mailbox', 'mailboxes')}, {counted(plan.messages, 'message')}, "
        f"{size(plan.size_bytes)} would be restored"
        + (f"; {counted(plan.lacking, 'message')} can't be: archives are missing" if plan.lacking else "")
    )


def _tell_time(plan: RestorePlan, rate: Rate | None) -> None:
    """How long it may take, if anything was measured."""
    if rate is None:
        say("how long it takes is not known: no restore of 1,000 messages or more was measured here yet")
    else:
        seconds = rate.seconds(plan.messages, plan.size_bytes)
        say(
            f"about {duration(seconds)}, as fast as the last {counted(rate.restores, 'restore')} "
            f"({number(round(rate.messages_per_second))} messages/s, {size(round(rate.bytes_per_second))}/s)"
        )


def _mailbox_row(one: PlannedMailbox) -> Sequence[str]:
    return number(one.messages), size(one.size_bytes), str(one.choice.path), output.shown(_where(one))


def _tell_needs(plan: RestorePlan, recalls: set[ArchiveId]) -> None:
    """The files that it takes: whoever keeps some of them elsewhere fetches these."""
    say(f"needs {counted(len(plan.needs), 'archive')}, {size(sum(one.size_bytes for one in plan.needs))}:")
    for one in plan.needs[:_NEEDS_LISTED]:
        state = "  has to be recalled first" if one.archive in recalls else ""
        state = state if one.there else "  not at hand"
        say(output.shown(f"  {named(one)}  {sized(one)}{state}"))
    if len(plan.needs) > _NEEDS_LISTED:
        say(f"  and {number(len(plan.needs) - _NEEDS_LISTED)} more (--json lists all)")
    if recalls:
        total = sum(one.size_bytes for one in plan.needs if one.archive in recalls)
        say(f"  {counted(len(recalls), 'archive')}, {size(total)}, to be recalled first")
    say()


def _room_row(one: FileSystemRoom) -> Sequence[str]:
    remarks = [
        *(["TOO SMALL"] if one.is_too_small else []),
        *([f"{counted(one.links, 'message')} as hard links of others"] if one.links else []),
        *(["has quotas: what they leave is unknown"] if one.quotas else []),
    ]
    inodes = "not counted" if one.free_inodes is None else number(one.free_inodes)
    return (
        number(one.messages),
        size(one.size_bytes),
        size(one.most_bytes),
        size(one.free_bytes),
        number(one.most_inodes),
        inodes,
        one.host,
        output.shown(one.path),
        "; ".join(remarks),
    )


def _tell_target(facts: TargetFacts) -> None:
    for trial in facts.trials:
        say(output.shown(_trial(trial)))
    if facts.server is not None:
        _tell_server(facts.target, facts.server)
    for line in _quota_lines(facts):
        say(output.shown(line))
    counts = facts.counts
    if keeps_places(facts.target):
        if counts.recreated:
            kept = counted(counts.kept, "message")
            say(f"{counted(counts.recreated, 'folder')} would be made anew: {kept} with their UIDs")
        if counts.existing:
            say(
                f"{counted(counts.existing, 'folder')} there: {counted(counts.renumbered, 'message')} would "
                f"get new UIDs, {number(counts.present)} are present and would be skipped"
            )
    else:
        _tell_foreign(counts)
    if counts.existing:
        some = [one for one in facts.fates if one.there or one.present or (one.renumbered and not one.kept)]
        output.print_table(_FATES, map(_fate_row, some[:_FATES_LISTED]))
    if counts.another and keeps_places(facts.target):
        say(f"{number(counts.another)} of these have another UIDVALIDITY than in the backup: made anew since")
    for toll in facts.expiry or ():
        say(output.shown(_toll(toll)))
    for trouble in facts.troubles[:_FATES_LISTED]:
        output.note(trouble)
    if facts.unseen:
        output.note(
            f"there was no time to look at {counted(facts.unseen, 'mailbox', 'mailboxes')} in the target"
        )
    say()


def _tell_server(target: Partition, server: ServerTalk) -> None:
    say(output.shown(f"{target.path} lets {counted(server.logged_in, 'user')} in"))
    if server.append_limit:
        larger = number(server.too_large)
        say(f"it takes messages of {size(server.append_limit)} at most: {larger} are larger, and left out")


def _tell_foreign(counts: FateCounts) -> None:
    """Of servers that give the UIDs, and of files, which have none."""
    said = f"{counted(counts.recreated, 'folder')} would be made, {number(counts.existing)} there: "
    if counts.added:
        said += f"{counted(counts.added, 'message')} would be added"
    else:
        said += f"{counted(counts.renumbered, 'message')} would come with new UIDs"
    say(f"{said}, {number(counts.present)} are present as far as can be seen, and would be skipped")


def _trial(one: Trial) -> str:
    if one.error:
        return f"can't write on {one.host} in {one.path}: {one.error}"
    owners = {None: "", "": ", and files be given to their owners"}.get(one.owner)
    told = f"; but files can't be given to their owners: {one.owner}" if owners is None else owners
    return f"can be written on {one.host} in {one.path}{told}"


def _quota_lines(facts: TargetFacts) -> Iterator[str]:
    if facts.server is not None and not facts.quotas_asked:
        yield "quotas are unknown: the server tells of none"
        return
    if facts.server is None and not keeps_places(facts.target):
        return  # files belong to who restores
    if facts.server is None and not facts.target.doveadm:
        yield "quotas are unknown: no doveadm is named that could be asked"
        return
    for one in facts.excesses[:_FATES_LISTED]:
        kind = (lambda count: size(count)) if one.kind == "storage" else number
        yield (
            f"over quota: {one.user} ({one.root}) has {kind(one.used)} of {kind(one.limit)}, and "
            f"{kind(one.wanted)} would come"
        )
    if len(facts.excesses) > _FATES_LISTED:
        yield f"over quota: and {number(len(facts.excesses) - _FATES_LISTED)} more (--json lists them)"
    yield f"the quotas of {counted(facts.quotas_asked, 'user')} were asked for"


def _fate_row(one: FolderFate) -> Sequence[str]:
    another = f"UIDVALIDITY {one.there}, not {one.uidvalidity}" if one.is_another else ""
    return number(one.kept), number(one.renumbered + one.added), number(one.present), one.path, another


def _toll(one: ExpiryToll) -> str:
    """What a rule would remove."""
    rule = one.rule
    told: list[str] = []
    if rule.seconds is not None:
        told.append(
            f"{number(one.due)} of {counted(one.messages, 'message')} came longer than "
            f"{duration(rule.seconds)} ago: the server counts from the restore, and so keeps them for that "
            "time, but whatever goes by the time of arrival removes them at once"
        )
    if rule.most is not None:
        told.append(
            f"keeps {counted(rule.most, 'message')}: {number(one.beyond)} of {number(one.messages)} would be "
            "removed at the next logout"
        )
    return f"the server's own rule for {rule.folder}: {'; '.join(told)}"


# As JSON


def _print_document(
    plan: RestorePlan,
    backup: BackupSet,
    recalls: set[ArchiveId],
    prospect: Prospect,
    rate: Rate | None,
) -> None:
    # One by one: there may be a hundred thousand mailboxes.
    output.stream_json(
        {
            "dry_run": True,
            "moment": backup.moment,
            "messages": plan.messages,
            "size_bytes": plan.size_bytes,
            "lacking": plan.lacking,
            "needs": [_needed(one, recalls) for one in plan.needs],
            "missing": [one.archive for one in plan.missing],
            "conflicts": plan.conflicts,
            "rooms": [_room(one) for one in prospect.rooms],
            "targets": [_target(one) for one in prospect.targets],
            "unreached": [{"partition": one.name, "error": why} for one, why in prospect.unreached],
            "rate": rate,
            "seconds": None if rate is None else round(rate.seconds(plan.messages, plan.size_bytes), 1),
            "damaged": backup.damaged,
        },
        "mailboxes",
        map(_planned, plan.mailboxes, _files(plan)),
    )


def _files(plan: RestorePlan) -> Iterator[str]:
    """``_file`` of each mailbox: a hundred thousand of them lie in few."""
    known: dict[ArchiveId, str] = {}
    for one in plan.mailboxes:
        archive = one.version.archive
        if archive not in known:
            known[archive] = _file(plan, one)
        yield known[archive]


def _planned(one: PlannedMailbox, file: str) -> dict[str, object]:
    return {
        "path": str(one.choice.path),
        "run": one.version.run,
        "archive": one.version.archive,
        "file": file,
        "messages": one.messages,
        "lacking": one.lacking,
        "size_bytes": one.size_bytes,
        "to": {
            "partition": one.target.name,
            "format": one.target.format,
            "path": one.target.path,
            "place": printable(one.choice.place),
            "user": output.name(one.choice.to_user),
            "into": output.name(one.choice.into),
        },
    }


def _needed(one: NeededFile, recalls: set[ArchiveId]) -> dict[str, object]:
    return {
        "archive": one.archive,
        "file": one.file,
        "place": one.place,
        "size_bytes": one.size_bytes,
        "there": one.there,
        "recall": one.archive in recalls,
    }


def _room(one: FileSystemRoom) -> dict[str, object]:
    return {
        "host": one.host,
        "path": one.path,
        "mailboxes": one.mailboxes,
        "messages": one.messages,
        "size_bytes": one.size_bytes,
        "most_bytes": one.most_bytes,
        "free_bytes": one.free_bytes,
        "inodes": one.most_inodes,
        "links": one.links,
        "linked_bytes": one.linked_bytes,
        "free_inodes": one.free_inodes,
        "quotas": one.quotas,
        "too_small": one.is_too_small,
    }


def _target(one: TargetFacts) -> dict[str, object]:
    return {
        "partition": one.target.name,
        "path": one.target.path,
        "trials": one.trials,
        "folders": one.counts,
        "fates": one.fates,
        "unseen": one.unseen,
        "quotas_asked": one.quotas_asked,
        "over_quota": [
            {
                "user": output.name(over.user),
                "root": over.root,
                "kind": over.kind,
                "used": over.used,
                "limit": over.limit,
                "wanted": over.wanted,
            }
            for over in one.excesses
        ],
        "expiry": one.expiry,
        "server": one.server,
        "troubles": one.troubles,
    }


def _by_archive(plan: RestorePlan) -> dict[str, list[PlannedMailbox]]:
    grouped: dict[str, list[PlannedMailbox]] = {}
    for one in plan.mailboxes:
        grouped.setdefault(_file(plan, one), []).append(one)
    return grouped


def _file(plan: RestorePlan, one: PlannedMailbox) -> str:
    """Where the metadata of a mailbox lies."""
    return plan.archives.path(one.version.archive) or f"archive {one.version.archive.hex()}"


def _where(one: PlannedMailbox) -> str:
    """The place of a mailbox, as far as it is known before the target is opened."""
    user = output.name(one.choice.to_user)
    into = f", {output.name(one.choice.into)}" if one.choice.into else ""
    if "{" in one.target.path or not keeps_places(one.target):
        return f"{one.target.path} of {user}{into}"
    return f"{one.target.path}/{printable(one.choice.place) or user}{into}"
