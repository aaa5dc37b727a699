"""The schedule of an open loop: the times at which records are due, fixed before the first record is sent."""

from collections.abc import Callable, Iterator
from enum import Enum
from itertools import count, islice, takewhile
from math import log

__all__ = ["Arrival", "arrivals"]


class Arrival(Enum):
    """The distribution of the gaps between due times."""

    UNIFORM = "uniform"
    """One record every 1/rate seconds."""
    POISSON = "poisson"
    """A Poisson process: independent, exponentially distributed gaps, as the records of many clients have."""


def arrivals(
    arrival: Arrival, rate: float, seconds: float, random: Callable[[], float], part: int = 0, parts: int = 1
) -> Iterator[float]:
    """Yield the due times of one part of a schedule, ascending, in seconds from its start, all below `seconds`.

    `rate` is that of the whole schedule, in records per second. Record n belongs to part n modulo `parts`, so the union
    of all parts is the same schedule for any number of parts. For Poisson arrivals each part therefore computes the
    whole schedule, from the same sequence of random numbers. `random` returns numbers in [0, 1); uniform arrivals do
    not use it.
    """
    moments: Iterator[float]
    if arrival is Arrival.UNIFORM:
        moments = (number / rate for number in count(part, parts))  # a sum of gaps would accumulate rounding errors
    else:
        moments = islice(_poisson(rate, random), part, None, parts)
    return takewhile(lambda moment: moment < seconds, moments)


def _poisson(rate: float, random: Callable[[], float]) -> Iterator[float]:
    moment = 0.0
    while True:
        moment -= log(1 - random()) / rate
        yield moment
