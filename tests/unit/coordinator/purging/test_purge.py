"""Purges of chains of archives: what stays is there to the byte, what goes frees what was announced."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.holds import Hold, add_hold
from mailhaul.coordinator.lock import RunLock
from mailhaul.coordinator.purging.purge import purge, rehearse
from mailhaul.coordinator.purging.record import read_purged
from mailhaul.coordinator.purging.report import PurgeReport, PurgeRequest
from mailhaul.coordinator.readers import reading
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import LockedError, NotFoundError, UsageError
from mailhaul.proto.records import RunId

from ....staged_chains import STARTED, StagedChain, State

HERE = local_engine(0)


def keeping(last: int | None, path: str = "/", below: float = 0.5) -> PurgeRequest:
    return PurgeRequest(
        path=LogicalPath.parse(path), rules_of=lambda _: RetentionRules(last=last), compact_below=below
    )


def purged(chain: StagedChain, last: int | None = 1, **more: object) -> PurgeReport:
    return purge(chain.staging, keeping(last, **more), HERE)  # type: ignore[arg-type]


def mail(rng: random.Random, size: int = 3000) -> bytes:
    return b"Subject: %d\n\n" % rng.getrandbits(60) + rng.randbytes(size)


def churned(state: State, rng: random.Random) -> State:
    """The store a day later: mail comes and goes, in some mailboxes."""
    new: State = {}
    for user, folders in state.items():
        new[user] = dict(folders)
        if rng.random() < 0.5:
            continue
        for name, messages in folders.items():
            left = tuple(message for message in messages if rng.random() < 0.6)
            new[user][name] = left + tuple(mail(rng) for _ in range(rng.randrange(4)))
    return new


def check(chain: StagedChain, runs: list[RunId]) -> None:
    """These runs, and no others, can be restored, as they were."""
    with Catalog.open(chain.staging) as catalog:
        assert [moment.run for moment in catalog.moments("primary", chain.group)] == runs
    for run in chain.moments:
        if run in runs:
            assert chain.read(run) == chain.moments[run]
        else:
            with pytest.raises(NotFoundError):
                chain.read(run)


@pytest.fixture
def chain(tmp_path: Path) -> StagedChain:
    return StagedChain(tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_kept_moments_stay_whole_through_many_purges(chain: StagedChain, seed: int) -> None:
    rng = random.Random(seed)
    state: State = {
        f"user{i}": {"INBOX": tuple(mail(rng) for _ in range(8)), "Sent": (mail(rng),)} for i in range(4)
    }
    compacted = 0
    for _ in range(10):
        chain.run(state)
        announced = rehearse(chain.staging, keeping(3), HERE)
        before = chain.size_bytes()
        report = purged(chain, 3)
        assert report == announced
        assert before - chain.size_bytes() == report.free_bytes
        check(chain, list(chain.moments)[-3:])
        compacted += len(report.compacted)
        again = purged(chain, 3)
        assert (again.versions, again.deleted, again.compacted) == (0, (), ())
        state = churned(state, rng)
    assert compacted


def test_a_dry_run_changes_nothing(chain: StagedChain) -> None:
    rng = random.Random(1)
    for _ in range(3):
        chain.run({"jane": {"INBOX": (mail(rng),)}})
    files = {path: path.read_bytes() for path in chain.staging.rglob("*.mha")}
    report = rehearse(chain.staging, keeping(1), HERE)
    assert len(report.deleted) == 2
    assert {path: path.read_bytes() for path in chain.staging.rglob("*.mha")} == files
    assert not (chain.staging / ".mailhaul" / "purged.jsonl").exists()
    check(chain, list(chain.moments))


def test_without_rules_everything_stays(chain: StagedChain) -> None:
    rng = random.Random(1)
    for _ in range(3):
        chain.run({"jane": {"INBOX": (mail(rng),)}})
    report = purged(chain, None)
    assert (report.free_bytes, report.versions) == (0, 0)
    check(chain, list(chain.moments))


def test_data_of_an_old_archive_stays_where_it_is_needed(chain: StagedChain) -> None:
    """Of the first archive a tenth is still needed: that stays under its positions, the rest is a hole."""
    rng = random.Random(2)
    first = tuple(mail(rng, 20_000) for _ in range(40))
    chain.run({"jane": {"INBOX": first}})
    (old,) = chain.files()
    last = chain.run({"jane": {"INBOX": first[::10]}})
    report = purged(chain)
    assert [compacted.file for compacted in report.compacted] == [old]
    assert report.compacted[0].new_file == old.replace(".mha", ".g1.mha")
    assert report.compacted[0].new_bytes < 5 * 20_000
    assert old not in chain.files()
    check(chain, [last])
    archive = chain.archive(report.compacted[0].new_file)
    assert archive.header.generation == 1
    assert archive.directory.mailboxes == ()
    archive.file.close()
    with Catalog.open(chain.staging) as catalog:
        record = catalog.archive(archive.header.archive)
    assert (record.generation, record.holes) == (1, archive.directory.holes)

    # A tenth of that tenth: the same archive once more.
    last = chain.run({"jane": {"INBOX": first[:1]}})
    report = purged(chain)
    assert [one.new_file for one in report.compacted] == [old.replace(".mha", ".g2.mha")]
    check(chain, [last])
    last = chain.run({"jane": {"INBOX": ()}})
    assert len(purged(chain).deleted) == 2
    check(chain, [last])


def test_an_unchanged_run_is_a_moment_of_its_own(chain: StagedChain) -> None:
    rng = random.Random(3)
    state = {"jane": {"INBOX": (mail(rng),)}}
    chain.run({"jane": {"INBOX": (mail(rng),)}})
    chain.run(state)
    unchanged = chain.run(state)
    report = purged(chain)
    assert len(report.deleted) == 1
    check(chain, [unchanged])
    (scope,) = read_purged(chain.staging)
    assert scope.kept == scope.unchanged == (unchanged,)
    assert scope.forgotten == tuple(chain.moments)[:2]


def test_what_was_purged_stays_on_record(chain: StagedChain) -> None:
    rng = random.Random(3)
    for _ in range(4):
        chain.run({"jane": {"INBOX": (mail(rng),)}})
    purged(chain, 3)
    purged(chain, 1)
    (scope,) = read_purged(chain.staging)
    assert (scope.partition, scope.group) == ("primary", "user")
    assert (scope.kept, scope.forgotten) == (tuple(chain.moments)[3:], tuple(chain.moments)[:3])


def test_a_mailbox_that_is_gone_stays_until_its_last_moment_goes(chain: StagedChain) -> None:
    rng = random.Random(4)
    jane, john = {"INBOX": (mail(rng),)}, {"INBOX": (mail(rng),)}
    chain.run({"jane": jane, "john": john})
    chain.run({"jane": jane}, departed=["john"])
    chain.run({"jane": jane})
    purged(chain, 3)
    check(chain, list(chain.moments))
    purged(chain, 2)
    check(chain, list(chain.moments)[1:])
    with Catalog.open(chain.staging) as catalog:
        assert {history.user for history in catalog.histories() if not history.departed} == {"jane"}


def test_a_departure_outlasts_compaction_and_the_catalog(chain: StagedChain) -> None:
    rng = random.Random(4)
    john = {"INBOX": (mail(rng),)}
    chain.run({"jane": {"INBOX": (mail(rng), mail(rng))}, "john": john})
    chain.run({"jane": {"INBOX": (mail(rng), mail(rng))}}, departed=["john"])
    chain.run({"jane": {"INBOX": ()}})
    add_hold(chain.staging, Hold(run=min(chain.moments), since=STARTED))
    report = purged(chain, below=1.0)
    assert report.deleted, "the archive that told it first: a later one does"
    kept = [min(chain.moments), max(chain.moments)]
    check(chain, kept)
    rebuild_catalog(chain.staging)
    check(chain, kept)


def test_nothing_to_purge(chain: StagedChain) -> None:
    report = purged(chain)
    assert (report.scopes, report.free_bytes) == ((), 0)


def test_a_held_mailbox_keeps_all_its_versions(chain: StagedChain) -> None:
    rng = random.Random(5)
    for _ in range(4):
        chain.run({user: {"INBOX": (mail(rng),)} for user in ("jane", "john")})
    add_hold(chain.staging, Hold(path="/primary/user/jane", since=STARTED))
    report = purged(chain)
    assert report.versions == 3
    assert report.deleted == ()
    assert len(report.compacted) == 0  # half of each archive is jane's
    assert len(purged(chain, below=0.9).compacted) == 3
    with Catalog.open(chain.staging) as catalog:
        assert [history.run for history in catalog.histories(user="jane")] == list(chain.moments)
        assert [version.run for version in catalog.histories(user="john")] == list(chain.moments)[-1:]
    for run, state in chain.moments.items():
        if run != max(chain.moments):
            assert chain.read_user(run, "jane") == state["jane"]


def test_a_held_run_stays(chain: StagedChain) -> None:
    rng = random.Random(6)
    runs = [chain.run({"jane": {"INBOX": (mail(rng),)}}) for _ in range(4)]
    add_hold(chain.staging, Hold(run=runs[1], since=STARTED))
    report = purged(chain)
    (scope,) = report.scopes
    assert scope.kept == {runs[1]: ("hold",), runs[3]: ("last",)}
    check(chain, [runs[1], runs[3]])


def test_a_run_over_a_part_keeps_the_others_versions(chain: StagedChain) -> None:
    rng = random.Random(7)
    chain.run({user: {"INBOX": (mail(rng),)} for user in ("jane", "john")})
    part = chain.run({"jane": {"INBOX": (mail(rng),)}}, paths="/primary/user/jane")
    purged(chain)
    check(chain, list(chain.moments))
    whole = chain.run({user: {"INBOX": (mail(rng),)} for user in ("jane", "john")})
    purged(chain)
    check(chain, [whole])
    assert part not in {moment for moment in chain.moments if moment == whole}


def test_groups_are_purged_by_themselves(tmp_path: Path) -> None:
    rng = random.Random(8)
    users = StagedChain(tmp_path)
    users.run({"jane": {"INBOX": (mail(rng),)}})
    users.run({"jane": {"INBOX": (mail(rng),)}})
    report = purge(tmp_path, keeping(1, "/primary/user"), HERE)
    assert [scope.group for scope in report.scopes] == ["user"]
    with pytest.raises(NotFoundError, match="no such group"):
        purge(tmp_path, keeping(1, "/primary/sales"), HERE)
    with pytest.raises(UsageError, match="rules are those of groups"):
        purge(tmp_path, keeping(1, "/primary/user/jane"), HERE)


def test_a_run_that_goes_on_is_not_touched(chain: StagedChain) -> None:
    rng = random.Random(9)
    for _ in range(3):
        chain.run({"jane": {"INBOX": (mail(rng),)}})
    files = chain.files()
    with RunLock(chain.staging), pytest.raises(LockedError):
        purged(chain)
    assert chain.files() == files
    check(chain, list(chain.moments))
    with RunLock(chain.staging):
        assert len(rehearse(chain.staging, keeping(1), HERE).deleted) == 2


def test_who_reads_is_waited_for_and_the_next_purge_deletes(
    chain: StagedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailhaul.coordinator.purging.purge.PATIENCE_SECONDS", 0.1)
    rng = random.Random(10)
    first = tuple(mail(rng) for _ in range(10))
    for _ in range(2):
        chain.run({"jane": {"INBOX": (mail(rng),)}})
    chain.run({"jane": {"INBOX": first}})
    last = chain.run({"jane": {"INBOX": first[:2]}})
    files = chain.files()
    with reading(chain.staging):
        report = purged(chain)
    assert len(report.left) == 3
    assert files < chain.files()
    check(chain, [last])
    assert purged(chain).left == ()
    assert len(chain.files()) == 2
    check(chain, [last])


def test_a_catalog_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        purge(tmp_path, keeping(1), HERE)
    assert list(tmp_path.iterdir()) == []
