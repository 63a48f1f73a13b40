"""``mailhaul runs``: what a run did, as a table and as facts."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.cli.main import main
from mailhaul.proto.records import Skipped
from mailhaul.proto.structs import replace
from mailhaul.tests.catalogs import START, begin, commit, report, run_id, summary, unchanged, unit


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    """Three runs: the first was purged, in the last one half of the units had not changed."""
    with Catalog.open(tmp_path, write=True) as catalog:
        commit(catalog, 0, unit(0, users=("anna", "bob")))
        commit(catalog, 1, unit(1, users=("anna", "bob")))
        mine = unit(2, users=("anna",), departed=("bob",))
        begin(catalog, 2, mine, unit(2, shard=1, users=("carla",)))
        counted = replace(summary("anna"), added=3, vanished=2)
        catalog.commit_unit(replace(report(mine), mailboxes=(counted,)), sealed=START)
        catalog.commit_unit(unchanged(unit(2, shard=1, users=("carla",))), sealed=START)
        catalog.note_alarms(run_id(2), [Skipped("/primary/user/anna", "mailbox-shrunk", "2 of 3 messages")])
        catalog.end_run(run_id(2), START + timedelta(days=2, hours=1))
        catalog.forget("primary", "user", [run_id(1)], lambda _user: False)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["runs", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    return json.loads(told(capsys, *arguments, "--json"))


def test_the_list(staging: Path, capsys: pytest.CaptureFixture[str]) -> None:
    title, newest, middle, oldest = told(capsys, "--staging", staging).splitlines()
    assert title.split()[5:] == (
        ["departed", "messages", "size", "read", "came", "went", "new", "archives", "skipped", "lie", "in"]
    )
    assert "done, 1 alarm" in newest
    assert "+3" in newest
    assert "-2" in newest
    assert "purged" not in middle
    assert "done, purged" in oldest
    runs = document(capsys, "--staging", staging)["runs"]
    assert [run["purged"] for run in runs] == [False, False, True]
    assert (
        runs[0]
        | {
            "planned_units": 2,
            "sealed_units": 1,
            "unchanged_units": 1,
            "departed": 1,
            "added": 3,
            "vanished": 2,
            "alarms": 1,
        }
        == runs[0]
    )


def test_one_run(staging: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, "latest", "--staging", staging)
    assert "of / --full" in text
    assert "unchanged" in text
    assert "mailboxes departed: 1 (removed 1)\n  /primary/user/bob (removed)" in text
    assert "alarms: 1 (mailbox-shrunk 1)\n  /primary/user/anna (mailbox-shrunk) 2 of 3 messages" in text
    facts = document(capsys, run_id(2), "--staging", staging)
    assert [(one["state"], bool(one["file"])) for one in facts["units"]] == [
        ("sealed", True),
        ("unchanged", False),
    ]
    assert facts["departed_mailboxes"] == [{"path": "/primary/user/bob", "reason": "removed", "detail": ""}]
    assert [entry["reason"] for entry in facts["alarm_entries"]] == ["mailbox-shrunk"]


def test_a_purged_run_is_told_of(staging: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "done, purged" in told(capsys, run_id(0), "--staging", staging)
    facts = document(capsys, run_id(0), "--staging", staging)
    assert facts["purged"]
    assert [one["purged"] for one in facts["units"]] == [True]
