"""The table of contents of a drill: a sample of mailboxes, one after the other, within limits.

    candidates   the mailboxes that there are                        catalog
    line         in which order they are taken                       sample
    for each, as long as the limits last
      cut      what is too large, into parts                    sizes, parts
      try        restore it and compare                              trial
      note       what that has shown                                 service.proofs

One at a time: who drills has time, and the copies, the disk and the mail store are there for others. What is
on record of a mailbox is durable before the next one begins, so a drill that is killed has lost the one it
was at; the next one goes on with what is left of its number. That it was at that mailbox is on record, too:
the mailbox may be what ended it, and has to wait for its next turn.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

from ...groups.paths import LogicalPath
from ...proto.errors import BackupError, NotFoundError, StagingError, is_damage
from ...proto.ports import Clock, ProgressSink
from ...proto.records import Progress, RunId, Skipped
from ...proto.structs import Mutable, Record, field, replace
from ...worker.portion import Portion
from ..catalog import Catalog
from ..clock import utc
from ..flocks import flocked
from ..service.proofs import Drill, DrillState, Mailbox, PartProof, Proof, Proofs
from .parts import MESSAGE_BYTES, chosen, counted, cut, lacks_of, noted, portion_of, proven_since
from .sample import Candidate, Pick, line
from .scratch import Scratch
from .settings import DrillConfig
from .sizes import MailboxSizes
from .trial import Trial

_RESUMED_WITHIN = timedelta(hours=12)
LATEST = "latest"
_INTERRUPTED: DrillState = "interrupted"


class Try(Protocol):
    """Restore a mailbox as it was at a time into a directory, from the first of the places in turn that has
    it, and compare it; or a portion of it: see ``trial.try_mailbox``."""

    def __call__(
        self,
        path: LogicalPath,
        at: str,
        turn: Sequence[str],
        directory: Path,
        on_progress: ProgressSink,
        portion: Portion | None = None,
    ) -> Trial: ...


Measure = Callable[[LogicalPath, str], MailboxSizes]
"""The sizes of the messages of a mailbox at a time: see ``sizes.sizes_of``."""


class Observer(Protocol):
    """Who looks on."""

    def begin(self, sample: Sequence[Candidate]) -> None:
        """These are to be taken, as far as limits last."""

    def progress(self, mailbox: LogicalPath, told: Progress) -> None:
        """A ProgressSink, of the restore of a mailbox."""

    def end(self, mailbox: LogicalPath, proof: Proof) -> None:
        """What it has shown."""


class Drilled(Record, kw_only=True):
    """A drill that has ended: its record, what each mailbox has shown, in order, and the places that could
    not be read, each with the reason. ``waiting`` mailboxes could not be tried at all, as all that has them
    is away."""

    drill: Drill
    proofs: tuple[Proof, ...] = ()
    away: Mapping[str, str] = field(default_factory=dict)
    waiting: int = 0


class _Course(Mutable):
    """How far a drill has come."""

    attempts: int = 0
    tried: int = 0
    portions: int = 0
    size_bytes: int = 0
    untried: int = 0
    waiting: int = 0
    proofs: list[Proof] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)


@contextmanager
def one_drill(staging: Path) -> Iterator[None]:
    """No other drill of the staging area goes on while the context lasts, and what an earlier one was at that
    ended by force is on record. Raises LockedError."""
    with flocked(staging / ".mailhaul" / "drill.lock", "another drill goes on", patience_seconds=0):
        Proofs(staging).bury()
        yield


def run_drill(
    staging: Path,
    paths: Collection[LogicalPath],
    config: DrillConfig,
    places: Sequence[str],
    scratch: Scratch,
    try_mailbox: Try,
    measure: Measure,
    clock: Clock,
    observer: Observer,
    seed: int | None = None,
) -> Drilled:
    """Prove a sample of the mailboxes that ``paths`` select, from copies at these ``places``, within the
    limits of ``config``. The caller is in ``one_drill``. ``seed``: chance, as an earlier drill had it.

    What can't be tried is told. Raises NotFoundError where nothing was backed up, StagingError.
    """
    candidates = candidates_of(staging, paths)
    proofs = Proofs(staging)
    now = utc(clock.now())
    # Who names mailboxes wants these, whatever an earlier drill has done with them.
    died = None if paths and all(path.user is not None for path in paths) else _died(proofs, now)
    left = config.sample.mailboxes if died is None else _left(config, died)
    known = {proof.mailbox: proof for proof in proofs.all()}
    if set(paths) <= {LogicalPath()}:
        proofs.forget(known.keys() - {candidate.mailbox for candidate in candidates})
    drill = proofs.begin(secrets.randbits(48) if seed is None else seed, now)
    work = _Work(
        staging, config, places, scratch, try_mailbox, measure, clock, observer, drill, known, _Course()
    )
    state, why = _INTERRUPTED, ""
    try:
        waiting = [
            candidate for candidate in candidates if died is None or not _was_done(known, candidate, died)
        ]
        rules = replace(config.sample, mailboxes=left)
        picks = list(line(waiting, known, rules, work.largest_bytes, now, drill.seed))
        observer.begin([_at_once(pick.candidate, work.largest_bytes) for pick in picks[:left]])
        for pick in picks:
            if work.is_over(left):
                break
            work.take(pick)
        state = "done"
    except BackupError as error:
        state, why = "failed", error.message
        raise
    finally:
        drill = proofs.end(drill.id, state, utc(clock.now()), why)
    return work.drilled(drill)


def _was_done(known: Mapping[Mailbox, Proof], candidate: Candidate, died: Drill) -> bool:
    """Whether a drill that died was done with a mailbox."""
    proof = known.get(candidate.mailbox)
    return proof is not None and proof.drill == died.id


def _at_once(candidate: Candidate, most_bytes: int) -> Candidate:
    """A mailbox, or about as much of it as is restored at once."""
    if candidate.size_bytes <= most_bytes:
        return candidate
    return replace(
        candidate, size_bytes=most_bytes, messages=candidate.messages * most_bytes // candidate.size_bytes
    )


def candidates_of(staging: Path, paths: Iterable[LogicalPath]) -> list[Candidate]:
    """The mailboxes that some paths select of the newest backup. Raises NotFoundError where there is none."""
    chosen = list(paths) or [LogicalPath()]
    with Catalog.open(staging) as catalog:
        newest = catalog.resolve_time(LATEST)
        found = [
            Candidate(
                partition=mailbox.partition,
                group=mailbox.group,
                user=mailbox.user,
                run=mailbox.run,
                messages=mailbox.stored,
                size_bytes=mailbox.size_bytes,
            )
            for mailbox in catalog.mailboxes_at(newest, nearest=True)
            if any(
                path.selects_partition(mailbox.partition)
                and path.selects_group(mailbox.group)
                and path.selects_user(mailbox.user)
                for path in chosen
            )
        ]
    if not found:
        raise NotFoundError(f"{', '.join(map(str, chosen))}: the newest backup holds no mailbox of it")
    return found


def _died(proofs: Proofs, now: datetime) -> Drill | None:
    """The drill that died, if one did not long ago: nobody else drills now."""
    last = next(iter(proofs.drills(1)), None)
    is_new = last is not None and last.state == "running" and now - last.started < _RESUMED_WITHIN
    return last if is_new else None


def _left(config: DrillConfig, died: Drill) -> int:
    """How many mailboxes are left for the drill that goes on with it."""
    return max(1, config.sample.mailboxes - died.proven - died.failed)


class _Work(Record):
    """A drill while it goes on."""

    staging: Path
    config: DrillConfig
    places: Sequence[str]
    scratch: Scratch
    try_mailbox: Try
    measure: Measure
    clock: Clock
    observer: Observer
    drill: Drill
    known: Mapping[Mailbox, Proof]
    course: _Course

    def drilled(self, drill: Drill) -> Drilled:
        """What has become of it."""
        course = self.course
        return Drilled(drill=drill, proofs=tuple(course.proofs), away=course.away, waiting=course.waiting)

    @property
    def largest_bytes(self) -> int:
        """A mailbox that is larger is proven in parts, and so much of it in a drill. That leaves half of the
        bytes to the others: each of them fits beside it."""
        return min(self.config.limit_bytes // 2, self.config.scratch_bytes)

    def is_over(self, most: int) -> bool:
        """Whether so many were tried, or as many in vain, or its time is over."""
        course = self.course
        passed = utc(self.clock.now()) - self.drill.started
        return (
            course.tried >= most
            or course.attempts - course.tried >= most
            or passed.total_seconds() >= self.config.limit_seconds
        )

    def take(self, pick: Pick) -> None:
        """Try a mailbox, unless that goes beyond what is left of the limits."""
        candidate = pick.candidate
        if self.course.tried and self._goes_beyond(min(candidate.size_bytes, self.largest_bytes)):
            return  # the next drill begins with it
        if candidate.size_bytes > self.largest_bytes:
            self._take_portion(pick)
            return
        needed = candidate.size_bytes + candidate.messages * MESSAGE_BYTES
        if needed > self.scratch.room_bytes():
            self._note(pick, self._untried(candidate, _NO_ROOM))
            return
        turn = self._turn(self.known.get(candidate.mailbox))
        if self.places and not turn:
            self.course.waiting += 1
            return
        at = self._at(pick)
        self._begin(candidate)
        self._note(pick, self._tried(_path(candidate), at, turn))

    def _take_portion(self, pick: Pick) -> None:
        """Try some parts of a mailbox that is too large: those that have waited for longest."""
        if self.course.portions:
            return  # one in each drill
        candidate = pick.candidate
        self._begin(candidate)
        try:
            measured = self.measure(_path(candidate), LATEST)
        except StagingError:
            raise
        except Exception as error:
            self._note(pick, _failure(_path(candidate), candidate.run, error), None)
            return
        parts = cut(measured, Proofs(self.staging).parts(candidate.mailbox), self.largest_bytes)
        room = self.scratch.room_bytes()
        taken = chosen(
            parts,
            self.largest_bytes,
            room,
            lambda part: next(iter(self._turn(part)), ""),
            alone_bytes=min(self.config.limit_bytes, self.config.scratch_bytes),
        )
        if not taken:
            why = _NO_ROOM if room < self.largest_bytes else "a message of it is too large for a drill"
            self._note(pick, self._untried(candidate, why), None)
            return
        turn = self._turn(taken[0].proof)
        if self.places and not turn:
            self.course.waiting += 1
            return
        trial = self._tried(_path(candidate), LATEST, turn, portion_of(taken))
        if trial.run == measured.run:
            trial = counted(trial, taken, _path(candidate))
        self.course.portions += trial.outcome != "untried"
        self._note(pick, trial, noted(parts, taken, trial, utc(self.clock.now())))

    def _begin(self, candidate: Candidate) -> None:
        """It is on record that the drill is at a mailbox."""
        Proofs(self.staging).begin_trial(
            candidate.mailbox, self.drill.id, candidate.run, utc(self.clock.now())
        )

    def _goes_beyond(self, size_bytes: int) -> bool:
        """Whether that is more than what is left of bytes, or of time if it goes on as until now."""
        done = self.course.size_bytes
        passed = (utc(self.clock.now()) - self.drill.started).total_seconds()
        left = self.config.limit_seconds - passed
        return size_bytes > self.config.limit_bytes - done or size_bytes * passed > left * done

    def _tried(
        self, path: LogicalPath, at: str, turn: Sequence[str], portion: Portion | None = None
    ) -> Trial:
        self.course.attempts += 1
        newest = RunId("" if at == LATEST else at)
        try:
            with self.scratch.directory() as directory:
                progress = partial(self.observer.progress, path)
                return self.try_mailbox(path, at, turn, directory, progress, portion)
        except StagingError:
            raise
        except Exception as error:
            return _failure(path, newest, error)

    def _turn(self, proof: Proof | PartProof | None) -> list[str]:
        """The places that can be read: that behind the last one first; where that failed, the same again,
        until it is mended."""
        first = 0
        if proof is not None and proof.place in self.places:
            if proof.outcome == "failed" and proof.place in self.course.away:
                return []  # that another place has it whole mends nothing there
            first = self.places.index(proof.place) + (proof.outcome != "failed")
        turned = (*self.places[first:], *self.places[:first])
        return [place for place in turned if place not in self.course.away]

    def _at(self, pick: Pick) -> str:
        """The moment as of which a mailbox is restored: the newest, or an earlier one that is kept."""
        candidate = pick.candidate
        if not pick.earlier:
            return LATEST
        with Catalog.open(self.staging) as catalog:
            first = min(
                (v.run for v in catalog.history(candidate.partition, candidate.user, candidate.group)),
                default=candidate.run,
            )
            kept = [
                m.run
                for m in catalog.moments(candidate.partition, candidate.group)
                if first <= m.run < candidate.run
            ]
        return Random(f"{self.drill.seed}:{candidate.mailbox}").choice(kept) if kept else LATEST  # noqa: S311

    def _untried(self, candidate: Candidate, why: str) -> Trial:
        return Trial(outcome="untried", run=candidate.run, place="", error=why)

    def _note(self, pick: Pick, trial: Trial, parts: Sequence[PartProof] | None = ()) -> None:
        """What a mailbox has shown goes on record, with its ``parts`` (empty: it was taken as a whole; None:
        they could not be known)."""
        course, candidate = self.course, pick.candidate
        now = utc(self.clock.now())
        if trial.away:
            course.away.setdefault(trial.away, trial.error)
        if trial.outcome == "untried":
            course.untried += 1
            if course.untried > self.config.sample.mailboxes:
                course.waiting += 1
                return
        else:
            course.tried += 1
            course.size_bytes += trial.size_bytes
        is_newest = not trial.run or trial.run == candidate.run
        shown = parts if parts is not None else Proofs(self.staging).parts(candidate.mailbox)
        lacks = lacks_of(shown) if parts else trial.lacks
        proof = Proof(
            partition=candidate.partition,
            group=candidate.group,
            user=candidate.user,
            drill=self.drill.id,
            tried=now,
            outcome="failed" if lacks and trial.outcome != "untried" else trial.outcome,
            proven=proven_since(shown) if shown else now if trial.outcome == "proven" and is_newest else None,
            run=trial.run or candidate.run,
            place=trial.place if trial.outcome != "untried" or trial.away else "",
            messages=trial.messages,
            size_bytes=trial.size_bytes,
            alive=trial.alive,
            gone=trial.gone,
            altered=trial.altered,
            lacks=lacks,
            lacking=len(lacks),
            error=trial.error,
            largest=now if pick.why == "largest" and trial.outcome != "untried" else None,
            parts=len(shown),
            parts_proven=sum(part.outcome == "proven" for part in shown),
        )
        Proofs(self.staging).note(proof, parts)
        course.proofs.append(proof)
        self.observer.end(_path(candidate), proof)


_NO_ROOM = "there is no room for it in the scratch directory"


def _path(candidate: Candidate) -> LogicalPath:
    return LogicalPath(candidate.partition, candidate.group, candidate.user)


def _failure(path: LogicalPath, run: RunId, error: Exception) -> Trial:
    """What an error says of a mailbox: that it is damaged, or nothing."""
    if not isinstance(error, BackupError):
        # A fault of the program that this mailbox meets. It would end each drill, as the first in line.
        told = f"{type(error).__name__}: {error}; this is a bug"
        return Trial(outcome="untried", run=run, place="", error=told)
    if not is_damage(error):
        return Trial(outcome="untried", run=run, place="", error=error.message)
    lost = Skipped(str(path), error.code, error.message)
    return Trial(outcome="failed", run=run, place="", lacks=(lost,))
