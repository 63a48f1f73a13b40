"""A mail store behind the port of a target, written no faster than a budget allows.

A message, or a file that is none, costs one message, also where it is found to be there already: it has to be
looked for. Its bytes cost as they are written, in pieces, so that the rate holds inside a large message too.
Nothing is waited for under the lock of a folder: what is added lies beside it until then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...proto.ports import FolderWriter, MailboxWriter, MailTarget
from ...proto.records import Folder, MailboxOutcome, Message, Skipped, StoredFile
from .throttled import ReadingBudget


class ThrottledTarget:
    """A MailTarget (see ``proto.ports``) that raises what the target and the budget raise."""

    def __init__(self, target: MailTarget, budget: ReadingBudget) -> None:
        self._target = target
        self._budget = budget

    @contextmanager
    def open_mailbox(
        self, user: str, place: bytes = b"", layout: Sequence[Folder] = ()
    ) -> Iterator[MailboxWriter]:
        with self._target.open_mailbox(user, place, layout) as writer:
            yield _Mailbox(writer, self._budget)

    def finish(self) -> None:
        self._target.finish()

    def abandon(self) -> None:
        self._target.abandon()


class _Mailbox:
    def __init__(self, writer: MailboxWriter, budget: ReadingBudget) -> None:
        self._writer = writer
        self._budget = budget

    def new_folder(self, name: str) -> Folder:
        return self._writer.new_folder(name)

    def open_folder(self, folder: Folder) -> FolderWriter:
        return _Folder(self._writer.open_folder(folder), self._budget)

    def add_file(self, file: StoredFile, content: Iterable[bytes]) -> bool:
        self._budget.spend_message()
        return self._writer.add_file(file, _paced(content, self._budget))

    def commit(self) -> None:
        self._writer.commit()

    def skipped(self) -> Sequence[Skipped]:
        return self._writer.skipped()

    def outcome(self) -> MailboxOutcome:
        return self._writer.outcome()

    def without_modseq(self) -> int:
        return self._writer.without_modseq()

    def listed(self) -> Mapping[str, int]:
        return self._writer.listed()


class _Folder:
    def __init__(self, writer: FolderWriter, budget: ReadingBudget) -> None:
        self._writer = writer
        self._budget = budget

    def add(self, message: Message, content: Iterable[bytes]) -> bool:
        self._budget.spend_message()
        return self._writer.add(message, _paced(content, self._budget))

    def finish(self) -> None:
        self._writer.finish()


def _paced(content: Iterable[bytes], budget: ReadingBudget) -> Iterator[bytes]:
    most = budget.piece_bytes
    for chunk in content:
        step = most or len(chunk) or 1
        for begin in range(0, len(chunk), step):
            piece = chunk[begin : begin + step]
            budget.spend_bytes(len(piece))
            yield piece
