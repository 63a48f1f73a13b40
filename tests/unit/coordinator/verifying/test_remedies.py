"""From where what is lost could still be had: the best that there is."""

from __future__ import annotations

from mailhaul.coordinator.verifying.remedies import affected, remedy_of
from mailhaul.proto.records import ArchiveId, RunId, Stretch
from mailhaul.proto.structs import replace
from mailhaul.worker.verifying.losses import Loss
from mailhaul.worker.verifying.spares import Spare

LOST, ONE, OTHER = (ArchiveId(bytes([n]) * 16) for n in range(3))
FILES = {LOST: "lost.mha", ONE: "one.mha", OTHER: "other.mha"}
LOSS = Loss(
    mailbox=("primary", "jane"),
    path="/primary/user/jane/INBOX/1",
    first=RunId("a"),
    last=RunId("b"),
    archive=LOST,
    reason="block",
    detail="it is gone",
    digest=bytes(16),
    lacking=((LOST, Stretch(0, 10)), (LOST, Stretch(20, 10))),
)
SPARES = {LOST: (Spare(0, 10, b"", ONE, 0), Spare(15, 20, b"", OTHER, 7))}


def test_all_segments_elsewhere() -> None:
    assert remedy_of(LOSS, SPARES, FILES) == ("archive", "one.mha, other.mha")
    told = affected(LOSS, SPARES, FILES)
    assert (told.path, told.file, told.remedy) == (LOSS.path, "lost.mha", "archive")


def test_only_some_of_them_are_of_no_use() -> None:
    some = {LOST: SPARES[LOST][:1]}
    assert remedy_of(LOSS, some, FILES) == ("nowhere", "")
    assert remedy_of(replace(LOSS, current=True), some, FILES) == ("next-backup", "")
    assert remedy_of(replace(LOSS, current=True, twin=ONE), some, FILES) == ("archive", "one.mha")


def test_lost_metadata() -> None:
    metadata = replace(LOSS, digest=b"", lacking=())
    assert remedy_of(metadata, SPARES, FILES) == ("nowhere", "")
    near = replace(metadata, twin=ONE, near=RunId("c"))
    assert remedy_of(near, SPARES, FILES) == ("moment", "c")
    assert remedy_of(replace(near, current=True), SPARES, FILES) == ("next-backup", "")


def test_an_archive_whose_place_is_not_known_is_told_by_its_id() -> None:
    assert affected(LOSS, {}, {}).file == f"archive {LOST.hex()}"
