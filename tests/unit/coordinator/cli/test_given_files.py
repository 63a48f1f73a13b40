"""A restore that is an operation takes the files that were kept for it, and its words stay as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from mailhaul.coordinator.cli.operation_words import checked, files_of, password_file_of
from mailhaul.coordinator.cli.program import Invocation
from mailhaul.coordinator.cli.progress import Display
from mailhaul.coordinator.cli.restore import command
from mailhaul.coordinator.cli.restore_options import ARGUMENTS, RENAMES
from mailhaul.proto.errors import StagingError, UsageError


class Carried:
    """An operation for which these files are kept, by parameter."""

    def __init__(self, **kept: Path) -> None:
        self._kept = kept

    @property
    def display(self) -> Display:
        raise AssertionError("nothing is shown here")

    def begins(self, what: str) -> None:
        """Nothing begins here."""

    def given(self, parameter: str) -> Path | None:
        return self._kept.get(parameter)

    def waits(self, why: str) -> None:
        """Nothing waits here."""


def test_the_files_that_were_kept_stand_for_those_that_were_named(tmp_path: Path) -> None:
    kept = tmp_path / "7.given-map_file"
    kept.write_text("a = b\n")
    named = tmp_path / "map"
    named.write_text("a = c\n")
    words = ["/", "--map", str(named), "--to", "imap://h:143", "--ca-file", "/etc/ca.pem"]
    invocation = Invocation(operation=Carried(map_file=kept, ca_file=tmp_path / "ca"))
    context = command.make_context("restore", list(words), obj=invocation)
    assert context.params["map_file"] == kept
    assert context.params["ca_file"] == str(tmp_path / "ca")
    assert context.meta[RENAMES] == blake3(b"a = b\n").hexdigest()
    assert context.meta[ARGUMENTS] == tuple(words)
    by_hand = command.make_context("restore", list(words), obj=Invocation())
    assert by_hand.params["map_file"] == named


def test_what_is_not_kept_any_more_is_not_read_from_where_it_was_named() -> None:
    nothing = Invocation(operation=Carried())
    with pytest.raises(StagingError, match="what was kept of /etc/map is gone"):
        command.make_context("restore", ["/", "--map", "/etc/map"], obj=nothing)
    damaged = command.make_context("restore", ["--only-damaged", "/primary/user/jane"], obj=nothing)
    assert damaged.params["only_damaged"] == "/primary/user/jane"


def test_what_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.touch()
    words = ("/", "--map", "/m", "--announce", "/a", "--order", "newest", "--only-damaged", str(report))
    assert files_of("restore", words) == {
        "map_file": Path("/m"), "announcement": Path("/a"), "only_damaged": report,
    }  # fmt: skip
    assert files_of("restore", ("--only-damaged", "/primary/user/jane")) == {}
    assert files_of("backup", ("/primary",)) == {}
    assert password_file_of("restore", ("/", "--password-file", "/p")) == Path("/p")
    assert password_file_of("sweep", ()) is None


@pytest.mark.parametrize(
    "words",
    [
        ("/", "--map", "/m"),
        ("/", "--announce", "/a"),
        ("/", "--first-from", "/d"),
        ("--only-damaged", "/primary/user/jane"),
        ("/", "--to", "imap://h:143", "--password-file", "/p"),
        ("/", "--ca-file", "/c"),
        ("/", "--delivered", "/d"),
    ],
)
def test_here_it_may_be_given_and_from_elsewhere_it_may_not(words: tuple[str, ...]) -> None:
    assert checked("restore", words) == words
    with pytest.raises(UsageError, match="it would be of the host of the staging area"):
        checked("restore", words, elsewhere=True)
