"""What ``mailhaul restore`` keeps of each restore in the staging area, and how it goes on with one that was
ended early (``--resume``), or tries again what failed (``--retry``)."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import cast

import click

from ...proto.errors import BackupError, NotFoundError, StagingError, TargetFullError, UsageError
from ...proto.records import Partition, RestoreReport, Skipped
from ...proto.structs import Record
from ..backup_set import BackupSet
from ..catalog import Catalog
from ..clock import RUN_ID, utc
from ..restore_plan import RestorePlan, names_mailbox
from ..restores.before import is_begun_to_be_undone, is_undone
from ..restores.record import BETWEEN, OpenRestore, Order, begun, directory_of, read_order, reopened
from ..restores.report import read_report, write_report
from . import adapters, output
from .configuration import chosen_site, found_configuration, restore_command
from .options import given, refuse
from .program import Invocation
from .restore_options import ARGUMENTS, RENAMES, RestoreOptions
from .restore_undo import let_go, refuse_undo

_AGAIN = "mailhaul.restore.again"
_KEYS = ("identities", "passphrase_files")
_KEY_OPTIONS = ("--identity", "--passphrase-file")
_OF_EACH_CALL = frozenset({"staging", "workers", "wait", "as_json", "resume", "retry", "undo", *_KEYS})
"""What may stand beside --resume, --retry and --undo: all else is as it was asked for then."""


class Again(Record, kw_only=True):
    """A restore of which another is a part: one that goes on (``resumed`` is its directory), or that is taken
    back (``undone`` is its directory), else what failed in it (``only``). Where that goes on, or is taken
    back, that tried what had failed in another, it is ``only`` that, too."""

    order: Order
    resumed: Path | None = None
    undone: Path | None = None
    only: tuple[str, ...] = ()


# To call a restore once more


def call_again(context: click.Context, asked: RestoreOptions) -> int:
    """Go on with a restore, try again what failed in it, or take it back."""
    wanted = [name for name in ("resume", "retry", "undo") if getattr(asked, name) is not None]
    _refuse_others(context, f"--{wanted[0]}", {"dry_run"} if wanted == ["undo"] else set())
    refuse(len(wanted) > 1, f"--{' and --'.join(wanted)} are several things: leave out all but one")
    invocation, staging = cast(Invocation, context.obj), asked.staging
    if asked.retry is not None:
        return _called(context, invocation, staging, _what_failed(invocation, staging, asked.retry))
    area = chosen_site(invocation, staging).area
    directory = directory_of(area, asked.resume or asked.undo or "")
    order = read_order(directory)
    if asked.undo is not None:
        refuse_undo(directory, order, area)
        again = Again(order=order, undone=directory, only=order.only)
    else:
        refuse(bool(order.undoes), f"go on with: mailhaul restore --undo {order.undoes}")
        # What its journal has went with that.
        refuse(is_undone(directory), f"restore {order.restore} was taken back: restore anew")
        refuse(
            is_begun_to_be_undone(directory),
            f"some of restore {order.restore} was taken back: take back the rest (--undo {order.restore}), "
            "or restore anew",
        )
        again = Again(order=order, resumed=directory, only=order.only)
    return _called(context, invocation, staging, again)


def again_of(context: click.Context) -> Again | None:
    """The restore that this call is a part of, if it is."""
    return cast(Again | None, context.meta.get(_AGAIN))


def _refuse_others(context: click.Context, option: str, also: Collection[str]) -> None:
    refuse(
        not given(context) <= {*_OF_EACH_CALL, *also},
        f"{option} does what was asked for then: leave out everything but --workers",
    )


def _what_failed(invocation: Invocation, staging: Path | None, retry: str) -> Again:
    is_id = retry == "latest" or RUN_ID.fullmatch(retry)
    path = directory_of(chosen_site(invocation, staging).area, retry) if is_id else Path(retry)
    report = read_report(path)
    refuse(bool(report.order.undoes), f"try it again with: mailhaul restore --undo {report.order.undoes}")
    # Of a group whose list of mailboxes is damaged nobody knows what to try.
    only = tuple(
        dict.fromkeys(
            failure.path for failure in report.failures if failure.again and names_mailbox(failure.path)
        )
    )
    if not only:
        raise NotFoundError(f"nothing failed in restore {report.order.restore} that could be tried again")
    return Again(order=report.order, only=only)


def _called(context: click.Context, invocation: Invocation, staging: Path | None, again: Again) -> int:
    """Call the command with the words of then, in the directory of then, and with what this call says."""
    words = [*_with_keys(again.order.arguments, context), "--at", again.order.moment]
    if staging is not None:
        words += ["--staging", str(staging)]
    else:
        invocation.config = found_configuration(invocation)
    if (workers := context.params["workers"]) is not None:
        words += ["--workers", str(workers)]
    if context.params["as_json"]:
        words.append("--json")
    if again.undone is not None and context.params["dry_run"]:
        words.append("--dry-run")
    try:
        os.chdir(again.order.directory)
    except OSError as error:
        raise UsageError(
            f"restore {again.order.restore} was called in {again.order.directory}: {error.strerror}"
        ) from error
    parent = context.parent
    with context.command.make_context("restore", words, parent=parent, obj=invocation) as inner:
        _refuse_other_map(again.order, inner)
        inner.meta[_AGAIN] = again
        return cast(int, context.command.invoke(inner))


def _with_keys(arguments: Sequence[str], context: click.Context) -> list[str]:
    """The words of then, with the private keys that this call names, if it does: those of then may lie
    elsewhere by now."""
    identities, passphrases = (context.params[name] for name in _KEYS)
    if not identities:
        return list(arguments)
    words: list[str] = []
    for word in arguments:
        name, equals, _ = word.partition("=")
        if words and words[-1] in _KEY_OPTIONS:
            words.pop()
        elif not (equals and name in _KEY_OPTIONS):
            words.append(word)
    for option, files in zip(_KEY_OPTIONS, (identities, passphrases), strict=True):
        for file in files:
            words += [option, str(file.absolute())]
    return words


def _refuse_other_map(order: Order, context: click.Context) -> None:
    """The map says the same as then: else mailboxes would go to other places than those that are done."""
    file = context.params["map_file"]
    refuse(
        bool(order.renames) and context.meta[RENAMES] != order.renames,
        f"{file}: the map is not as it was when restore {order.restore} was begun: put that back, or restore "
        "anew with this map",
    )


# The record


def refuse_other_moment(again: Again | None, backup: BackupSet) -> None:
    """What a restore goes on with is still there. Raises NotFoundError."""
    if again is not None and _run(backup) != again.order.run:
        raise NotFoundError(
            f"restore {again.order.restore} was as of run {again.order.run}, which was purged: "
            + ("it can't be taken back any more" if again.undone else "restore it anew, as of a time")
        )


def _run(backup: BackupSet) -> str:
    return backup.moment.run if backup.moment else ""


def _lasting(area: Path, at: str | None, run: str) -> str:
    """A time in words that mean the same tomorrow. A run that was named stays that: it is refused when it is
    purged; else the newest moment of each group counts that is kept by then."""
    if at is not None and RUN_ID.fullmatch(at):
        return at
    with Catalog.open(area) as catalog:
        return catalog.run(run).started.isoformat()


@contextmanager
def going_on(again: Again | None) -> Iterator[OpenRestore | None]:
    """The record of a restore that goes on; None for a new one."""
    if again is None or again.resumed is None:
        yield None
        return
    with reopened(again.resumed, adapters.clock(), _tell_lost_journal) as record:
        yield record


@contextmanager
def recorded(
    context: click.Context,
    staging: Path | None,
    area: Path | None,
    backup: BackupSet,
    plan: RestorePlan,
    margins: Mapping[str, int],
    earlier: OpenRestore | None,
    lasting: str = "",
    later: BackupSet | None = None,
) -> Iterator[OpenRestore | None]:
    """Keep a record of a restore while the context lasts: that of an ``earlier`` one that goes on, or a new
    one; None where there is no staging area, or none that can be written. An error that ends it is recorded,
    and says how to go on. ``lasting``: see Order; ``later`` is the newest backup, if that was asked."""
    again = again_of(context)
    run = _run(backup)
    moment = _lasting(area, context.params["at"], run) if area and run else ""
    newest = _lasting(area, None, _run(later)) if area and later and later.moment else ""

    def order(restore: str, now: datetime) -> Order:
        # How it is told is the matter of each call.
        words = tuple(one for one in cast(tuple[str, ...], context.meta[ARGUMENTS]) if one != "--json")
        undoes = again.order.restore if again and again.undone else ""
        operation = cast(Invocation, context.obj).operation
        if operation is not None and not undoes:
            operation.begins(restore)
        return Order(
            restore=restore,
            begun=now,
            arguments=("--undo", undoes) if undoes else words,
            directory=str(Path.cwd()),
            moment=moment,
            run=run,
            targets=_targets(plan),
            margins=margins,
            mailboxes=len(plan.mailboxes),
            messages=plan.messages,
            size_bytes=plan.size_bytes,
            only=again.only if again and not undoes else (),
            retries=again.order.restore if again and again.only and not undoes else "",
            undoes=undoes,
            lasting=lasting,
            departed=bool(backup.departed),
            newest=newest,
            renames=context.meta[RENAMES],
        )

    with ExitStack() as stack:
        record = earlier
        if earlier is not None:
            _refuse_other_targets(earlier.order, plan)
        elif area is not None:
            try:
                let_go(area)
                record = stack.enter_context(begun(area, adapters.clock(), order, _tell_lost_journal))
            except StagingError as error:
                output.note(f"the restore is not recorded, and can't be gone on with: {error.message}")
        if record is not None:
            cast(Invocation, context.obj).begun = record.order.restore
            stack.enter_context(_ending(context, staging, record))
        yield record


def end(record: OpenRestore | None, total: RestoreReport, damaged: Sequence[Skipped]) -> None:
    """Record how a restore ended."""
    if record is None:
        return
    try:
        write_report(record, utc(adapters.clock().now()), total, damaged=damaged)
    except StagingError as error:
        output.note(f"the report could not be written: {error.message}")


@contextmanager
def _ending(context: click.Context, staging: Path | None, record: OpenRestore) -> Iterator[None]:
    """Record an error that ends a restore, and say how to go on."""
    invocation = cast(Invocation, context.obj)
    undoes = record.order.undoes
    going_on_with = (undoes, "--undo") if undoes else (record.order.restore, "--resume")
    command = restore_command(invocation.config, staging, *going_on_with)
    try:
        yield
    except BackupError as error:
        total = record.journal.total
        with suppress(StagingError):
            write_report(record, utc(adapters.clock().now()), total, error=error.message)
        first = ""
        if isinstance(error, TargetFullError):
            is_quota = error.facts.get("errno") == errno.EDQUOT
            first = "raise the quota, then " if is_quota else "make room, then "
        counts = {"mailboxes": len(record.journal), "restored": total.restored, "present": total.present}
        facts = {**error.facts, "restore": record.order.restore, **counts}
        raise type(error)(f"{error.message}; {first}go on with: {command}", **facts) from error
    except KeyboardInterrupt:
        output.note(f"go on with: {command}")
        raise


def _targets(plan: RestorePlan) -> dict[str, str]:
    """Where mail of each partition goes; a map may spread it over several places."""
    places: dict[str, set[Partition]] = {}
    for mailbox in plan.mailboxes:
        places.setdefault(mailbox.version.partition, set()).add(mailbox.target)
    return {partition: BETWEEN.join(sorted(map(_described, found))) for partition, found in places.items()}


def _described(target: Partition) -> str:
    apart = (("HOME", target.home), ("CONTROL", target.control), ("INDEX", target.index))
    return f"{target.format}:{target.path}" + "".join(f":{name}={one}" for name, one in apart if one)


def _refuse_other_targets(order: Order, plan: RestorePlan) -> None:
    for partition, targets in _targets(plan).items():
        known = order.targets.get(partition, targets)
        for target in targets.split(BETWEEN):
            if target not in known.split(BETWEEN):
                raise UsageError(
                    f"restore {order.restore} was to {known}, and the configuration says {target} now: what "
                    "is to go there is another restore"
                )


def _tell_lost_journal(error: StagingError) -> None:
    output.note(f"the restore goes on, but what is done is not recorded any more: {error.message}")
