"""What ``mailhaul backup`` tells of a run that has ended: for people, and as a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ...groups.paths import LogicalPath
from ...proto.records import Skipped, UnitReport
from ..reasons import EXCLUDED, NO_FAULT
from ..result import RunResult
from . import output
from .output import counted, duration, note, number, size

_LISTED_ARCHIVES = 4


def tell_on_stderr(result: RunResult) -> None:
    """What should not be overlooked: mailboxes that are gone, what was left out, and, last, what looks like a
    loss."""
    output.list_skipped(_departed(result), "departed")
    output.list_skipped(result.left_out)
    for text in (*result.troubles, *result.notices):
        note(output.shown(text))
    for alarm in result.alarms:
        held = f"; it is held until `mailhaul release {alarm.path}`" if alarm.held else ""
        note(f"ALARM: {alarm.path}: {alarm.detail}{held}")


def summary(result: RunResult, seconds: float, files: list[str]) -> list[str]:
    """The run in a few lines."""
    lines = [f"run {result.run}: {result.state} in {duration(seconds)}"]
    lines += [
        f"  {title:<10} {value:>12}   {remark}".rstrip() for title, value, remark in _rows(result, seconds)
    ]
    lines += [f"  {output.shown(file)}" for file in files[:_LISTED_ARCHIVES]]
    if len(files) > _LISTED_ARCHIVES:
        lines.append(f"  and {counted(len(files) - _LISTED_ARCHIVES, 'archive')} more beside these")
    return lines


def _rows(result: RunResult, seconds: float) -> list[tuple[str, str, str]]:
    reports = result.reports
    mailboxes = [mailbox for report in reports for mailbox in report.mailboxes]
    messages = sum(unit_report.messages for unit_report in reports)
    read = sum(one.read for one in reports)
    size_bytes = sum(one.size_bytes for one in reports)
    archive_bytes = sum(one.archive_bytes for one in reports)
    units = {
        "unchanged": result.unchanged,
        "failed": len(result.failures),
        "sealed before": result.sealed_before,
    }
    changes = {
        "changed": sum(mailbox_summary.changed for mailbox_summary in mailboxes),
        "departed": sum(len(one.departed) for one in reports),
    }
    traffic = {
        "came": sum(one.added for one in mailboxes),
        "went": sum(one.vanished for one in mailboxes),
    }
    excluded = result.excluded
    # What was taken over is in older archives: only a run that read everything can tell how much smaller.
    read_all = archive_bytes and size_bytes and read == messages
    smaller = f"{size_bytes / archive_bytes:.1f} times smaller" if read_all else ""
    return [
        ("units", f"{number(len(reports) - result.unchanged)} sealed", _listed(units)),
        ("mailboxes", number(len(mailboxes)), _listed(changes)),
        ("messages", number(messages), _listed(traffic)),
        ("size", size(size_bytes), ""),
        ("read", number(read), f"{read / max(seconds, 0.001):,.0f} messages/s" if read else ""),
        ("new", size(sum(one.new_bytes for one in reports)), "each piece once"),
        ("archives", size(archive_bytes), smaller),
        ("skipped", number(len(result.left_out)), _by_reason(result.left_out)),
        *([("excluded", number(len(excluded)), _by_reason(excluded))] if excluded else []),
        *([("ALARMS", number(len(result.alarms)), "see above")] if result.alarms else []),
    ]


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{number(count)} {what}" for what, count in counts.items() if count)


def _by_reason(entries: Iterable[Skipped]) -> str:
    counts = Counter(entry.reason for entry in entries)
    return ", ".join(f"{reason} {number(count)}" for reason, count in counts.most_common())


def _departed(result: RunResult) -> list[Skipped]:
    return [
        Skipped(
            str(LogicalPath(report.partition, report.group, departed.user)), departed.reason, departed.detail
        )
        for report, departed in result.departed()
    ]


def document(result: RunResult, seconds: float, files: list[str]) -> dict[str, object]:
    """The run as JSON has it."""
    reports = result.reports
    return {
        "run": result.run,
        "state": result.state,
        "seconds": round(seconds, 3),
        "mailboxes": sum(len(unit_report.mailboxes) for unit_report in reports),
        "messages": sum(one.messages for one in reports),
        "read": sum(one.read for one in reports),
        "added": sum(mailbox.added for report in reports for mailbox in report.mailboxes),
        "vanished": sum(
            mailbox_summary.vanished for report in reports for mailbox_summary in report.mailboxes
        ),
        "size_bytes": sum(one.size_bytes for one in reports),
        "new_bytes": sum(one.new_bytes for one in reports),
        "archive_bytes": sum(one.archive_bytes for one in reports),
        "archives": files,
        "sealed_before": result.sealed_before,
        "unchanged_units": result.unchanged,
        "units": [_unit(one) for one in reports],
        "departed": _departed(result),
        "alarms": [
            {"path": alarm.path, "reason": alarm.reason, "detail": alarm.detail, "held": len(alarm.held)}
            for alarm in result.alarms
        ],
        "failures": [
            {"what": failure.what, "code": failure.error.code, "message": failure.error.message}
            for failure in result.failures
        ],
        "troubles": result.troubles,
        "notices": result.notices,
        "skipped": result.left_out,
        "excluded": result.excluded,
    }


def _unit(report: UnitReport) -> dict[str, object]:
    return {
        "partition": report.partition,
        "group": report.group,
        "shard": report.shard,
        "archive": report.archive,
        "file": report.name,
        "mailboxes": len(report.mailboxes),
        "changed": sum(mailbox.changed for mailbox in report.mailboxes),
        "departed": len(report.departed),
        "messages": report.messages,
        "read": report.read,
        "size_bytes": report.size_bytes,
        "new_bytes": report.new_bytes,
        "archive_bytes": report.archive_bytes,
        "seconds": round(report.seconds, 3),
        "cpu_seconds": round(report.cpu_seconds, 3),
        "peak_memory_bytes": report.peak_memory_bytes,
        "skipped": sum(skip.reason not in NO_FAULT for skip in report.skipped),
        "excluded": sum(one.reason in EXCLUDED for one in report.skipped),
    }
