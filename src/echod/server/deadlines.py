"""Deadlines of many connections, few of which ever pass.

A delayed call for each connection would take 400 bytes and 5 µs (measured: callLater and cancel, Twisted 26.10), for a
connection that nearly always ends in time. So the deadlines of one second are kept in one set; when that second begins,
each one left in it gets a delayed call. Every deadline passes at its exact time.
"""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["DeadlineOwner", "Deadlines", "Slot"]


class DeadlineOwner(Protocol):
    """The interface of an object with a deadline."""

    due: float
    """The time of the deadline, in seconds of the clock. While armed, it may be set to a later time directly."""
    slot: "Slot"
    """Where the deadline is kept, written by `Deadlines`. None: not armed, as at first."""

    def deadline_passed(self) -> None:
        """Handle the deadline. It is no longer armed."""


class Second:
    """The deadlines within one second. Some may have been set to a later time since they were armed."""

    __slots__ = ("number", "owners")

    def __init__(self, number: int) -> None:
        self.number = number
        self.owners: set[DeadlineOwner] = set()


Slot = Second | IDelayedCall | None


class Deadlines:
    """Keeps deadlines. It has a delayed call pending while a deadline is armed, and none otherwise."""

    def __init__(self, clock: IReactorTime) -> None:
        """On a monotonic clock, a step of the wall clock moves no deadline."""
        self._clock = clock
        self._seconds: dict[int, Second] = {}
        self._kept = 0
        """The number of deadlines in `_seconds`."""
        self._current = 0
        """The present second. Each deadline in it, or before it, has a delayed call."""
        self._tick: IDelayedCall | None = None

    def arm(self, owner: DeadlineOwner, seconds: float) -> None:
        """Set the deadline of `owner` to `seconds` (0 or more) from now, in place of its present one."""
        now = self._clock.seconds()
        owner.due = now + seconds
        before = owner.slot
        if isinstance(before, Second) and before.number <= owner.due:
            return  # when that second begins, the deadline is kept again, by its new time
        self._keep(owner, now)
        self._release(before, owner)

    def disarm(self, owner: DeadlineOwner) -> None:
        """Remove the deadline of `owner`, if it has one."""
        slot, owner.slot = owner.slot, None
        self._release(slot, owner)

    def _keep(self, owner: DeadlineOwner, now: float) -> None:
        if not self._kept:
            self._current = int(now)
        number = int(owner.due)
        if number <= self._current:
            # At least 0, because the time may have passed: the process may have slept since the clock was read.
            owner.slot = self._clock.callLater(max(0.0, owner.due - now), self._passed, owner)
            return
        second = self._seconds.get(number)
        if second is None:
            second = self._seconds[number] = Second(number)
        second.owners.add(owner)
        owner.slot = second
        self._kept += 1
        if self._tick is None:
            self._schedule_tick(now)

    def _release(self, slot: Slot, owner: DeadlineOwner) -> None:
        if slot is None:
            return
        if not isinstance(slot, Second):
            slot.cancel()
            return
        slot.owners.discard(owner)
        self._kept -= 1
        if not self._kept:
            self._seconds.clear()
            if self._tick is not None:
                self._tick.cancel()
                self._tick = None

    def _passed(self, owner: DeadlineOwner) -> None:
        owner.slot = None
        now = self._clock.seconds()
        if owner.due > now:  # it was set to a later time
            self._keep(owner, now)
        else:
            owner.deadline_passed()

    def _schedule_tick(self, now: float) -> None:
        """Schedule the beginning of the next second, which is after `now`: `_current` is the second of `now`."""
        self._tick = self._clock.callLater(self._current + 1 - now, self._begin_second)

    def _begin_second(self) -> None:
        """Begin the present second, and those before it that the process slept through."""
        self._tick = None
        now = self._clock.seconds()
        self._current = int(now)
        for number in [each for each in self._seconds if each <= self._current]:
            owners = self._seconds.pop(number).owners
            self._kept -= len(owners)
            for owner in owners:
                self._keep(owner, now)
        if self._kept and self._tick is None:
            self._schedule_tick(now)
