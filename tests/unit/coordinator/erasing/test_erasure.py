"""Erasures of chains of archives: of whom was erased no byte is left, and all others are as they were."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.dispatch.local import local_engine
from mailhaul.coordinator.erasing.copies import look_again
from mailhaul.coordinator.erasing.erasure import erase, go_on, rehearse
from mailhaul.coordinator.erasing.progress import read_progress
from mailhaul.coordinator.erasing.record import erased_mailboxes, read_erasures
from mailhaul.coordinator.erasing.report import ErasureMeans
from mailhaul.coordinator.holds import Hold, add_hold, read_holds
from mailhaul.coordinator.purging.purge import purge
from mailhaul.coordinator.purging.report import PurgeRequest
from mailhaul.coordinator.rebuilding import rebuild_catalog
from mailhaul.coordinator.retention import RetentionRules
from mailhaul.coordinator.settings import SweepRules
from mailhaul.coordinator.sweeping.locks import sweeping
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import HeldError, LockedError, NotFoundError
from mailhaul.proto.records import RunId

from ....locking import bucket, locking_store
from ....plain_bytes import plain_bytes
from ....staged_chains import StagedChain, State
from ....sweeping import Swept, SweptChain, directory

HERE = local_engine(0)
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def erased(staging: Path, user: str = "jane") -> RunId:
    plan = rehearse(staging, user, ErasureMeans(), NOW, HERE)
    erasure = erase(staging, plan, "request 17", ErasureMeans(), NOW, HERE)
    look_again(staging, (), NOW)
    return erasure


def mark(user: str, number: int) -> bytes:
    """Text that stands in one message of a user and nowhere else."""
    return b"{%s:%d}" % (user.encode(), number)


def mail(rng: random.Random, user: str, number: int, size: int = 2000) -> bytes:
    return b"Subject: %s\n\n%s%s" % (mark(user, number), mark(user, number) * 3, rng.randbytes(size))


@pytest.fixture
def chain(tmp_path: Path) -> StagedChain:
    return StagedChain(tmp_path)


def three_nights(chain: StagedChain) -> bytes:
    """Mail of three users; returns a message that all of them have."""
    rng = random.Random(1)
    shared = b"Subject: to all\n\n{shared}" + rng.randbytes(3000)
    state: State = {user: {"INBOX": (shared,)} for user in ("jane", "john", "mary")}
    for night in range(3):
        for user in ("jane", "john"):
            more = tuple(mail(rng, user, 10 * night + number) for number in range(3))
            state[user] = {"INBOX": (*state[user]["INBOX"][night % 2 :], *more)}
        chain.run(state)
    return shared


def check_others(chain: StagedChain, user: str = "jane") -> None:
    for run, state in chain.moments.items():
        assert chain.read(run) == {name: mail for name, mail in state.items() if name != user}


def test_no_byte_is_left_and_all_others_are_as_they_were(chain: StagedChain) -> None:
    three_nights(chain)
    assert b"{jane:" in plain_bytes(chain.staging)
    erasure = erased(chain.staging)
    left = plain_bytes(chain.staging)
    assert b"jane" not in left
    assert b"{john:20}" in left
    assert b"{shared}" in left
    check_others(chain)
    progress = read_progress(chain.staging, erasure)
    assert (progress.state, progress.undone, progress.remaining) == ("done", (), ())
    with pytest.raises(NotFoundError):
        rehearse(chain.staging, "jane", ErasureMeans(), NOW, HERE)
    document = json.loads((chain.staging / "_erasures" / f"{erasure}.done.json").read_bytes())
    assert document["state"] == "done"
    assert "jane" not in json.dumps(document)


def test_data_that_a_purge_left_without_a_name_goes_too(chain: StagedChain) -> None:
    """Of the first run nothing tells any more, but its archive has data of all three."""
    rng = random.Random(2)
    old = {user: tuple(mail(rng, user, number, 6000) for number in range(4)) for user in ("jane", "john")}
    chain.run({user: {"INBOX": messages} for user, messages in old.items()})
    chain.run({"jane": {"INBOX": old["jane"][2:]}, "john": {"INBOX": old["john"]}})
    chain.run({"jane": {"INBOX": ()}, "john": {"INBOX": old["john"]}})
    rules = RetentionRules(last=1)
    purge(chain.staging, PurgeRequest(path=LogicalPath(), rules_of=lambda _: rules, compact_below=0.1), HERE)
    assert mark("jane", 3) in plain_bytes(chain.staging)
    erased(chain.staging)
    assert b"jane" not in plain_bytes(chain.staging)
    assert chain.read(max(chain.moments)) == {"john": {"INBOX": old["john"]}}


def test_the_plan_says_what_is_shared(chain: StagedChain) -> None:
    shared = three_nights(chain)
    plan = rehearse(chain.staging, "jane", ErasureMeans(), NOW, HERE)
    assert plan.shared_bytes == len(shared)
    assert {compaction.record.run for compaction in plan.rewritten} | {
        record.run for record in plan.deleted
    } == set(chain.moments)
    assert [mailbox.user for mailbox in plan.whom.present] == ["jane"]
    assert b"{jane:" in plain_bytes(chain.staging), "nothing has changed"
    assert read_erasures(chain.staging) == ()


@pytest.mark.parametrize("what", ["/primary/user/jane", "/primary", "run"])
def test_what_is_held_is_not_erased(chain: StagedChain, what: str) -> None:
    three_nights(chain)
    held = {"run": max(chain.moments)} if what == "run" else {"path": what}
    add_hold(chain.staging, Hold(**held, reason="case 42", since=NOW))
    with pytest.raises(HeldError, match="case 42"):
        rehearse(chain.staging, "jane", ErasureMeans(), NOW, HERE)
    assert b"{jane:" in plain_bytes(chain.staging)


def test_a_moment_of_which_only_the_erased_told_stays_for_the_others(chain: StagedChain) -> None:
    rng = random.Random(3)
    chain.run({user: {"INBOX": (mail(rng, user, 1),)} for user in ("jane", "john")})
    chain.run({"jane": {"INBOX": (mail(rng, "jane", 2),)}})
    erased(chain.staging)
    check_others(chain)
    rebuild_catalog(chain.staging, every_archive=True)
    check_others(chain)


def test_nothing_comes_back_from_an_old_copy(
    chain: StagedChain, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Archives, snapshots and the catalog of before are put beside what is there, and all is made anew."""
    three_nights(chain)
    files = [path for path in chain.staging.rglob("*") if path.is_file()]
    old = {path: path.read_bytes() for path in files if path.suffix in (".mha", ".gz", ".mhr")}
    catalog = (chain.staging / ".mailhaul" / "catalog.sqlite").read_bytes()
    erased(chain.staging)
    for path, data in old.items():
        path.write_bytes(data)
    (chain.staging / ".mailhaul" / "catalog.sqlite").write_bytes(catalog)
    rebuild_catalog(chain.staging, every_archive=True)
    with Catalog.open(chain.staging) as rebuilt:
        assert not any(history.user == "jane" for history in rebuilt.histories())
    check_others(chain)
    assert read_progress(chain.staging, read_erasures(chain.staging)[0].erasure).state == "begun"
    go_on(chain.staging, ErasureMeans(), NOW, HERE)
    look_again(chain.staging, (), NOW)
    assert b"jane" not in plain_bytes(chain.staging)
    check_others(chain)


def test_while_a_sweep_goes_on_nothing_is_erased(tmp_path: Path) -> None:
    """What it is putting just now nobody would know of."""
    chain = StagedChain(tmp_path / "staging")
    three_nights(chain)
    means = ErasureMeans(destinations=(directory(tmp_path, "vault"),))
    plan = rehearse(chain.staging, "jane", means, NOW, HERE)
    with sweeping(chain.staging, "vault"), pytest.raises(LockedError, match="sweep"):
        erase(chain.staging, plan, "17", means, NOW, HERE)
    assert read_erasures(chain.staging) == ()
    erase(chain.staging, plan, "17", means, NOW, HERE)
    check_others(chain)


def test_what_a_restore_held_goes_with_it(chain: StagedChain) -> None:
    three_nights(chain)
    held = Hold(path="/primary/user/jane", restore="20260804T020000Z-0001", since=NOW)
    add_hold(chain.staging, held)
    erased(chain.staging)
    assert read_holds(chain.staging).all == ()
    assert b"jane" not in plain_bytes(chain.staging)


def test_a_locked_copy_is_due_until_its_lock_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = SweptChain(tmp_path / "staging")
    chain.destinations = (bucket(tmp_path, "cloud"),)
    swept = Swept(chain, chain.destinations, SweepRules(copies=("cloud",)), look_again_seconds=0)
    store = locking_store(monkeypatch, lambda: swept.now)
    three_nights(chain)
    swept.sweep()
    ends = {copy.locked_until for copy in store.archives("cloud").values()}
    means = ErasureMeans(destinations=chain.destinations)
    plan = rehearse(chain.staging, "jane", means, swept.now, HERE)
    assert [(copies.place, copies.copies, copies.locked) for copies in plan.copies] == [("cloud", 3, 3)]
    assert plan.copies[0].until == max(filter(None, ends))
    erasure = erase(chain.staging, plan, "17", means, swept.now, HERE)
    old = set(store.archives("cloud"))
    for _ in range(2):
        swept.sweep()
        look_again(chain.staging, chain.destinations, swept.now)
        progress = read_progress(chain.staging, erasure)
        assert progress.state == "due"
        due = {remaining.name: remaining.until for remaining in progress.remaining}
        assert old <= due.keys()
        assert {due[name] for name in old} == ends
        check_others(chain)
        swept.now += timedelta(days=1)
    swept.now = max(filter(None, due.values())) + timedelta(days=1)
    swept.sweep()
    look_again(chain.staging, chain.destinations, swept.now)
    assert read_progress(chain.staging, erasure).state == "done"
    assert not old & set(store.archives("cloud"))
    check_others(chain)


def test_a_mailbox_of_the_same_name_is_another_one_afterwards(chain: StagedChain) -> None:
    three_nights(chain)
    erasure = erased(chain.staging)
    rng = random.Random(4)
    chain.days_off = 120
    chain.forget("jane")
    new = {"INBOX": (mail(rng, "jane", 99),)}
    run = chain.run({"jane": new})
    assert erasure < run
    assert chain.read(run)["jane"] == new
    rebuild_catalog(chain.staging, every_archive=True)
    assert chain.read(run)["jane"] == new
    go_on(chain.staging, ErasureMeans(), NOW, HERE)
    assert chain.read(run)["jane"] == new
    assert erased_mailboxes(chain.staging).holds(
        "primary", "jane", max(r for r in chain.moments if r < erasure)
    )
