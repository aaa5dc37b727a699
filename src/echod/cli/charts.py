"""Numbers as rows of characters: bars of a histogram, and a line of the last values."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log

from echod.common.histogram import Histogram

__all__ = ["ASCII", "UNICODE", "Bin", "Marks", "bins"]


@dataclass(frozen=True, slots=True)
class Marks:
    """The characters that stand for sizes."""

    levels: str
    """One for each height of a sparkline, the lowest first."""
    missing: str
    """In a sparkline, for a value that is not there."""
    full: str
    """A whole cell of a bar."""
    parts: str
    """The last cell of a bar, from the smallest part that is shown up to nearly a whole one."""

    def sparkline(self, values: Sequence[int | None]) -> str:
        """Return one character a value, between the smallest and the largest of them."""
        there = [value for value in values if value is not None]
        low = min(there, default=0)
        step = (max(there, default=0) - low) / (len(self.levels) - 1) or 1
        return "".join(self.missing if value is None else self.levels[round((value - low) / step)] for value in values)

    def bar(self, share: float, width: int) -> str:
        """Return a bar of `share`, 0 to 1, of `width` cells. What is above 0 is never shown as nothing."""
        steps = len(self.parts) + 1
        length = max(round(share * width * steps), 1 if share else 0)
        return self.full * (length // steps) + ("" if length % steps == 0 else self.parts[length % steps - 1])


UNICODE = Marks(levels="▁▂▃▄▅▆▇█", missing="×", full="█", parts="▏▎▍▌▋▊▉")  # noqa: RUF001  # a cross is meant
ASCII = Marks(levels="_.-=+*#", missing="x", full="#", parts="")


@dataclass(frozen=True, slots=True)
class Bin:
    """How many times lie from one to another."""

    low: float
    high: float
    """Both in microseconds; the high one belongs to the next bin, but in the last one."""
    count: int


def bins(times: Histogram, most: int) -> list[Bin]:
    """Return up to `most` bins that hold every time, each a constant factor wider than the one before.

    Network times differ by factors: in bins of one width a single straggler leaves all others in the first.
    """
    low, high = float(times.minimum), float(times.maximum)
    number = most if high - low >= most else 1
    ratio = (high / low) ** (1 / number)
    counts = [0] * number
    for time, count in times:
        place = 0 if number == 1 else floor(log(time / low) / log(ratio))
        counts[min(place, number - 1)] += count
    return [Bin(low * ratio**n, low * ratio ** (n + 1), count) for n, count in enumerate(counts)]
