"""The parents of a unit: what can be had of them, and what counts as lost."""

from __future__ import annotations

import pytest

from mailhaul.proto.archive.files import RandomAccess
from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId, Location, Losses, Message, Parents, Piece, Stretch
from mailhaul.tests.archives import MemoryFile, write_archive
from mailhaul.worker.comparing import known
from mailhaul.worker.comparing.known import KnownMessages, OpenParents

BODY = b"Subject: x\n\n" + b"the words of it; " * 40
NAMES = [ArchiveId(bytes([number]) * 16) for number in range(1, 6)]
FIRST, SECOND, *_ = NAMES


class Staging:
    """Archives by name; which of them were opened, and are still open."""

    def __init__(self) -> None:
        self.files = {
            archive_id.hex(): write_archive(
                {f"user{number}": {"INBOX": [BODY + bytes([number])]}}, archive=archive_id
            )
            for number, archive_id in enumerate(NAMES)
        }
        self.opened: list[str] = []
        self.open = 0

    def __call__(self, location: Location) -> RandomAccess:
        name = location.name
        self.opened.append(name)
        if name not in self.files:
            raise DamagedError("it is gone", reason="missing")
        staging = self

        class Counted(MemoryFile):
            def close(self) -> None:
                staging.open -= 1

        self.open += 1
        return Counted(self.files[name])

    def parents(self, **changes: object) -> OpenParents:
        users = {f"user{number}": archive_id for number, archive_id in enumerate(NAMES)}
        facts: dict[str, object] = {"mailboxes": users, "locations": {name: located(name) for name in NAMES}}
        return OpenParents(Parents(**{**facts, **changes}), self)  # type: ignore[arg-type]


def located(archive: ArchiveId) -> tuple[Location, ...]:
    return (Location("here", archive.hex()),)


def every(folder: KnownMessages) -> list[Message]:
    """The messages of a folder that has one frame."""
    (frame,) = folder.frames
    return folder.messages(frame)


@pytest.fixture
def staging() -> Staging:
    return Staging()


def test_a_mailbox(staging: Staging) -> None:
    parents = staging.parents()
    version = parents.mailbox("primary", "user1")
    assert version is not None
    assert (version.header.archive, version.entry.user, version.intact) == (SECOND, "user1", True)
    folder = version.folder(b".INBOX")
    assert folder is not None
    assert list(folder.bases()) == [message.base for message in every(folder)]
    assert version.folder(b".Sent") is None
    assert parents.mailbox("primary", "stranger") is None
    parents.close()
    assert staging.open == 0


def test_nothing_is_opened_before_it_is_asked_for(staging: Staging) -> None:
    staging.parents()
    assert staging.opened == []


def test_only_so_many_are_open(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_MOST_OPEN", 2)
    parents = staging.parents()
    versions = [parents.mailbox("primary", f"user{number}") for number in range(5)]
    assert staging.open == 2
    for version in versions:
        assert version is not None
        assert every(version.folders[b".INBOX"]), "it is opened again"
    assert staging.open == 2


@pytest.mark.parametrize("what", ["gone", "empty", "rubbish", "another"])
def test_an_archive_that_is_not_there_is_not_known(staging: Staging, what: str) -> None:
    name = FIRST.hex()
    others = {"empty": b"", "rubbish": bytes(5000), "another": staging.files[SECOND.hex()]}
    if what == "gone":
        del staging.files[name]
    else:
        staging.files[name] = others[what]
    parents = staging.parents()
    assert parents.mailbox("primary", "user0") is None
    assert parents.knows("user0")
    assert parents.mailbox("primary", "user1") is not None
    assert staging.open == 1
    with pytest.raises(DamagedError):
        parents.find("user0")


def test_what_is_whole_of_a_damaged_archive(staging: Staging) -> None:
    """Its end is gone: the mailbox is found from the front."""
    staging.files[FIRST.hex()] = staging.files[FIRST.hex()][:-50]
    version = staging.parents().mailbox("primary", "user0")
    assert version is not None
    assert every(version.folders[b".INBOX"])


def test_lost_stretches(staging: Staging) -> None:
    parents = staging.parents(lost={FIRST: Losses((Stretch(100, 10), Stretch(500, 1)))})
    assert not parents.intact([FIRST])
    assert parents.intact([SECOND])
    version = parents.mailbox("primary", "user0")
    assert version is not None
    assert not version.intact

    def held(offset: int, length: int, archive: ArchiveId = FIRST) -> bool:
        return version.holds([Piece(SECOND, 0, 10), Piece(archive, offset, length)])

    assert [held(0, 100), held(110, 390), held(501, 10), held(105, 1, SECOND)] == [True] * 4
    assert [held(0, 101), held(105, 1), held(109, 1), held(0, 1000), held(490, 11)] == [False] * 5


def test_an_archive_that_is_not_among_the_files_is_lost(staging: Staging) -> None:
    parents = staging.parents(locations={SECOND: located(SECOND)})
    assert not parents.intact([FIRST, SECOND])
    assert not parents.hold([Piece(FIRST, 0, 1)])
    assert parents.hold([Piece(SECOND, 0, 1)])


def test_from_another_partition_no_mark_counts(staging: Staging) -> None:
    here = staging.parents().mailbox("primary", "user0")
    there = staging.parents().mailbox("second", "user0")
    assert here is not None
    assert there is not None
    assert (here.same_store, there.same_store) == (True, False)
    assert {folder.mark for folder in there.folders.values()} == {b""} == {there.files_mark}


class TestSegments:
    def digests(self, parents: OpenParents) -> dict[ArchiveId, int]:
        found: dict[ArchiveId, int] = {}
        for archive, row in parents.segments():
            assert len(row.digests) == 16 * len(row.offsets) == 16 * len(row.lengths)
            found[archive] = found.get(archive, 0) + len(row.offsets)
        return found

    def test_of_all_archives(self, staging: Staging) -> None:
        parents = staging.parents()
        parents.mailbox("primary", "user2")
        assert self.digests(parents) == dict.fromkeys(NAMES, 1)
        assert staging.open == 1, "only that with the mailbox stays open"

    def test_not_of_lost_data(self, staging: Staging) -> None:
        del staging.files[NAMES[2].hex()]
        staging.files[NAMES[3].hex()] = b"rubbish"
        parents = staging.parents(
            lost={
                FIRST: Losses((Stretch(0, 1 << 40),)),
                SECOND: Losses((Stretch(1 << 40, 5),)),
            }
        )
        assert self.digests(parents) == {FIRST: 0, SECOND: 1, NAMES[4]: 1}
