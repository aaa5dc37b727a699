"""Times in a histogram of high dynamic range: small, mergeable, and exact to three significant digits.

The one place that knows the hdrhistogram package, a port of HdrHistogram (hdrhistogram.org).
"""

import binascii
import zlib
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Self

__all__ = ["HIGHEST", "LOWEST", "Histogram"]

LOWEST = 1
HIGHEST = 60_000_000
"""Microseconds. What lies outside is counted at the nearest of the two."""

SIGNIFICANT_DIGITS = 3


class Histogram:
    """Counts of times from 1 us to 60 s. Times are microseconds.

    The smallest, the largest and the mean are those of the times themselves, unless they come from `decode`; a
    percentile is at most one part in a thousand above the time that it stands for.
    """

    def __init__(self) -> None:
        # Not before the first time is known: importing it takes 10 ms.
        from hdrh.histogram import HdrHistogram

        self._counts: Any = HdrHistogram(LOWEST, HIGHEST, SIGNIFICANT_DIGITS)
        self._total = 0
        self._least = HIGHEST
        self._most = LOWEST
        self._sum = 0.0

    @property
    def count(self) -> int:
        """How many times are in it."""
        return self._total

    @property
    def minimum(self) -> int:
        """The smallest. Raises ValueError where there is none; so do the others."""
        self._refuse_nothing()
        return self._least

    @property
    def maximum(self) -> int:
        """The largest."""
        self._refuse_nothing()
        return self._most

    @property
    def mean(self) -> float:
        """The arithmetic mean."""
        self._refuse_nothing()
        return self._sum / self._total

    def record(self, microseconds: int, count: int = 1) -> None:
        """Count one time, or `count` of them that are equal."""
        time = min(max(microseconds, LOWEST), HIGHEST)
        self._counts.record_value(time, count)
        self._note(count, time, time, time * count)

    def merge(self, other: "Histogram") -> None:
        """Count every time that is in `other` too."""
        if other.count:
            self._counts.add(other._counts)  # noqa: SLF001  # of its own kind
            self._note(other.count, other.minimum, other.maximum, other.mean * other.count)

    def percentile(self, percent: float) -> int:
        """Return the nearest-rank percentile; `percent` is above 0 and at most 100."""
        return self.percentiles((percent,))[0]

    def percentiles(self, percents: Sequence[float]) -> tuple[int, ...]:
        """Return several percentiles, for little more than the price of one."""
        self._refuse_nothing()
        # The package rounds a rank to the nearest, which makes of p99 among 60 the last but one; asked for
        # the percentage of a whole rank, it gives that rank.
        exact = [100 * ceil(self._total * percent / 100) / self._total for percent in percents]
        found: dict[float, int] = self._counts.get_percentile_to_value_dict(exact)
        return tuple(min(max(found[percent], self._least), self._most) for percent in exact)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give (time, count) pairs, ascending: each time stands for those that equal it to three digits."""
        for each in self._counts.get_recorded_iterator():
            yield min(max(each.value_iterated_to, self._least), self._most), each.count_at_value_iterated_to

    def encode(self) -> str:
        """Return it in HdrHistogram's compressed format, version 2, in base64."""
        encoded: bytes = self._counts.encode()
        return encoded.decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the histogram that `encode` wrote. Raises ValueError for anything else."""
        from hdrh.codec import HdrCookieException, HdrLengthException
        from hdrh.histogram import HdrHistogram

        made = cls()
        try:
            counts = HdrHistogram.decode(text)
            made._counts.add(counts)
        except (binascii.Error, zlib.error, HdrCookieException, HdrLengthException, IndexError, ValueError) as problem:
            raise ValueError(f"is no histogram: {problem}") from None
        if counts.get_total_count():
            mean = counts.get_mean_value()
            most = min(counts.get_max_value(), HIGHEST)
            made._note(counts.get_total_count(), counts.get_min_value(), most, mean * counts.get_total_count())
        return made

    def _note(self, count: int, least: int, most: int, total: float) -> None:
        self._total += count
        self._least = min(self._least, least)
        self._most = max(self._most, most)
        self._sum += total

    def _refuse_nothing(self) -> None:
        if not self._total:
            raise ValueError("there is nothing in this histogram")
