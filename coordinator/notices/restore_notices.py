"""What people hear of restores and undeletes that nobody watches: that one brought back less than was asked
for. It lasts until the same is asked for once more and brings back all, or until somebody has acknowledged
it: no night does a restore again by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ...proto.errors import EXIT_DAMAGED, EXIT_FAILED, EXIT_LOCKED, EXIT_OK, EXIT_SKIPPED, BackupError
from ...proto.structs import Record
from ..restores.failures import Failure
from ..restores.record import Order, directory_of, read_order
from ..restores.report import TEXT, Report, read_report
from ..texts import counted
from .raising import over, raise_notice
from .records import Event, Notice

RESTORES = ("restore", "undelete")

_LOOKS = frozenset(("--dry-run", "--list", "--first"))
"""Options with which nothing is brought back."""

_SAID: dict[int, str] = {
    EXIT_FAILED: "failed",
    EXIT_LOCKED: "did not begin",
    EXIT_SKIPPED: "did not bring back all",
    EXIT_DAMAGED: "met damaged data",
}
_LISTED = 10


class _Restore(Record, kw_only=True):
    """A restore that is on record: its ``order``, and the one that it ``repeats`` in whole or in part; its
    report, if there is one; its ``place``."""

    order: Order
    repeats: Order
    report: Report | None
    place: Path

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What is not there, or not as it was."""
        return () if self.report is None else self.report.failures


def is_attempt(name: str, arguments: Sequence[str]) -> bool:
    """Whether a command is to bring mail back."""
    return name in RESTORES and not any(argument.partition("=")[0] in _LOOKS for argument in arguments)


def tell_of_restore(
    staging: Path,
    name: str,
    arguments: Sequence[str],
    status: int,
    error: str,
    restore: str,
    now: datetime,
    printed: str = "What it printed says what is lacking.",
) -> None:
    """Put on record how a restore or an undelete ended (``is_attempt``): with this exit status; ``error`` is
    what it raised or said last, empty if nothing; ``restore`` is the id under which it is on record, empty
    if it did not come so far; ``printed`` says where it is to be read what it printed. Raises as
    ``raise_notice``."""
    words = tuple(one for one in arguments if one != "--json")
    known = _on_record(staging, restore) if restore else None
    asked = known.repeats.arguments if known else words
    if status == EXIT_OK:
        for cause in {_cause(name, asked), _cause(name, words)}:
            over(staging, cause, now)
    elif status in _SAID:
        raise_notice(staging, _notice(name, asked, status, error, known, printed), now)


def _cause(name: str, words: Sequence[str]) -> str:
    return f"failed:{' '.join((name, *words))}"


def _on_record(staging: Path, restore: str) -> _Restore | None:
    with suppress(BackupError):
        place = directory_of(staging, restore)
        order = repeats = read_order(place)
        report = None
        with suppress(BackupError):
            report = read_report(place)
        with suppress(BackupError):  # the first may be so old that it is not kept any more
            while repeats.retries:
                repeats = read_order(directory_of(staging, repeats.retries))
        return _Restore(order=order, repeats=repeats, report=report, place=place)
    return None


def _notice(
    name: str, asked: Sequence[str], status: int, error: str, known: _Restore | None, printed: str
) -> Notice:
    failures = known.failures if known else ()
    absent = sum(failure.again for failure in failures)
    altered = len(failures) - absent
    event: Event = "skipped" if status == EXIT_SKIPPED and failures and not absent else "failed"
    how = "left something not as it was" if event == "skipped" else _SAID[status]
    paths = [one for one in asked if one.startswith("/")] or [" ".join(asked)]
    more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
    return Notice(
        event=event,
        cause=_cause(name, asked),
        subject=f"{name.capitalize()} of {paths[0]}{more} {how}",
        lines=(
            *([error] if error else []),
            *(_lines(known, absent, altered) if known else ()),
            *([] if failures else [printed]),
            "",
            "This is over when the same has brought back all, or when somebody has acknowledged it.",
        ),
        facts={
            "command": name,
            "arguments": list(asked),
            "exit_status": status,
            "restore": known.order.restore if known else "",
            "absent": absent,
            "altered": altered,
        },
    )


def _lines(known: _Restore, absent: int, altered: int) -> Iterator[str]:
    order, report, failures = known.order, known.report, known.failures
    if report is not None:
        whole = f"{report.mailboxes:,} of {counted(order.mailboxes, 'mailbox', 'mailboxes')} came back"
        lacking = [f"{absent:,} not there"] * bool(absent)
        lacking += [f"{altered:,} there, but not as it was"] * bool(altered)
        yield f"{'; '.join((whole, *lacking))}."
    for failure in sorted(failures, key=lambda one: not one.again)[:_LISTED]:
        yield f"{failure.path}: {failure.detail or failure.reason}. What helps: {failure.remedy}"
    if len(failures) > _LISTED:
        yield f"and {len(failures) - _LISTED:,} more"
    if report is not None and failures:
        yield f"The whole list: {known.place / TEXT}"
    if order.undoes:
        yield f"`mailhaul restore --undo {order.undoes}` goes on with it"
    elif report is None or report.state == "stopped":
        yield f"`mailhaul restore --resume {order.restore}` goes on with it"
    elif absent:
        yield f"`mailhaul restore --retry {order.restore}` tries again what is not there"
