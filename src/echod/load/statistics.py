"""What a run of load amounts to: slices of time from each generator, and what they add up to."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from echod.client.outcomes import Outcome
from echod.common.histogram import Histogram
from echod.load.config import RESPONSE, SERVICE

__all__ = ["LATE", "SLICE", "Interval", "LoadStatistics", "Slice"]

SLICE = 0.5
"""Seconds of a slice."""

LATE = 1000
"""Microseconds after which a record counts as sent late. Timers of the reactor are good to a millisecond."""

BEHIND = 1.0
"""Percent of late records above which the generator has fallen behind: from there on they make the p99."""


@dataclass(slots=True)
class Slice:
    """What one generator's records of one slice of time came to. Times are counts by microseconds."""

    index: int
    until: float
    """Seconds from the beginning of what counts to the slice's end."""
    connections: int = 0
    """Open at its end."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    details: dict[Outcome, str] = field(default_factory=dict)
    """Of each failure, the words about the first."""
    response: dict[int, int] = field(default_factory=dict)
    service: dict[int, int] = field(default_factory=dict)
    lateness: dict[int, int] = field(default_factory=dict)
    """From the moment at which a record was due to that at which the generator took it up."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
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
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `plain` was made of."""
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
    """One slice of time, all generators together. Percentiles are microseconds, and None where nothing was echoed."""

    until: float
    """Seconds from the beginning of what counts."""
    seconds: float
    """Its length."""
    echoed: int
    failed: int
    connections: int
    response: tuple[int, ...] | None
    """p50, p99, p99.9 and maximum."""
    service: tuple[int, ...] | None


class LoadStatistics:
    """What all slices that have come so far amount to."""

    def __init__(self, processes: int) -> None:
        """`processes` is how many generators there are: a slice is complete when each has told of its own."""
        self._processes = processes
        self._open: dict[int, list[Slice]] = {}
        self.outcomes: Counter[Outcome] = Counter()
        self.details: dict[Outcome, str] = {}
        """Of each failure, the words about one."""
        self.times: dict[str, Histogram] = {}
        """Response and service times, microseconds; what there is none of is not there."""
        self.lateness = Histogram()
        """Microseconds."""
        self.late = 0
        """Records that the generators took up more than `LATE` after they were due."""
        self.intervals: list[Interval] = []
        self.unfinished = 0
        """Records that were due and had not ended when the run was interrupted."""
        self.elapsed = 0.0
        """Seconds from the beginning of what counts to the end of its last record."""
        self.interrupted = False

    def add(self, part: Slice) -> None:
        """Take a slice in."""
        self.outcomes += part.outcomes
        self.details = part.details | self.details
        for name, counts in ((RESPONSE, part.response), (SERVICE, part.service)):
            if counts:
                _record(self.times.setdefault(name, Histogram()), counts)
        _record(self.lateness, part.lateness)
        self.late += sum(number for time, number in part.lateness.items() if time > LATE)
        gathered = self._open.setdefault(part.index, [])
        gathered.append(part)
        if len(gathered) == self._processes:
            self._complete(part.index)

    def finish(self, elapsed: float, unfinished: int, *, interrupted: bool) -> None:
        """Take in what is known when the run is over."""
        for index in sorted(self._open):  # a generator with nothing left to wait for tells of no more slices
            self._complete(index)
        self.elapsed, self.unfinished, self.interrupted = elapsed, unfinished, interrupted

    @property
    def echoed(self) -> int:
        """Records whose every byte came back."""
        return self.outcomes[Outcome.ECHOED]

    @property
    def lost(self) -> int:
        """Records that ended in anything else."""
        return self.outcomes.total() - self.echoed

    @property
    def sent(self) -> int:
        """Records that were due and taken up."""
        return self.outcomes.total() + self.unfinished

    @property
    def lost_percent(self) -> float:
        """Of the records that ended, how many in a hundred failed; 0 where none ended."""
        return 100 * self.lost / self.outcomes.total() if self.outcomes.total() else 0.0

    @property
    def rate(self) -> float:
        """Records echoed a second; 0 where no time has passed."""
        elapsed = self.elapsed or (self.intervals[-1].until if self.intervals else 0.0)
        return self.echoed / elapsed if elapsed else 0.0

    @property
    def late_percent(self) -> float:
        """How many in a hundred of the records that were due the generators took up late."""
        return 100 * self.late / self.lateness.count if self.lateness.count else 0.0

    @property
    def behind(self) -> bool:
        """Whether the generators fell behind their schedule, so that the times are in part their own."""
        return self.late_percent > BEHIND

    def _complete(self, index: int) -> None:
        parts = self._open.pop(index)
        outcomes = sum((part.outcomes for part in parts), Counter[Outcome]())
        until = max(part.until for part in parts)
        if not outcomes.total() and until - index * SLICE < SLICE / 2:
            return  # the rest of a slice after the last record's end, in which nothing could happen
        echoed = outcomes[Outcome.ECHOED]
        self.intervals.append(
            Interval(
                until=until,
                seconds=max(until - index * SLICE, 1e-3),
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
