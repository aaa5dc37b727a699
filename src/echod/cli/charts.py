"""Charts made of characters: the bars of a histogram, and a sparkline."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log

from echod.common.histogram import Histogram

__all__ = ["ASCII", "UNICODE", "Bin", "Marks", "bins"]


@dataclass(frozen=True, slots=True)
class Marks:
    """A set of characters for charts."""

    levels: str
    """The heights of a sparkline, the lowest first."""
    missing: str
    """A missing value in a sparkline."""
    full: str
    """A full cell of a bar."""
    parts: str
    """The last cell of a bar, by its filled part, the smallest first; empty if parts cannot be shown."""

    def sparkline(self, values: Sequence[int | None]) -> str:
        """Return one character for each value, scaled from the smallest to the largest of them."""
        present = [value for value in values if value is not None]
        low = min(present, default=0)
        step = (max(present, default=0) - low) / (len(self.levels) - 1) or 1
        return "".join(self.missing if value is None else self.levels[round((value - low) / step)] for value in values)

    def bar(self, share: float, width: int) -> str:
        """Return a bar of `share`, 0 to 1, of `width` cells. A share above 0 has a visible bar."""
        steps = len(self.parts) + 1
        length = max(round(share * width * steps), 1 if share else 0)
        return self.full * (length // steps) + ("" if length % steps == 0 else self.parts[length % steps - 1])


UNICODE = Marks(levels="▁▂▃▄▅▆▇█", missing="×", full="█", parts="▏▎▍▌▋▊▉")  # noqa: RUF001  # the multiplication sign is intended
ASCII = Marks(levels="_.-=+*#", missing="x", full="#", parts="")


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin of a histogram: the number of times from `low` to `high`."""

    low: float
    high: float
    """Bounds in microseconds. `high` belongs to the next bin, except in the last one."""
    count: int


def bins(times: Histogram, most: int) -> list[Bin]:
    """Return `most` bins that contain every time, each wider than the previous one by a constant factor.

    If the times differ by less than `most` microseconds, there is one bin. Network times differ by factors: with bins
    of equal width, a single outlier would put all others into the first bin.
    """
    low, high = float(times.minimum), float(times.maximum)
    number = most if high - low >= most else 1
    ratio = (high / low) ** (1 / number)
    counts = [0] * number
    for time, count in times:
        index = 0 if number == 1 else floor(log(time / low) / log(ratio))
        counts[min(index, number - 1)] += count
    return [Bin(low * ratio**n, low * ratio ** (n + 1), count) for n, count in enumerate(counts)]
