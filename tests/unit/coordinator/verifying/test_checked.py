"""What is recorded of verifications: for the next one to go on with, and for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.verifying.checked import (
    Checked,
    CheckRecord,
    Journal,
    Order,
    Unfinished,
    read_checked,
)
from mailhaul.proto.records import ArchiveId

ONE, OTHER = ArchiveId(b"1" * 16), ArchiveId(b"2" * 16)
BEGAN = datetime(2026, 11, 21, tzinfo=UTC)


class Times:
    """A time that goes on when it is told."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> datetime:
        return self.now


def test_nothing_is_recorded_yet(tmp_path: Path) -> None:
    assert read_checked(tmp_path) == CheckRecord()
    (tmp_path / ".mailhaul").mkdir()
    (tmp_path / ".mailhaul" / "verify.json").write_text("[")
    assert read_checked(tmp_path) == CheckRecord()


def test_an_interrupted_verification_is_known_with_what_it_found_whole(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").mkdir()
    times, order = Times(), Order(path="/primary", data=True, since=BEGAN)
    journal = Journal(tmp_path, order, times)
    with journal:
        journal.archive_whole(ONE)
        assert read_checked(tmp_path).unfinished == Unfinished(order=order, began=BEGAN)
        times.now += timedelta(seconds=2)
        journal.mail_whole(OTHER)
        # Written by now, so that not even a kill -9 loses it.
        known = read_checked(tmp_path)
    assert known == CheckRecord(
        archives={
            ONE.hex(): Checked(frames=BEGAN),
            OTHER.hex(): Checked(messages=times.now, data=times.now),
        },
        unfinished=Unfinished(order=order, began=BEGAN, archives=(ONE.hex(),), mail=(OTHER.hex(),)),
    )
    resumed = Journal(tmp_path, order, times, resumed=known.unfinished)
    assert [resumed.has_archive(ONE), resumed.has_archive(OTHER)] == [True, False]
    assert [resumed.has_mail(ONE), resumed.has_mail(OTHER)] == [False, True]
    with resumed:
        resumed.ended({OTHER})
    assert read_checked(tmp_path) == CheckRecord(archives={OTHER.hex(): known.archives[OTHER.hex()]})


def test_what_was_read_not_long_ago_is_not_read_again_unless_it_was_damaged_since(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").mkdir()
    times = Times()
    with Journal(tmp_path, Order(), times) as journal:
        journal.archive_whole(ONE)
        times.now += timedelta(days=10)
        journal.archive_whole(OTHER)
        journal.ended({ONE, OTHER})
    with Journal(tmp_path, Order(), times, read_since=BEGAN + timedelta(days=1)) as journal:
        assert (journal.has_archive(ONE), journal.has_archive(OTHER)) == (False, True)
        journal.archive_damaged(OTHER)
        assert not journal.has_archive(OTHER)
    known = read_checked(tmp_path)
    assert known.archives == {ONE.hex(): Checked(frames=BEGAN)}
    assert known.read_since(BEGAN) == (ONE.hex(),)
    assert known.read_since(None) == ()


def test_a_sample_or_one_moment_says_nothing_of_an_archive(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").mkdir()
    for order in (Order(share=0.05), Order(at="latest")):
        with Journal(tmp_path, order, Times()) as journal:
            journal.archive_whole(ONE)
            journal.mail_whole(ONE)
            journal.ended({ONE})
        assert read_checked(tmp_path) == CheckRecord()


def test_where_nothing_can_be_written_it_goes_on_without(tmp_path: Path) -> None:
    with Journal(tmp_path / "nowhere", Order(), Times()) as journal:
        journal.archive_whole(ONE)
        assert journal.has_archive(ONE)


def test_it_is_plain_json(tmp_path: Path) -> None:
    (tmp_path / ".mailhaul").mkdir()
    with Journal(tmp_path, Order(), Times()) as journal:
        journal.archive_whole(ONE)
        journal.ended({ONE})
    known = json.loads((tmp_path / ".mailhaul" / "verify.json").read_bytes())
    assert known["archives"][ONE.hex()]["frames"] == "2026-11-21T00:00:00+00:00"
