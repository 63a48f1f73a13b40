"""Slices of a folder by age: each message in one of them, the UIDs from the top down, whatever dates say."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive.message_rows import MessageRows
from mailhaul.proto.archive.stored import StoredMailbox, StoredRows
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.structs import replace
from mailhaul.tests.maildirs import Maildir
from mailhaul.tests.memory_chains import Chain
from mailhaul.worker.arrivals import Arrivals, Slice
from mailhaul.worker.stores.maildir import MaildirStore

DAY_NS = 86_400 * 10**9


def stored(
    place: Path, dates: list[int], *, without_uid: int = 0, flags: str = "S", keywords: tuple[str, ...] = ()
) -> StoredMailbox:
    """The INBOX of jane with messages of these dates, in days, UIDs in their order; the last ones have no
    UID."""
    box = Maildir(place / "mail" / "jane")
    for number, date in enumerate(dates):
        path = box.message(f"{number}.host:2,{flags}", b"%d" % number)
        os.utime(path, ns=(date * DAY_NS, date * DAY_NS))
    named = len(dates) - without_uid
    box.uidlist(*(f"{number + 10} :{number}.host" for number in range(named)), header="3 V1500 N1000")
    box.keywords(*keywords)
    chain = Chain()
    chain.run(MaildirStore(str(place / "mail")), ["jane"])
    return StoredMailbox(chain.reader, chain.newest["jane"], "jane")


def slices(*cuts: int) -> list[Slice]:
    edges = [None, *(cut * DAY_NS for cut in cuts), None]
    return [Slice(since_ns=since, until_ns=until) for until, since in pairwise(edges)]


def uids(arrivals: Arrivals, cuts: tuple[int, ...]) -> list[list[int]]:
    return [[message.uid for message in arrivals.messages(each)] for each in slices(*cuts)]


def inbox(mailbox: StoredMailbox) -> Arrivals:
    return Arrivals(mailbox, mailbox.mailbox.folders[0])


def test_the_newest_first(tmp_path: Path) -> None:
    mailbox = stored(tmp_path, [1, 2, 3, 40, 41, 90])
    assert uids(inbox(mailbox), (80, 30, 2)) == [[15], [13, 14], [11, 12], [10]]
    assert [inbox(mailbox).amount(one) for one in slices(80, 30, 2)] == [(1, 1), (2, 2), (2, 2), (1, 1)]
    assert inbox(mailbox).last_seen_ns == 90 * DAY_NS


def test_what_came_last_counts_as_new(tmp_path: Path) -> None:
    """The message with the highest UID is old by its date, as it was moved here; that with the lowest has a
    date to come. Those without a UID came last."""
    mailbox = stored(tmp_path, [500, 2, 3, 90, 91, 1])
    assert uids(inbox(mailbox), (80, 3)) == [[13, 14, 15], [12], [10, 11]]
    mailbox = stored(tmp_path / "b", [1, 90, 2, 3], without_uid=2, flags="")
    assert uids(inbox(mailbox), (80,)) == [[0, 0], [10, 11]]
    assert inbox(mailbox).last_seen_ns == 0


@given(
    dates=st.lists(st.integers(1, 30), max_size=12),
    cuts=st.sets(st.integers(1, 30), max_size=3),
    without_uid=st.integers(0, 2),
)
def test_each_message_in_one_slice(
    tmp_path_factory: pytest.TempPathFactory, dates: list[int], cuts: set[int], without_uid: int
) -> None:
    place = tmp_path_factory.mktemp("x")
    mailbox = stored(place, dates, without_uid=min(without_uid, len(dates)))
    arrivals = inbox(mailbox)
    ordered = tuple(sorted(cuts, reverse=True))
    found = uids(arrivals, ordered)
    assert sorted(uid for some in found for uid in some) == sorted(
        [0] * min(without_uid, len(dates)) + list(range(10, 10 + len(dates) - without_uid))
    )
    keys = [[uid or 1000 for uid in some] for some in found if some]
    assert all(min(newer) > max(older) for newer, older in pairwise(keys))
    for one, some in zip(slices(*ordered), found, strict=True):
        assert (arrivals.has(one), arrivals.amount(one)[0]) == (bool(some), len(some))


def test_keywords_without_letters_come_all_at_once(tmp_path: Path) -> None:
    """The index is written anew for each slice, and nothing else has these."""
    mailbox = stored(tmp_path, [1, 2, 90], flags="a", keywords=("known",))
    assert uids(inbox(mailbox), (80,)) == [[12], [10, 11]]
    folder = mailbox.mailbox.folders[0]
    unlettered = replace(folder, folder=replace(folder.folder, keywords=()))
    assert uids(Arrivals(mailbox, unlettered), (80,)) == [[10, 11, 12], []]


def test_damage_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the oldest slice."""
    mailbox = stored(tmp_path, [1, 90])

    def gone(rows: StoredRows) -> MessageRows:
        raise DamagedError("gone")

    monkeypatch.setattr(StoredRows, "by_columns", gone)
    arrivals = inbox(mailbox)
    newest, oldest = slices(80)
    assert not arrivals.has(newest)
    assert list(arrivals.messages(newest)) == []
    assert arrivals.has(oldest)
    with pytest.raises(DamagedError, match="2 of 2 messages"):
        list(arrivals.messages(oldest))
