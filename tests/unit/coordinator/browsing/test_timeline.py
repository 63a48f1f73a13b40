"""Which version of a mailbox a moment shows, whatever groups it is in and whatever was purged."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.coordinator.browsing.timeline import Timeline, differs, timelines
from mailhaul.coordinator.history import Version
from mailhaul.proto.records import ArchiveId, RunId
from mailhaul.proto.structs import replace

RUNS = [RunId(f"2026112{day}T031500Z-0000") for day in range(8)]


def version(
    day: int, *, group: str = "user", departed: str = "", user: str = "ann", stored: int = 3
) -> Version:
    return Version(
        partition="p",
        group=group,
        user=user,
        run=RUNS[day],
        started=datetime(2026, 11, 20 + day, 3, 15, tzinfo=UTC),
        archive=None if departed else ArchiveId(f"{group}{day}".encode()),
        shard=0,
        folders=1,
        listed=stored,
        stored=stored,
        skipped=0,
        size_bytes=stored,
        added=0,
        vanished=0,
        changed=True,
        departed=departed,
        detail="",
    )


def timeline(*versions: Version, moments: list[RunId] = RUNS, group: str | None = None) -> Timeline:
    (found,) = timelines(versions, moments, group)
    return found


def days(found: Timeline) -> list[tuple[int, int, int]]:
    """Of each span the day of its version, and the first and last day on which it is shown."""
    return [
        (RUNS.index(span.version.run), RUNS.index(span.first), RUNS.index(span.last)) for span in found.spans
    ]


def test_a_version_is_shown_until_the_next() -> None:
    found = timeline(version(0), version(3))
    assert days(found) == [(0, 0, 2), (3, 3, 7)]
    assert found.at(RUNS[2]) == version(0)
    assert found.at(RUNS[3]) == version(3)
    assert timeline(version(3)).at(RUNS[2]) is None


def test_spans_are_told_by_kept_moments() -> None:
    kept = [RUNS[1], RUNS[4]]
    # A version that no kept moment shows is held: it can be had as of its own run.
    spans = [(0, 1, 1), (2, 2, 2), (3, 4, 4)]
    assert days(timeline(version(0), version(2), version(3), moments=kept)) == spans
    gone = version(2, departed="removed")
    assert days(timeline(version(0), gone, version(3), moments=kept)) == [(0, 1, 1), (3, 4, 4)]
    # The newest state is kept in any case.
    assert days(timeline(version(0), version(6), moments=kept)) == [(0, 1, 4), (6, 6, 6)]
    assert list(timelines([version(6, departed="removed")], kept)) == []


def test_departed_and_back() -> None:
    found = timeline(version(0), version(2, departed="removed"), version(5))
    assert days(found) == [(0, 0, 1), (2, 2, 4), (5, 5, 7)]
    assert found.at(RUNS[3]) is None
    assert [span.version.run for span in found.between(RUNS[1], RUNS[4])] == [RUNS[0], RUNS[2]]


def test_from_one_group_to_another() -> None:
    """The new group's version counts at once; it departs only when it has left all groups."""
    found = timeline(
        version(0, group="a"), version(2, group="b"), version(3, group="a", departed="left-group")
    )
    assert days(found) == [(0, 0, 1), (2, 2, 7)]
    found = timeline(
        version(0, group="a"), version(1, group="b"), version(2, group="b", departed="left-group")
    )
    assert days(found) == [(0, 0, 0), (1, 1, 1), (0, 2, 7)]
    gone = version(4, group="a", departed="removed"), version(4, group="b", departed="removed")
    found = timeline(version(0, group="a"), version(1, group="b"), *gone)
    assert found.at(RUNS[4]) is None


def test_the_group_that_was_asked_for() -> None:
    both = version(0, group="a"), version(0, group="b")
    for group in ("a", "b"):
        (span,) = timeline(*both, group=group).spans
        assert span.version.group == group


def test_one_mailbox_after_the_other() -> None:
    found = timelines([version(0), version(1), version(0, user="ben")], RUNS)
    assert [(one.user, len(one.spans)) for one in found] == [("ann", 2), ("ben", 1)]


def test_versions_that_differ() -> None:
    same = replace(version(1), changed=False)
    assert differs(None, same)
    assert differs(version(0), version(1))
    assert not differs(version(0), same)
    assert differs(version(0), replace(same, stored=4))
    assert differs(version(0), version(1, departed="removed"))


@given(
    st.lists(st.tuples(st.integers(0, 7), st.booleans()), unique_by=lambda one: one[0]),
    st.sets(st.sampled_from(RUNS)),
)
def test_every_kept_moment_shows_the_newest_version_by_then(
    stored: list[tuple[int, bool]], kept: set[RunId]
) -> None:
    versions = [version(day, departed="removed" if gone else "") for day, gone in sorted(stored)]
    found = list(timelines(versions, sorted(kept)))
    for moment in kept:
        newest = max((one for one in versions if one.run <= moment), key=lambda one: one.run, default=None)
        expected = newest if newest and not newest.departed else None
        assert (found[0].at(moment) if found else None) == expected
