"""``mailhaul verify``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EncryptedError, UsageError
from ...proto.records import Skipped
from ...worker.archives.holdings import described
from ...worker.archives.opened import Unlock
from ...worker.destinations.settings import Destination
from ...worker.tasks.verifying import VerifyTask
from ...worker.verifying.examiner import Depth
from ...worker.verifying.losses import Loss
from ..backup_set import from_files
from ..clock import utc
from ..dispatch.engine import Outcome
from ..good_moments import LATEST_GOOD
from ..hooks import NO_HOOKS
from ..lock import RunLock
from ..readers import reading
from ..verifying.accepting import AcceptedLoss, acceptable, read_accepted, without_accepted, write_accepted
from ..verifying.checked import Checked, Journal, Order, Unfinished, Wholeness, read_checked
from ..verifying.examination import Examination, Examinee, examine_files, examine_staging, together
from ..verifying.repairing import Repaired, repair
from ..verifying.verification import VerifyPlan, plan_verification, verify
from . import adapters, verify_report
from .configuration import Site, chosen_site, configured, default_workers
from .nothing_to_do import is_nothing_to_do
from .options import (
    DURATION,
    SINCE,
    archives_option,
    at_option,
    destination_option,
    host_option,
    identity_options,
    json_option,
    path_argument,
    refuse,
    staging_option,
    workers_option,
)
from .program import Invocation
from .progress import Amount, make_display, watched
from .sources import chosen_backup, named_files, named_paths, unlock_with
from .verify_copies import verify_copies
from .verify_stored import verify_stored_files


class _Share(click.ParamType[float]):
    """A share as people write it: ``5%``."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            share = float(str(value).removesuffix("%")) / 100
        except ValueError:
            share = 0.0
        if not 0 < share <= 1:
            self.fail(f"{value!r} is no share: expected as an example 5%", param, ctx)
        return share


@click.command("verify")
@path_argument
@click.option("--data", is_flag=True, help="Also read every message and compare its checksum.")
@host_option
@at_option
@click.option("--since", type=SINCE, metavar="T", help="Only archives that were sealed since then.")
@click.option(
    "--sample",
    type=_Share(),
    metavar="N%",
    help="Only a share, chosen at random, of the frames of each archive; with --data, of the messages.",
)
@click.option("--resume", is_flag=True, help="Continue the verification that was interrupted last.")
@click.option(
    "--fix", "to_repair", is_flag=True, help="Rewrite damaged archives, and keep the damaged files aside."
)
@click.option(
    "--accept",
    is_flag=True,
    help="Record that losses which can't be mended are known: they are no failure any more.",
)
@archives_option
@staging_option
@destination_option
@click.option(
    "--from",
    "only",
    metavar="NAME",
    help="Read the copies of archives at this destination instead, first those not read for longest.",
)
@click.option(
    "--older-than",
    "age",
    type=DURATION,
    metavar="TIME",
    help="Only archives, or with --from copies, that were not read for so long, such as 90d.",
)
@workers_option
@identity_options
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    data: bool,
    host: str | None,
    at: str | None,
    since: float | None,
    sample: float | None,
    resume: bool,
    to_repair: bool,
    accept: bool,
    files: tuple[str, ...],
    staging: Path | None,
    destinations: tuple[Destination, ...],
    only: str | None,
    age: float | None,
    workers: int | None,
    identities: tuple[Path, ...],
    passphrase_files: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Check what is kept of PATH: that every frame of its archives has the checksum it was written with, and
    that all data of all messages is there, for every kept run.

    Damage is listed with each message that it costs, in which runs, and where that message can still be had.
    With --fix a damaged archive is rewritten with everything in it that is whole, or that other archives
    hold, too; what is lost is read again by the next backup, if the mailbox still has it. Archives of runs
    (_runs/) are rewritten from the catalog.

    With --accept everything that is lost for good, because neither other archives nor the next backup can
    bring it back, is recorded as known. It is still listed, but is no longer a failure.

    Of encrypted archives mail is compared as it is stored: a checksum for each frame, and one over all. With
    a private key (--identity) it is decrypted, too; --data takes one. Where the structure key is not at hand
    either, -f compares the checksums of all frames, and says so.

    With --from the copies at a destination are read, all of each, and compared with what was put there. One
    that is damaged or gone counts no more, so that the next sweep makes another. What was read is recorded at
    once: a verification that is broken off goes on with the rest when it is begun again.

    \b
    Example: is all that is kept of a user still whole?
      mailhaul verify --data /primary/user/jane@example.org
    """
    refuse(
        age is not None and (data or resume or bool(files)),
        "--older-than leaves out archives that were read not long ago: not with --data, which reads all "
        "mail, nor with --resume or -f",
    )
    if only is not None:
        refuse(
            bool(
                files or data or host or at or since or sample or resume or to_repair or accept or identities
            ),
            "--from reads copies as they are: leave out the other options",
        )
        hooks = adapters.hooks(configured(invocation)) if staging is None else NO_HOOKS
        site = chosen_site(invocation, staging, destinations)
        return verify_copies(site, path, only, age, workers or default_workers(), hooks, as_json=as_json)
    chosen = named_paths(invocation, [path], host, at=at, files=files, staging=staging)
    if at == LATEST_GOOD and not files:
        with chosen_backup(
            invocation, chosen, at=at, files=(), staging=staging, destinations=destinations
        ) as good:
            at = good.moment.run if good.moment else None
    order = Order(
        path=str(path), host=host, data=data, at=at, since=None if since is None else utc(since), share=sample
    )
    unlock = unlock_with(identities, passphrase_files, at_hand=invocation.identity)
    run = _Run(workers or default_workers(), unlock, as_json=as_json)
    if files:
        refuse(
            resume or to_repair or accept,
            "-f reads archives without a staging area: leave out --resume, --fix and --accept",
        )
        refuse(since is not None, "-f names the archives that are checked: leave out --since")
        with named_files(at=at, files=files, staging=staging) as here:
            return _verify_files(here, path, order, run, unlock, as_json=as_json)
    site = chosen_site(invocation, staging, destinations)
    if not (at or host or resume or path.user) and is_nothing_to_do(
        site.area, site.destinations, "to verify", as_json=as_json
    ):
        return EXIT_OK
    unfinished = _resumed(site.area, order) if resume else None
    if unfinished is not None:
        order = unfinished.order
        asked = LogicalPath.parse(order.path)
        chosen = named_paths(invocation, [asked], order.host, at=order.at, files=(), staging=staging)
    _verify_staging(site, chosen, order, run, unfinished, age)
    if to_repair:
        run.repair(site.area)
    if accept:
        run.accept(site.area)
    return run.tell(order, checked=read_checked(site.area).archives)


def _verify_files(
    files: Sequence[Path], path: LogicalPath, order: Order, run: _Run, unlock: Unlock | None, *, as_json: bool
) -> int:
    """Verify archives that are named, without a staging area: without a key that opens their structure, the
    checksums of what is stored. Returns the exit status."""
    try:
        backup = from_files(files, unlock)
    except EncryptedError as error:
        if unlock is not None or order.data or order.share is not None:
            raise  # what was asked for takes a key
        return verify_stored_files(files, error, as_json=as_json)
    run.look(order, examine_files(backup, path), Wholeness())
    return run.tell(order, damaged=backup.damaged)


def _verify_staging(
    site: Site,
    paths: Iterable[LogicalPath],
    order: Order,
    run: _Run,
    unfinished: Unfinished | None,
    age_seconds: float | None,
) -> None:
    """Verify what a staging area keeps, and go on with what is ``unfinished``; what was read within
    ``age_seconds`` is not read again."""
    read_since = None if age_seconds is None else _now() - timedelta(seconds=age_seconds)
    area = site.area
    with reading(area), Journal(area, order, _now, resumed=unfinished, read_since=read_since) as journal:
        examination = together(
            [
                examine_staging(area, path, at=order.at, since=order.since, destinations=site.destinations)
                for path in paths
            ]
        )
        run.look(order, examination, journal)
        run.leave_out_accepted(area)
        journal.ended(set(examination.holdings.locations), run.losses)


def _now() -> datetime:
    return utc(adapters.clock().now())


def _resumed(staging: Path, given: Order) -> Unfinished:
    """The verification that is to go on, with the options that it was begun with."""
    refuse(given != Order(), "--resume goes on with the path and options of before: leave them out")
    unfinished = read_checked(staging).unfinished
    if unfinished is None:
        raise UsageError("no verification was interrupted: there is nothing to resume")
    return unfinished


class _Run:
    """A verification, and the repair behind it, with their display."""

    def __init__(self, workers: int, unlock: Unlock | None, *, as_json: bool) -> None:
        self._unlock = unlock
        self._engine = adapters.make_engine(workers)
        self._as_json = as_json
        self._clock = adapters.clock()
        self._began = self._clock.monotonic()
        self._repaired: tuple[Repaired, ...] = ()
        self._renewed: tuple[str, ...] = ()
        self._accepted: tuple[AcceptedLoss, ...] = ()

    def look(self, order: Order, examination: Examination, wholeness: Wholeness) -> None:
        """Carry the order out."""
        depth = Depth(path=examination.path, data=order.data, share=order.share, seed=secrets.randbits(32))
        plan = plan_verification(examination, depth, wholeness, self._unlock)
        expected = _expected(plan)

        def ended(outcome: Outcome[Any, Any]) -> tuple[str, Amount]:
            task = outcome.task
            label = (
                described(task.location, task.places)
                if isinstance(task, VerifyTask)
                else getattr(task, "label", "")
            )
            return label, expected.get(label, Amount())

        with make_display(self._clock, as_json=self._as_json) as display:
            display.begin(expected)
            engine = watched(self._engine, display, ended)
            self._found = self._verification = verify(plan, engine, display.progress, wholeness)
        self._examination = examination

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What can't be restored, and was not accepted."""
        return self._verification.losses

    def repair(self, staging: Path) -> None:
        """Repair what was found to be damaged."""
        with make_display(self._clock, as_json=self._as_json) as display:
            self._repaired = repair(
                staging,
                self._examination,
                self._found,
                self._engine,
                display.progress,
                lambda reason: display.say(f"waiting: {reason}"),
            )
        self._renewed = tuple(archive.path for archive in self._examination.run_archives)

    def leave_out_accepted(self, staging: Path) -> None:
        """What was accepted before is no failure."""
        self._verification, self._accepted = without_accepted(self._found, read_accepted(staging))

    def accept(self, staging: Path) -> None:
        """Record what is lost for good."""
        new = self._acceptable()
        with RunLock(staging):
            known = read_accepted(staging)
            if new:
                write_accepted(staging, (*known, *(loss for loss in new if not _covered(loss, known))))
        self.leave_out_accepted(staging)

    def _acceptable(self) -> tuple[AcceptedLoss, ...]:
        return acceptable(self._verification, self._examination.missing, utc(self._clock.now()))

    def tell(
        self,
        order: Order,
        *,
        damaged: Sequence[Skipped] = (),
        checked: Mapping[str, Checked] = MappingProxyType({}),
    ) -> int:
        """Print the outcome; the exit status. ``damaged`` was found before, ``checked`` is recorded."""
        outcome = verify_report.VerifyOutcome(
            order=order,
            verification=self._verification,
            examination=self._examination,
            damaged=(
                *damaged,
                *self._examination.run_archives,
                *self._examination.sidecars,
                *self._verification.damaged,
            ),
            repaired=self._repaired,
            renewed=self._renewed,
            accepted=self._accepted,
            acceptable=bool(self._acceptable()),
            checked=checked,
            seconds=self._clock.monotonic() - self._began,
        )
        if self._as_json:
            verify_report.print_document(outcome)
        else:
            verify_report.print_text(outcome)
        if outcome.damaged or self._verification.affected:
            return EXIT_DAMAGED
        return EXIT_FAILED if self._verification.unreadable else EXIT_OK


def _covered(loss: AcceptedLoss, known: Iterable[AcceptedLoss]) -> bool:
    return any(accepted_loss.covers(loss) for accepted_loss in known)


def _expected(plan: VerifyPlan) -> dict[str, Amount]:
    """What there is to do: bytes of files, then the mail."""
    expected: dict[str, Amount] = {}
    for archive in plan.archives:
        # One file may hold several archives.
        known = expected.get(archive.file, Amount())
        expected[archive.file] = known + Amount(0, _file_bytes(archive))
    expected.update((part.label, Amount(part.messages, part.size_bytes)) for part in plan.parts)
    return expected


def _file_bytes(examinee: Examinee) -> int:
    if examinee.location.size_bytes:
        return examinee.location.size_bytes
    try:
        return os.stat(examinee.file).st_size
    except OSError:
        return 0  # its verification tells why
