"""What people hear of operations in the queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_OK, EXIT_SKIPPED, BackupError
from ...proto.records import RunId
from ..service.notices import NoticeRecord
from ..service.records import Operation, State
from ..serving.queue import QueueObserver
from .command_notices import TOLD, WATCHED, tell_of_command
from .raising import over, raise_notice
from .records import Notice, tidy_cause
from .restore_notices import is_attempt, tell_of_restore
from .run_notices import backup_began

_COMMANDS = {"inventory": "tape inventory"}


class OperationNotices(QueueObserver):
    """Puts on record what people should hear of operations, and tells another observer all of it.
    What can't be put on record is told to ``unrecorded``."""

    def __init__(
        self,
        staging: Path,
        now: Callable[[], datetime],
        then: QueueObserver,
        unrecorded: Callable[[str], object],
    ) -> None:
        self._staging = staging
        self._now = now
        self._then = then
        self._unrecorded = unrecorded

    def began(self, operation: Operation) -> None:
        """See QueueObserver."""
        self._then.began(operation)

    def adopted(self, operation: Operation) -> None:
        """See QueueObserver."""
        self._then.adopted(operation)

    def died(self, operation: Operation, becomes: State) -> None:
        """See QueueObserver."""
        self._then.died(operation, becomes)
        self._recorded(lambda: raise_notice(self._staging, _died(operation, becomes), self._now()))

    def hung(self, operation: Operation) -> None:
        """See QueueObserver."""
        self._then.hung(operation)
        self._recorded(lambda: raise_notice(self._staging, _hung(operation), self._now()))

    def ended(self, operation: Operation) -> None:
        """See QueueObserver."""
        self._then.ended(operation)
        self._recorded(lambda: self._ended(operation))

    def _ended(self, operation: Operation) -> None:
        if operation.state in ("done", "partial"):
            over(self._staging, _cause(operation), self._now())
        name = _COMMANDS.get(operation.request.kind, operation.request.kind)
        arguments = operation.request.arguments
        if is_attempt(name, arguments):
            self._ended_restore(operation)
        if name not in WATCHED:
            return
        if operation.request.kind == "backup" and operation.carries:
            backup_began(self._staging, arguments, RunId(operation.carries), self._now())
        elif (status := operation.exit_status) is not None:
            # Nobody sits before it who would see that its configuration or its words are wrong.
            status = EXIT_FAILED if operation.state == "failed" and status not in TOLD else status
            tell_of_command(self._staging, name, arguments, status, operation.error, self._now())

    def _ended_restore(self, operation: Operation) -> None:
        """One whose process was killed when it had done all has no exit status, but a state."""
        failed_by_death = operation.exit_status is None and operation.state == "failed"
        if failed_by_death and NoticeRecord(self._staging).lasts(tidy_cause(_cause(operation))):
            return
        if (status := _status(operation)) is not None:
            name, words = operation.request.kind, operation.request.arguments
            tell_of_restore(
                self._staging,
                name,
                words,
                status,
                operation.error,
                operation.carries,
                self._now(),
                f"`mailhaul operations show {operation.id}` says what it printed.",
            )

    def _recorded(self, record: Callable[[], object]) -> None:
        try:
            record()
        except BackupError as error:
            self._unrecorded(f"nobody is told of this operation: {error.message}")


def _status(restore: Operation) -> int | None:
    """How a restore ended; None for one that was stopped, or that goes on."""
    match restore.state:
        case "done":
            return EXIT_OK
        case "partial":
            return EXIT_SKIPPED
        case "failed" if restore.exit_status == EXIT_DAMAGED:
            return EXIT_DAMAGED
        case "failed":
            return EXIT_FAILED
    return None


def _died(operation: Operation, becomes: State) -> Notice:
    asked = _asked(operation)
    facts = {"operation": operation.id, "kind": operation.request.kind, "becomes": becomes}
    if becomes == "waiting":
        return Notice(
            event="operation-resumed",
            cause=f"operation-resumed:{operation.id}:{operation.attempts}",
            subject=f"The process of {asked} died, and it goes on",
            lines=(f"Operation {operation.id} is in the queue again.",),
            facts=facts,
        )
    return Notice(
        event="operation-died",
        cause=_cause(operation),
        subject=f"The process of {asked} died",
        lines=(
            f"Operation {operation.id} is {becomes}, and is not begun again by itself.",
            *([operation.error] if operation.error else []),
            f"`mailhaul operations show {operation.id}` shows what it said last.",
        ),
        facts=facts,
    )


def _hung(operation: Operation) -> Notice:
    return Notice(
        event="operation-died",
        cause=_cause(operation),
        subject=f"The process of {_asked(operation)} hung before it began",
        lines=(
            f"Operation {operation.id}: {operation.waits_for or operation.error}.",
            *([] if operation.state == "waiting" else ["It is not begun again by itself."]),
            "A file system that does not answer may be why: that of the staging area, or of the program.",
        ),
        facts={"operation": operation.id, "kind": operation.request.kind, "becomes": operation.state},
    )


def _asked(operation: Operation) -> str:
    return " ".join((operation.request.kind, *operation.request.arguments))


def _cause(operation: Operation) -> str:
    return f"operation-died:{_asked(operation)}"
