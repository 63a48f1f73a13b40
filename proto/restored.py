"""A mailbox that was restored, as one line of JSON: what workers tell of it, and what the journal of a
restore keeps."""

from __future__ import annotations

import json

from .records import ARCHIVE_ID_BYTES, ArchiveId, RestoredMailbox, RestoreReport, Skipped, UidMap

_COUNTS = (
    "restored",
    "present",
    "files",
    "size_bytes",
    "present_bytes",
    "without_modseq",
    "linked",
    "flagged",
    "moved",
    "removed",
    "aside",
)
_MOST = 1 << 63


def encode(mailbox: RestoredMailbox) -> str:
    """The line, without its end; ASCII."""
    report = mailbox.report
    counts = {name: getattr(report, name) for name in _COUNTS}
    told = {
        "archive": mailbox.archive.hex(),
        "path": mailbox.path,
        **{name: count for name, count in counts.items() if count},
        "skipped": [[skip.path, skip.reason, skip.detail] for skip in report.skipped],
        "damaged": [[one.path, one.reason, one.detail] for one in report.damaged],
        "folders": mailbox.folders,
        "uids": [[whose, *uid_map] for whose, uid_map in report.uids],
        "reach": mailbox.reach,
        "ages": mailbox.ages,
        "last_seen_ns": mailbox.last_seen_ns,
    }
    return json.dumps({name: one for name, one in told.items() if one}, separators=(",", ":"))


def decode(line: str | bytes) -> RestoredMailbox:
    """What ``encode`` made a line of. Raises ValueError."""
    try:
        told = json.loads(line)
        archive = bytes.fromhex(told["archive"])
        if len(archive) != ARCHIVE_ID_BYTES:
            raise ValueError("no id of an archive")
        return RestoredMailbox(
            archive=ArchiveId(archive),
            path=_text(told["path"]),
            report=RestoreReport(
                restored=_count(told.get("restored", 0)),
                present=_count(told.get("present", 0)),
                files=_count(told.get("files", 0)),
                size_bytes=_count(told.get("size_bytes", 0)),
                present_bytes=_count(told.get("present_bytes", 0)),
                without_modseq=_count(told.get("without_modseq", 0)),
                linked=_count(told.get("linked", 0)),
                flagged=_count(told.get("flagged", 0)),
                moved=_count(told.get("moved", 0)),
                removed=_count(told.get("removed", 0)),
                aside=_count(told.get("aside", 0)),
                skipped=_skipped(told.get("skipped", [])),
                damaged=_skipped(told.get("damaged", [])),
                uids=_uids(told.get("uids", [])),
            ),
            folders={
                name: (_count(expected), _count(listed))
                for name, (expected, listed) in told.get("folders", {}).items()
            },
            reach=_text(told.get("reach", "")),
            ages=tuple(
                (_count(messages), _count(size_bytes)) for messages, size_bytes in told.get("ages", [])
            ),
            last_seen_ns=_count(told.get("last_seen_ns", 0)),
        )
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no mailbox that was restored: {error!r}") from error


def _skipped(told: list[list[str]]) -> tuple[Skipped, ...]:
    return tuple(Skipped(*map(_text, one)) for one in told)


def _uids(told: list[list[object]]) -> tuple[tuple[str, UidMap], ...]:
    return tuple(
        (
            _text(whose),
            UidMap(
                folder=_text(folder),
                uidvalidity=_count(uidvalidity),
                uids=_text(uids),
                new_folder=_text(new_folder),
                new_uidvalidity=_count(new_uidvalidity),
                new_uids=_text(new_uids),
            ),
        )
        for whose, folder, uidvalidity, uids, new_folder, new_uidvalidity, new_uids in told
    )


def _text(told: object) -> str:
    if not isinstance(told, str):
        raise TypeError("no text")
    return told


def _count(told: object) -> int:
    if not isinstance(told, int) or isinstance(told, bool) or not 0 <= told < _MOST:
        raise TypeError("no count")
    return told
