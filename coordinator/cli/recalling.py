"""What the commands share that bring archives back: doing it, and telling how far it is and what is waited
for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ...proto.records import ArchiveId, Progress
from ...worker.archives.holdings import Holdings
from ...worker.staging.area import StagingArea
from ...worker.tasks.recalling import Wanted
from ..hooks import NO_HOOKS
from ..recalling import Recalled, RecallObserver, recall
from . import adapters, output
from .asking import Asked, AskedForFiles
from .configuration import configured
from .output import counted
from .program import Invocation
from .progress import Amount, make_display

_POLL_SECONDS = 30.0


def bring_back(
    invocation: Invocation,
    staging: Path | None,
    holdings: Holdings,
    archives: Iterable[ArchiveId],
    workers: int,
    wait_seconds: float,
    *,
    as_json: bool,
    afresh: bool = False,
) -> Recalled:
    """Recall archives into the staging area that options or the configuration name; ``afresh`` as in
    ``recall``. An operation of the queue is on record as waiting while it waits. Raises StagingError."""
    clock = adapters.clock()
    area = _area(invocation, staging)
    until = clock.monotonic() + wait_seconds
    told = ""

    hooks = adapters.hooks(configured(invocation)) if staging is None else NO_HOOKS
    asked = Asked(Path(area.path), hooks)
    by_hand = AskedForFiles(Path(area.path), hooks)

    def waits(why: str) -> None:
        if invocation.operation is not None:
            invocation.operation.waits(why)

    def waiting(count: int, why: str) -> None:
        nonlocal told
        asked()
        line = f"{counted(count, 'archive')}: {why}"
        waits(f"waits for {line}")
        if why != told:
            told = why
            output.note(f"waiting for {line}")

    def pause() -> bool:
        left = until - clock.monotonic()
        time.sleep(max(0.0, min(_POLL_SECONDS, left)))
        return left > 0

    with make_display(clock, as_json=as_json) as display:

        def begin(wanted: Sequence[Wanted]) -> None:
            total = sum(wish.location.size_bytes for wish in wanted)
            display.begin({"recall": Amount(0, total)})

        def progress(done: Progress) -> None:
            waits("")
            display.progress(done)

        try:
            return recall(
                area,
                holdings,
                archives,
                adapters.make_engine(workers),
                now=lambda: datetime.fromtimestamp(clock.now(), UTC),
                pause=pause,
                observer=RecallObserver(begin=begin, progress=progress, by_hand=by_hand, waiting=waiting),
                afresh=afresh,
            )
        finally:
            waits("")


def _area(invocation: Invocation, staging: Path | None) -> StagingArea:
    if staging is not None:
        return StagingArea(path=str(staging))
    config = configured(invocation).staging
    return StagingArea(
        path=str(config.path),
        reserve_bytes=config.reserve_bytes,
        patience_seconds=config.patience_seconds,
    )
