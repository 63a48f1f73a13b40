"""Which folders a run takes, leaves out, or passes over."""

from __future__ import annotations

import pickle

import pytest

from mailhaul.groups.paths import LogicalPath
from mailhaul.groups.selection import EVERYTHING, FolderRules, Selection, Verdict, check_pattern
from mailhaul.proto.errors import ConfigError

TAKEN, EXCLUDED, PASSED_OVER = Verdict.TAKEN, Verdict.EXCLUDED, Verdict.PASSED_OVER


def judged(folder: str, *paths: str, without: tuple[str, ...] = (), user: str = "jane") -> Verdict:
    """What becomes of a folder of jane's in the group sales."""
    selection = Selection(rules=FolderRules(without), paths=tuple(map(LogicalPath.parse, paths)))
    return selection.judge("primary", "sales", user, folder)


def test_everything_is_taken_where_nothing_is_said() -> None:
    assert EVERYTHING.judge("primary", "user", "jane", "INBOX") is TAKEN
    assert judged("Trash/2019", "/", "/primary/sales/jane") is TAKEN


@pytest.mark.parametrize(
    ("pattern", "folders", "others"),
    [
        ("Trash", ("Trash", "Trash/2019", "Trash/a/b"), ("trash", "Trashed", "Old/Trash", "INBOX")),
        ("Trash/*", ("Trash/2019", "Trash/a/b"), ("Trash", "Trashed/a")),
        ("*/Trash", ("Old/Trash", "a/b/Trash", "a/Trash/c"), ("Trash", "a/Trashed")),
        ("Junk?", ("Junk1", "Junk2/a"), ("Junk", "Junk12")),
        ("Archive/20*", ("Archive/2019", "Archive/20/a"), ("Archive", "Archive/1999")),
        ("**a**", ("a", "bab"), ("b",)),
        ("inbox", ("INBOX", "Inbox/Sub", "inbox"), ("Inboxes", "a/INBOX")),
        ("INBOX/Junk", ("inbox/Junk", "INBOX/Junk/a"), ("INBOX", "INBOX/junk")),
        ("[a].+", ("[a].+", "[a].+/b"), ("a.", "a+")),
        ("Müll\n", ("Müll\n",), ("Müll",)),
    ],
)
def test_patterns(pattern: str, folders: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert {folder: judged(folder, without=(pattern,)) for folder in folders} == dict.fromkeys(
        folders, EXCLUDED
    )
    assert {folder: judged(folder, without=(pattern,)) for folder in others} == dict.fromkeys(others, TAKEN)


def test_what_nobody_asked_for_is_passed_over_even_if_it_is_excluded() -> None:
    path = "/primary/sales/jane/Sent"
    assert judged("Sent", path) is TAKEN
    assert judged("Sent/2019", path) is TAKEN
    assert judged("Sent Items", path) is PASSED_OVER
    assert judged("Trash", path, without=("Trash",)) is PASSED_OVER


@pytest.mark.parametrize(
    ("folder", "path", "verdict"),
    [
        ("Trash", "Trash", TAKEN),
        ("Trash/2019", "Trash", TAKEN),
        ("Trash/2019", "Trash/2019/", TAKEN),  # named below what is excluded
        ("Trash/2019/a", "Trash/2019/", TAKEN),
        ("Trash/2020", "Trash/2019/", PASSED_OVER),
        ("Trash/Spam", "Trash", EXCLUDED),  # a rule of its own speaks of it
        ("Trash/Spam", "Trash/Spam", TAKEN),
        ("INBOX", "inbox", TAKEN),
    ],
)
def test_a_folder_named_by_its_path_is_taken_though_it_is_excluded(
    folder: str, path: str, verdict: Verdict
) -> None:
    without = ("Trash", "*/Spam", "INBOX")
    assert judged(folder, f"/primary/sales/jane/{path}", without=without) is verdict


def test_a_whole_mailbox_beside_a_folder_of_it_keeps_the_rules_for_the_rest() -> None:
    paths = ("/primary/sales", "/primary/sales/jane/Trash")
    without = ("Trash", "Junk")
    assert judged("Trash", *paths, without=without) is TAKEN
    assert judged("Junk", *paths, without=without) is EXCLUDED
    assert judged("Trash", *paths, without=without, user="ola") is EXCLUDED


def test_a_path_speaks_of_the_very_group_that_it_names() -> None:
    assert judged("Trash", "/primary/user/jane/Trash", "/primary/sales/jane/Sent") is PASSED_OVER


def test_it_crosses_process_boundaries() -> None:
    selection = Selection(rules=FolderRules(("Trash",)), paths=(LogicalPath.parse("/p/g/u/INBOX"),))
    assert pickle.loads(pickle.dumps(selection)) == selection


@pytest.mark.parametrize("pattern", ["", "/", "a//b", "/a", "a/"])
def test_a_pattern_that_names_no_folder(pattern: str) -> None:
    with pytest.raises(ConfigError, match="names no folder"):
        check_pattern(pattern)


def test_a_pattern_that_names_one() -> None:
    assert check_pattern("a/*") == "a/*"
