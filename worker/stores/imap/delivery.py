"""The messages of one folder on their way: in batches, and until the server has answered for each of them.

A batch is taken whole or not at all. One that is refused is halved, down to the message that the server does
not want. When a connection is lost nobody knows whether a batch arrived: it is looked for before it is sent
again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from imapclient import IMAPClient
from imapclient.imap_utf7 import encode

from ....proto.errors import FolderStoppedError
from ....proto.structs import replace
from .answers import Answer
from .appending import append, append_each, is_unasked, takes_many
from .errors import ConnectionLostError, RefusedError
from .fetching import uids_from
from .outgoing import Outgoing
from .present import Present
from .session import Session

BATCH_BYTES = 10_000_000
BATCH_MESSAGES = 100
"""Cyrus has a file open for each message of a batch."""

_LOSSES_BEFORE_HALVING = 2
_LOSSES_IN_A_ROW = 12
_SILENCE_COUNTS = 4

Send = Sequence[Outgoing]


class UserStoppedError(FolderStoppedError):
    """The server takes nothing more for this user: no other folder need be tried."""


class Arrived(NamedTuple):
    """A message that the server has taken; ``uid`` is 0 where it does not say which one it is now."""

    uid: int
    outgoing: Outgoing


class Delivery:
    """``arrived`` is called for each message that the server has taken, ``refused`` with the server's words
    for each one that it does not take, ``without`` for keywords that it does not take.

    Its methods raise FolderStoppedError when the folder, and UserStoppedError when the user takes no more.
    """

    def __init__(
        self,
        session: Session,
        folder: str,
        uidnext: int,
        arrived: Callable[[Arrived], None],
        refused: Callable[[Outgoing, str, str], None],
        without: Callable[[Sequence[str], str], None],
    ) -> None:
        self._session = session
        self._folder = folder
        self._wire_name = encode(folder)
        self._arrived = arrived
        self._refused = refused
        self._without = without
        self._waiting: list[Outgoing] = []
        self._waiting_bytes = 0
        self._new_from = uidnext
        self._unwanted: dict[str, str] = {}
        self._losses: Counter[int] = Counter()
        self._in_a_row = 0
        self._waits = session.patience.waits()

    def add(self, one: Outgoing) -> None:
        """Send a message, with the next ones."""
        if unwanted := [word for word in one.keywords if word in self._unwanted]:
            self._without(unwanted, self._unwanted[unwanted[0]])
            one = replace(one, keywords=tuple(word for word in one.keywords if word not in unwanted))
        if self._waiting and (
            len(self._waiting) >= BATCH_MESSAGES or self._waiting_bytes + one.size > BATCH_BYTES
        ):
            self.flush()
        self._waiting.append(one)
        self._waiting_bytes += one.size

    def flush(self) -> None:
        """Send what still waits."""
        parts: list[Send] = [self._waiting] if self._waiting else []
        self._waiting, self._waiting_bytes = [], 0
        try:
            while parts:
                parts += reversed(self._attempt(parts.pop()))
        finally:
            for part in parts:
                _close(part)

    def close(self) -> None:
        """Drop what still waits. Repeatable."""
        _close(self._waiting)
        self._waiting = []

    def _attempt(self, part: Send) -> list[Send]:
        """Send messages; returns what is to be sent then, in its order."""
        try:
            answered = self._append(part)
        except ConnectionLostError as error:
            return self._after_loss(part, error)
        except RefusedError as error:  # to log in again
            raise UserStoppedError(error.message, reason="refused") from error
        rest: list[Send] = []
        busy: list[Outgoing] = []
        busy_answer = Answer("OK")
        for messages, answer in answered:
            if answer.is_passing and not answer.ok:
                busy += messages
                busy_answer = answer
            else:
                rest += self._settle(messages, answer)
        if busy:
            self._wait(busy_answer)
            rest.append(busy)
        return rest

    def _append(self, part: Send) -> list[tuple[Send, Answer]]:
        connection = self._session.connection
        if len(part) == 1 or takes_many(connection):
            return [(part, append(connection, self._wire_name, part))]
        if all(is_unasked(connection, outgoing.size) for outgoing in part):
            answers = append_each(connection, self._wire_name, part)
            return [([one], answer) for one, answer in zip(part, answers, strict=True)]
        return [([one], append(connection, self._wire_name, [one])) for one in part]

    def _settle(self, messages: Send, answer: Answer) -> list[Send]:
        if answer.ok:
            self._accept(messages, answer)
            return []
        if answer.lacks_folder:
            raise FolderStoppedError(f"the folder went away meanwhile: {answer.words}", reason="folder-gone")
        if len(messages) > 1:
            return _halves(messages)
        outgoing = messages[0]
        if answer.is_full:
            raise UserStoppedError(answer.words, reason="quota")
        if outgoing.keywords:
            # Of all that it may dislike this is what can be said later, word by word.
            return [[replace(outgoing, keywords=(), later=outgoing.keywords)]]
        self._give_up(outgoing, "refused", answer.words)
        return []

    def _accept(self, messages: Send, answer: Answer) -> None:
        validity, uids = answer.appended() or (0, [])
        if len(uids) != len(messages):
            uids = [0] * len(messages)
            self._new_from = self._session.ask(self._uidnext)
        else:
            self._new_from = max(self._new_from - 1, *uids) + 1
        for uid, outgoing in zip(uids, messages, strict=True):
            self._take_over(uid, outgoing)
        if validity:
            self._session.check_validity(self._folder, validity)

    def _take_over(self, uid: int, one: Outgoing) -> None:
        self._in_a_row = 0
        self._waits = self._session.patience.waits()
        if one.later:
            one = self._with_keywords(uid, one)
        self._arrived(Arrived(uid, one))
        one.close()

    def _with_keywords(self, uid: int, outgoing: Outgoing) -> Outgoing:
        """Give a message the keywords that it was not taken with, those that the server does take."""
        given = []
        for word in outgoing.later:
            try:
                if not uid:
                    raise RefusedError("the server does not say which message it is", answer=Answer("NO"))
                self._session.ask_in(self._folder, partial(_flag, uid=uid, word=word), writing=True)
                given.append(word)
            except RefusedError as error:
                self._unwanted[word] = error.message
                self._without([word], error.message)
        return replace(outgoing, keywords=tuple(given), later=())

    # When the connection is lost

    def _after_loss(self, part: Send, error: ConnectionLostError) -> list[Send]:
        self._session.drop()
        self._in_a_row += _SILENCE_COUNTS if error.silent else 1
        if self._in_a_row > _LOSSES_IN_A_ROW:
            _close(part)
            raise UserStoppedError(error.message, reason=error.code)
        # What was sent may still be on its way into the folder.
        self._wait(Answer("NO"))
        try:
            rest = self._not_arrived(part)
        except (ConnectionLostError, RefusedError) as other:
            _close(part)
            raise UserStoppedError(other.message, reason=other.code) from other
        for outgoing in rest:
            self._losses[id(outgoing.content)] += 1
        losses = max((self._losses[id(one.content)] for one in rest), default=0)
        if losses < _LOSSES_BEFORE_HALVING:
            return [rest] if rest else []
        if len(rest) > 1:
            return _halves(rest)
        if losses > _LOSSES_BEFORE_HALVING:
            self._give_up(rest[0], error.code, f"the connection is lost whenever it is sent: {error.message}")
            return []
        return [rest]

    def _not_arrived(self, part: Send) -> list[Outgoing]:
        """Look for messages in the folder; returns those that are not there."""
        self._session.examine(self._folder)
        uids = self._session.ask_in(self._folder, partial(uids_from, first=self._new_from))
        there = Present(self._session, self._folder, uids)
        rest = []
        for outgoing in part:
            if (uid := there.take(outgoing)) is None:
                rest.append(outgoing)
            else:
                self._take_over(uid, outgoing)
        self._new_from = max([self._new_from - 1, *uids]) + 1
        return rest

    def _uidnext(self, client: IMAPClient) -> int:
        return int(client.folder_status(self._folder, ["UIDNEXT"])[b"UIDNEXT"])

    def _wait(self, answer: Answer) -> None:
        wait = next(self._waits, None)
        if wait is None:
            raise UserStoppedError(answer.words or "the connection is lost again and again", reason="busy")
        wait(answer.wait_seconds)

    def _give_up(self, outgoing: Outgoing, reason: str, words: str) -> None:
        self._refused(outgoing, reason, words)
        outgoing.close()


def _halves(messages: Send) -> list[Send]:
    middle = len(messages) // 2
    return [messages[:middle], messages[middle:]]


def _flag(client: IMAPClient, *, uid: int, word: str) -> None:
    client.add_flags([uid], [word], silent=True)


def _close(messages: Send) -> None:
    for message in messages:
        message.close()
