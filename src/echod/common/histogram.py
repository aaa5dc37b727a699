"""Histogram of times with a high dynamic range: of fixed size, precise to three significant digits.

The only module that imports the hdrhistogram package, a port of HdrHistogram (hdrhistogram.org).
"""

import binascii
import zlib
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Self

__all__ = ["HIGHEST", "LOWEST", "Histogram"]

LOWEST = 1
HIGHEST = 60_000_000
"""Bounds in microseconds. A time outside is counted as the nearer bound."""

SIGNIFICANT_DIGITS = 3


class Histogram:
    """Counts of times from 1 us to 60 s. Times are microseconds.

    Minimum, maximum and mean are exact, except after `decode`. A percentile is at most one part in a thousand above the
    exact one.
    """

    def __init__(self) -> None:
        # Imported with the first histogram: the import takes 10 ms (measured: python -X importtime).
        from hdrh.histogram import HdrHistogram

        self._counts: Any = HdrHistogram(LOWEST, HIGHEST, SIGNIFICANT_DIGITS)
        self._total = 0
        self._least = HIGHEST
        self._most = LOWEST
        self._sum = 0.0

    @property
    def count(self) -> int:
        """The number of recorded times."""
        return self._total

    @property
    def minimum(self) -> int:
        """The smallest time. Raises ValueError if the histogram is empty."""
        self._refuse_empty()
        return self._least

    @property
    def maximum(self) -> int:
        """The largest time. Raises ValueError if the histogram is empty."""
        self._refuse_empty()
        return self._most

    @property
    def mean(self) -> float:
        """The arithmetic mean. Raises ValueError if the histogram is empty."""
        self._refuse_empty()
        return self._sum / self._total

    def record(self, microseconds: int, count: int = 1) -> None:
        """Record `count` equal times."""
        time = min(max(microseconds, LOWEST), HIGHEST)
        self._counts.record_value(time, count)
        self._add(count, time, time, time * count)

    def percentile(self, percent: float) -> int:
        """Return the nearest-rank percentile; `percent` is above 0 and at most 100. Raises ValueError if empty."""
        return self.percentiles((percent,))[0]

    def percentiles(self, percents: Sequence[float]) -> tuple[int, ...]:
        """Return several percentiles from one pass over the counts. Raises ValueError if the histogram is empty."""
        self._refuse_empty()
        # The package rounds a fractional rank to the nearest integer, so p99 of 60 times would be the 59th. The
        # percentage of a whole rank gives exactly that rank.
        exact = [100 * ceil(self._total * percent / 100) / self._total for percent in percents]
        found: dict[float, int] = self._counts.get_percentile_to_value_dict(exact)
        return tuple(min(max(found[percent], self._least), self._most) for percent in exact)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (time, count) pairs, ascending; each time represents those that equal it to three digits."""
        for each in self._counts.get_recorded_iterator():
            yield min(max(each.value_iterated_to, self._least), self._most), each.count_at_value_iterated_to

    def encode(self) -> str:
        """Return the histogram in HdrHistogram's compressed format, version 2, in base64."""
        encoded: bytes = self._counts.encode()
        return encoded.decode("ascii")

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the histogram that `encode` wrote. Raises ValueError for other text."""
        from hdrh.codec import HdrCookieException, HdrLengthException
        from hdrh.histogram import HdrHistogram

        made = cls()
        try:
            counts = HdrHistogram.decode(text)
            made._counts.add(counts)
        except (binascii.Error, zlib.error, HdrCookieException, HdrLengthException, IndexError, ValueError) as problem:
            raise ValueError(f"is not a histogram: {problem}") from None
        if counts.get_total_count():
            mean = counts.get_mean_value()
            most = min(counts.get_max_value(), HIGHEST)
            made._add(counts.get_total_count(), counts.get_min_value(), most, mean * counts.get_total_count())
        return made

    def _add(self, count: int, least: int, most: int, total: float) -> None:
        self._total += count
        self._least = min(self._least, least)
        self._most = max(self._most, most)
        self._sum += total

    def _refuse_empty(self) -> None:
        if not self._total:
            raise ValueError("the histogram is empty")
