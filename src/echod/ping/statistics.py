"""What a run of probes amounts to."""

from collections import Counter
from dataclasses import fields

from echod.client.outcomes import Outcome, PhaseTimes, ProbeResult
from echod.common.assertions import ROUND_TRIP
from echod.common.histogram import Histogram

__all__ = ["PHASES", "Statistics"]

PHASES = tuple(field.name for field in fields(PhaseTimes))
"""The phases of a probe, in the order in which they are gone through."""


class Statistics:
    """What the probes that have ended so far amount to."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        """How many probes ended in each."""
        self.times: dict[str, Histogram] = {}
        """The times of each phase that was gone through at all, by its name in `PHASES`; microseconds."""
        self.elapsed = 0.0
        """Seconds from the first probe's start to the run's end; 0 until then."""
        self._sent: int | None = None

    def add(self, result: ProbeResult) -> None:
        """Take a probe in that has ended."""
        self.outcomes[result.outcome] += 1
        for phase in PHASES:
            time: int | None = getattr(result.times, phase)
            if time is not None:
                self.times.setdefault(phase, Histogram()).record(time)

    def finish(self, sent: int, elapsed: float) -> None:
        """Take in what is known when the run is over."""
        self._sent = sent
        self.elapsed = elapsed

    @property
    def ended(self) -> int:
        """Probes that have ended, in whatever way."""
        return self.outcomes.total()

    @property
    def sent(self) -> int:
        """Probes started; while the run goes on, those of them that have ended."""
        return self.ended if self._sent is None else self._sent

    @property
    def echoed(self) -> int:
        """Probes whose every byte came back."""
        return self.outcomes[Outcome.ECHOED]

    @property
    def lost(self) -> int:
        """Probes that ended in anything else."""
        return self.ended - self.echoed

    @property
    def unfinished(self) -> int:
        """Probes still under way when the run was interrupted: neither echoed nor lost."""
        return self.sent - self.ended

    @property
    def lost_percent(self) -> float:
        """Of the probes that ended, how many in a hundred were lost; 0 where none ended."""
        return 100 * self.lost / self.ended if self.ended else 0.0

    @property
    def all_echoed(self) -> bool:
        """Whether something was echoed and nothing lost."""
        return self.echoed > 0 and self.lost == 0

    @property
    def round_trips(self) -> Histogram | None:
        """The round-trip times; None where nothing was echoed."""
        return self.times.get(ROUND_TRIP)
