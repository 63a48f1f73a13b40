"""How far above their recorded numbers restored folders go on, so that clients never see a number twice: also
where mail is lost a second time before the next backup has recorded what the first restore gave out.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ...proto.errors import NotFoundError
from .record import Order, directory_of, read_order, restores_of


def margin_above_earlier(staging: Path, partition: str, run: str, least: int) -> int:
    """``least`` above the recorded numbers of a ``run``, and above all that restores of this partition since
    then may have given out. (Ids of restores and of runs sort by the time at which each began.)"""
    orders = [_order(staging, restore) for restore in restores_of(staging) if restore > run]
    return least + max((order.margins.get(partition, 0) for order in orders if order is not None), default=0)


def _order(staging: Path, restore: str) -> Order | None:
    with suppress(NotFoundError):
        return read_order(directory_of(staging, restore))
    return None
