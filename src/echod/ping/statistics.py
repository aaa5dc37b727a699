"""Counts and times of a run of probes."""

from collections import Counter
from dataclasses import fields

from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult
from echod.common.assertions import ROUND_TRIP
from echod.common.histogram import Histogram

__all__ = ["PHASES", "Statistics"]

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
