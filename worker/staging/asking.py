"""What hosts ask of the coordinator by the receiver's socket: how much of it is taken, and how it is handed
on."""

from __future__ import annotations

from collections.abc import Callable

from ...proto.errors import AccessError, BackupError, StagingError
from ...proto.structs import Mutable, Record
from ...proto.wire.envelopes import MOST_REPLY_BYTES, Reply
from .flow import refusal
from .reading import Answer

Asked = Callable[[str, bytes], bytes]
"""Answers what a host asks; for any thread, several at a time. Raises BackupError: the host is told."""

MOST_AT_ONCE = 20
PER_SECOND = 1.0
"""So often a host may ask: so many times at once, and then so many a second."""

MOST_WAITING = 64
"""So many questions of all hosts wait for an answer."""


def nobody_asks(host: str, _payload: bytes) -> bytes:
    """The ``Asked`` of a receiver that takes no questions."""
    raise AccessError(f"this receiver takes no questions of {host}")


class Question(Record):
    """What a client asks."""

    client: bytes
    host: str
    request: int
    payload: bytes


class _Allowance(Mutable):
    """How many questions a host may still ask, as of a time."""

    left: float
    since: float


class OpenQuestions:
    """Which questions are taken. ``clock`` gives seconds that never step back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._allowances: dict[str, _Allowance] = {}
        self._open: set[bytes] = set()

    def admit(self, client: bytes, host: str) -> None:
        """A question is worked on until ``answered`` is told. Raises StagingError if there are too many."""
        now = self._clock()
        # Hosts are those with a key: there are few.
        allowance = self._allowances.setdefault(host, _Allowance(MOST_AT_ONCE, now))
        allowance.left = min(MOST_AT_ONCE, allowance.left + (now - allowance.since) * PER_SECOND)
        allowance.since = now
        if allowance.left < 1:
            raise StagingError(f"{host} asks too often: try again in a moment", host=host)
        if client in self._open or len(self._open) >= MOST_WAITING:
            raise StagingError("there are questions already that wait for an answer", host=host)
        allowance.left -= 1
        self._open.add(client)

    def answered(self, client: bytes) -> None:
        """The question of this client has got its answer."""
        self._open.discard(client)


def reply(asked: Asked, question: Question) -> Answer:
    """Have a question answered. Never raises."""
    try:
        payload = asked(question.host, question.payload)
        if len(payload) > MOST_REPLY_BYTES:
            raise StagingError("the answer is too long")
        return Answer(question.client, Reply(question.request), payload, about_operations=True)
    except BackupError as error:
        return _refused(question, error)
    except Exception as error:  # whatever is asked, the receiver goes on
        return _refused(question, StagingError(f"{type(error).__name__} in the coordinator"))


def _refused(question: Question, error: BackupError) -> Answer:
    refused = refusal("request", question.request, error)
    return Answer(question.client, refused, about_operations=True)
