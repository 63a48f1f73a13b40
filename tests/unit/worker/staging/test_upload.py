"""What a worker holds of the archive that it sends: credit, resending, memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhaul.proto.errors import StagingError
from mailhaul.worker.staging.upload import Upload


def sent(upload: Upload) -> list[tuple[int, bytes]]:
    return [(at, bytes(data)) for at, data in upload.to_send()]


def test_sends_up_to_what_is_granted() -> None:
    upload = Upload(100)
    upload.credited(110, 100, "")
    for batch in (b"aaaa", b"bbbb", b"cccc"):
        upload.add(batch)
    assert sent(upload) == [(100, b"aaaa"), (104, b"bbbb")]
    assert sent(upload) == []
    assert not upload.is_sent
    upload.credited(114, 104, "")
    assert sent(upload) == [(108, b"cccc")]
    assert upload.is_sent
    assert upload.held_bytes == 8


def test_a_batch_larger_than_the_window_goes_alone() -> None:
    upload = Upload(0)
    upload.credited(10, 0, "")
    upload.add(b"a" * 8)
    upload.add(b"b" * 20)
    upload.add(b"c" * 20)
    assert sent(upload) == [(0, b"a" * 8)]
    upload.credited(18, 8, "the disk")
    assert sent(upload) == []
    upload.credited(18, 8, "")
    assert sent(upload) == [(8, b"b" * 20)]
    upload.credited(38, 28, "")
    assert sent(upload) == [(28, b"c" * 20)]


def test_what_was_not_written_is_sent_again() -> None:
    upload = Upload(0)
    upload.credited(100, 0, "")
    for batch in (b"aaaa", b"bbbb", b"cccc"):
        upload.add(batch)
    assert len(sent(upload)) == 3
    upload.credited(100, 4, "")
    upload.reopened(6)
    upload.credited(100, 6, "")
    assert sent(upload) == [(6, b"bb"), (8, b"cccc")]


@pytest.mark.parametrize("size", [3, 13])
def test_a_receiver_that_has_lost_something(size: int) -> None:
    upload = Upload(0)
    upload.credited(100, 0, "")
    for batch in (b"aaaa", b"bbbb", b"cccc"):
        upload.add(batch)
    assert len(sent(upload)) == 3
    upload.credited(100, 4, "")
    with pytest.raises(StagingError):
        upload.reopened(size)


def test_a_receiver_that_tells_of_more_than_was_sent() -> None:
    upload = Upload(0)
    upload.add(b"aaaa")
    with pytest.raises(StagingError):
        upload.credited(100, 4, "")


def test_checkpoints_are_told_once_their_data_is_sent() -> None:
    upload = Upload(0)
    upload.credited(4, 0, "")
    upload.add(b"aaaa")
    upload.mark(3)
    upload.mark(4)
    assert upload.checkpoint_to_send() is None
    assert sent(upload) == [(0, b"aaaa")]
    assert upload.checkpoint_to_send() == 4
    assert upload.checkpoint_to_send() == 4
    upload.checkpoint_sent()
    assert upload.checkpoint_to_send() is None
    upload.reopened(0)
    assert upload.checkpoint_to_send() is None
    assert sent(upload) == [(0, b"aaaa")]
    assert upload.checkpoint_to_send() == 4


@given(st.data())
def test_a_receiver_that_comes_and_goes_gets_every_byte_once(data: st.DataObject) -> None:
    """A model of a receiver: it takes what comes in order, writes later, may lose what is not written."""
    batches = data.draw(st.lists(st.binary(min_size=1, max_size=30), max_size=12))
    window = data.draw(st.integers(1, 60))
    upload, there, written = Upload(0), bytearray(), 0
    waiting = list(batches)
    for _ in range(200):
        if not waiting and upload.is_sent and written == upload.end:
            break
        if waiting and upload.is_sent:
            upload.add(waiting.pop(0))
        for at, part in upload.to_send():
            assert at == len(there)
            assert at + len(part) <= written + window or at == written
            there += part
        if data.draw(st.integers(0, 4)) == 0:
            del there[data.draw(st.integers(written, len(there))) :]
            upload.reopened(len(there))
        written = data.draw(st.integers(written, len(there)))
        upload.credited(written + window, written, "")
        assert upload.held_bytes <= max(window, 30) + 60
    else:
        written = len(there)
    assert bytes(there) == b"".join(batches)[: len(there)]
    if written == upload.end and not waiting:
        assert bytes(there) == b"".join(batches)
