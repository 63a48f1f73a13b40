"""An attempt that ended anywhere, leaving anything: the next one comes to the archive of one that did not."""

from __future__ import annotations

import random
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.archive import framing, messages
from mailhaul.proto.archive.frames import FrameType
from mailhaul.proto.archive.reader import open_sealed
from mailhaul.proto.archive.writer import ArchiveWriter
from mailhaul.tests.archives import (
    MemoryFile,
    MemorySink,
    archive_header,
    expected,
    frames_of,
    read_archive,
    taken_up,
    write_mailbox,
)
from mailhaul.worker.packing.packer import Packer
from mailhaul.worker.verifying.verify import verify_frames

_NOISE = random.Random(11).randbytes(5000)
_MESSAGES = st.builds(
    lambda head, start, size: b"Subject: %d\n\n" % head + _NOISE[start : start + size],
    st.integers(0, 3),
    st.sampled_from([0, 0, 500]),
    st.sampled_from([0, 10, 700, 4000]),
)
_MAILBOXES = st.lists(
    st.dictionaries(st.sampled_from(["INBOX", "Sent"]), st.lists(_MESSAGES, max_size=6), max_size=2),
    min_size=1,
    max_size=5,
).map(lambda mailboxes: {f"user{number}": folders for number, folders in enumerate(mailboxes)})


def attempt(left: bytes, mailboxes: dict[str, dict[str, list[bytes]]]) -> tuple[bytes, int]:
    """The archive that comes of it, and how many mailboxes were written."""
    with patch.object(framing, "BLOCK_BYTES", 900), patch.object(messages, "MOST_MESSAGES", 3):
        sink = MemorySink(left)
        draft = taken_up(sink)
        archive = ArchiveWriter(sink, archive_header(), draft=draft)
        packer = Packer(archive)
        done: set[str] = set()
        if draft is not None:
            packer.recall(draft.archive)
            done = {mailbox.user for mailbox in draft.archive.directory.mailboxes}
        for user, folders in mailboxes.items():
            if user not in done:
                write_mailbox(archive, packer, user, folders)
        archive.finish()
    return bytes(sink.data), len(mailboxes) - len(done)


@given(_MAILBOXES, st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=100)), max_size=4))
def test_cut_anywhere_again_and_again(
    mailboxes: dict[str, dict[str, list[bytes]]], crashes: list[tuple[float, bytes]]
) -> None:
    whole, _ = attempt(b"", mailboxes)
    data = whole
    for share, rubbish in crashes:
        data, _ = attempt(data[: int(share * len(data))] + rubbish, mailboxes)
        assert data == whole
    archive = open_sealed(MemoryFile(data))
    assert read_archive(archive) == (expected(mailboxes), [])
    assert verify_frames(MemoryFile(data)).damaged == ()


@given(_MAILBOXES, st.data())
def test_a_tail_that_did_not_reach_the_disk(
    mailboxes: dict[str, dict[str, list[bytes]]], data: st.DataObject
) -> None:
    """Bytes in it are others, or zeros: nothing of it is used, all before it is."""
    whole, _ = attempt(b"", mailboxes)
    at = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(at + 1, len(whole)))
    broken = whole[:at] + bytes(one ^ 0xA5 for one in whole[at:end]) + whole[end:]
    again, written = attempt(broken, mailboxes)
    assert again == whole
    ends: dict[int, int] = {}
    for frame in frames_of(whole):
        if frame.header.type is FrameType.MAILBOX:
            ends.setdefault(frame.header.position, frame.end)
    assert written == sum(end > at for end in ends.values())
