"""Holds: what they hold, that they last, and that nobody changes them under a purge."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator import holds as module
from mailhaul.coordinator.holds import (
    Hold,
    Holds,
    add_hold,
    add_holds,
    drop_holds_of,
    frozen_holds,
    read_holds,
    release,
)
from mailhaul.groups.paths import LogicalPath
from mailhaul.proto.errors import DamagedError, LockedError, NotFoundError, UsageError
from mailhaul.proto.records import RunId

SINCE = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
RUN = RunId("20261121T031500Z-4f3a")


def on(path: str, **changes: object) -> Hold:
    return Hold(path=path, since=SINCE, **changes)  # type: ignore[arg-type]


def test_a_mailbox_is_held_in_all_groups_of_its_partition() -> None:
    holds = Holds((on("/primary/sales/jane"),))
    assert holds.holds_user("primary", "sales", "jane")
    assert holds.holds_user("primary", "user", "jane")
    assert not holds.holds_user("primary", "sales", "john")
    assert not holds.holds_user("other", "sales", "jane")


def test_wider_holds() -> None:
    assert Holds((on("/"),)).holds_user("any", "group", "jane")
    group = Holds((on("/primary/sales"),))
    assert group.holds_user("primary", "sales", "jane")
    assert not group.holds_user("primary", "user", "jane")
    assert Holds((on("/primary/user"),)).holds_user("primary", "sales", "jane")
    assert not Holds((on("/primary"),)).holds_user("other", "sales", "jane")
    assert not Holds().holds_user("primary", "sales", "jane")


def test_a_run_is_held() -> None:
    holds = Holds((Hold(run=RUN, since=SINCE),))
    assert holds.holds_run(RUN)
    assert not holds.holds_run(RunId("20261121T031500Z-4f3b"))
    assert not holds.holds_user("primary", "sales", "jane")


@pytest.mark.parametrize(
    "wrong",
    [{}, {"path": "/p", "run": RUN}, {"run": "latest"}, {"path": "p"}, {"path": "/p/g/jane/INBOX"}],
)
def test_a_hold_is_on_a_path_or_a_run(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        Hold(since=SINCE, **wrong)  # type: ignore[arg-type]


def test_holds_last_and_are_released(tmp_path: Path) -> None:
    mine = on("/primary/user/jane%FF", reason="case 42\udcff")
    alarm = on("/primary/user/jane%FF", automatic=True, reason="emptied")
    run = Hold(run=RUN, since=SINCE)
    assert read_holds(tmp_path).all == ()
    assert [add_hold(tmp_path, hold) for hold in (mine, alarm, run, mine)] == [True, True, True, False]
    holds = read_holds(tmp_path)
    assert holds.all == (mine, alarm, run)
    assert holds.holds_user("primary", "x", "jane\udcff")

    assert release(tmp_path, RUN) == (run,)
    assert release(tmp_path, LogicalPath("primary", "sales", "jane\udcff")) == (mine, alarm)
    assert read_holds(tmp_path).all == ()
    for what in (RUN, LogicalPath()):
        with pytest.raises(NotFoundError):
            release(tmp_path, what)


def test_many_holds_at_once(tmp_path: Path) -> None:
    add_hold(tmp_path, on("/primary/user/u1"))
    many = [on(f"/primary/user/u{i % 3}", automatic=i < 3) for i in range(6)]
    assert add_holds(tmp_path, many) == 5
    assert len(read_holds(tmp_path).all) == 6
    assert add_holds(tmp_path, many) == 0


def test_release_takes_back_all_below_a_path(tmp_path: Path) -> None:
    for path in ("/primary/user/jane", "/primary", "/other/user/jane"):
        add_hold(tmp_path, on(path))
    assert [hold.path for hold in release(tmp_path, LogicalPath("primary"))] == [
        "/primary/user/jane",
        "/primary",
    ]
    assert [one.path for one in read_holds(tmp_path).all] == ["/other/user/jane"]


def test_holds_of_restores_are_dropped_as_it_is_then(tmp_path: Path) -> None:
    """A restore begins after it was looked for the first time."""
    mine, old, new = on("/primary"), on("/other", restore="old"), on("/other", restore="new")
    add_holds(tmp_path, (mine, old))
    asked: list[str] = []

    def is_over(restore: str) -> bool:
        if not asked:
            add_hold(tmp_path, new)
        asked.append(restore)
        return restore == "old"

    drop_holds_of(tmp_path, is_over)
    assert asked == ["old", "old", "new"]
    assert read_holds(tmp_path).all == (mine, new)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"holds": [{}]}',
        '{"holds": [3]}',
        "\0",
        '{"holds": [{"path": "/", "run": null, "reason": "", "since": "2026-11-21", "automatic": false}]}',
    ],
)
def test_damaged_holds_are_not_taken_for_none(tmp_path: Path, text: str) -> None:
    add_hold(tmp_path, on("/"))
    (tmp_path / ".mailhaul" / "holds.json").write_text(text)
    with pytest.raises(DamagedError, match=r"holds\.json"):
        read_holds(tmp_path)
    with pytest.raises(DamagedError):
        add_hold(tmp_path, on("/primary"))


def test_nobody_changes_frozen_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.1)
    with frozen_holds(tmp_path), pytest.raises(LockedError, match="a purge goes on"):
        add_hold(tmp_path, on("/"))
    assert add_hold(tmp_path, on("/"))
