"""Looking up what was stored of a folder, while the folder is compared with it."""

from __future__ import annotations

import pytest

from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Listed, Location, Parents, Terms
from mailhaul.tests.archives import MemoryFile, write_archive
from mailhaul.worker.comparing.known import KnownMessages, OpenParents
from mailhaul.worker.comparing.known_tally import KnownTally
from mailhaul.worker.comparing.matching import UNKNOWN

ARCHIVE = ArchiveId(b"the last archive")
DATA = write_archive({"alice": {"INBOX": [b"Subject: %d\n\nbody" % n for n in range(5)]}}, archive=ARCHIVE)


@pytest.fixture
def stored() -> KnownMessages:
    parents = OpenParents(
        Parents(mailboxes={"alice": ARCHIVE}, locations={ARCHIVE: (Location("here", "a"),)}),
        lambda _: MemoryFile(DATA),
    )
    version = parents.mailbox("primary", "alice")
    assert version is not None
    return version.folders[b".INBOX"]


def called(stored: KnownMessages) -> list[Listed]:
    every = stored.messages(stored.frames[0])
    return [Listed(message.base, b":2,F", message.place, message.uid, "F") for message in every]


def test_messages_in_a_row(stored: KnownMessages) -> None:
    known, names = KnownTally(stored), called(stored)
    assert known.rows.find(names[1].base) == 1
    found = known.stored_rows(1, names[1:4])
    assert found is not None
    rows, row, terms = found
    assert (len(rows), row) == (5, 1)
    assert list(terms) == list(stored.terms(stored.frames[0])[1:4])


def test_other_names_and_unknown_ones_are_none(stored: KnownMessages) -> None:
    known, names = KnownTally(stored), called(stored)
    known.rows.find(names[0].base)
    assert known.stored_rows(UNKNOWN, names[:1]) is None
    assert known.stored_rows(1, names[:2]) is None
    assert known.stored_rows(4, [*names[4:], *names[:1]]) is None, "beyond the frame"
    assert KnownTally(None).stored_rows(0, names[:1]) is None


def test_a_frame_is_read_for_many_only(stored: KnownMessages, monkeypatch: pytest.MonkeyPatch) -> None:
    known, names = KnownTally(stored), called(stored)
    known.rows.find(names[0].base)
    monkeypatch.setattr("mailhaul.worker.comparing.known_tally._FEW", 2)
    assert stored.remembers(stored.frames[0])
    assert known.stored_rows(0, names[:1]) is not None
    monkeypatch.setattr(stored, "remembers", lambda _: False)
    assert known.stored_rows(0, names[:2]) is None
    assert known.stored_rows(0, names[:3]) is not None


def test_what_can_not_be_read_is_none(stored: KnownMessages, monkeypatch: pytest.MonkeyPatch) -> None:
    known, names = KnownTally(stored), called(stored)
    known.rows.find(names[0].base)

    def damaged(_: int) -> None:
        raise DamagedError("broken", reason="checksum")

    monkeypatch.setattr(stored, "rows", damaged)
    assert known.stored_rows(0, names) is None
    assert list(known.messages([0, 1])) == []


def test_messages_at_positions(stored: KnownMessages) -> None:
    known = KnownTally(stored)
    every = stored.messages(stored.frames[0])
    known.rows.find(every[0].base)
    found = dict(known.messages([3, UNKNOWN, 1, 3]))
    assert {position: message for position, (message, _) in found.items()} == {1: every[1], 3: every[3]}
    assert all(isinstance(terms, Terms) for _, terms in found.values())


def test_what_was_not_met_has_vanished(stored: KnownMessages) -> None:
    known = KnownTally(stored)
    assert known.vanished == 5
    known.meet(1)
    known.meet(2, 2)
    assert known.vanished == 2
