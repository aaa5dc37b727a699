"""When records are due: a schedule that is fixed before the first of them is sent, whatever becomes of them."""

from collections.abc import Callable, Iterator
from enum import Enum
from itertools import count
from math import log

__all__ = ["Arrival", "arrivals"]


class Arrival(Enum):
    """How the moments at which records are due lie to each other."""

    UNIFORM = "uniform"
    """One every 1/rate seconds."""
    POISSON = "poisson"
    """Independent of each other, as those of many clients are: a Poisson process, its gaps exponential."""


def arrivals(
    arrival: Arrival, rate: float, seconds: float, random: Callable[[], float], part: int = 0, parts: int = 1
) -> Iterator[float]:
    """Give the moments, ascending, in seconds from the beginning: those before `seconds`, at `rate` a second.

    `random` gives numbers from 0 up to, and without, 1; uniform arrivals ask for none. With `parts`, it is one `part`,
    from 0 up, of a schedule of that rate: all parts together are the whole of uniform arrivals, and of Poisson
    arrivals a process of that rate, as a sum of independent ones is.
    """
    return (
        _uniform(rate, seconds, part, parts) if arrival is Arrival.UNIFORM else _poisson(rate / parts, seconds, random)
    )


def _uniform(rate: float, seconds: float, part: int, parts: int) -> Iterator[float]:
    for number in count(part, parts):
        moment = number / rate  # and not a sum of gaps, whose errors would add up
        if moment >= seconds:
            return
        yield moment


def _poisson(rate: float, seconds: float, random: Callable[[], float]) -> Iterator[float]:
    moment = 0.0
    while True:
        moment -= log(1 - random()) / rate
        if moment >= seconds:
            return
        yield moment
