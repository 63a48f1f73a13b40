"""What may run beside what."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailhaul.coordinator.cli.operation_words import checked, needs_of, words_of
from mailhaul.coordinator.service.records import Kind, Operation, Request
from mailhaul.coordinator.serving.rules import (
    ARCHIVES,
    RESTORES_IN_ALL,
    RUN,
    Going,
    Needs,
    Outside,
    named,
    obstacle,
)
from mailhaul.proto.errors import UsageError
from mailhaul.proto.structs import replace
from mailhaul.worker.destinations.settings import DirectoryDestination

PLACES = tuple(DirectoryDestination(name=name, path=f"/{name}") for name in ("vault", "disk"))
FREE = Outside()


def operation(text: str, number: int = 7, resumes: str = "") -> Operation:
    """An operation by its command line."""
    kind, *arguments = text.split()
    known: dict[str, Kind] = {"inventory": "inventory"}
    request = Request(kind=known.get(kind, kind), arguments=tuple(arguments), asked_by="cli:root")  # type: ignore[arg-type]
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return Operation(id=number, request=request, asked=now, state="waiting", resumes=resumes)


def going(text: str) -> Going:
    """The same, under way."""
    one = operation(text)
    return Going(one, needs_of(one, PLACES))


def why(text: str, *others: str, ahead: tuple[str, ...] = (), held: Outside = FREE) -> str:
    """Why an operation waits beside others."""
    return obstacle(going(text).needs, list(map(going, others)), map(going, ahead), held)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("backup", "backup /primary/staff"),
        ("backup", "purge --last 7"),
        ("purge", "backup"),
        ("backup", "verify --fix"),
        ("purge", "restore /p/g/jane"),
        ("purge", "verify"),
        ("verify --accept", "backup"),
        ("verify", "purge"),
        ("sweep", "sweep"),
        ("sweep --to vault", "sweep"),
        ("sweep", "sweep --to disk"),
        ("inventory vault", "sweep"),
        ("sweep", "inventory disk"),
        ("restore /p/g/jane", "restore /p"),
        ("restore /p/g/jane/INBOX", "restore /p/h/jane/INBOX/17"),
        ("restore /p/g/anna --as jane", "undelete /p/g/jane"),
        ("restore /p/g/jane", "restore --resume 20260301T020000Z-0000"),
        ("restore /p/g/jane --to maildir:/back", "restore /p/g/jane --to maildir:/back"),
        ("restore /p/g/jane --map /m", "restore /p/g/anna"),
        ("restore --only-damaged /p/g/jane", "restore /p/g/anna"),
    ],
)
def test_what_waits_for_what(text: str, other: str) -> None:
    assert why(text, other) == f"waits for {named(operation(other))}"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("restore /p/g/jane", "backup"),
        ("backup", "restore /"),
        ("backup", "sweep"),
        ("backup", "verify"),
        ("sweep", "backup"),
        ("sweep", "purge"),
        ("sweep --to vault", "sweep --to disk"),
        ("restore /p/g/jane", "purge"),
        ("undelete /p/g/jane", "purge"),
        ("restore /p/g/jane", "restore /p/g/anna"),
        ("restore /p/g/jane", "restore /q/g/jane"),
        ("restore /p/g/jane", "restore /p/g/jane --to maildir:/back"),
        ("verify", "verify --from vault"),
        ("inventory vault", "sweep --to disk"),
    ],
)
def test_what_runs_beside_what(text: str, other: str) -> None:
    assert why(text, other) == ""


def test_a_verification_lets_a_purge_before_it_go_first_and_a_restore_does_not() -> None:
    assert why("verify", ahead=("purge --last 7",)) == "waits for the purge 7, which was asked for before"
    assert why("restore /p/g/jane", ahead=("purge --last 7",)) == ""
    assert why("backup", ahead=("purge --last 7",)) == ""


def test_so_many_restores_go_on_at_a_time() -> None:
    others = [f"restore /p/g/user{number}" for number in range(4)]
    assert why("restore /p/g/jane", *others[:3]) == ""
    assert why("restore /p/g/jane", *others) == "waits until one of 4 restores has ended"
    assert why("backup", *others) == ""


def held_up(text: str) -> Going:
    """An operation under way that waits for a tape."""
    one = going(text)
    waits = replace(one.operation, state="running", waits_for="waits for 1 archive: volume A00001 is wanted")
    return replace(one, operation=waits)


def test_restores_that_wait_for_a_tape_keep_no_others_from_running() -> None:
    waiting = [held_up(f"restore /p/g/user{number}") for number in range(10)]
    jane = going("restore /p/g/jane").needs
    assert obstacle(jane, waiting, (), FREE) == ""
    at_work = [going(f"restore /p/g/other{number}") for number in range(4)]
    assert obstacle(jane, [*waiting, *at_work], (), FREE) == "waits until one of 4 restores has ended"
    many = [held_up(f"restore /p/g/user{number}") for number in range(RESTORES_IN_ALL)]
    assert obstacle(jane, many, (), FREE) == (
        f"waits until one of {RESTORES_IN_ALL} restores has ended, most of which wait themselves"
    )


def test_who_let_a_purge_go_first_does_not_wait_for_a_tape_with_it() -> None:
    purge, tape = going("purge"), held_up("restore /p/g/jane")
    for text in ("verify", "drill"):
        needs = going(text).needs
        assert obstacle(needs, [going("restore /p/g/jane")], [purge], FREE).startswith("waits for the purge")
        assert obstacle(needs, [tape], [purge], FREE) == ""
    assert obstacle(purge.needs, [tape], (), FREE) == "waits for the restore 7 of /p/g/jane"


def test_what_others_hold_is_waited_for_by_who_needs_it() -> None:
    held = Outside(held={RUN: "`mailhaul purge` (pid 99) holds the lock of the staging area"})
    assert why("backup", held=held) == "waits: `mailhaul purge` (pid 99) holds the lock of the staging area"
    assert why("restore /p/g/jane", held=held) == ""
    assert why("purge", held=Outside(held={ARCHIVES: "archives are being read"})) != ""


def test_two_of_no_needs_run_beside_each_other() -> None:
    assert obstacle(Needs(), [Going(operation("sweep"), Needs())], (), FREE) == ""


def test_an_operation_is_named_by_kind_number_and_what_it_is_of() -> None:
    assert named(operation("backup /primary/staff --full", 12)) == "the backup 12 of /primary/staff"
    assert named(operation("inventory robot", 3)) == "the tape inventory 3"
    assert len(named(operation(f"backup /{'x' * 300}"))) < 100


@pytest.mark.parametrize(
    "text",
    [
        "backup --store maildir:/srv --staging /tmp",
        "backup --users list",
        "backup --log /tmp/log",
        "backup --metrics-listen 127.0.0.1:0",
        "backup -f -",
        "backup --resume latest",
        "restore / -f /tmp/a.mha",
        "restore / --to maildir:back",
        "restore / --to tar:-",
        "restore / --doveadm sh",
        "restore / --map renames",
        "restore / --password-file secret",
        "restore / --identity key",
        "restore --first -",
        "restore --retry /tmp/report.json",
        "restore --only-damaged report",
        "sweep --staging /tmp",
        "verify --nothing",
        "purge --help",
        "undelete",
    ],
)
def test_what_an_operation_may_not_be_given(text: str) -> None:
    kind, *arguments = text.split()
    with pytest.raises(UsageError):
        checked(kind, arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "backup /primary/staff --full --json",
        "restore /p/g/jane --at -3d --into Back",
        "restore /p/g/jane --to maildir:/srv/back --identity /etc/key",
        "restore --undo 20260301T020000Z-0000",
        "undelete /p/g/jane --from 2026-03-01",
        "sweep --to vault",
        "purge --last 7 --daily 14",
        "verify --from vault --older-than 90d",
        "inventory robot",
    ],
)
def test_what_an_operation_may_be_given(text: str) -> None:
    kind, *arguments = text.split()
    taken = checked(kind, arguments)  # type: ignore[arg-type]
    assert taken == tuple(argument for argument in arguments if argument != "--json")


def test_who_asks_from_elsewhere_names_nothing_of_this_host() -> None:
    for words in (("--to", "maildir:/srv/back"), ("--identity", "/etc/key")):
        with pytest.raises(UsageError, match=words[0]):
            checked("restore", ("/p/g/jane", *words), elsewhere=True)
    assert checked("restore", ("/p/g/jane",), elsewhere=True) == ("/p/g/jane",)


def test_the_next_start_goes_on_with_what_was_begun() -> None:
    run = "20260301T020000Z-0000"
    backup = operation("backup /primary/staff --full --workers 3 --now --codec zstd", resumes=run)
    again = ("backup", "--resume", run, "--workers", "3", "--now", "--codec", "zstd", "--json")
    assert words_of(backup) == again
    assert words_of(replace(backup, resumes=""))[:3] == ("backup", "/primary/staff", "--full")
    restore = operation("restore /p/g/jane --to maildir:/back", resumes=run)
    assert words_of(restore) == ("restore", "--resume", run, "--json")
    assert words_of(operation("inventory robot")) == ("tape", "inventory", "robot", "--json")


def test_what_is_looked_at_is_what_is_carried_out() -> None:
    """--json is no word of an operation; what stood behind it must not become something else by that."""
    hidden: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("backup", ("--exclude-folder", "--json", "--exclude-folder", "-f/root/file")),
        ("backup", ("--exclude-folder", "--json", "--exclude-folder", "--store=maildir:/root")),
        ("restore", ("/p/g/jane", "--into", "--json", "--into", "--to=maildir:/etc")),
        ("restore", ("/p/g/jane", "--into", "--json")),
        ("backup", ("--", "/primary")),
    )
    for kind, words in hidden:
        with pytest.raises(UsageError):
            checked(kind, words, elsewhere=True)
