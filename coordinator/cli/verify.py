"""``mailhaul verify``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from ...groups.paths import LogicalPath
from ...proto.errors import EXIT_DAMAGED, EXIT_OK
from ...proto.records import Skipped
from ...worker.archives import ArchivePlace
from ...worker.tasks import VerifyTask
from ...worker.verify import VerifyReport
from ..backup_set import from_catalog
from ..dispatch.engine import Outcome
from ..verification import Examination, Examinee, examine_backup, examine_staging, verify
from . import adapters, output
from .configuration import default_workers, staging_area
from .options import archives_option, at_option, json_option, path_argument, staging_option, workers_option
from .output import counted, duration, number, say, size
from .program import Invocation
from .progress import Amount, make_display, watched
from .sources import named_archives


@click.command("verify")
@path_argument
@click.option("--data", is_flag=True, help="Put every message together, too, and compare its checksum.")
@at_option
@archives_option
@staging_option
@workers_option
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    path: LogicalPath,
    data: bool,
    at: str | None,
    files: tuple[str, ...],
    staging: Path | None,
    workers: int | None,
    as_json: bool,
) -> int:
    """Check the archives that hold something of PATH: every frame has the checksum it was written with.

    All runs are checked; with --at only what a restore as of that time needs.

    \b
    Example: is all that is kept of a user still whole?
      mailhaul verify --data /primary/user/jane@example.org
    """
    if files:
        with named_archives(at=at, files=files, staging=staging) as backup:
            examination = examine_backup(backup, path)
            return _examine(examination, backup.damaged, data=data, workers=workers, as_json=as_json)
    area = staging_area(invocation, staging)
    if at is None:
        examination = examine_staging(area, path)
    else:
        examination = examine_backup(from_catalog(area, at, [path]), path)
    return _examine(examination, (), data=data, workers=workers, as_json=as_json)


def _examine(
    examination: Examination,
    damaged: Sequence[Skipped],
    *,
    data: bool,
    workers: int | None,
    as_json: bool,
) -> int:
    clock = adapters.clock()
    began = clock.monotonic()
    places = examination.places
    amounts = {
        places[one.archive]: _amount(one, places[one.archive], data=data) for one in examination.archives
    }
    expected: dict[str, Amount] = {}
    for place, amount in amounts.items():  # one file may hold several archives
        expected[place.file] = expected.get(place.file, Amount()) + amount

    def ended(outcome: Outcome[VerifyTask, VerifyReport]) -> tuple[str, Amount]:
        return outcome.task.place.file, amounts[outcome.task.place]

    with make_display(clock, as_json=as_json) as display:
        display.begin(expected)
        engine = watched(adapters.make_engine(workers or default_workers()), display, ended)
        reports = verify(examination, data=data, engine=engine, on_progress=display.progress)
    damaged = (*damaged, *(one for report in reports for one in report.damaged))
    if as_json:
        output.print_json(
            {"path": str(examination.path), "data": data, "archives": reports, "damaged": damaged}
        )
    else:
        _tell(reports, damaged, clock.monotonic() - began, data=data)
    return EXIT_DAMAGED if damaged else EXIT_OK


def _amount(one: Examinee, place: ArchivePlace, *, data: bool) -> Amount:
    """What there is to check: the mail in an archive, or else just its bytes."""
    if data:
        return Amount(one.messages, one.size_bytes)
    if place.size_bytes is not None:
        return Amount(0, place.size_bytes)
    try:
        return Amount(0, os.stat(place.file).st_size)
    except OSError:
        return Amount()  # its verification tells why


def _tell(reports: Sequence[VerifyReport], damaged: Sequence[Skipped], seconds: float, *, data: bool) -> None:
    for one in damaged:
        say(output.shown(f"damaged: {one.path} ({one.reason}): {one.detail}"))
    checked = [
        counted(len(reports), "archive"),
        counted(sum(one.frames for one in reports), "frame"),
    ]
    if data:
        checked.append(counted(sum(one.messages for one in reports), "message"))
        checked.append(size(sum(one.size_bytes for one in reports)))
    outcome = f"{number(len(damaged))} damaged" if damaged else "all whole"
    say(f"{', '.join(checked)} checked in {duration(seconds)}: {outcome}")
