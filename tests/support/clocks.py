"""Clocks as strict as a real reactor, which refuses a negative delay."""

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock


class StrictClock(Clock):
    """A clock that refuses a negative delay."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        assert delay >= 0, f"{delay} s"
        return super().callLater(delay, callable, *args, **kwargs)

    def block(self, seconds: float) -> None:
        """Let time pass without a call, as a function does that blocks the reactor."""
        self.rightNow += seconds


class StrictReactor(StrictClock, MemoryReactorClock):
    """A memory reactor that refuses a negative delay."""
