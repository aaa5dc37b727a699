"""The search for the highest rate at which an assertion holds: doubling, then bisection."""

from dataclasses import dataclass

from echod.common.assertions import AssertionResult

__all__ = ["PRECISION", "Search", "SearchStep"]

PRECISION = 0.05
"""The search ends when the highest rate that held and the lowest that failed differ by this fraction of the former."""


@dataclass(slots=True)
class Search:
    """The next rate to try, and the bounds known so far. Rates are records per second."""

    rate: int
    """The next rate to try."""
    holds: int | None = None
    """The highest rate at which the assertion held; None: at no rate yet."""
    fails: int | None = None
    """The lowest rate at which it failed; None: at no rate yet."""

    @property
    def over(self) -> bool:
        """Whether no further rate needs to be tried."""
        if self.fails is None:
            return False
        if self.holds is None:
            return self.fails == 1
        return self.fails - self.holds <= max(self.holds * PRECISION, 1)

    def record(self, *, held: bool) -> None:
        """Record whether the assertion held at `rate`, and select the next rate."""
        if held:
            self.holds = self.rate
        else:
            self.fails = self.rate
        if self.fails is None:
            self.rate *= 2
        elif self.holds is None:
            self.rate = max(self.rate // 2, 1)
        else:
            self.rate = (self.holds + self.fails) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStep:
    """One run of a search."""

    rate: int
    """The rate of the schedule, records per second."""
    achieved: float
    """Records echoed per second."""
    verdict: AssertionResult
    lost: int
    """Failed records."""
    behind: bool
    """Whether the generator fell behind its schedule, which may be the reason of a failed step."""
    held: bool
    """Whether the assertion held, no record failed unless the assertion is about losses, and the rate was achieved."""
