"""Stretches of data as sets of bytes: together, what is left of them, what they have in common."""

from __future__ import annotations

from collections.abc import Iterable

from ...proto.records import Stretch


def merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same bytes in ascending stretches that neither touch nor overlap."""
    found: list[Stretch] = []
    for offset, length in sorted(stretch for stretch in stretches if stretch.length > 0):
        if found and offset <= found[-1].offset + found[-1].length:
            last = found[-1]
            found[-1] = Stretch(last.offset, max(last.length, offset + length - last.offset))
        else:
            found.append(Stretch(offset, length))
    return found


def without(whole: Iterable[Stretch], gone: Iterable[Stretch]) -> list[Stretch]:
    """What is left of some stretches (ascending, not overlapping) where others are taken away."""
    left: list[Stretch] = []
    gaps = merged(gone)
    number = 0
    for start, length in whole:
        end = start + length
        while number < len(gaps) and gaps[number].offset + gaps[number].length <= start:
            number += 1
        at = number
        while at < len(gaps) and gaps[at].offset < end:
            if gaps[at].offset > start:
                left.append(Stretch(start, gaps[at].offset - start))
            start = max(start, gaps[at].offset + gaps[at].length)
            at += 1
        if start < end:
            left.append(Stretch(start, end - start))
    return left


def common(some: Iterable[Stretch], others: Iterable[Stretch]) -> list[Stretch]:
    """What lies in some stretches and in others, too."""
    whole = merged(some)
    return without(whole, without(whole, others))
