"""Moments of the schedule that were seen to, and the operations put in with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailhaul.coordinator.service import handled as module
from mailhaul.coordinator.service.handled import HandledMoments
from mailhaul.coordinator.service.operations import Operations
from mailhaul.coordinator.service.records import Handled, Request

NOW = datetime(2026, 11, 30, 2, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
BACKUP = Request(kind="backup", asked_by="schedule:", entry="backup", due=LATER)


def test_an_operation_and_its_moment_are_on_record_together(tmp_path: Path) -> None:
    moments = HandledMoments(tmp_path)
    first = Handled(moment=NOW, full=NOW)
    moments.begin({"backup": first, "sweep": first}, [])
    assert moments.all() == {"backup": first, "sweep": first}
    seen = {
        "backup": Handled(moment=LATER, full=NOW),
        "sweep": Handled(moment=LATER, full=NOW, passed_over="operation 3 still runs"),
    }
    put_in = moments.handle(seen, [BACKUP], LATER)
    assert put_in is not None
    assert [operation.request for operation in put_in] == [BACKUP]
    assert Operations(tmp_path).newest(9) == put_in
    assert moments.all() == seen


@pytest.mark.parametrize(
    "seen",
    [
        {"backup": Handled(moment=NOW, full=NOW)},  # seen to before
        {"backup": Handled(moment=LATER, full=NOW), "sweep": Handled(moment=LATER, full=NOW)},  # not known
    ],
)
def test_nothing_is_done_twice_and_nothing_by_half(tmp_path: Path, seen: dict[str, Handled]) -> None:
    moments = HandledMoments(tmp_path)
    moments.begin({"backup": Handled(moment=NOW, full=NOW)}, [])
    assert moments.handle(seen, [BACKUP], LATER) is None
    assert moments.all() == {"backup": Handled(moment=NOW, full=NOW)}
    assert Operations(tmp_path).newest(9) == ()


def test_a_moment_is_not_handled_if_its_operation_could_not_be_put_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = HandledMoments(tmp_path)
    moments.begin({"backup": Handled(moment=NOW, full=NOW)}, [])

    def fail(*_: object) -> None:
        raise RuntimeError("planned")

    monkeypatch.setattr(module, "insert", fail)
    with pytest.raises(RuntimeError, match="planned"):
        moments.handle({"backup": Handled(moment=LATER, full=NOW)}, [BACKUP], LATER)
    assert moments.all()["backup"].moment == NOW


def test_entries_that_are_no_more_are_forgotten(tmp_path: Path) -> None:
    moments = HandledMoments(tmp_path)
    old, new = Handled(moment=NOW, full=NOW), Handled(moment=LATER, full=LATER)
    moments.begin({"backup": old, "sweep": old, "purge": old}, [])
    moments.begin({"purge": new, "drill": new}, ["backup"])
    assert moments.all() == {"backup": old, "purge": new, "drill": new}
