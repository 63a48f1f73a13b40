"""Frames on their way: cut into batches by who sends, checked by who receives."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.errors import DamagedError
from mailhaul.proto.records import ArchiveId
from mailhaul.tests.archives import encoded, frames_of, write_archive
from mailhaul.worker.staging.frame_chain import FrameBatches, FrameChain

RANDOM = random.Random(7)
ARCHIVE = write_archive(
    {user: {"INBOX": [b"Subject: x\r\n\r\n" + RANDOM.randbytes(90_000)]} for user in ("anna", "bert", "cleo")}
)
FRAMES = frames_of(ARCHIVE)
WHOLE = FrameChain(FRAMES[0].header.archive, len(FRAMES))
PARTS = [ARCHIVE[frame.at : frame.end] for frame in FRAMES]


class TestFrameChain:
    def test_a_whole_archive_at_once_and_frame_by_frame(self) -> None:
        assert FrameChain().extended(ARCHIVE, "x") == WHOLE
        chain = FrameChain()
        for part in PARTS:
            chain = chain.extended(memoryview(part), "x")
        assert chain == WHOLE

    def test_going_on_behind_what_is_there(self) -> None:
        assert FrameChain(FRAMES[0].header.archive, 3).extended(b"".join(PARTS[3:]), "x") == WHOLE

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (PARTS[1], "sequence"),
            (PARTS[0] + PARTS[2], "sequence"),
            (PARTS[0] + PARTS[0], "sequence"),
            (ARCHIVE + PARTS[1], "sequence"),
            (ARCHIVE[:-1], "truncated"),
            (ARCHIVE[: FRAMES[1].at + 30], "truncated"),
            (PARTS[0] + b"x" * 72, "frame-header"),
            (PARTS[0] + PARTS[1][:-1] + bytes([PARTS[1][-1] ^ 1]), "checksum"),
            (
                PARTS[0]
                + encoded(FRAMES[1].header._replace(archive=ArchiveId(bytes(16))), FRAMES[1].payload),
                "foreign",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_does_not_fit(self, data: bytes, reason: str) -> None:
        with pytest.raises(DamagedError) as caught:
            FrameChain().extended(data, "x")
        assert caught.value.facts["reason"] == reason

    @given(st.binary(min_size=1, max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        with pytest.raises(DamagedError):
            FrameChain().extended(data, "x")


class TestFrameBatches:
    @given(st.lists(st.integers(1, 120_000), min_size=1, max_size=40), st.integers(1, 400_000))
    def test_batches_are_whole_frames_however_they_were_written(self, runs: list[int], batch: int) -> None:
        batches, sent, at = FrameBatches(batch), [], 0
        while at < len(ARCHIVE):
            size = runs[at % len(runs)]
            batches.add(memoryview(ARCHIVE)[at : at + size])
            at += size
            if batches.full:
                sent.append(batches.take())
        assert not batches.partial
        sent.append(batches.take())
        assert b"".join(sent) == ARCHIVE
        chain = FrameChain()
        for one in filter(None, sent):
            chain = chain.extended(one, "x")
        assert chain == WHOLE

    def test_a_frame_that_is_not_whole_stays(self) -> None:
        batches = FrameBatches(1)
        batches.add(PARTS[0] + PARTS[1][:-1])
        assert batches.full
        assert batches.partial
        assert batches.take() == PARTS[0]
        assert batches.take() == b""
        batches.add(PARTS[1][-1:] + PARTS[2][:40])
        assert batches.take() == PARTS[1]
        assert batches.partial

    def test_what_was_added_may_be_written_over(self) -> None:
        batches, buffer = FrameBatches(1), bytearray(PARTS[0])
        batches.add(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        assert batches.take() == PARTS[0]

    def test_what_is_no_frame(self) -> None:
        with pytest.raises(DamagedError):
            FrameBatches(1).add(bytes(72))
