"""What a run is asked for, and what its journal keeps of that."""

from __future__ import annotations

import click
import pytest

from mailhaul.coordinator.cli.options import SINCE
from mailhaul.coordinator.request import Manner, Request
from mailhaul.coordinator.settings import ExcludeConfig
from mailhaul.coordinator.users_file import parse_users
from mailhaul.groups.paths import LogicalPath
from mailhaul.groups.selection import EVERYTHING, FolderRules, Verdict
from mailhaul.proto.errors import DamagedError, UsageError
from mailhaul.proto.records import BackupMode


@pytest.mark.parametrize(
    ("request_", "options", "narrowed"),
    [
        (Request(), "", False),
        (Request(mode=BackupMode(full=True)), "--full", False),
        (Request(mode=BackupMode(thorough=True), accept_empty=True), "--thorough --accept-empty", False),
        (Request(mode=BackupMode(full=True, self_contained=True)), "--self-contained", False),
        (Request(mode=BackupMode(since=0.0)), "--since 1970-01-01T00:00:00+00:00", True),
        (Request(exclude_folders=("a b", "c")), "--exclude-folder 'a b' --exclude-folder c", True),
        (Request(users=parse_users(b"jane", "some users")), "--users 'some users'", True),
    ],
)
def test_options_as_they_would_be_typed(request_: Request, options: str, narrowed: bool) -> None:
    assert (request_.options(), request_.narrowed) == (options, narrowed)


@pytest.mark.parametrize("path", ["/p/g/u/INBOX/7", "/p/g/u/INBOX/;NAME=a"])
def test_single_messages_are_refused(path: str) -> None:
    with pytest.raises(UsageError, match="takes no single messages"):
        Request(paths=(LogicalPath.parse(path),))


def test_the_journal_keeps_how_folders_are_chosen() -> None:
    exclude = ExcludeConfig(folders=("Junk",), group_folders={"sales": ("Old", "Junk")})
    request = Request(
        paths=(LogicalPath.parse("/p/sales/u/Archive/2019/"), LogicalPath.parse("/p/user/j\udcffne")),
        mode=BackupMode(thorough=True, since=12.5),
        exclude_folders=("Tr\udcffsh",),
    )
    manner = Manner.of(request, exclude)
    again = Manner.from_json(manner.to_json())
    assert again == manner
    assert again.mode == request.mode
    sales = again.selection("sales")
    assert sales.rules == FolderRules(("Junk", "Tr\udcffsh", "Old"))
    assert sales.judge("p", "sales", "u", "Archive/2019/a") is Verdict.TAKEN
    assert sales.judge("p", "sales", "u", "Old") is Verdict.PASSED_OVER
    assert again.selection("user").judge("p", "user", "j\udcffne", "Junk") is Verdict.EXCLUDED


def test_paths_to_whole_mailboxes_choose_no_folders() -> None:
    manner = Manner.of(Request(paths=(LogicalPath.parse("/p/g/u"),)), ExcludeConfig())
    assert manner.selection("g") == EVERYTHING


def test_a_journal_of_before_is_read_and_a_damaged_one_is_not() -> None:
    assert Manner.from_json("") == Manner()
    for text in ("{", "[]", '{"mode": {"x": 1}}', '{"mode": {}, "paths": ["x"], "folders": []}'):
        with pytest.raises(DamagedError):
            Manner.from_json(text)


class TestSince:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("20040501:131000", 1083417000),
            ("2004-05-01T13:10:00", 1083417000),
            ("2004-05-01 15:10+02:00", 1083417000),
            ("20040501T131000Z", 1083417000),
            ("2004-05-01", 1083369600),
            ("20040501", 1083369600),
        ],
    )
    def test_times(self, text: str, seconds: float) -> None:
        assert SINCE.convert(text, None, None) == seconds

    @pytest.mark.parametrize("text", ["", "the day before", "20040501:1310000", "2004-13-01"])
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(click.BadParameter, match="is no time"):
            SINCE.convert(text, None, None)
