"""What becomes of an operation whose process is gone, by how far its run or restore had come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mailhaul.coordinator.catalog import Catalog
from mailhaul.coordinator.lock import RunLock
from mailhaul.coordinator.restores.record import Order, begun
from mailhaul.coordinator.restores.report import write_report
from mailhaul.coordinator.run_archives import check_run_archive, run_archive
from mailhaul.coordinator.service.records import Kind, Operation, Request
from mailhaul.coordinator.serving.aftermath import ANEW, Aftermath, aftermath, resumable
from mailhaul.proto.records import RestoreReport, RunId, Skipped
from mailhaul.proto.structs import replace

from ....watched import FakeClock, make_report, make_unit

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
UNIT = make_unit()


def operation(kind: Kind = "backup", carries: str = UNIT.run) -> Operation:
    request = Request(kind=kind, arguments=("/",), asked_by="cli:root")
    return Operation(id=1, request=request, asked=NOW, state="running", carries=carries)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path, write=True) as opened:
        yield opened


def test_a_run_that_is_not_on_record_begins_anew(tmp_path: Path, catalog: Catalog) -> None:
    assert aftermath(tmp_path, operation()) == ANEW
    catalog.begin_run(UNIT.run, NOW, paths="/")
    assert aftermath(tmp_path, operation()) == ANEW, "nor one that had planned nothing"
    assert aftermath(tmp_path / "elsewhere", operation()) == ANEW


def test_a_run_of_which_something_is_left_goes_on(tmp_path: Path, catalog: Catalog) -> None:
    catalog.begin_run(UNIT.run, NOW, paths="/")
    catalog.plan_units([UNIT])
    assert aftermath(tmp_path, operation()) == Aftermath(resumes=UNIT.run)


def test_a_run_whose_units_were_all_stored_has_ended(tmp_path: Path, catalog: Catalog) -> None:
    catalog.begin_run(UNIT.run, NOW, paths="/")
    catalog.plan_units([UNIT])
    catalog.commit_unit(make_report(UNIT), sealed=NOW)
    assert aftermath(tmp_path, operation()).ended == "done"
    catalog.end_run(UNIT.run, NOW)
    assert aftermath(tmp_path, operation()).ended == "done"


def test_a_run_that_had_ended_has_its_archive(tmp_path: Path, catalog: Catalog) -> None:
    """Also if its process died before it had written that: nothing else outlives the catalog of a run that
    found nothing changed."""
    catalog.begin_run(UNIT.run, NOW, paths="/")
    catalog.plan_units([UNIT])
    catalog.commit_unit(make_report(UNIT), sealed=NOW)
    catalog.end_run(UNIT.run, NOW)
    with RunLock(tmp_path):
        assert aftermath(tmp_path, operation()).ended == "done", (
            "somebody else has the lock: it is left to them"
        )
    assert not (tmp_path / run_archive(UNIT.run, 0)).exists()
    assert aftermath(tmp_path, operation()).ended == "done"
    check_run_archive(tmp_path, UNIT.run, 0)


def test_a_run_that_left_something_out_is_partial(tmp_path: Path, catalog: Catalog) -> None:
    catalog.begin_run(UNIT.run, NOW, paths="/")
    catalog.plan_units([UNIT])
    catalog.commit_unit(make_report(UNIT, skipped=("unreadable",)), sealed=NOW)
    catalog.end_run(UNIT.run, NOW)
    assert aftermath(tmp_path, operation()).ended == "partial"


def test_a_run_that_had_failed_has_failed(tmp_path: Path, catalog: Catalog) -> None:
    catalog.begin_run(UNIT.run, NOW, paths="/")
    catalog.end_run(UNIT.run, NOW, error="the store is gone")
    after = aftermath(tmp_path, operation())
    assert (after.ended, after.error) == ("failed", "the store is gone")


def test_a_run_that_a_later_one_has_overtaken_begins_anew(tmp_path: Path, catalog: Catalog) -> None:
    catalog.begin_run(UNIT.run, NOW, paths="/")
    catalog.plan_units([UNIT])
    later = replace(UNIT, run=RunId("20991231T000000Z-0000"))
    catalog.begin_run(later.run, NOW, paths="/")
    catalog.plan_units([later])
    catalog.commit_unit(make_report(later), sealed=NOW)
    assert aftermath(tmp_path, operation()) == ANEW


def test_restores_go_on_or_have_ended(tmp_path: Path) -> None:
    def order(restore: str, now: datetime) -> Order:
        return Order(restore=restore, begun=now, arguments=("/",), directory="/", moment="", run="")

    def ends(error: str = "", *skipped: Skipped) -> str:
        with begun(tmp_path, FakeClock(), order, _raise) as record:
            if error or skipped:
                write_report(record, NOW, RestoreReport(skipped=skipped), error=error)
        return record.order.restore

    killed = ends()
    assert aftermath(tmp_path, operation("restore", killed)) == Aftermath(resumes=killed)
    stopped = ends("the disk is full")
    assert aftermath(tmp_path, operation("restore", stopped)).ended == "failed"
    left_out = ends("", Skipped("/p/g/u", "unreadable", "no"))
    assert aftermath(tmp_path, operation("restore", left_out)).ended == "partial"
    assert aftermath(tmp_path, operation("restore", "20991231T000000Z-0000")) == ANEW


def test_what_an_error_ended_can_be_gone_on_with(tmp_path: Path, catalog: Catalog) -> None:
    assert resumable(tmp_path, operation(carries="")) == ""
    assert resumable(tmp_path, operation()) == ""
    catalog.begin_run(UNIT.run, NOW, paths="/")
    catalog.plan_units([UNIT])
    catalog.end_run(UNIT.run, NOW, error="a lock was taken")
    assert resumable(tmp_path, operation()) == UNIT.run
    assert resumable(tmp_path, operation("restore", "20991231T000000Z-0000")) == ""
    assert resumable(tmp_path, operation("sweep")) == ""


def test_all_others_begin_anew(tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("undelete", "sweep", "purge", "verify", "drill", "inventory")
    assert all(aftermath(tmp_path, operation(kind)) == ANEW for kind in kinds)


def _raise(error: Exception) -> None:
    raise error
