"""The course of a drill: limits, places that are away, what goes on record, and a drill that was killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.drills.drill import one_drill
from mailhaul.coordinator.drills.settings import DrillConfig, SampleRules
from mailhaul.coordinator.drills.shares import PROVEN_WITHIN, shares
from mailhaul.coordinator.drills.sizes import FolderSizes, MailboxSizes
from mailhaul.coordinator.drills.telling import tell_of_ends, tell_people
from mailhaul.coordinator.drills.trial import Trial
from mailhaul.coordinator.service.database import writing
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.proofs import Outcome, Proof, Proofs
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import LockedError, NotFoundError, TargetFullError
from mailhaul.proto.ports import ProgressSink
from mailhaul.proto.records import RunId, Skipped
from mailhaul.proto.structs import replace
from mailhaul.tests.catalogs import commit, run_id, unit
from mailhaul.tests.drilling import SetClock, drill
from mailhaul.worker.portion import Portion

NOW = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)
USERS = tuple(f"u{number:02}" for number in range(12))
CONFIG = DrillConfig(sample=SampleRules(mailboxes=4, random=0.25), reserve_bytes=0)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """Two nights of twelve mailboxes, nine messages each, of 1000 bytes."""
    area = tmp_path / "staging"
    with Catalog.open(area, write=True) as catalog:
        commit(catalog, 0, unit(0, users=USERS))
        commit(catalog, 1, unit(1, users=USERS))
    return area


class Trials:
    """Trials that are made up: each takes ten seconds, and shows what ``shows`` says, proven if nothing."""

    def __init__(self, clock: SetClock, shows: Callable[[str, str], Trial | Exception | None]) -> None:
        self.clock = clock
        self.shows = shows
        self.calls: list[tuple[str, str, tuple[str, ...]]] = []

    def __call__(
        self,
        path: LogicalPath,
        at: str,
        turn: Sequence[str],
        directory: Path,
        on_progress: ProgressSink,
        portion: Portion | None = None,
    ) -> Trial:
        assert not list(directory.iterdir())
        self.clock.passes(10)
        self.calls.append((path.user or "", at, tuple(turn)))
        place = turn[0] if turn else "staging"
        shown = self.shows(path.user or "", place)
        if isinstance(shown, Exception):
            raise shown
        run = run_id(1) if at == "latest" else RunId(at)
        return shown or Trial(outcome="proven", run=run, place=place, messages=9, size_bytes=9000)


def all_well(_user: str, _place: str) -> None:
    return None


def away(place: str) -> Callable[[str, str], Trial | None]:
    def shows(_user: str, asked: str) -> Trial | None:
        if asked != place:
            return None
        return Trial(outcome="untried", run=run_id(1), place=place, error="not there", away=place)

    return shows


def test_everybody_is_proven_in_turn_from_each_place(staging: Path) -> None:
    clock = SetClock(NOW)
    trials = Trials(clock, all_well)
    for _ in range(12):
        done = drill(staging, CONFIG, ["vault", "ceph"], trials, clock)
        assert (done.drill.proven, done.drill.failed, done.drill.untried) == (4, 0, 0)
        clock.passes(86_400)
    proofs = Proofs(staging).all()
    assert {proof.user for proof in proofs} == set(USERS)
    (share,) = shares(staging, clock.time)
    assert (share.mailboxes, share.proven, share.never, share.share) == (12, 12, 0, 1.0)
    for user in USERS:
        turns = [turn[0] for name, _, turn in trials.calls if name == user]
        assert turns == [("vault", "ceph")[number % 2] for number in range(len(turns))]


def test_a_mailbox_that_fails_is_told_and_stays_first_until_it_is_mended(staging: Path) -> None:
    clock = SetClock(NOW)
    broken = {"u03"}
    lack = Skipped("/primary/user/u03/INBOX/7", "damaged", "a block")

    def shows(user: str, place: str) -> Trial | None:
        if user not in broken or place != "vault":
            return None
        return Trial(outcome="failed", run=run_id(1), place=place, messages=9, size_bytes=9000, lacks=(lack,))

    trials = Trials(clock, shows)
    nights = 0
    while not Proofs(staging).not_whole(1):
        tell_people(staging, drill(staging, CONFIG, ["vault", "ceph"], trials, clock), clock.time)
        nights += 1
        clock.passes(86_400)
    assert nights <= 6
    (found,) = Proofs(staging).not_whole(9)
    assert (found.user, found.lacks, found.place) == ("u03", (lack,), "vault")
    (standing,) = NoticeRecord(staging).lasting()
    assert standing.notice.cause == "drill-failed:/primary/user/u03"
    assert "/primary/user/u03/INBOX/7" in "\n".join(standing.notice.lines)
    before = len(trials.calls)
    drill(staging, CONFIG, ["vault", "ceph"], trials, clock)
    assert ("u03", "latest", ("vault", "ceph")) in trials.calls[before : before + 2]
    broken.clear()
    clock.passes(86_400)
    tell_people(staging, drill(staging, CONFIG, ["vault", "ceph"], trials, clock), clock.time)
    assert not Proofs(staging).not_whole(9)
    assert not NoticeRecord(staging).lasting()


def test_what_is_told_of_a_mailbox_is_over_when_it_is_kept_no_more(staging: Path) -> None:
    clock, lack = SetClock(NOW), Skipped("/primary/user/u03/INBOX/7", "damaged", "a block")
    config = replace(CONFIG, sample=SampleRules(mailboxes=12, random=0.0))

    def shows(user: str, place: str) -> Trial | None:
        lacks = (lack,) if user == "u03" else ()
        return Trial(outcome="failed", run=run_id(1), place=place, lacks=lacks) if lacks else None

    tell_people(staging, drill(staging, config, ["vault"], Trials(clock, shows), clock), clock.time)
    assert len(NoticeRecord(staging).lasting()) == 1
    with Catalog.open(staging, write=True) as catalog:
        commit(catalog, 2, unit(2, users=USERS[4:], departed=("u03",)))
    clock.passes(86_400)
    tell_people(staging, drill(staging, config, ["vault"], Trials(clock, all_well), clock), clock.time)
    assert NoticeRecord(staging).lasting() == ()


def test_a_place_that_is_away_is_no_damage_and_asked_once(staging: Path) -> None:
    clock = SetClock(NOW)
    trials = Trials(clock, away("vault"))
    done = drill(staging, CONFIG, ["vault", "ceph"], trials, clock)
    assert (done.drill.failed, dict(done.away)) == (0, {"vault": "not there"})
    assert done.drill.proven == 4, "others come from the other place"
    assert sum(turn[0] == "vault" for _, _, turn in trials.calls) == 1
    only = drill(staging, CONFIG, ["vault"], Trials(clock, away("vault")), clock)
    assert (only.drill.proven, only.drill.untried, only.waiting) == (0, 1, 11)
    tell_people(staging, only, clock.time)
    (told,) = NoticeRecord(staging).lasting()
    assert told.notice.cause == "drill-failed:place:vault"


def test_limits_of_time_and_bytes_and_room(staging: Path) -> None:
    clock = SetClock(NOW)
    trials = Trials(clock, all_well)
    assert drill(staging, replace(CONFIG, limit_seconds=25), ["vault"], trials, clock).drill.proven == 2
    assert drill(staging, replace(CONFIG, limit_bytes=20_000), ["vault"], trials, clock).drill.proven == 2
    full = drill(staging, replace(CONFIG, reserve_bytes=1 << 60), ["vault"], trials, clock)
    assert {one.error for one in full.proofs} == {"there is no room for it in the scratch directory"}


LARGE = MailboxSizes(
    run=run_id(1),
    folders=(
        FolderSizes(
            name="INBOX",
            uidvalidity=5,
            sizes=tuple((b"%010d" % uid, 1000) for uid in range(1, 10)),
        ),
        FolderSizes(name="Sent", uidvalidity=6, sizes=()),
    ),
)


def _proven(proof: Proof) -> datetime:
    assert proof.proven is not None
    return proof.proven


def test_what_is_too_large_is_proven_in_parts_one_in_a_night(staging: Path) -> None:
    """All are of nine messages, of 1000 bytes, and 4000 are restored at once: in pieces of two messages."""
    clock = SetClock(NOW)
    taken: list[str | None] = []
    config = replace(CONFIG, limit_bytes=8000)

    def portions(
        path: LogicalPath,
        at: str,
        turn: Sequence[str],
        directory: Path,
        on_progress: ProgressSink,
        portion: Portion | None = None,
    ) -> Trial:
        assert portion is not None
        taken.append(path.user)
        runs = [one for one in portion.runs if one.folder == "INBOX"]
        messages = sum(run.holds(key) for run in runs for key, _ in LARGE.folders[0].sizes)
        return Trial(outcome="proven", run=run_id(1), place=turn[0], messages=messages, size_bytes=4000)

    for night in range(1, 1 + 3 * len(USERS)):
        done = drill(staging, config, ["vault"], portions, clock, measure=lambda _path, _at: LARGE)
        assert (done.drill.proven, done.drill.failed, done.drill.untried) == (1, 0, 0)
        clock.passes(86_400)
        whole = [one for one in Proofs(staging).all() if one.proven is not None]
        assert (len(whole) > 0) == (night > 2 * len(USERS))
    assert len(set(taken[: len(USERS)])) == len(USERS), "they take turns"
    first, *_ = whole
    times = [one.proven for one in Proofs(staging).parts(first.mailbox) if one.proven]
    assert (first.parts, first.parts_proven, first.proven) == (7, 7, min(times))
    (share,) = shares(staging, clock.time)
    assert share.ever == len(whole) == len(USERS)
    assert share.proven == sum(one >= clock.time - PROVEN_WITHIN for one in map(_proven, whole))


def test_a_part_that_fails_is_told_until_it_is_mended_and_keeps_no_other_out(staging: Path) -> None:
    clock, broken = SetClock(NOW), {b"": Skipped("/primary/user/u03/INBOX/2", "damaged", "a block")}
    config, alone = replace(CONFIG, limit_bytes=8000), [LogicalPath.parse("/primary/user/u03")]
    places: list[tuple[bytes, str]] = []

    def portions(
        path: LogicalPath,
        at: str,
        turn: Sequence[str],
        directory: Path,
        on_progress: ProgressSink,
        portion: Portion | None = None,
    ) -> Trial:
        assert portion is not None
        runs = [one for one in portion.runs if one.folder == "INBOX"]
        lacks = tuple(broken[one.first] for one in runs if one.first in broken and turn[0] == "vault")
        places.extend((one.first, turn[0]) for one in runs)
        messages = sum(run.holds(key) for run in runs for key, _ in LARGE.folders[0].sizes)
        outcome: Outcome = "failed" if lacks else "proven"
        return Trial(outcome=outcome, run=run_id(1), place=turn[0], messages=messages, lacks=lacks)

    def night() -> Proof:
        done = drill(
            staging, config, ["vault", "ceph"], portions, clock, alone, measure=lambda _path, _at: LARGE
        )
        tell_people(staging, done, clock.time)
        clock.passes(86_400)
        (proof,) = Proofs(staging).all()
        return proof

    for _ in range(12):
        found = night()
        assert (found.outcome, found.lacks) == ("failed", (broken[b""],))
    assert {place for first, place in places if not first} == {"vault"}, "another place mends nothing there"
    assert (found.parts, found.parts_proven) == (7, 6)
    assert found.proven is None
    for first in {first for first, _ in places if first}:
        assert {place for key, place in places if key == first} == {"vault", "ceph"}
    (standing,) = NoticeRecord(staging).lasting()
    assert "/primary/user/u03/INBOX/2" in "\n".join(standing.notice.lines)
    broken.clear()
    night()
    found = night()
    assert (found.outcome, found.lacks, found.parts_proven) == ("proven", (), 7)
    assert NoticeRecord(staging).lasting() == ()


def test_a_message_that_is_too_large_is_said_and_the_others_are_proven(staging: Path) -> None:
    clock = SetClock(NOW)
    huge = FolderSizes(name="Huge", uidvalidity=7, sizes=((b"%010d" % 1, 5000),))
    sizes = replace(LARGE, folders=(*LARGE.folders, huge))
    config, alone = replace(CONFIG, limit_bytes=8000), [LogicalPath.parse("/primary/user/u03")]
    trials = Trials(clock, lambda *_: Trial(outcome="proven", run=run_id(0), place="vault"))
    for _ in range(3):
        drill(staging, config, ["vault"], trials, clock, alone, measure=lambda _path, _at: sizes)
    (found,) = Proofs(staging).all()
    assert (found.outcome, found.parts, found.parts_proven, found.proven) == ("proven", 8, 7, None)
    only = replace(LARGE, folders=(huge,))
    Proofs(staging).forget([found.mailbox])
    for _ in range(2):
        drill(staging, config, ["vault"], trials, clock, alone, measure=lambda _path, _at: only)
    full = replace(config, reserve_bytes=1 << 60)
    done = drill(staging, full, ["vault"], trials, clock, alone, measure=lambda _path, _at: sizes)
    assert done.proofs[0].error == "there is no room for it in the scratch directory"


def test_what_can_not_be_tried_keeps_nobody_out(staging: Path) -> None:
    clock = SetClock(NOW)
    sick = set(USERS[:8])

    def shows(user: str, place: str) -> Trial | None:
        return Trial(outcome="untried", run=run_id(1), place=place, error="sick") if user in sick else None

    trials = Trials(clock, shows)
    for _ in range(6):
        before = len(trials.calls)
        drill(staging, CONFIG, ["vault"], trials, clock)
        assert len(trials.calls) - before <= 2 * CONFIG.sample.mailboxes
        clock.passes(86_400)
    known = {proof.user: proof.outcome for proof in Proofs(staging).all()}
    assert known == {user: "untried" if user in sick else "proven" for user in USERS}


def test_a_full_scratch_directory_is_no_damage(staging: Path) -> None:
    clock = SetClock(NOW)
    trials = Trials(clock, lambda _user, _place: TargetFullError("no space"))
    done = drill(staging, CONFIG, ["vault"], trials, clock)
    assert (done.drill.failed, done.drill.untried) == (0, 4)


def test_a_drill_that_was_killed_loses_one_mailbox_and_the_next_has_what_is_left(staging: Path) -> None:
    clock = SetClock(NOW)
    trials = Trials(clock, all_well)

    class KilledError(BaseException):
        pass

    class Dying(Trials):
        def __call__(self, *arguments: object, **more: object) -> Trial:
            if len(self.calls) == 3:
                raise KilledError
            return super().__call__(*arguments, **more)  # type: ignore[arg-type]

    dying = Dying(clock, all_well)
    with pytest.raises(KilledError):
        drill(staging, CONFIG, ["vault"], dying, clock)
    assert len(Proofs(staging).all()) == 3
    (died,) = Proofs(staging).drills(9)
    assert (died.state, died.proven) == ("interrupted", 3)
    # As a kill leaves it: nobody was there to say that it ended.
    proofs = Proofs(staging)
    with writing(staging) as database:
        database.execute("UPDATE drills SET state = 'running', ended = NULL")
    done = drill(staging, CONFIG, ["vault"], trials, clock)
    assert done.drill.proven == 1
    assert not {user for user, *_ in trials.calls} & {user for user, *_ in dying.calls}
    assert [one.state for one in proofs.drills(9)] == ["done", "interrupted"]


def killed(
    staging: Path, shows: Callable[[str, str], Trial | Exception | None], clock: SetClock
) -> list[str]:
    """A drill that a mailbox kills, for which it shows a SystemExit; who was tried, up to that. Its record is
    left as a kill leaves it."""
    trials = Trials(clock, shows)

    def dying(*arguments: object, **more: object) -> Trial:
        shown = trials(*arguments, **more)  # type: ignore[arg-type]
        if shown.error == "killed":
            shutil.copytree(staging / ".mailhaul", staging / "as it was")
            raise SystemExit
        return shown

    try:
        with suppress(SystemExit):
            drill(staging, CONFIG, ["vault"], dying, clock)
    finally:
        if (staging / "as it was").exists():
            shutil.rmtree(staging / ".mailhaul")
            (staging / "as it was").rename(staging / ".mailhaul")
    return [user for user, *_ in trials.calls]


KILLED = Trial(outcome="untried", run=run_id(1), place="vault", error="killed")


@pytest.mark.parametrize("before", ["never tried", "failed"])
def test_a_mailbox_that_ends_drills_by_force_waits_for_its_turn_and_is_told(
    staging: Path, before: str
) -> None:
    clock, lack = SetClock(NOW), Skipped("/primary/user/u03/INBOX/7", "damaged", "a block")
    sick = Trial(outcome="failed", run=run_id(1), place="vault", lacks=(lack,))
    if before == "failed":
        alone = [LogicalPath.parse("/primary/user/u03")]
        drill(staging, CONFIG, ["vault"], Trials(clock, lambda *_: sick), clock, alone)
        clock.passes(86_400)

    def shows(user: str, _place: str) -> Trial | None:
        return KILLED if user == "u03" else None

    tried: list[str] = []
    for _ in range(16):
        tried += killed(staging, shows, clock)
        tell_of_ends(staging, clock.time)
        clock.passes(3600)
    turns = [number for number, user in enumerate(tried) if user == "u03"]
    assert len(turns) >= 3
    for one, another in pairwise(turns):
        assert set(tried[one:another]) == set(USERS), "all others have their turn before it has the next"
    with one_drill(staging):
        proof = Proofs(staging).of(("primary", "user", "u03"))
    assert proof is not None
    assert (proof.deaths, proof.outcome) == (len(turns), "failed" if before == "failed" else "untried")
    assert proof.lacks == ((lack,) if before == "failed" else ())
    told = {standing.notice.cause: standing.notice for standing in NoticeRecord(staging).lasting()}
    assert list(told) == ["drill-failed:ends:/primary/user/u03"]
    alone = [LogicalPath.parse("/primary/user/u03")]
    tell_people(staging, drill(staging, CONFIG, ["vault"], Trials(clock, all_well), clock, alone), clock.time)
    assert NoticeRecord(staging).lasting() == ()
    proof = Proofs(staging).of(("primary", "user", "u03"))
    assert proof is not None
    assert (proof.deaths, proof.outcome, proof.proven) == (0, "proven", clock.time)


def test_a_drill_that_ends_in_order_is_not_held_against_the_mailbox_that_it_was_at(staging: Path) -> None:
    clock = SetClock(NOW)

    def stopped(*_: object, **_more: object) -> Trial:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drill(staging, CONFIG, ["vault"], stopped, clock)
    with one_drill(staging):
        assert Proofs(staging).all() == ()


def test_earlier_moments_are_no_proof_of_the_newest(staging: Path) -> None:
    clock = SetClock(NOW)
    trials = Trials(clock, all_well)
    config = replace(CONFIG, sample=replace(CONFIG.sample, mailboxes=12, older=1.0, random=0.5))
    drill(staging, config, ["vault"], trials, clock)
    before = {one.user: one.proven for one in Proofs(staging).all()}
    clock.passes(86_400)
    mark = len(trials.calls)
    drill(staging, config, ["vault"], trials, clock)
    earlier = {user for user, at, _ in trials.calls[mark:] if at == run_id(0)}
    assert earlier
    for proof in Proofs(staging).all():
        assert (proof.proven == before[proof.user]) == (proof.user in earlier)


def test_paths_and_mailboxes_that_are_gone(staging: Path) -> None:
    clock = SetClock(NOW)
    trials = Trials(clock, all_well)
    config = replace(CONFIG, sample=replace(CONFIG.sample, mailboxes=20))
    drill(staging, config, ["vault"], trials, clock, [LogicalPath.parse("/primary/user/u05")])
    assert [user for user, *_ in trials.calls] == ["u05"]
    drill(staging, config, ["vault"], trials, clock)
    with Catalog.open(staging, write=True) as catalog:
        commit(catalog, 2, unit(2, users=USERS[1:], departed=("u00",)))
    drill(staging, config, ["vault"], trials, clock)
    assert {proof.user for proof in Proofs(staging).all()} == set(USERS[1:])
    with pytest.raises(NotFoundError):
        drill(staging, config, ["vault"], trials, clock, [LogicalPath.parse("/primary/other")])


def test_one_drill_at_a_time(staging: Path) -> None:
    clock = SetClock(NOW)

    def again(_user: str, _place: str) -> None:
        with pytest.raises(LockedError):
            drill(staging, CONFIG, ["vault"], Trials(clock, all_well), clock)

    assert drill(staging, CONFIG, ["vault"], Trials(clock, again), clock).drill.proven == 4
    assert clock.time - NOW == timedelta(seconds=40)


def test_a_mailbox_that_meets_a_fault_of_ours_keeps_nobody_out(staging: Path) -> None:
    clock = SetClock(NOW)
    trials = Trials(clock, lambda user, _: KeyError("ours") if user == USERS[0] else None)
    for _ in range(8):
        drill(staging, CONFIG, ["vault"], trials, clock)
        clock.passes(86_400)
    found = {proof.user: (proof.outcome, proof.error) for proof in Proofs(staging).all()}
    assert found[USERS[0]] == ("untried", "KeyError: 'ours'; this is a bug")
    assert {outcome for outcome, _ in found.values()} == {"untried", "proven"}
    assert len(found) == len(USERS)


def test_damage_at_a_place_that_is_away_now_is_not_mended_by_another(staging: Path) -> None:
    clock = SetClock(NOW)
    lost = Skipped("/p/staff/u00/INBOX/1", "damaged", "x")
    sick = Trial(outcome="failed", run=run_id(1), place="vault", lacks=(lost,))
    config = replace(CONFIG, sample=SampleRules(mailboxes=12, random=0.0))
    trials = Trials(clock, lambda user, _: sick if user < "u03" else None)
    drill(staging, config, ["vault", "ceph"], trials, clock)
    clock.passes(86_400)
    done = drill(staging, config, ["vault", "ceph"], Trials(clock, away("vault")), clock)
    assert done.away == {"vault": "not there"}
    assert {proof.user for proof in Proofs(staging).all() if proof.outcome == "failed"} == {
        "u00",
        "u01",
        "u02",
    }
