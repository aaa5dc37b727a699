"""The search for the highest rate at which something holds: doubling, then halving what is left between two rates."""

from dataclasses import dataclass

from echod.common.assertions import AssertionResult

__all__ = ["PRECISION", "Search", "SearchStep"]

PRECISION = 0.05
"""The share of the rate found by which a higher one may still hold. Two runs at one rate differ by as much."""


@dataclass(slots=True)
class Search:
    """Rates, records a second, to be tried one after the other."""

    rate: int
    """The one to try now."""
    holds: int | None = None
    """The highest at which it has held; None: at none yet."""
    fails: int | None = None
    """The lowest at which it has not."""

    @property
    def over(self) -> bool:
        """Whether there is nothing more to try."""
        if self.fails is None:
            return False
        if self.holds is None:
            return self.fails == 1
        return self.fails - self.holds <= max(self.holds * PRECISION, 1)

    def tried(self, *, held: bool) -> None:
        """Take in what came of `rate`, and go on to the next."""
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
    """One rate that was tried, and what came of it."""

    rate: int
    """Records a second."""
    achieved: float
    """Echoed a second."""
    verdict: AssertionResult
    lost: int
    behind: bool
    """Whether the generator fell behind its schedule. Of a step that was not held: it may be the reason."""
    held: bool
    """Whether the assertion held, with nothing lost unless it is about losses, and the rate was kept up."""
