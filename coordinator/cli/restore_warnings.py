"""What every restore warns of before it begins: the moment that was chosen, archives that are not there."""

from __future__ import annotations

from ...proto.records import Skipped
from ..backup_set import NeededFile
from ..good_moments import ChosenMoment
from ..restore_plan import RestorePlan
from . import output


def tell_moment(moment: ChosenMoment | None) -> None:
    """Warn of a moment at which much mail was gone."""
    if moment is None or not moment.alarms:
        return
    output.list_skipped(moment.alarms, "alarm")
    before = f"; the moment before is {moment.before}: --at {moment.before}" if moment.before else ""
    output.note(f"run {moment.run} is a moment at which much mail was gone, as these alarms say{before}")


def tell_missing(plan: RestorePlan) -> None:
    """Warn of archives that are not there."""
    output.list_skipped(
        [Skipped(output.shown(named(file)), "missing", sized(file)) for file in plan.missing], "not at hand"
    )


def named(file: NeededFile) -> str:
    """The file of an archive, or what it is called where there is none."""
    return file.file or f"archive {file.archive.hex()}"


def sized(file: NeededFile) -> str:
    """Its size, as far as that is known."""
    return output.size(file.size_bytes) if file.size_bytes else ""
