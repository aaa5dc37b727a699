"""Metrics as plain values: how each is exposed, and how those of several processes are combined."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from math import inf
from operator import add, sub

__all__ = ["BucketCounts", "Combine", "Kind", "MetricFamily", "Value", "combined", "counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class BucketCounts:
    """A histogram of times in seconds."""

    bounds: tuple[float, ...]
    """Inclusive upper bounds, ascending."""
    counts: tuple[int, ...]
    """Times per bucket, not cumulative; one more than `bounds`: the last counts the times above all bounds."""
    total: float
    """Sum of all times."""

    def __add__(self, other: "BucketCounts") -> "BucketCounts":
        """Return the sum. Of two versions of the daemon with different bounds, the common bounds remain."""
        bounds = self._common_bounds(other)
        counts = tuple(map(add, self._counts_of(bounds), other._counts_of(bounds)))
        return BucketCounts(bounds, counts, self.total + other.total)

    def __sub__(self, other: "BucketCounts") -> "BucketCounts":
        """Return the difference, by common bounds too."""
        bounds = self._common_bounds(other)
        counts = tuple(map(sub, self._counts_of(bounds), other._counts_of(bounds)))
        return BucketCounts(bounds, counts, self.total - other.total)

    def _common_bounds(self, other: "BucketCounts") -> tuple[float, ...]:
        return tuple(bound for bound in self.bounds if bound in other.bounds)

    def _counts_of(self, bounds: tuple[float, ...]) -> list[int]:
        """Return the counts for `bounds`, which are all or some of the own bounds."""
        counts = [0] * (len(bounds) + 1)
        for bound, count in zip((*self.bounds, inf), self.counts, strict=True):
            counts[bisect_left(bounds, bound)] += count
        return counts


class Kind(Enum):
    """The type of a metric, as Prometheus names it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Combine(Enum):
    """How the values of several processes become one. The values are fixed: snapshot files contain them."""

    TOTAL = "total"
    """The sum over all processes, ended ones included: it never falls when a process ends."""
    SUM = "sum"
    """The sum over the running processes."""
    HIGHEST = "highest"
    """The highest value of the running processes."""
    LOWEST = "lowest"
    """The lowest value of the running processes."""


Value = float | BucketCounts
"""The value of a histogram is a `BucketCounts`, that of any other metric a number."""


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """A metric with its values by label values."""

    name: str
    """Without the suffix `_total` of a counter."""
    help: str
    kind: Kind
    combine: Combine
    labels: tuple[str, ...]
    """Names of the labels."""
    samples: Mapping[tuple[str, ...], Value]
    """Values by the values of the labels."""


def counter(name: str, help_text: str, value: float | Mapping[str, float], label: str = "") -> MetricFamily:
    """Return a counter of a process: one value, or values by the value of `label`."""
    return _family(name, help_text, Kind.COUNTER, Combine.TOTAL, value, label)


def gauge(
    name: str, help_text: str, combine: Combine, value: float | Mapping[str, float], label: str = ""
) -> MetricFamily:
    """Return a gauge of a process: one value, or values by the value of `label`."""
    return _family(name, help_text, Kind.GAUGE, combine, value, label)


def histogram(name: str, help_text: str, counts: BucketCounts) -> MetricFamily:
    """Return a histogram of a process."""
    return MetricFamily(name, help_text, Kind.HISTOGRAM, Combine.TOTAL, (), {(): counts})


def combined(running: Iterable[MetricFamily], ended: Iterable[MetricFamily] = ()) -> dict[str, MetricFamily]:
    """Return the families of several processes as one family per name, by name.

    Of families that differ in kind, rule or labels, as between versions of the daemon, the first one counts.
    """
    families: dict[str, MetricFamily] = {}
    for family in (*running, *(each for each in ended if each.combine is Combine.TOTAL)):
        first = families.get(family.name)
        if first is None:
            families[family.name] = family
        elif _shape(first) == _shape(family):
            families[family.name] = replace(first, samples=_combined_samples(first, family))
    return families


def _family(
    name: str, help_text: str, kind: Kind, combine: Combine, value: float | Mapping[str, float], label: str
) -> MetricFamily:
    by_label = value if isinstance(value, Mapping) else {"": value}
    samples: dict[tuple[str, ...], Value] = {(each,) if label else (): number for each, number in by_label.items()}
    return MetricFamily(name, help_text, kind, combine, (label,) if label else (), samples)


def _shape(family: MetricFamily) -> tuple[object, ...]:
    return family.kind, family.combine, family.labels


def _combined_samples(one: MetricFamily, other: MetricFamily) -> dict[tuple[str, ...], Value]:
    samples = dict(one.samples)
    for labels, value in other.samples.items():
        samples[labels] = _combined_value(one.combine, samples[labels], value) if labels in samples else value
    return samples


def _combined_value(combine: Combine, one: Value, other: Value) -> Value:
    if isinstance(one, BucketCounts) or isinstance(other, BucketCounts):
        assert isinstance(one, BucketCounts)
        assert isinstance(other, BucketCounts)
        return one + other
    if combine is Combine.HIGHEST:
        return max(one, other)
    if combine is Combine.LOWEST:
        return min(one, other)
    return one + other
