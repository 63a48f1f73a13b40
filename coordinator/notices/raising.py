"""Put a notice on record. That it is delivered is the business of ``delivery``, in whatever process."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ...proto.errors import NotFoundError
from ..service.notices import NoticeRecord
from . import policy
from .records import Notice, Standing, tidy, tidy_cause


def raise_notice(staging: Path, notice: Notice, now: datetime) -> None:
    """It is so: to be called whenever that is found, as often as it is. Durable on return.

    Raises StagingError, DamagedError, UnsupportedError if it can't be put on record.
    """
    plain = tidy(notice)
    NoticeRecord(staging).change(plain.cause, lambda before: policy.raised(before, plain, now))


def over(staging: Path, cause: str, now: datetime) -> None:
    """It is not so any more, or never was: to be called whenever that is found. Raises as
    ``raise_notice``."""
    record = NoticeRecord(staging)
    plain = tidy_cause(cause)
    if record.lasts(plain):
        record.change(plain, lambda before: policy.over(before, now))


def acknowledge(staging: Path, cause: str, who: str, now: datetime) -> Standing:
    """Somebody knows of what lasts. Raises NotFoundError if nothing of this cause does, and as
    ``raise_notice``."""

    def known(before: Standing | None) -> policy.Decision:
        if before is None or before.over is not None:
            raise NotFoundError(f"there is no notice that lasts with the cause {cause!r}", cause=cause)
        return policy.acknowledged(before, who, now), None

    after = NoticeRecord(staging).change(tidy_cause(cause), known)
    assert after is not None  # noqa: S101 (known() gives what it was given)
    return after


def remind(staging: Path, now: datetime) -> None:
    """Say again what lasts, where it is time to. Raises as ``raise_notice``."""
    record = NoticeRecord(staging)
    for standing in record.lasting():
        if policy.reminded(standing, now)[1] is not None:
            record.change(standing.notice.cause, lambda before: _reminded(before, now))


def _reminded(before: Standing | None, now: datetime) -> policy.Decision:
    return (None, None) if before is None else policy.reminded(before, now)
