"""How a restore ended: ``report.json`` for programs and for ``--retry``, ``report.txt`` for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ...proto.errors import NotFoundError
from ...proto.records import RestoreReport, Skipped
from ...proto.structs import Record
from ..durable import replace_durably
from ..snapshots import as_json, read_snapshot
from .failures import Failure, failure_of
from .record import Ended, OpenRestore, Order, note_end

TEXT = "report.txt"


class Report(Record, kw_only=True):
    """A restore that has ended: ``stopped`` by the ``error``, or ``done``. ``mailboxes`` are durable;
    ``failures`` is all that is not there, or not as it was."""

    state: Literal["stopped", "done"]
    order: Order
    ended: datetime
    error: str = ""
    mailboxes: int = 0
    restored: int = 0
    present: int = 0
    files: int = 0
    removed: int = 0
    aside: int = 0
    size_bytes: int = 0
    failures: tuple[Failure, ...] = ()


def write_report(
    restore: OpenRestore,
    ended: datetime,
    total: RestoreReport,
    *,
    damaged: Sequence[Skipped] = (),
    error: str = "",
) -> Report:
    """Write how a restore ended: with an ``error`` if there was one. ``damaged`` is what could not be
    planned. Raises StagingError."""
    report = Report(
        state="stopped" if error else "done",
        order=restore.order,
        ended=ended,
        error=error,
        mailboxes=len(restore.journal),
        restored=total.restored,
        present=total.present,
        files=total.files,
        removed=total.removed,
        aside=total.aside,
        size_bytes=total.size_bytes,
        failures=(
            *(failure_of(skip, damaged=True) for skip in (*damaged, *total.damaged)),
            *map(failure_of, total.skipped),
        ),
    )
    text = "".join(f"{line}\n" for line in _lines(report))
    replace_durably(restore.directory / TEXT, text.encode("utf-8", "backslashreplace"))
    replace_durably(restore.directory / "report.json", as_json(report).encode("ascii"))
    note_end(restore.directory, Ended(state=report.state, error=error))
    return report


def read_report(path: Path) -> Report:
    """The report in a file, or of a restore by its directory. Raises NotFoundError."""
    file = path / "report.json" if path.is_dir() else path
    report = read_snapshot(file, Report)
    if report is None:
        raise NotFoundError(f"{file} is no report of a restore, or none that this version reads")
    return report


def _lines(report: Report) -> Iterator[str]:
    order = report.order
    yield f"restore {order.restore}: {_ended(report)}"
    yield f"asked for: mailhaul restore {' '.join(order.arguments)}"
    yield f"as of {order.moment} (run {order.run})"
    yield f"begun {_second(order.begun)}, ended {_second(report.ended)}"
    for partition, target in sorted(order.targets.items()):
        yield f"mail of {partition} to {target}"
    yield f"{report.mailboxes} of {order.mailboxes} mailboxes are done"
    if order.undoes:
        yield f"{report.removed} messages removed that restore {order.undoes} had added"
        yield f"{report.files} other files removed"
    else:
        yield f"{report.restored} messages restored ({report.size_bytes} bytes)"
        yield f"{report.present} messages were there already"
        yield f"{report.files} other files restored"
        if report.aside:
            yield f"{report.aside} messages set aside"
    yield from _failure_lines(report)


def _ended(report: Report) -> str:
    if report.error:
        return f"stopped: {report.error}"
    gone = sum(failure.again for failure in report.failures)
    altered = len(report.failures) - gone
    told = [f"{gone} not there"] * bool(gone) + [f"{altered} there, but not as it was"] * bool(altered)
    return f"done, but: {', '.join(told)}" if told else "done, all of it"


def _failure_lines(report: Report) -> Iterator[str]:
    """What failed, by what helps, and how to go on."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in report.failures:
        groups.setdefault((failure.kind, failure.remedy), []).append(failure)
    for (kind, remedy), failures in sorted(groups.items()):
        yield ""
        yield f"{kind}: {len(failures)}. What helps: {remedy}"
        for one in failures:
            yield f"  {one.path}: {' '.join(one.detail.split()) or one.reason} ({one.reason})"
    again = "--resume" if report.state == "stopped" else "--retry"
    if report.state == "stopped" or any(one.again for one in report.failures):
        yield ""
        yield f"to go on: mailhaul restore {again} {report.order.restore}"


def _second(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
