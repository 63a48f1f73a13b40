"""How much of what it could do the work on a mail host does, by how long its users wait. Pure: who
measures, and when, is the business of others.

Each look at the server (a probe, about one a second) is either in time or too late. Too late: the effort
falls, and by more if that comes again at once. In time: it rises, by so little that one that is late among
twenty takes it all back. So it stands still where ``LATE`` of the looks are late, whatever the server's
times look like; that several late ones in turn weigh more is made up for in what one in time is worth, else
chance alone would hold the work back where users do not wait too long. Nothing is averaged: an average would
know late what each look says at once.

Above all of the work the effort goes on rising for a while, as a credit: a look that is late now and then
where there is a margin slows nothing.

Where it has come down to the floor and users wait too long all the same, it is found out whether giving way
helps them at all (``cause``); where it does not, the work goes on at ``blind`` for a time.
"""

from __future__ import annotations

import math

from ...proto.structs import Record, replace
from .cause import Trial

LATE = 0.05
"""The share of looks that may be late: the others are the 95 of 100 of which the target speaks."""

ALLOWANCE = 1.05
"""A look is late that takes longer than this many times the target. The effort swings around what would be
right, and so do waits: over a night 95 of 100 stay within 1.2 times the target."""

FALL = 0.15
"""By so much the logarithm of the effort falls for a look that is late."""

FALL_AGAIN = 3 * FALL
"""The same if one of the last ``SOON_LOOKS`` was late, too."""

FAR_TOO_LATE = 2.0
"""What takes this many times the target, and comes again, counts half as much more."""

SOON_LOOKS = 3

_AGAIN = 1 - (1 - LATE) ** SOON_LOOKS  # of those that are late by chance, so many come that soon
RISE = (FALL * (1 - _AGAIN) + FALL_AGAIN * _AGAIN) * LATE / (1 - LATE)
"""By so much it rises for one in time."""

QUICK_RISE = 0.12
"""The same where nothing speaks against it: far below what was too much, or after a long time without one
late."""

FAR_BELOW = 0.6
"""Below this share of what was too much last it rises quickly."""

FORGOTTEN = 0.8
"""So much of it is left when less than it was too much."""

CALM_LOOKS = 60
"""After so many in time it rises quickly, wherever it is: where LATE of all are late, that is chance one time
in twenty."""

CREDIT = 0.5
"""How far the logarithm of the effort goes above that of all the work."""

NEAR_FLOOR = 2.0
"""At the floor is what is no further above it than this."""

STUCK_LOOKS = 60
"""After so many looks at the floor it is asked whether giving way helps, if many of them were late."""

STUCK_LATE = 0.08

OVER_LOOKS = 20
"""After so many in time in turn it is asked no further: users do not wait too long any more."""

KEEP_LOOKS = 600
"""For so many looks it keeps ``blind`` where giving way does not help, until it gives way again, and asks
again."""

ASK_AGAIN_LOOKS = 600
"""After so many it is asked again where it did help."""

_A_FEW_LOOKS = 3


class Rules(Record, kw_only=True):
    """What is kept to on a host. ``target_seconds``: what 95 of 100 looks shall take at most. ``floor`` is
    the share of the work that is done whatever they take, ``blind`` the most while nobody can look, and
    that before anybody has looked, and the floor where giving way does not help."""

    target_seconds: float
    floor: float = 0.05
    blind: float = 0.25


class Effort(Record, kw_only=True):
    """``level`` is the share of the work that is done: at most 1; ``credit`` how far its logarithm would be
    above that. ``too_much`` is what it was when it was too much last, ``in_time`` how many looks have been
    in time since. ``stuck`` looks were taken at the floor in turn, ``stuck_late`` of them late. ``trial``:
    it is being found out whether giving way helps; for ``keeps`` looks more it does not, for ``waits`` it
    is not asked."""

    level: float = 1.0
    credit: float = 0.0
    too_much: float = 1.0
    in_time: int = CALM_LOOKS
    stuck: int = 0
    stuck_late: int = 0
    trial: Trial | None = None
    keeps: int = 0
    waits: int = 0


def first_effort(rules: Rules) -> Effort:
    """The effort before anybody has looked: that of the blind, which rises quickly until a look is late."""
    return Effort(level=_kept(rules), in_time=CALM_LOOKS)


def begun_at(level: float, rules: Rules) -> Effort:
    """The effort of somebody who goes on where another one has left it, and has seen nothing yet."""
    level = min(1.0, max(rules.floor, level))
    return Effort(level=level, too_much=level, in_time=0 if level < 1.0 else CALM_LOOKS)


def gone_on_with(effort: Effort, rules: Rules) -> Effort:
    """The effort of a run that begins soon after another: what that has found. A trial that it was at is
    over: it compares times that lie side by side."""
    level = min(1.0, max(rules.floor, effort.level))
    credit = effort.credit if level == 1.0 else 0.0
    return replace(effort, level=level, credit=credit, too_much=max(level, effort.too_much), trial=None)


def after_look(effort: Effort, rules: Rules, seconds: float) -> Effort:
    """The effort after a look at the server that took so long, or has taken so long already."""
    if effort.trial is not None:
        return _on_trial(effort, effort.trial, rules, seconds)
    is_late = _is_late(rules, seconds)
    moved = _less(effort, rules, seconds) if is_late else _more(effort, rules)
    moved = replace(moved, keeps=max(0, effort.keeps - 1), waits=max(0, effort.waits - 1))
    return _asked(moved, rules, is_late=is_late)


def after_blindness(effort: Effort, rules: Rules) -> Effort:
    """The effort while nobody can look: what it was, but no more than ``blind``."""
    return replace(
        effort,
        level=min(effort.level, _kept(rules)),
        credit=0.0,
        in_time=0,
        trial=None,
        stuck=0,
        stuck_late=0,
    )


def _is_late(rules: Rules, seconds: float) -> bool:
    return seconds > ALLOWANCE * rules.target_seconds


def _more(effort: Effort, rules: Rules) -> Effort:
    in_time = effort.in_time + 1
    is_far_below = in_time >= _A_FEW_LOOKS and effort.level < FAR_BELOW * effort.too_much
    moved = _moved(effort, rules, QUICK_RISE if is_far_below or in_time > CALM_LOOKS else RISE)
    return replace(moved, in_time=in_time, too_much=max(moved.level, effort.too_much))


def _less(effort: Effort, rules: Rules, seconds: float) -> Effort:
    is_new = effort.in_time >= SOON_LOOKS
    fall = FALL if is_new else FALL_AGAIN
    if not is_new and seconds > FAR_TOO_LATE * rules.target_seconds:
        fall *= 1.5
    # What was too much in a burst of users is not so for long: it is forgotten by steps only.
    too_much = max(effort.level, FORGOTTEN * effort.too_much) if is_new else effort.too_much
    return replace(_moved(effort, rules, -fall), in_time=0, too_much=too_much)


def _moved(effort: Effort, rules: Rules, step: float) -> Effort:
    """``step`` further by the logarithm, between the floor and all with its credit."""
    reached = math.log(effort.level) + effort.credit + step
    floor = _kept(rules) if effort.keeps else rules.floor
    return replace(
        effort, level=min(1.0, max(floor, math.exp(reached))), credit=min(CREDIT, max(0.0, reached))
    )


def _asked(effort: Effort, rules: Rules, *, is_late: bool) -> Effort:
    """It has been at the floor for a while, and users wait too long all the same: does giving way help?"""
    if effort.keeps or effort.level > NEAR_FLOOR * rules.floor:
        return replace(effort, stuck=0, stuck_late=0)
    stuck, late = effort.stuck + 1, effort.stuck_late + is_late
    is_enough = is_late and stuck >= STUCK_LOOKS and late >= STUCK_LATE * stuck
    if not is_enough or effort.waits or _kept(rules) <= rules.floor:
        return replace(effort, stuck=stuck, stuck_late=late)
    return replace(effort, level=rules.floor, stuck=0, stuck_late=0, trial=Trial())


def _on_trial(effort: Effort, trial: Trial, rules: Rules, seconds: float) -> Effort:
    in_time = 0 if _is_late(rules, seconds) else effort.in_time + 1
    if in_time >= OVER_LOOKS:
        return replace(effort, trial=None, in_time=in_time)
    trial = trial.after(seconds / rules.target_seconds)
    if trial.helps is None:
        level = _kept(rules) if trial.is_high else rules.floor
        return replace(
            effort, trial=trial, level=level, in_time=in_time, too_much=max(level, effort.too_much)
        )
    if trial.helps:
        return replace(effort, trial=None, level=rules.floor, in_time=0, waits=ASK_AGAIN_LOOKS)
    return replace(effort, trial=None, level=_kept(rules), in_time=0, keeps=KEEP_LOOKS)


def _kept(rules: Rules) -> float:
    """The share of those who do not know how users wait for them."""
    return min(1.0, max(rules.floor, rules.blind))
