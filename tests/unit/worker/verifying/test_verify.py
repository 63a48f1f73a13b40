"""Verifying: whatever was done to an archive is told, and by its right name."""

from __future__ import annotations

import random

import pytest

from mailhaul.proto.archive.frames import HEADER_BYTES, FrameType, checksum, pack_header
from mailhaul.proto.archive.slots import read_slots
from mailhaul.proto.errors import EncryptedError, UnsupportedError
from mailhaul.proto.keys.records import Keyring
from mailhaul.proto.records import ArchiveId, Progress, Stretch
from mailhaul.tests.archives import ARCHIVE, MemoryFile, encoded, frames_of, remapped, write_archive
from mailhaul.tests.sealed import OF_A_HOST, SEALING, opened_keys
from mailhaul.worker.verifying.verify import (
    VerifyReport,
    verify_archive,
    verify_frames,
    verify_sample,
    verify_stored,
)

MAILBOXES = {
    "alice": {
        "INBOX": [b"h: %d\n\n" % n + random.Random(n).randbytes(90_000) for n in range(6)],
        "Sent": [b"x"],
    },
    "bob": {"INBOX": [b"h: b\n\nbob's"]},
}
DATA = write_archive(MAILBOXES)
FRAMES = frames_of(DATA)


def check(data: bytes) -> VerifyReport:
    return verify_frames(MemoryFile(data))


def check_archive(data: bytes) -> VerifyReport:
    return verify_archive(MemoryFile(data), lambda _: None)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def test_a_whole_archive_is_whole() -> None:
    assert check(DATA) == VerifyReport(file="memory", frames=len(FRAMES), size_bytes=len(DATA))


def test_whose_archive_it_is_and_what_of_its_data_is_broken_is_told() -> None:
    assert check_archive(DATA) == VerifyReport(
        file="memory", archive=ARCHIVE, encrypted=False, frames=len(FRAMES), size_bytes=len(DATA)
    )
    first, second, *_ = blocks = frames_of(DATA, FrameType.BLOCK)
    assert len(blocks) > 2
    for at in (first.at, first.at + HEADER_BYTES):  # also where a block can't be found any more
        report = check_archive(flipped(flipped(DATA, at), second.at + HEADER_BYTES))
        assert report.broken == (Stretch(0, first.header.plain_bytes + second.header.plain_bytes),)
    # Without its directory a frame that is gone is one that nobody knows of.
    report = check_archive(flipped(flipped(DATA, first.at), frames_of(DATA, FrameType.DIRECTORY)[0].at))
    assert (report.archive, report.broken, len(report.damaged)) == (ARCHIVE, (), 3)
    assert check_archive(b"x" * 10_000).archive is None


def test_progress_is_told_while_a_file_is_read() -> None:
    told: list[Progress] = []
    data = write_archive({"alice": {"INBOX": [random.Random(1).randbytes(17 << 20)]}})
    verify_frames(MemoryFile(data), told.append)
    (progress,) = told
    assert 16 << 20 <= progress.size_bytes <= len(data)


def test_a_sample_of_frames_finds_what_is_in_it() -> None:
    unnamed = FrameType.HEADER, FrameType.DIRECTORY, FrameType.FOOTER, FrameType.SEARCH
    named = sum(frame.header.type not in unnamed for frame in FRAMES)
    whole = verify_sample(MemoryFile(DATA), 1.0, random.Random(1))
    assert (whole.frames, whole.sampled_of, whole.damaged, whole.archive) == (named, named, (), ARCHIVE)
    some = verify_sample(MemoryFile(DATA), 0.01, random.Random(1))
    assert (some.frames, some.sampled_of) == (4, named), "one of each kind"
    assert 0 < some.size_bytes < whole.size_bytes

    block = frames_of(DATA, FrameType.BLOCK)[1]
    data = flipped(DATA, block.at + HEADER_BYTES)
    report = verify_sample(MemoryFile(data), 1.0, random.Random(1))
    assert [skip.path for skip in report.damaged] == [f"memory at {block.at}"]
    assert report.broken == (Stretch(block.header.position, block.header.plain_bytes),)
    found = [bool(verify_sample(MemoryFile(data), 0.4, random.Random(n)).damaged) for n in range(30)]
    assert True in found
    assert False in found
    (told,) = verify_sample(MemoryFile(DATA[:-5]), 0.4, random.Random(1)).damaged
    assert told.reason == "archive"


@pytest.mark.parametrize("frame", FRAMES, ids=lambda one: f"{one.header.sequence}-{one.header.type.name}")
def test_a_flipped_bit_in_any_frame_is_told(frame: object) -> None:
    assert isinstance(frame, type(FRAMES[0]))
    for at in (frame.at, frame.at + HEADER_BYTES - 1, frame.at + HEADER_BYTES, frame.end - 1):
        data = bytearray(DATA)
        data[at] ^= 0x10
        damaged = check(bytes(data)).damaged
        assert any(f"memory at {frame.at}" in skip.path for skip in damaged)


def test_an_archive_that_ends_too_early_is_told_even_where_a_frame_ends() -> None:
    for frame in FRAMES:
        assert check(DATA[: frame.at]).damaged
    assert check(DATA[:-1]).damaged
    assert check(DATA + b"x").damaged


def test_frames_that_are_missing_doubled_or_swapped_are_told() -> None:
    parts = [DATA[frame.at : frame.end] for frame in FRAMES]
    for number in range(len(parts) - 1):
        assert check(b"".join(parts[:number] + parts[number + 1 :])).damaged
        assert check(b"".join(parts[: number + 1] + parts[number:])).damaged
        swapped = [*parts[:number], parts[number + 1], parts[number], *parts[number + 2 :]]
        assert check(b"".join(swapped)).damaged


def test_a_frame_of_another_archive_in_its_place_is_told() -> None:
    other = write_archive(MAILBOXES, archive=ArchiveId(bytes(16)))
    block = frames_of(other, FrameType.BLOCK)[0]
    assert check(DATA[: block.at] + other[block.at : block.end] + DATA[block.end :]).damaged


def test_what_is_no_archive_is_told() -> None:
    for data in (b"", b"x" * 10_000):
        (told,) = check(data).damaged
        assert told.reason == "archive"


def test_what_a_later_version_wrote_is_told_as_such() -> None:
    newer = encoded(FRAMES[0].header, remapped(FRAMES[0].payload, read_version=99)) + DATA[FRAMES[0].end :]
    with pytest.raises(UnsupportedError):
        check(newer)


class TestEncryptedArchives:
    """With the private key of a recipient, and with the structure key alone."""

    DATA = write_archive(MAILBOXES, sealing=SEALING)
    KEYS = (opened_keys(read_slots(MemoryFile(DATA))), OF_A_HOST)

    def report(self, data: bytes, keys: Keyring) -> VerifyReport:
        whole = verify_archive(MemoryFile(data), lambda _: None, keys)
        sample = verify_sample(MemoryFile(data), 1.0, random.Random(1), keys)
        assert sample.broken == whole.broken
        return whole

    @pytest.mark.parametrize("keys", KEYS)
    def test_a_whole_one_is_whole(self, keys: Keyring) -> None:
        report = self.report(self.DATA, keys)
        assert (report.damaged, report.broken) == ((), ())
        assert report.frames == len(frames_of(self.DATA))

    @pytest.mark.parametrize("keys", KEYS)
    def test_of_what_is_damaged_is_told_what_of_the_data_is_hit(self, keys: Keyring) -> None:
        first = frames_of(self.DATA, FrameType.BLOCK)[0]
        report = self.report(flipped(self.DATA, first.at + HEADER_BYTES + 9), keys)
        assert report.broken == (Stretch(0, first.header.plain_bytes),)
        assert len(report.damaged) == 1

    @pytest.mark.parametrize("keys", KEYS)
    @pytest.mark.parametrize("kind", [FrameType.BLOCK, FrameType.MAILBOX, FrameType.SEARCH])
    def test_frames_with_right_checksums_that_were_not_encrypted_here(
        self, keys: Keyring, kind: FrameType
    ) -> None:
        frame = frames_of(self.DATA, kind)[0]
        begin, end = frame.at + HEADER_BYTES, frame.at + HEADER_BYTES + frame.header.stored_bytes
        stored = flipped(self.DATA[begin:end], 9)
        header = pack_header(frame.header._replace(checksum=checksum(stored)))
        data = self.DATA[: frame.at] + header + stored + self.DATA[end:]
        (told,) = verify_archive(MemoryFile(data), lambda _: None, keys).damaged
        opened = keys is not OF_A_HOST or kind is FrameType.MAILBOX
        assert told.reason == ("frame" if opened else "forged")

    def test_without_any_key(self) -> None:
        with pytest.raises(EncryptedError, match="ops"):
            verify_archive(MemoryFile(self.DATA), lambda _: None)

    def test_checksums_take_no_key(self) -> None:
        whole = verify_stored(MemoryFile(self.DATA), lambda _: None)
        assert whole.damaged == ()
        assert whole.frames == len(frames_of(self.DATA))
        for frame in frames_of(self.DATA):
            changed = flipped(self.DATA, frame.at + HEADER_BYTES)
            assert verify_stored(MemoryFile(changed), lambda _: None).damaged, frame.header.type
        first = frames_of(self.DATA, FrameType.BLOCK)[0]
        end = first.at + HEADER_BYTES + first.header.stored_bytes
        for data in (self.DATA[: first.at] + self.DATA[end:], self.DATA[:end]):
            assert verify_stored(MemoryFile(data), lambda _: None).damaged
