"""How big mailboxes are said to be before anybody has read them: work is divided by that."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailhaul.worker.stores.maildir import MaildirStore

from ....maildirs import Maildir

CONTENT = b"x" * 1000


@pytest.fixture
def box(tmp_path: Path) -> Maildir:
    return Maildir(tmp_path / "jane")


def measured(box: Maildir) -> tuple[int, int]:
    size = MaildirStore(str(box.root.parent)).measure("jane")
    return size.messages, size.size_bytes


def test_by_names_and_else_by_files(box: Maildir) -> None:
    for number in range(100):
        box.message(f"{number}.host,S=1001,W=1020:2,S", CONTENT)
    box.message("100.host", b"12345", place="new")
    box.folder(".Sent")
    box.message("4.host,S=990", CONTENT, folder=".Sent")
    (box.root / "subscriptions").write_text("not counted")
    box.message(".hidden")
    # Four of the hundred are looked at, the others are believed.
    assert measured(box) == (102, 4 * 1000 + 96 * 1001 + 5 + 1000)


@pytest.mark.parametrize("told", ["0", "1", "999999999999", "900000", "1048576"])
def test_names_that_lie_are_not_believed(box: Maildir, told: str) -> None:
    for number in range(100):
        box.message(f"{number}.host,S={told}:2,S", CONTENT)
    assert measured(box) == (100, 100_000)


def test_a_single_name_that_lies(box: Maildir) -> None:
    for number in range(100):
        box.message(f"{number}.host,S=1000:2,S", CONTENT)
    box.message("100.host,S=999999999999:2,S", CONTENT)
    assert measured(box) == (101, 101_000)


def test_what_is_no_size(box: Maildir) -> None:
    box.message("1.host,S=12x:2,S", CONTENT)
    box.message("2.host,S=99999999999999999999:2,S", CONTENT)
    assert measured(box) == (2, 2000)
