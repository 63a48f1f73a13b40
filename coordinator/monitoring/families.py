"""Families of metrics, as collectors make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ..reasons import EXCLUDED, NO_FAULT

GROUP = ("partition", "group")
LEFT_OUT = ("reason", "kind")

Sample = tuple[str | float, ...]
"""The values of the labels, then the value."""


def counter(name: str, text: str, labels: Iterable[str], samples: Iterable[Sample]) -> Metric:
    """A counter; ``name`` without its ending."""
    family = CounterMetricFamily(name, text, labels=list(labels))
    for *values, value in samples:
        family.add_metric([_label(one) for one in values], float(value))
    return family


def gauge(name: str, text: str, labels: Iterable[str], samples: Iterable[Sample]) -> Metric:
    """A gauge."""
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for *values, value in samples:
        family.add_metric([_label(one) for one in values], float(value))
    return family


def _label(value: object) -> str:
    """A name as UTF-8 can hold it: group names come from a file, others from the code."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def left_out(reasons: Mapping[str, int]) -> Iterator[Sample]:
    """How much was left out by each reason, and whether that is ``skipped`` (a fault), ``excluded`` on
    purpose, or ``vanished`` meanwhile."""
    for reason, many in reasons.items():
        kind = "excluded" if reason in EXCLUDED else "vanished" if reason in NO_FAULT else "skipped"
        yield reason, kind, many
