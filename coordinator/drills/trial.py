"""The table of contents of a trial: one mailbox is restored from a copy and compared.

needs      the archives that it lies in                               backup_set
place      the next destination that has all of them
restore    into a scratch directory, as every restore                restore_plan, restoration
compare    with the backup, message by message                        worker.proving
live       where a message is still in the mail store, with that      live_check
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ...groups.paths import LogicalPath
from ...proto.errors import (
    AccessError,
    BackupError,
    EncryptedError,
    PlaceError,
    TargetFullError,
    UnreadableError,
)
from ...proto.ports import ProgressSink
from ...proto.records import STAGING, Partition, RestoreReport, RunId, Skipped
from ...proto.structs import Record, replace
from ...worker.archives.opened import Unlock
from ...worker.destinations.settings import Destination
from ...worker.live.findings import Kind, MailboxFindings
from ...worker.load import LoadLimits
from ...worker.portion import Portion
from ...worker.proving.comparison import Comparison
from ...worker.tasks.proving import ProofTask, run_proof
from ..access import Access
from ..backup_set import BackupSet, from_catalog, needs_of, opened
from ..dispatch.engine import Engine
from ..history import MailboxVersion
from ..live_check import plan_check, run_checks
from ..readers import reading
from ..restoration import end_restore, run_tasks
from ..restore_plan import PlannedTask, plan_restore
from ..restores.failures import failure_of
from ..service.proofs import Outcome
from ..unlocking import refuse_locked, refuse_without_vault

_USER = "proof"
"""Whose mailbox it becomes in the scratch directory: a name of a user may be no name of a directory."""

_OF_THE_SCRATCH = frozenset(("owner", "attribute"))
"""What a scratch directory can't keep, and a mail store can."""


_UNTOLD: ProgressSink = lambda _: None  # noqa: E731 (progress is that of the restore)


class Sources(Record, kw_only=True):
    """Where mailboxes are restored from: the staging area that knows them, and its destinations in the order
    in which they take turns. ``unlock`` opens keys of encrypted archives."""

    staging: Path
    destinations: tuple[Destination, ...]
    unlock: Unlock | None = None


class Bench(Record, kw_only=True):
    """What trials work with: ``here``, this process, for small mailboxes, and ``engine`` for others, a worker
    on this host; ``live`` looks at the live stores of partitions, where these are on other hosts, with the
    ``access`` of these to archives. All keep to these limits of load."""

    here: Engine
    engine: Engine
    stores: Mapping[str, Partition]
    live: Engine | None = None
    access: Access | None = None
    load: LoadLimits = LoadLimits()
    doveadm: tuple[str, ...] = ()


class Trial(Record, kw_only=True):
    """What became of a mailbox: ``outcome``, as of the moment ``run``, from ``place``. ``away`` is a place
    that could not be read, with the reason in ``error``. See ``Proof`` for the others."""

    outcome: Outcome
    run: RunId
    place: str
    messages: int = 0
    size_bytes: int = 0
    alive: int = 0
    gone: int = 0
    altered: int = 0
    lacks: tuple[Skipped, ...] = ()
    error: str = ""
    away: str = ""


def try_mailbox(
    sources: Sources,
    bench: Bench,
    path: LogicalPath,
    at: str,
    turn: Sequence[str],
    directory: Path,
    on_progress: ProgressSink,
    portion: Portion | None = None,
) -> Trial:
    """Restore a mailbox, or a ``portion`` of it, as it was at a time into an empty directory, and compare it.
    Of the places in ``turn`` the first is taken that has a copy of all that it needs; the staging area where
    none has.

    Raises NotFoundError if the backup holds nothing of it, TargetFullError, StagingError. All else is told.
    """
    with reading(sources.staging):
        everything = from_catalog(sources.staging, at, [path], sources.destinations)
        (version,) = everything.select(path)
        trial = Trial(outcome="untried", run=version.run, place="")
        try:
            place = _place(everything, version, turn)
            backup = everything
            if place != STAGING:
                # Not asked again: by now a run may have stored what lies at no place yet.
                backup = replace(everything, archives=everything.archives.at(place))
            backup = replace(backup, unlock=sources.unlock)
            trial = replace(trial, place=place)
            return _tried(trial, path, version, backup, bench, directory, on_progress, portion)
        except TargetFullError:
            raise
        except (PlaceError, UnreadableError) as error:
            return replace(trial, error=error.message, away=trial.place)
        except (EncryptedError, AccessError) as error:
            return replace(trial, error=error.message)


def _narrowed(planned: PlannedTask, portion: Portion | None) -> PlannedTask:
    choices = tuple(replace(choice, portion=portion) for choice in planned.task.choices)
    return replace(planned, task=replace(planned.task, choices=choices))


def _place(backup: BackupSet, version: MailboxVersion, turn: Sequence[str]) -> str:
    """The first place in turn that has all that a mailbox needs."""
    with opened(backup) as archives:
        needs = needs_of(backup, archives, version)
    for place in turn:
        if all(
            any(location.place == place for location in backup.archives.locations.get(need, ()))
            for need in needs
        ):
            return place
    return STAGING


def _tried(
    trial: Trial,
    path: LogicalPath,
    version: MailboxVersion,
    backup: BackupSet,
    bench: Bench,
    directory: Path,
    on_progress: ProgressSink,
    portion: Portion | None,
) -> Trial:
    """Raises PlaceError, EncryptedError, TargetFullError."""
    target = Partition(
        name=version.partition, format="maildir", path=f"{directory}/{{user}}/Maildir", hosts=("localhost",)
    )
    plan = plan_restore(
        backup, [path], {version.partition: target}, as_user=_USER, workers=1, load=bench.load
    )
    tasks = [_narrowed(planned, portion) for planned in plan.tasks]
    holdings = [planned.task.archives for planned in tasks]
    if backup.archives.keys.structures:
        refuse_locked(holdings, backup.slots)
        refuse_without_vault(holdings, backup.slots)
    engine = bench.here if plan.is_small else bench.engine
    report = run_tasks(tasks, engine, on_progress)
    end_restore([target], bench.here)
    if unread := _unread(report):
        return replace(trial, error=f"{unread.path}: {unread.detail}", away=trial.place)
    task = ProofTask(
        archives=holdings[0],
        archive=version.archive,
        whose=path,
        target=target,
        user=_USER,
        place=str(directory),
        mail=f"{directory}/{_USER}/Maildir",
        label=plan.tasks[0].task.label,
        doveadm=bench.doveadm,
        load=bench.load,
        portion=portion,
    )
    (outcome,) = engine(run_proof, [task], _UNTOLD)
    if outcome.report is None:
        error = outcome.failure()
        if report.damaged:  # that is known, whatever kept us from comparing the rest
            return replace(trial, outcome="failed", lacks=tuple(report.damaged), error=error.message)
        if isinstance(error, PlaceError):
            raise error
        return replace(trial, error=error.message)
    compared, note = outcome.report.compared, outcome.report.unserved
    live = _live(path, backup, bench, bench.live or engine, portion)
    expected = version.stored if portion is None else compared.messages
    lacks = (*_lacks(report, compared, version, expected), *_changed(live))
    return replace(
        trial,
        outcome="failed" if lacks else "proven",
        messages=compared.messages,
        size_bytes=compared.size_bytes,
        alive=live.read if live else 0,
        gone=live.gone + live.untold if live else 0,
        altered=live.altered if live else 0,
        lacks=lacks,
        error=f"not looked at over IMAP: {note}" if note else "",
    )


def _unread(report: RestoreReport) -> Skipped | None:
    """Something that a place did not let be read, where nothing else is told to be damaged."""
    if report.damaged:
        return None
    return next((skip for skip in report.skipped if failure_of(skip).kind == "unreadable"), None)


def _lacks(
    report: RestoreReport, compared: Comparison, version: MailboxVersion, expected: int
) -> tuple[Skipped, ...]:
    """What the restore tells, and what was found beyond that."""
    told = (*report.damaged, *(skip for skip in report.skipped if skip.reason not in _OF_THE_SCRATCH))
    known = {one.path for one in told}
    found = [*told, *(lack for lack in compared.lacks if lack.path not in known)]
    if not found and compared.messages != expected:
        path = str(LogicalPath(version.partition, version.group, version.user))
        detail = f"{expected} messages were stored, and {compared.messages} were compared"
        found.append(Skipped(path, "count", detail))
    return tuple(found)


def _live(
    path: LogicalPath, backup: BackupSet, bench: Bench, engine: Engine, portion: Portion | None
) -> MailboxFindings | None:
    """What a look at the live store has found; None where there is none, or it could not be looked at: that
    says nothing of the backup."""
    with suppress(BackupError):
        planned = plan_check(
            backup,
            [path],
            bench.stores,
            data=True,
            load=bench.load,
            access=bench.access,
            portion=portion,
        )
        state = run_checks(planned, engine, _UNTOLD)
        return next((mailbox.found for mailbox in state.mailboxes), None)
    return None


def _changed(live: MailboxFindings | None) -> Iterable[Skipped]:
    """Messages of which the live store has other bytes, under the same name."""
    for finding in live.damaged if live else ():
        if finding.kind in (Kind.CHANGED, Kind.TRUNCATED):
            yield Skipped(
                finding.path, "live", f"the mail store has it otherwise: {finding.detail} (`mailhaul check`)"
            )
