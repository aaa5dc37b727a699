"""Counts and times of a run of probes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil
from typing import Self

from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult
from echod.common.assertions import ROUND_TRIP
from echod.common.histogram import Histogram

__all__ = ["PHASES", "Distribution", "Statistics", "Tally", "percentile"]

PHASES = tuple(field.name for field in fields(PhaseTimes))
"""The phases of a probe, in their order in time."""


class Statistics:
    """Counts and times of the probes that have ended so far."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        """The number of probes of each outcome."""
        self.times: dict[str, Histogram] = {}
        """The histogram of each phase that any probe completed, by its name in `PHASES`; microseconds."""
        self.elapsed = 0.0
        """Seconds from the first probe's start to the end of the run; 0 before that."""
        self._sent: int | None = None

    def add(self, result: ProbeResult) -> None:
        """Add a probe that has ended."""
        self.outcomes[result.outcome] += 1
        for phase in PHASES:
            time: int | None = getattr(result.times, phase)
            if time is not None:
                self.times.setdefault(phase, Histogram()).record(time)

    def finish(self, sent: int, elapsed: float) -> None:
        """Set the totals of a finished run: probes started, and seconds from the first start to the end."""
        self._sent = sent
        self.elapsed = elapsed

    @property
    def ended(self) -> int:
        """Probes that have ended, with any outcome."""
        return self.outcomes.total()

    @property
    def sent(self) -> int:
        """Probes started; before `finish`, probes ended."""
        return self.ended if self._sent is None else self._sent

    @property
    def echoed(self) -> int:
        """Probes whose record was echoed whole."""
        return self.outcomes[Outcome.ECHOED]

    @property
    def lost(self) -> int:
        """Probes with any other outcome."""
        return self.ended - self.echoed

    @property
    def unfinished(self) -> int:
        """Probes that had not ended when the run was interrupted: neither echoed nor lost."""
        return self.sent - self.ended

    @property
    def lost_percent(self) -> float:
        """Lost probes in percent of those that ended; 0 if none ended."""
        return 100 * self.lost / self.ended if self.ended else 0.0

    @property
    def round_trips(self) -> Histogram | None:
        """The round-trip times; None if no echo was received."""
        return self.times.get(ROUND_TRIP)


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
