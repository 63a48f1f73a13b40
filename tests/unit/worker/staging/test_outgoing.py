"""A worker's side of a stream: driven with what the receiver answers."""

from __future__ import annotations

from typing import cast

import pytest

from mailhaul.proto.errors import BackupError, FencedError, LeaseLostError, StagingError
from mailhaul.proto.wire.envelopes import (
    Checkpoint,
    Close,
    Credit,
    Data,
    Envelope,
    Open,
    Opened,
    Refused,
    Seal,
    Sealed,
)
from mailhaul.tests.archives import frames_of, write_archive
from mailhaul.worker.staging.connection import Answer, Connection, Line
from mailhaul.worker.staging.flow import CLOSED
from mailhaul.worker.staging.outgoing import OutgoingStream

ARCHIVE = write_archive(
    {user: {"INBOX": [bytes([65 + number]) * 50 for number in range(3)]} for user in ("anna", "bert")}
)
FRAMES = frames_of(ARCHIVE)
WINDOW = 8 << 20


class Link:
    """A connection whose other end is the test."""

    def __init__(self) -> None:
        self.up = True
        self.room = 1000
        self.now = 0.0
        self.sent: list[Envelope] = []
        self.data = bytearray()
        self.lines: dict[int, Line] = {}
        self.number = 0
        self.stream = OutgoingStream(cast(Connection, self), b"grant", clock=lambda: self.now)

    def new_number(self) -> int:
        self.number += 1
        return self.number

    def attach(self, number: int, line: Line) -> None:
        self.lines[number] = line
        line.greeted()

    def detach(self, number: int) -> None:
        self.lines.pop(number, None)

    def send(self, envelope: Envelope, payload: bytes | memoryview = b"") -> bool:
        if not self.up or not self.room:
            return False
        self.room -= 1
        self.sent.append(envelope)
        if isinstance(envelope, Data):
            assert envelope.offset == len(self.data)
            self.data += payload
        return True

    def answers(self, *envelopes: Answer, payload: bytes = b"") -> None:
        for envelope in envelopes:
            self.stream.answered(envelope, memoryview(payload))

    def since(self) -> list[Envelope]:
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def link() -> Link:
    """With a stream that is open, and empty."""
    link = Link()
    link.stream.open()
    assert link.since() == [Open(1, b"grant", -1)]
    link.answers(Opened(1, 0, 0, False), Credit(1, WINDOW, 0, ""))
    assert link.stream.is_open
    return link


def write(link: Link) -> None:
    for frame in FRAMES:
        link.stream.write(ARCHIVE[frame.at : frame.end])
    link.stream.flush()


def test_an_archive(link: Link) -> None:
    write(link)
    assert link.since() == [Data(1, 0)]
    assert link.data == ARCHIVE
    assert link.stream.held_bytes == link.stream.size_bytes == len(ARCHIVE)
    link.answers(Credit(1, WINDOW + 10, len(ARCHIVE), ""))
    assert link.stream.held_bytes == 0
    link.stream.seal()
    assert link.since() == [Seal(1, len(ARCHIVE))]
    assert not link.stream.sealed
    link.answers(Sealed(1, len(ARCHIVE)))
    assert link.stream.sealed
    link.stream.close()
    link.stream.close()
    assert link.since() == [Close(1)]


def test_a_mailbox_end_is_told_once_it_is_sent(link: Link) -> None:
    for frame in FRAMES[:3]:
        link.stream.write(ARCHIVE[frame.at : frame.end])
    assert link.since() == []
    link.stream.mark()
    assert link.since() == [Data(1, 0), Checkpoint(1, FRAMES[2].end)]
    assert not link.stream.is_mailbox_written
    link.answers(Credit(1, WINDOW, FRAMES[2].end - 1, ""))
    assert not link.stream.is_mailbox_written
    link.answers(Credit(1, WINDOW, FRAMES[2].end, ""))
    assert link.stream.is_mailbox_written


def test_what_was_written_is_sent_after_a_while(link: Link) -> None:
    link.stream.write(ARCHIVE[: FRAMES[1].at + 5])
    link.now += 0.5
    link.stream.beat()
    assert link.since() == []
    link.now += 1
    link.stream.beat()
    assert link.since() == [Data(1, 0)]
    assert len(link.data) == FRAMES[0].end


def test_the_draft_and_going_on_behind_it() -> None:
    link = Link()
    link.stream.open()
    link.answers(Opened(1, FRAMES[2].end, 3, False), payload=b"the draft")
    link.answers(Credit(1, WINDOW, FRAMES[2].end, ""))
    assert link.stream.draft == b"the draft"
    link.data += ARCHIVE[: FRAMES[2].end]
    link.stream.write(ARCHIVE[FRAMES[2].end :])
    link.stream.flush()
    assert link.data == ARCHIVE


def test_from_the_start() -> None:
    link = Link()
    link.stream.open()
    link.answers(Opened(1, 500, 3, False), payload=b"the draft")
    link.stream.close()
    link.stream.open(from_start=True)
    assert link.since()[1:] == [Close(1), Open(2, b"grant", 0)]
    link.answers(Opened(2, 0, 0, False))
    assert link.stream.draft == b""
    assert link.stream.size_bytes == 0
    # The receiver was restarted before anything was written: nothing of the draft may stay.
    link.stream.greeted()
    assert link.since() == [Open(2, b"grant", 0)]


def test_after_a_lost_connection_what_is_not_written_is_sent_again(link: Link) -> None:
    write(link)
    link.stream.seal()
    link.answers(Credit(1, WINDOW, FRAMES[1].end, ""))
    link.since()
    link.stream.greeted()
    assert not link.stream.is_open
    assert link.since() == [Open(1, b"grant", FRAMES[1].end)]
    del link.data[FRAMES[3].end :]
    link.answers(Opened(1, FRAMES[3].end, 0, False), Credit(1, WINDOW, FRAMES[1].end, ""))
    assert link.since() == [Data(1, FRAMES[3].end), Seal(1, len(ARCHIVE))]
    assert link.data == ARCHIVE


def test_the_answer_to_the_seal_was_lost(link: Link) -> None:
    write(link)
    link.stream.seal()
    link.stream.greeted()
    link.answers(Opened(1, len(ARCHIVE), 0, True))
    assert link.stream.sealed
    link.stream.check()


def test_no_answer_to_the_seal(link: Link) -> None:
    write(link)
    link.stream.seal()
    link.since()
    link.now += 11
    link.stream.beat()
    assert link.since() == [Seal(1, len(ARCHIVE))]


@pytest.mark.parametrize("size", [len(ARCHIVE) - 1, len(ARCHIVE) + 1])
def test_sealed_with_something_else(link: Link, size: int) -> None:
    write(link)
    link.stream.seal()
    link.stream.greeted()
    link.answers(Opened(1, size, 0, True))
    assert not link.stream.sealed
    with pytest.raises(StagingError):
        link.stream.check()


def test_sealed_by_another_attempt() -> None:
    link = Link()
    link.stream.open()
    link.answers(Opened(1, 100, 0, True))
    with pytest.raises(StagingError):
        link.stream.check()


def test_an_archive_that_ends_inside_a_frame(link: Link) -> None:
    link.stream.write(ARCHIVE[:-1])
    with pytest.raises(StagingError):
        link.stream.seal()


def test_the_receiver_has_given_it_up_and_takes_it_again(link: Link) -> None:
    write(link)
    link.since()
    link.answers(*[Refused("stream", 1, CLOSED, "not open", True)] * 3)
    assert link.since() == [Open(1, b"grant", 0)]
    link.stream.check()
    link.data.clear()
    link.answers(Opened(1, 0, 0, False))
    assert link.data == ARCHIVE


def test_refused(link: Link) -> None:
    link.answers(Refused("stream", 1, "fenced", "a later attempt", False))
    with pytest.raises(FencedError):
        link.stream.check()
    assert not link.stream.is_open


def test_the_first_error_counts(link: Link) -> None:
    errors: list[BackupError] = [LeaseLostError("silent"), StagingError("later")]
    for error in errors:
        link.stream.failed(error)
    with pytest.raises(LeaseLostError):
        link.stream.check()


def test_waiting_for_room(link: Link) -> None:
    link.answers(Credit(1, 0, 0, "the staging area is full"))
    assert link.stream.waiting == "the staging area is full"
    write(link)
    assert link.since() == []
    assert not link.stream.is_sent
    link.answers(Credit(1, WINDOW, 0, ""))
    assert link.data == ARCHIVE
    assert link.stream.waiting == ""


def test_a_socket_without_room_is_tried_again(link: Link) -> None:
    link.room = 0
    write(link)
    assert not link.stream.is_sent
    link.room = 10
    link.answers(Credit(1, WINDOW, 0, ""))
    assert link.data == ARCHIVE
    assert link.stream.is_sent


def test_everything_that_had_no_room_is_tried_again(link: Link) -> None:
    link.now = 100.0
    write(link)
    link.room = 0
    link.stream.mark()
    link.stream.seal()
    for _ in range(2):
        link.room = 1
        link.now += 2
        link.stream.beat()
    assert link.since() == [Data(1, 0), Checkpoint(1, len(ARCHIVE)), Seal(1, len(ARCHIVE))]
    link.room = 0
    link.stream.greeted()
    link.stream.beat()
    assert link.since() == []
    link.room = 5
    link.stream.beat()
    link.stream.beat()
    assert link.since() == [Open(1, b"grant", 0)]


def test_what_is_left_of_a_connection_before_it_is_open_again_counts_for_nothing(link: Link) -> None:
    write(link)
    link.stream.greeted()
    link.answers(Credit(1, 2 * WINDOW, len(ARCHIVE), ""), Sealed(1, len(ARCHIVE)))
    assert link.stream.held_bytes == len(ARCHIVE)
    assert not link.stream.sealed
    link.stream.check()
