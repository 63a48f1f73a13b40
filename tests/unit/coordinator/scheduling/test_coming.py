"""What comes next, for people."""

from __future__ import annotations

from datetime import UTC, datetime

from mailhaul.coordinator.scheduling.coming import Coming, varied

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def coming(*entries: str) -> Coming:
    return Coming(moment=NOW, local="", kind="sweep", arguments=(), entries=entries)


def test_of_the_same_entries_two_are_shown_and_the_others_get_their_turn() -> None:
    ahead = [
        *[coming("verify")] * 50,
        coming("backup"),
        coming("backup", "verify"),
        coming("verify"),
        coming("drill"),
    ]
    shown = [one.entries for one in varied(ahead, 10)]
    assert shown == [("verify",), ("verify",), ("backup",), ("backup", "verify"), ("drill",)]
    assert len(list(varied(ahead, 3))) == 3
    assert list(varied([], 3)) == []
