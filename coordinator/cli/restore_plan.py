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
    locked: str,
    *,
    as_json: bool,
) -> int:
    """Print it; the exit status. ``recalls`` are the archives that have to come back first, ``rate`` is how
    fast earlier restores were, ``locked`` why it could not be carried out with the keys at hand."""
    output.list_skipped(backup.damaged, "damaged")
    if as_json:
        _print_document(plan, backup, set(recalls), prospect, rate, locked)
    else:
        _print_text(plan, set(recalls), prospect)
        _tell_time(plan, rate)
        if locked:
            output.note(output.shown(f"it can't be carried out: {locked}"))
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


def _mailbox_row(mailbox: PlannedMailbox) -> Sequence[str]:
    return (
        number(mailbox.messages),
        size(mailbox.size_bytes),
        str(mailbox.choice.path),
        output.shown(_where(mailbox)),
    )


def _tell_needs(plan: RestorePlan, recalls: set[ArchiveId]) -> None:
    """The files that it takes: whoever keeps some of them elsewhere fetches these."""
    say(
        f"needs {counted(len(plan.needs), 'archive')}, "
        f"{size(sum(needed_file.size_bytes for needed_file in plan.needs))}:"
    )
    for file in plan.needs[:_NEEDS_LISTED]:
        state = "  has to be recalled first" if file.archive in recalls else ""
        state = state if file.there else "  not at hand"
        say(output.shown(f"  {named(file)}  {sized(file)}{state}"))
    if len(plan.needs) > _NEEDS_LISTED:
        say(f"  and {number(len(plan.needs) - _NEEDS_LISTED)} more (--json lists all)")
    if recalls:
        total = sum(one.size_bytes for one in plan.needs if one.archive in recalls)
        say(f"  {counted(len(recalls), 'archive')}, {size(total)}, to be recalled first")
    say()


def _room_row(room: FileSystemRoom) -> Sequence[str]:
    remarks = [
        *(["TOO SMALL"] if room.is_too_small else []),
        *([f"{counted(room.links, 'message')} as hard links of others"] if room.links else []),
        *(["has quotas: what they leave is unknown"] if room.quotas else []),
    ]
    inodes = "not counted" if room.free_inodes is None else number(room.free_inodes)
    return (
        number(room.messages),
        size(room.size_bytes),
        size(room.most_bytes),
        size(room.free_bytes),
        number(room.most_inodes),
        inodes,
        room.host,
        output.shown(room.path),
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
        some = [
            fate for fate in facts.fates if fate.there or fate.present or (fate.renumbered and not fate.kept)
        ]
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


def _trial(trial: Trial) -> str:
    if trial.error:
        return f"can't write on {trial.host} in {trial.path}: {trial.error}"
    owners = {None: "", "": ", and files be given to their owners"}.get(trial.owner)
    told = f"; but files can't be given to their owners: {trial.owner}" if owners is None else owners
    return f"can be written on {trial.host} in {trial.path}{told}"


def _quota_lines(facts: TargetFacts) -> Iterator[str]:
    if facts.server is not None and not facts.quotas_asked:
        yield "quotas are unknown: the server tells of none"
        return
    if facts.server is None and not keeps_places(facts.target):
        return  # files belong to who restores
    if facts.server is None and not facts.target.doveadm:
        yield "quotas are unknown: no doveadm is named that could be asked"
        return
    for excess in facts.excesses[:_FATES_LISTED]:
        kind = (lambda count: size(count)) if excess.kind == "storage" else number
        yield (
            f"over quota: {excess.user} ({excess.root}) has {kind(excess.used)} of {kind(excess.limit)}, and "
            f"{kind(excess.wanted)} would come"
        )
    if len(facts.excesses) > _FATES_LISTED:
        yield f"over quota: and {number(len(facts.excesses) - _FATES_LISTED)} more (--json lists them)"
    yield f"the quotas of {counted(facts.quotas_asked, 'user')} were asked for"


def _fate_row(fate: FolderFate) -> Sequence[str]:
    another = f"UIDVALIDITY {fate.there}, not {fate.uidvalidity}" if fate.is_another else ""
    return number(fate.kept), number(fate.renumbered + fate.added), number(fate.present), fate.path, another


def _toll(toll: ExpiryToll) -> str:
    """What a rule would remove."""
    rule = toll.rule
    told: list[str] = []
    if rule.seconds is not None:
        told.append(
            f"{number(toll.due)} of {counted(toll.messages, 'message')} came longer than "
            f"{duration(rule.seconds)} ago: the server counts from the restore, and so keeps them for that "
            "time, but whatever goes by the time of arrival removes them at once"
        )
    if rule.most is not None:
        told.append(
            f"keeps {counted(rule.most, 'message')}: {number(toll.beyond)} of {number(toll.messages)} would "
            "be removed at the next logout"
        )
    return f"the server's own rule for {rule.folder}: {'; '.join(told)}"


# As JSON


def _print_document(
    plan: RestorePlan,
    backup: BackupSet,
    recalls: set[ArchiveId],
    prospect: Prospect,
    rate: Rate | None,
    locked: str,
) -> None:
    # One by one: there may be a hundred thousand mailboxes.
    output.stream_json(
        {
            "dry_run": True,
            "moment": backup.moment,
            "messages": plan.messages,
            "size_bytes": plan.size_bytes,
            "lacking": plan.lacking,
            "needs": [_needed(file, recalls) for file in plan.needs],
            "missing": [needed_file.archive for needed_file in plan.missing],
            "conflicts": plan.conflicts,
            "rooms": [_room(room) for room in prospect.rooms],
            "targets": [_target(target) for target in prospect.targets],
            "unreached": [
                {"partition": partition.name, "error": why} for partition, why in prospect.unreached
            ],
            "rate": rate,
            "seconds": None if rate is None else round(rate.seconds(plan.messages, plan.size_bytes), 1),
            "locked": locked,
            "damaged": backup.damaged,
        },
        "mailboxes",
        map(_planned, plan.mailboxes, _files(plan)),
    )


def _files(plan: RestorePlan) -> Iterator[str]:
    """``_file`` of each mailbox: a hundred thousand of them lie in few."""
    known: dict[ArchiveId, str] = {}
    for mailbox in plan.mailboxes:
        archive = mailbox.version.archive
        if archive not in known:
            known[archive] = _file(plan, mailbox)
        yield known[archive]


def _planned(mailbox: PlannedMailbox, file: str) -> dict[str, object]:
    return {
        "path": str(mailbox.choice.path),
        "run": mailbox.version.run,
        "archive": mailbox.version.archive,
        "file": file,
        "messages": mailbox.messages,
        "lacking": mailbox.lacking,
        "size_bytes": mailbox.size_bytes,
        "to": {
            "partition": mailbox.target.name,
            "format": mailbox.target.format,
            "path": mailbox.target.path,
            "place": printable(mailbox.choice.place),
            "user": output.name(mailbox.choice.to_user),
            "into": output.name(mailbox.choice.into),
        },
    }


def _needed(file: NeededFile, recalls: set[ArchiveId]) -> dict[str, object]:
    return {
        "archive": file.archive,
        "file": file.file,
        "place": file.place,
        "size_bytes": file.size_bytes,
        "there": file.there,
        "recall": file.archive in recalls,
    }


def _room(room: FileSystemRoom) -> dict[str, object]:
    return {
        "host": room.host,
        "path": room.path,
        "mailboxes": room.mailboxes,
        "messages": room.messages,
        "size_bytes": room.size_bytes,
        "most_bytes": room.most_bytes,
        "free_bytes": room.free_bytes,
        "inodes": room.most_inodes,
        "links": room.links,
        "linked_bytes": room.linked_bytes,
        "free_inodes": room.free_inodes,
        "quotas": room.quotas,
        "too_small": room.is_too_small,
    }


def _target(facts: TargetFacts) -> dict[str, object]:
    return {
        "partition": facts.target.name,
        "path": facts.target.path,
        "trials": facts.trials,
        "folders": facts.counts,
        "fates": facts.fates,
        "unseen": facts.unseen,
        "quotas_asked": facts.quotas_asked,
        "over_quota": [
            {
                "user": output.name(over.user),
                "root": over.root,
                "kind": over.kind,
                "used": over.used,
                "limit": over.limit,
                "wanted": over.wanted,
            }
            for over in facts.excesses
        ],
        "expiry": facts.expiry,
        "server": facts.server,
        "troubles": facts.troubles,
    }


def _by_archive(plan: RestorePlan) -> dict[str, list[PlannedMailbox]]:
    grouped: dict[str, list[PlannedMailbox]] = {}
    for mailbox in plan.mailboxes:
        grouped.setdefault(_file(plan, mailbox), []).append(mailbox)
    return grouped


def _file(plan: RestorePlan, mailbox: PlannedMailbox) -> str:
    """Where the metadata of a mailbox lies."""
    return plan.archives.path(mailbox.version.archive) or f"archive {mailbox.version.archive.hex()}"


def _where(mailbox: PlannedMailbox) -> str:
    """The place of a mailbox, as far as it is known before the target is opened."""
    user = output.name(mailbox.choice.to_user)
    into = f", {output.name(mailbox.choice.into)}" if mailbox.choice.into else ""
    if "{" in mailbox.target.path or not keeps_places(mailbox.target):
        return f"{mailbox.target.path} of {user}{into}"
    return f"{mailbox.target.path}/{printable(mailbox.choice.place) or user}{into}"
