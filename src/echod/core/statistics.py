"""What a run of probes amounts to."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Self

__all__ = ["Distribution", "Tally", "percentile"]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile of an ascending, non-empty sequence.

    It is always one of the samples: with fewer than 100 of them, p99 is the largest.
    `percent` is above 0 and at most 100.
    """
    return ordered[ceil(len(ordered) * percent / 100) - 1]


@dataclass(frozen=True, slots=True)
class Distribution:
    """The shape of a set of times, in their unit."""

    minimum: float
    median: float
    p99: float
    maximum: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self | None:
        """Return the distribution of `samples`, or None where there are none."""
        if not samples:
            return None
        ordered = sorted(samples)
        return cls(ordered[0], percentile(ordered, 50), percentile(ordered, 99), ordered[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The counts of a run of probes, and its round-trip times."""

    sent: int
    """Probes started."""
    echoed: int
    lost: int
    """Probes that ended in anything but an echo."""
    elapsed: float
    """Seconds from the first probe's start to the run's end."""
    round_trips: Distribution | None
    """Seconds; None where nothing was echoed."""

    @property
    def unfinished(self) -> int:
        """Probes still under way when the run was interrupted: neither echoed nor lost."""
        return self.sent - self.echoed - self.lost

    @property
    def lost_percent(self) -> float:
        """Of the probes that ended, how many in a hundred were lost; 0 where none ended."""
        ended = self.echoed + self.lost
        return 100 * self.lost / ended if ended else 0.0

    @property
    def all_echoed(self) -> bool:
        """Whether something was echoed and nothing lost."""
        return self.echoed > 0 and self.lost == 0
