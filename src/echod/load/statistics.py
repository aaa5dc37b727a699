"""Statistics of a run: time slices from each generator, merged into totals, histograms and intervals."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from echod.client.outcomes import Outcome
from echod.common.histogram import Histogram
from echod.load.config import RESPONSE, SERVICE

__all__ = ["LATE", "SLICE", "Interval", "LoadStatistics", "Slice"]

SLICE = 0.5
"""Length of a slice in seconds."""

LATE = 1000
"""Microseconds. A record sent later than this after its due time counts as late: epoll_wait(2) counts milliseconds."""

BEHIND = 1.0
"""Percent of late records above which the generator has fallen behind: late records then make up the p99."""

SHORTEST = 1e-3
"""Seconds. The shortest length assumed for a slice, so that a rate can be computed for it."""


@dataclass(slots=True)
class Slice:
    """The records of one generator that ended within one slice of time. Times are counts by microseconds."""

    index: int
    until: float
    """End of the slice, in seconds from the end of the warm-up."""
    connections: int = 0
    """Connections open at its end."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    details: dict[Outcome, str] = field(default_factory=dict)
    """The detail of the first failure of each outcome."""
    response: dict[int, int] = field(default_factory=dict)
    service: dict[int, int] = field(default_factory=dict)
    lateness: dict[int, int] = field(default_factory=dict)
    """Delay between the due time of a record and the time at which the generator took it from the schedule."""

    def to_object(self) -> dict[str, Any]:
        """Return a JSON object that `from_object` reads."""
        return {
            "index": self.index,
            "until": self.until,
            "connections": self.connections,
            "outcomes": {outcome.value: number for outcome, number in self.outcomes.items()},
            "details": {outcome.value: words for outcome, words in self.details.items()},
            "response": list(self.response.items()),
            "service": list(self.service.items()),
            "lateness": list(self.lateness.items()),
        }

    @classmethod
    def from_object(cls, plain: Mapping[str, Any]) -> Self:
        """Return the slice that `to_object` wrote."""
        return cls(
            index=plain["index"],
            until=plain["until"],
            connections=plain["connections"],
            outcomes=Counter({Outcome(name): number for name, number in plain["outcomes"].items()}),
            details={Outcome(name): words for name, words in plain["details"].items()},
            response=dict(plain["response"]),
            service=dict(plain["service"]),
            lateness=dict(plain["lateness"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One slice of time, merged over all generators. Percentiles are microseconds; None: no record was echoed."""

    until: float
    """End of the interval, in seconds from the end of the warm-up."""
    seconds: float
    """Its length."""
    echoed: int
    failed: int
    connections: int
    """Connections open at its end."""
    response: tuple[int, ...] | None
    """p50, p99, p99.9 and maximum."""
    service: tuple[int, ...] | None


class LoadStatistics:
    """The merged slices of all generators of one run."""

    def __init__(self, processes: int) -> None:
        """`processes` is the number of generators: an interval is complete with one slice from each of them."""
        self._processes = processes
        self._incomplete: dict[int, list[Slice]] = {}
        self.outcomes: Counter[Outcome] = Counter()
        self.details: dict[Outcome, str] = {}
        """The detail of one failure of each outcome."""
        self.times: dict[str, Histogram] = {}
        """Response and service times in microseconds; empty until the first echo."""
        self.lateness = Histogram()
        """Microseconds."""
        self.late = 0
        """Records sent more than `LATE` after their due time."""
        self.intervals: list[Interval] = []
        self.unfinished = 0
        """Records that were due and had not ended when the run was interrupted."""
        self.elapsed = 0.0
        """Seconds from the end of the warm-up to the end of the last record."""
        self.interrupted = False

    def add(self, part: Slice) -> None:
        """Merge a slice."""
        self.outcomes += part.outcomes
        self.details = part.details | self.details
        for name, counts in ((RESPONSE, part.response), (SERVICE, part.service)):
            if counts:
                _record(self.times.setdefault(name, Histogram()), counts)
        _record(self.lateness, part.lateness)
        self.late += sum(number for time, number in part.lateness.items() if time > LATE)
        parts = self._incomplete.setdefault(part.index, [])
        parts.append(part)
        if len(parts) == self._processes:
            self._complete(part.index)

    def finish(self, elapsed: float, unfinished: int, *, interrupted: bool) -> None:
        """Complete the remaining intervals and set what is known only at the end of the run."""
        for index in sorted(self._incomplete):  # a generator without records left sends no further slices
            self._complete(index)
        self.elapsed, self.unfinished, self.interrupted = elapsed, unfinished, interrupted

    @property
    def echoed(self) -> int:
        """Records whose echo was complete and correct."""
        return self.outcomes[Outcome.ECHOED]

    @property
    def lost(self) -> int:
        """Failed records."""
        return self.outcomes.total() - self.echoed

    @property
    def sent(self) -> int:
        """Records that the generators took from the schedule."""
        return self.outcomes.total() + self.unfinished

    @property
    def rate(self) -> float:
        """Records echoed per second; 0 before the first interval."""
        elapsed = self.elapsed or (self.intervals[-1].until if self.intervals else 0.0)
        return self.echoed / elapsed if elapsed else 0.0

    @property
    def late_percent(self) -> float:
        """Late records in percent of all records sent; 0 if none was sent."""
        return 100 * self.late / self.lateness.count if self.lateness.count else 0.0

    @property
    def behind(self) -> bool:
        """Whether the generators fell behind their schedule, so that the response times include their own delay."""
        return self.late_percent > BEHIND

    def _complete(self, index: int) -> None:
        parts = self._incomplete.pop(index)
        outcomes = sum((part.outcomes for part in parts), Counter[Outcome]())
        until = max(part.until for part in parts)
        if not outcomes.total() and until - index * SLICE < SLICE / 2:
            return  # the short rest of a slice after the end of the last record
        echoed = outcomes[Outcome.ECHOED]
        self.intervals.append(
            Interval(
                until=until,
                seconds=max(until - index * SLICE, SHORTEST),
                echoed=echoed,
                failed=outcomes.total() - echoed,
                connections=sum(part.connections for part in parts),
                response=_shape(part.response for part in parts),
                service=_shape(part.service for part in parts),
            )
        )


def _record(times: Histogram, counts: Mapping[int, int]) -> None:
    for time, number in counts.items():
        times.record(time, number)


def _shape(parts: Iterable[Mapping[int, int]]) -> tuple[int, ...] | None:
    times = Histogram()
    for each in parts:
        _record(times, each)
    return (*times.percentiles((50, 99, 99.9)), times.maximum) if times.count else None
