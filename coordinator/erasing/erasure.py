"""The table of contents of an erasure: all that is stored of a person goes, from the staging area first.

    plan      whose mailboxes, what holds them, which archives have anything that nobody else needs
    record    that they were erased, beside the archives: whatever becomes of the rest, it is done again
    forget    in the catalog, and the names in its records of runs
    rewrite   every archive that holds a byte that nobody needs, or names them, wherever it is read
    delete    the old files, unfinished ones, damaged ones that were set aside, what is kept of restores
    rename    records beside the catalog and archives of runs, without the names
    keep      a snapshot of the catalog as it is now; the earlier ones go
    copies    at destinations: new ones are put, old ones removed, the others are due       (``copies``)

Every step can be repeated, and begins from the record: an erasure that ended in the middle of any is ended by
the next one, or by the next purge. Which archives have to be rewritten is found by reading all metadata, not
remembered: a purge may have dropped the metadata that told of data in an archive that does not name them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from ...proto.erased import Erased, ErasedMailbox
from ...proto.records import RunId, Skipped
from ...proto.structs import replace
from ..catalog import Catalog
from ..catalog.snapshots import FOLDER as SNAPSHOTS
from ..catalog.snapshots import snapshots, stem_of
from ..dispatch.engine import Engine
from ..holdings import holdings
from ..holds import Holds, drop_holds_of, frozen_holds, read_holds
from ..keepsakes import keep_catalog
from ..lock import RunLock
from ..mailbox_secrets import vault_of
from ..purging.plan import stored_archives
from ..purging.purge import record_moments, refuse_behind
from ..purging.report import PurgeObserver
from ..purging.steps import Steps
from ..readers import PATIENCE_SECONDS, reading
from ..ready import settle, withdrawn
from ..recalling import to_recall
from ..restores.record import restores_of
from ..run_ids import new_run_id, newest_given, note_given
from ..structure_keys import area_at
from ..sweeping.locks import sweeping
from ..unlocking import ReadSlots, refuse_locked, unlocked
from ..vault_copies import VaultPlace, destroy_secrets
from . import traces
from .copies import copies_left, left_on_tape
from .plan import find_mailboxes, old_copies, plan_archives, refuse_held, shared_bytes
from .progress import Step, counted, read_progress, write_progress
from .record import Erasure, new_erasure, read_erasures, write_erasure
from .report import ErasureMeans, ErasurePlan

NOBODY = PurgeObserver()

_VAULT = "vault"
"""Why an erasure is not done: a place of the vault of secrets was not reached."""


def rehearse(staging: Path, who: str, means: ErasureMeans, now: datetime, engine: Engine) -> ErasurePlan:
    """What ``erase`` would do; nothing is changed, and runs may go on.

    Raises NotFoundError if nobody of that name is known, HeldError if a mailbox is held, EncryptedError (with
    the names of recipients) if a block has to be parted whose key is not at hand, DamagedError if the catalog
    is older than archives, LockedError while a restore goes on that has to do with a mailbox.
    """
    with reading(staging), Catalog.open(staging) as catalog, catalog.scratch() as scratch:
        refuse_behind(staging, catalog)
        whom = find_mailboxes(scratch, who)
        refuse_held(read_holds(staging), whom)
        before = stored_archives(scratch, staging)
        given = new_run_id(now.timestamp(), newest_given(staging, catalog))
        planned = new_erasure(
            given, now, "", [(mailbox.partition, mailbox.user) for mailbox in whom.mailboxes]
        )
        mailboxes = _mailboxes((*read_erasures(staging), planned))
        restores = traces.restores_with(staging, Erased(mailboxes), _partitions(scratch))
        scratch.erase(Erased(mailboxes))
        at_hand = holdings(scratch, area_at(staging), means.destinations)
        found, live = plan_archives(stored_archives(scratch, staging), mailboxes, at_hand, engine)
        slots = ReadSlots()
        refuse_locked([unlocked(at_hand.of(found.encrypted), means.unlock, slots)], slots)
        return ErasurePlan(
            whom=whom,
            deleted=found.plan.dead,
            rewritten=found.plan.compactions,
            dead_bytes=found.dead_bytes,
            shared_bytes=shared_bytes(before, whom, live, engine),
            copies=old_copies(found.plan),
            restores=tuple(restores),
            set_aside=traces.count_set_aside(staging),
            undone=found.undone,
        )


def erase(
    staging: Path,
    plan: ErasurePlan,
    reason: str,
    means: ErasureMeans,
    now: datetime,
    engine: Engine,
    observer: PurgeObserver = NOBODY,
) -> RunId:
    """Erase the mailboxes of a plan, as far as the staging area and its catalog go; returns the id of the
    erasure. From then on nothing of them can be restored; what is not done its progress tells, and ``go_on``
    does it.

    Raises HeldError and LockedError before anything has changed; whatever else is raised (StagingError,
    DamagedError) after the erasure was recorded, ``go_on`` goes on from there.
    """
    with _locked(staging, means) as (catalog, holds):
        refuse_held(holds, plan.whom)
        mailboxes = [(mailbox.partition, mailbox.user) for mailbox in plan.whom.mailboxes]
        given = new_run_id(now.timestamp(), newest_given(staging, catalog))
        note_given(staging, given)
        erasure = new_erasure(given, now, reason, mailboxes)
        write_erasure(staging, erasure)
        _clear(staging, catalog, means, now, engine, observer)
    _drop_holds(staging)
    return erasure.erasure


def go_on(
    staging: Path, means: ErasureMeans, now: datetime, engine: Engine, observer: PurgeObserver = NOBODY
) -> None:
    """End what earlier erasures have left in the staging area. Raises as ``erase``."""
    if all(read_progress(staging, erasure.erasure).staged for erasure in read_erasures(staging)):
        return
    with _locked(staging, means) as (catalog, _):
        _clear(staging, catalog, means, now, engine, observer)
    _drop_holds(staging)


@contextmanager
def _locked(staging: Path, means: ErasureMeans) -> Iterator[tuple[Catalog, Holds]]:
    """The catalog, for writing, and the holds, which stay as they are. Nobody runs or sweeps meanwhile: what
    a sweep is putting somewhere just now nobody would know of. Raises LockedError, DamagedError,
    StagingError."""
    with ExitStack() as stack:
        stack.enter_context(RunLock(staging))
        for destination in means.destinations:
            stack.enter_context(sweeping(staging, destination.name))
        holds = stack.enter_context(frozen_holds(staging))
        catalog = stack.enter_context(Catalog.open(staging, write=True))
        refuse_behind(staging, catalog)
        yield catalog, holds


def _drop_holds(staging: Path) -> None:
    """The holds of restores that are gone name mailboxes, and hold nothing any more."""
    drop_holds_of(staging, lambda one: one not in restores_of(staging))


def _clear(
    staging: Path,
    catalog: Catalog,
    means: ErasureMeans,
    now: datetime,
    engine: Engine,
    observer: PurgeObserver,
) -> None:
    """All steps in the staging area, of all erasures on record; repeatable."""
    erasures = read_erasures(staging)
    mailboxes = _mailboxes(erasures)
    erased, partitions = Erased(mailboxes), _partitions(catalog)
    # First of all: what a run stores from now on is under other secrets, also if this ends here.
    secrets = _secrets_that_go(staging, catalog, erased)
    vaults = destroy_secrets(staging, secrets, means.destinations, now.timestamp())
    restores = traces.restores_with(staging, erased, partitions)
    traces.remove_restores(staging, restores)

    versions = catalog.erase(erased)
    traces.remove_unfinished(staging)

    stored = stored_archives(catalog, staging)
    observer.surveying(len(stored.needed.users))
    at_hand = holdings(catalog, area_at(staging), means.destinations)
    found, _ = plan_archives(stored, mailboxes, at_hand, engine)
    rewritten = [compaction.record.archive for compaction in found.plan.compactions]
    catalog.empty_units([record.archive for record in found.plan.dead])
    record_moments(staging, catalog)

    steps = Steps(staging, catalog, observer)
    steps.remove(found.plan)
    # Not read where they lie: what is written anew takes the place of every other copy, so it must not be
    # made of what a destination has changed. What is brought back is compared with what was put there.
    if far := to_recall(at_hand, rewritten, far=True):
        means.bring_back(at_hand, far)
    done, failed = steps.compact(found.plan.compactions, means.archive, engine, unlock=means.unlock)
    left = [Skipped(one, "in-use", "archives are being read") for one in steps.delete(PATIENCE_SECONDS)]
    set_aside = traces.remove_set_aside(staging)
    unknown = [
        Skipped(leftover, "unknown", "the catalog does not know it: nobody can tell what it holds")
        for leftover in traces.remove_leftovers(staging, catalog, erased)
    ]

    last = erasures[-1].erasure
    traces.unname_records(staging, erased, partitions, last)
    renewed = traces.renew_runs(staging, catalog, erased)
    catalog.wipe()
    snapshot = _keep_only_now(staging, catalog)
    settle(staging, catalog)

    unreached = [Skipped(vault.name, _VAULT, vault.error) for vault in vaults if not vault.done]
    undone = (*found.undone, *failed, *left, *unknown, *unreached)
    told = (
        f"the catalog forgot {counted(versions, 'version')} of mailboxes" if versions else "",
        _told_of(vaults) if secrets or _was_unreached(staging, erasures) else "",
        f"{counted(len(found.plan.dead), 'archive')} deleted, {len(done)} rewritten",
        f"{counted(renewed, 'record')} of runs rewritten" if renewed else "",
        f"{counted(len(restores), 'restore')} can't be taken back any more" if restores else "",
        f"{counted(set_aside, 'damaged file')} that had been set aside deleted" if set_aside else "",
        "" if undone else "nothing is left in the staging area",
    )
    copies = (*copies_left(catalog), *left_on_tape(catalog, means.destinations, erasures))
    for erasure in erasures:
        before = read_progress(staging, erasure.erasure)
        if before.staged:
            continue
        write_progress(
            staging,
            replace(
                before,
                steps=(*before.steps, *(Step(now, what) for what in told if what)),
                staged=not undone,
                snapshot=snapshot,
                undone=undone,
                remaining=tuple(
                    {remaining.key: remaining for remaining in (*before.remaining, *copies)}.values()
                ),
            ),
        )


def _secrets_that_go(staging: Path, catalog: Catalog, erased: Erased) -> list[tuple[str, str]]:
    """The erased mailboxes that have secrets. That of a mailbox that a later run has stored is another
    one's."""
    vault = vault_of(staging)
    return [
        (partition, user)
        for partition, user in (vault.secrets if vault is not None else ())
        if (before := erased.before(partition, user))
        and not any(history.run >= before for history in catalog.histories(partition, None, user))
    ]


def _was_unreached(staging: Path, erasures: Sequence[Erasure]) -> bool:
    """Whether a secret was destroyed before, and a place of the vault could not be reached then."""
    return any(
        skipped.reason == _VAULT
        for erasure in erasures
        if not (progress := read_progress(staging, erasure.erasure)).staged
        for skipped in progress.undone
    )


def _told_of(vaults: Sequence[VaultPlace]) -> str:
    done = ", ".join(vault.name for vault in vaults if vault.done)
    if not done:
        return ""
    return (
        f"secrets destroyed at {done}: what the mailboxes alone have in archives that were written with "
        "erasable = true can't be read any more, in any copy"
    )


def _mailboxes(erasures: Sequence[Erasure]) -> tuple[ErasedMailbox, ...]:
    return tuple(mailbox for erasure in erasures for mailbox in erasure.mailboxes)


def _partitions(catalog: Catalog) -> tuple[str, ...]:
    return tuple(dict.fromkeys(partition for partition, _ in catalog.scopes()))


def _keep_only_now(staging: Path, catalog: Catalog) -> str:
    """A snapshot of the catalog as it is now, and no other: its name. Raises StagingError."""
    keep_catalog(staging, catalog)
    newest = next(iter(snapshots(staging)), None)
    names = [str(path.relative_to(staging)) for path in (staging / SNAPSHOTS).glob("*")]
    old = [name for name in names if stem_of(name) != newest]
    with withdrawn(staging, old):
        for name in old:
            traces.remove(staging / name)
    return "" if newest is None else str(newest)
