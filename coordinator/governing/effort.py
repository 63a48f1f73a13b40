"""How much of what it could do the work on a mail host does, by how long its users wait. Pure: who
measures, and when, is the business of others.

Each look at the server (a probe, about one a second) is either in time or too late. Too late: the effort
falls by a fifth, and by more if that comes again at once or is far too late. In time: it rises, by so
little that one that is late among many in time takes it all back. It stands still where ``LATE`` of the
looks are late, so that the 95th percentile of what users wait is a little below the target, whatever the
server's times look like. Nothing is averaged: an average would know late what each look says at once.
"""

from __future__ import annotations

import math

from ...proto.structs import Record, replace

LATE = 0.03
"""The share of looks that may be late. Less than a twentieth, as the server changes while it is measured."""

FALL = 0.25
"""By so much the logarithm of the effort falls for a look that is late."""

RISE = FALL * LATE / (1 - LATE)
"""By so much it rises for one in time."""

QUICK_RISE = 0.12
"""The same where nothing speaks against it: far below what was too much, or after a long time without one
late."""

FAR_BELOW = 0.5
"""Below this share of what was too much last it rises quickly."""

CALM_LOOKS = 60
"""After so many in time it rises quickly, wherever it is."""

_SOON_LOOKS = 5
_A_FEW_LOOKS = 3
_FAR_TOO_LATE = 2.0


class Rules(Record, kw_only=True):
    """What is kept to on a host. ``target_seconds``: what 95 of 100 looks shall take at most. ``floor`` is
    the share of the work that is done whatever they take, ``blind`` the most while nobody can look, and
    that before anybody has looked."""

    target_seconds: float
    floor: float = 0.05
    blind: float = 0.25


class Effort(Record, kw_only=True):
    """``level`` is the share of the work that is done: at most 1. ``too_much`` is what it was when it was
    too much last, ``in_time`` how many looks have been in time since."""

    level: float = 1.0
    too_much: float = 1.0
    in_time: int = CALM_LOOKS


def first_effort(rules: Rules) -> Effort:
    """The effort before anybody has looked: that of the blind, which rises quickly until a look is late."""
    level = _within(rules, rules.blind)
    return Effort(level=level, in_time=CALM_LOOKS)


def begun_at(level: float, rules: Rules) -> Effort:
    """The effort of somebody who goes on where another one has left it, and has seen nothing yet."""
    level = _within(rules, level)
    return Effort(level=level, too_much=level, in_time=0 if level < 1.0 else CALM_LOOKS)


def after_look(effort: Effort, rules: Rules, seconds: float) -> Effort:
    """The effort after a look at the server that took so long, or has taken so long already."""
    if seconds > rules.target_seconds:
        return _less(effort, rules, seconds)
    in_time = effort.in_time + 1
    is_far_below = in_time >= _A_FEW_LOOKS and effort.level < FAR_BELOW * effort.too_much
    rise = QUICK_RISE if is_far_below or in_time > CALM_LOOKS else RISE
    level = _within(rules, effort.level * math.exp(rise))
    return Effort(level=level, too_much=max(level, effort.too_much), in_time=in_time)


def after_blindness(effort: Effort, rules: Rules) -> Effort:
    """The effort while nobody can look: what it was, but no more than ``blind``."""
    return replace(effort, level=min(effort.level, max(rules.blind, rules.floor)), in_time=0)


def _less(effort: Effort, rules: Rules, seconds: float) -> Effort:
    is_new = effort.in_time >= _SOON_LOOKS
    fall = FALL if is_new else 2 * FALL
    if seconds > _FAR_TOO_LATE * rules.target_seconds:
        fall *= 1.5
    return Effort(
        level=_within(rules, effort.level * math.exp(-fall)),
        too_much=effort.level if is_new else effort.too_much,
        in_time=0,
    )


def _within(rules: Rules, level: float) -> float:
    return min(1.0, max(rules.floor, level))
