"""A mailbox is really restored from a copy, and compared: what is whole is proven, what is not is named."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.drills import trial
from mailhaul.coordinator.drills.parts import Part, cut, lacking_in, portion_of
from mailhaul.coordinator.drills.trial import Trial
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.ports import ProgressSink
from mailhaul.tests.archives import frames_of
from mailhaul.tests.drilling import real_sizes, real_trials
from mailhaul.tests.staged_chains import StagedChain
from mailhaul.tests.swept import copy_out, free, vault
from mailhaul.worker import load
from mailhaul.worker.load import LoadLimits, shared
from mailhaul.worker.load.budget import Budget
from mailhaul.worker.load.share import write_share
from mailhaul.worker.portion import Portion
from mailhaul.worker.tasks.proving import ProofTask, run_proof

JANE, JOE = LogicalPath("primary", "user", "jane"), LogicalPath("primary", "user", "joe")


def mail(user: str, count: int) -> dict[str, tuple[bytes, ...]]:
    return {
        "INBOX": tuple(b"Subject: %d\n\n%s has it\n" % (one, user.encode()) for one in range(count)),
        "Sent": (b"Subject: sent\n\n" + user.encode() * 1000 + b"\n",),
    }


class Place:
    """Two nights of two mailboxes, swept to two places, and nothing in the staging area."""

    def __init__(self, root: Path, *, swept: bool = True) -> None:
        self.root = root
        self.chain = StagedChain(root / "staging")
        self.chain.run({"jane": mail("jane", 3), "joe": mail("joe", 2)})
        self.chain.run({"jane": mail("jane", 5), "joe": mail("joe", 2)})
        self.destinations = [vault(root / name, name) for name in ("vault", "ceph")]
        if swept:
            copy_out(self.chain.staging, *self.destinations)
            free(self.chain.staging)
        self.trials = real_trials(self.chain.staging, self.destinations)

    def attempt(
        self, path: LogicalPath = JANE, at: str = "latest", *turn: str, portion: Portion | None = None
    ) -> Trial:
        directory = self.root / "scratch"
        directory.mkdir()
        try:
            return self.trials(path, at, turn or ("vault", "ceph"), directory, lambda _: None, portion)
        finally:
            # What is left there is the business of the drill.
            directory.rename(self.root / f"done {len(list(self.root.iterdir()))}")

    def archives(self, name: str = "vault") -> list[Path]:
        return sorted((self.root / name).glob("primary/**/*.mha"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def flip(file: Path, at: int) -> None:
    """A byte is another, and size and time stay."""
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def damage(file: Path, kind: FrameType) -> None:
    """Damage all frames of a kind."""
    for frame in frames_of(file.read_bytes(), kind):
        flip(file, frame.at + 40)


def test_a_mailbox_is_proven_from_its_copy(place: Place) -> None:
    found = place.attempt()
    assert (found.outcome, found.place, found.lacks, found.error) == ("proven", "vault", (), "")
    assert found.messages == 6
    assert found.size_bytes == sum(len(one) for folder in mail("jane", 5).values() for one in folder)
    assert place.attempt(JOE, "latest", "ceph", "vault").place == "ceph"


def test_an_earlier_moment(place: Place) -> None:
    first = min(place.chain.moments)
    found = place.attempt(JANE, first)
    assert (found.outcome, found.run, found.messages) == ("proven", first, 4)


def test_a_run_that_ends_meanwhile_makes_nothing_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it stored is newer, and lies at no place yet."""
    place = Place(tmp_path, swept=False)
    copy_out(place.chain.staging, *place.destinations)
    chosen = trial._place

    def choose(*known: Any) -> str:
        name = chosen(*known)
        place.chain.run({"jane": mail("jane", 9), "joe": mail("joe", 2)})
        return name

    monkeypatch.setattr(trial, "_place", choose)
    before = max(place.chain.moments)
    found = place.attempt()
    assert (found.outcome, found.run, found.place, found.lacks) == ("proven", before, "vault", ())
    assert found.messages == 6


def test_what_is_not_swept_is_proven_from_the_staging_area(tmp_path: Path) -> None:
    place = Place(tmp_path, swept=False)
    found = place.attempt()
    assert (found.outcome, found.place, found.messages) == ("proven", "staging", 6)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: damage(file, FrameType.BLOCK), ""),
        (lambda file: damage(file, FrameType.MAILBOX), "metadata"),
        (lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]), ""),
        (lambda file: file.write_bytes(bytes(file.stat().st_size)), ""),
        (lambda file: file.unlink(), ""),
    ],
    ids=["data", "metadata", "cut", "zeros", "gone"],
)
def test_silent_damage_is_found_and_named(place: Place, spoil: Callable[[Path], None], reason: str) -> None:
    for file in place.archives():
        spoil(file)
    found = place.attempt()
    assert (found.outcome, found.place, found.away) == ("failed", "vault", "")
    assert found.lacks
    assert all(lack.path.startswith(str(JANE)) for lack in found.lacks)
    assert not reason or {skip.reason for skip in found.lacks} == {reason}
    assert place.attempt(JANE, "latest", "ceph").outcome == "proven"


def test_damage_that_others_have_is_none(place: Place) -> None:
    """Each has a block of its own messages; those of jane that came in the second night are damaged."""
    _, second = place.archives()
    damage(second, FrameType.BLOCK)
    found = place.attempt()
    assert {lack.path for lack in found.lacks} == {f"{JANE}/INBOX/4", f"{JANE}/INBOX/5"}
    assert found.messages == 6
    assert place.attempt(JOE).outcome == "proven"


def test_an_archive_of_somebody_else_under_the_name_of_ours_is_found(place: Place) -> None:
    first, second = place.archives()
    first.write_bytes(second.read_bytes())
    assert place.attempt().outcome == "failed"


def test_a_place_that_is_away_is_no_damage(place: Place) -> None:
    (place.root / "vault").rename(place.root / "away")
    found = place.attempt()
    assert (found.outcome, found.away, found.lacks) == ("untried", "vault", ())
    assert "there is no directory" in found.error


def parts_of(place: Place) -> list[Part]:
    """jane's mailbox in parts: messages of some bytes each, two of which are restored at once."""
    measured = real_sizes(place.chain.staging, place.destinations)(JANE, "latest")
    most = 2 * max(size for one in measured.folders if one.name == "INBOX" for _, size in one.sizes)
    return [one for one in cut(measured, (), most) if one.messages]


def test_parts_are_proven_each_and_together_they_are_the_mailbox(place: Place) -> None:
    parts = parts_of(place)
    assert len(parts) >= 4
    found = [place.attempt(JANE, "latest", portion=portion_of([one])) for one in parts]
    assert {one.outcome for one in found} == {"proven"}
    assert [one.messages for one in found] == [one.messages for one in parts]
    assert sum(one.messages for one in found) == 6
    assert sum(one.size_bytes for one in found) == place.attempt().size_bytes
    some = place.attempt(JANE, "latest", portion=portion_of(parts[1:3]))
    assert (some.outcome, some.messages) == ("proven", sum(one.messages for one in parts[1:3]))


def test_damage_is_found_in_the_part_that_it_is_in(place: Place) -> None:
    _, second = place.archives()
    damage(second, FrameType.BLOCK)
    parts = parts_of(place)
    found = {one: place.attempt(JANE, "latest", portion=portion_of([one])) for one in parts}
    lacks = {lack.path for one in found.values() for lack in one.lacks}
    assert lacks == {f"{JANE}/INBOX/4", f"{JANE}/INBOX/5"}
    for part, shown in found.items():
        assert [some != () for some in lacking_in([part], shown.lacks)] == [shown.outcome == "failed"]
    assert {one.outcome for one in found.values()} == {"proven", "failed"}


def test_damage_is_told_also_where_no_server_can_be_asked(place: Place) -> None:
    place.trials = real_trials(place.chain.staging, place.destinations, ("/nowhere/doveadm",))
    whole = place.attempt()
    assert (whole.outcome, whole.lacks) == ("untried", ())
    assert "/nowhere/doveadm" in whole.error
    for archive in place.archives():
        damage(archive, FrameType.BLOCK)
    found = place.attempt()
    assert found.outcome == "failed"
    assert found.lacks


def test_a_small_mailbox_keeps_to_the_share_of_the_host_restored_and_compared(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By a clock on which each step takes longer than a worker works without a rest.
    ticks = count(0, 20_000_000)
    naps: list[float] = []
    monkeypatch.setattr(load, "Budget", partial(Budget, clock=ticks.__next__, sleep=naps.append))
    monkeypatch.setattr(shared, "_PLACES", (tmp_path,))
    write_share("", "ours", 0.25, valid_seconds=3600.0, clock=lambda: 0)
    restored: list[int] = []

    def proof(task: ProofTask, progress: ProgressSink) -> object:
        restored.append(len(naps))
        return run_proof(task, progress)

    monkeypatch.setattr(trial, "run_proof", proof)
    place.trials = real_trials(place.chain.staging, place.destinations, load=LoadLimits(governor="ours"))
    found = place.attempt()
    assert (found.outcome, found.messages) == ("proven", 6)
    (during_restore,) = restored
    assert during_restore >= 6
    assert len(naps) - during_restore >= 6
