"""What people hear of operations whose processes go wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from mailhaul.coordinator.notices.operation_notices import OperationNotices
from mailhaul.coordinator.service.notices import NoticeRecord
from mailhaul.coordinator.service.records import Operation, Request
from mailhaul.coordinator.serving.queue import QueueObserver
from mailhaul.proto.structs import replace

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
HUNG = "its process had not begun after 5 minutes, and was killed"


def test_one_that_hangs_is_one_matter_until_it_has_ended_well(tmp_path: Path) -> None:
    now = NOW
    notices = OperationNotices(tmp_path, lambda: now, QueueObserver(), lambda text: None)
    request = Request(kind="restore", arguments=("/primary",), asked_by="cli:root")
    operation = Operation(
        id=7, request=request, asked=NOW, state="waiting", waits_for=f"waits to be tried again: {HUNG}"
    )
    for _ in range(2):
        notices.hung(operation)
        now += timedelta(minutes=6)
    (standing,) = NoticeRecord(tmp_path).lasting()
    notice = standing.notice
    assert (notice.event, notice.cause) == ("operation-died", "operation-died:restore /primary")
    assert notice.subject == "The process of restore /primary hung before it began"
    assert notice.lines[0] == f"Operation 7: waits to be tried again: {HUNG}."
    notices.hung(replace(operation, state="failed", waits_for="", error=HUNG))
    (standing,) = NoticeRecord(tmp_path).lasting()
    assert standing.notice.lines[:2] == (f"Operation 7: {HUNG}.", "It is not begun again by itself.")
    assert standing.times == 3
    notices.ended(replace(operation, id=8, state="done", waits_for="", exit_status=0, ended=now))
    assert NoticeRecord(tmp_path).lasting() == ()
