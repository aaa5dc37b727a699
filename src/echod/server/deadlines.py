"""Deadlines of many connections, nearly all of which never come.

A delayed call for each connection takes 400 bytes and 5 µs (measured: callLater and cancel, Twisted 26.10), and
is wasted on a connection that ends in time. So what is due in a second to come is kept with all
else that is due in that second, in a set; when the second begins, each that is left gets a delayed call of
its own. A deadline is kept to the moment, all the same.
"""

from typing import Protocol as Shape

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Deadlines", "Due", "Place"]


class Due(Shape):
    """What has a deadline."""

    due: float
    """When, in seconds by the clock. While armed it may be moved to a later time, and that is all it takes to do so."""
    place: "Place"
    """Where it is kept, which is for `Deadlines` to write. None where it is not armed, and so at first."""

    def deadline_passed(self) -> None:
        """Take note that the time is up. It is not armed any more."""


class Second:
    """What is due in one second, or was when it was armed."""

    __slots__ = ("members", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.members: set[Due] = set()


Place = Second | IDelayedCall | None


class Deadlines:
    """Keeps deadlines by the clock it is given. While any is armed it has a delayed call pending; with none, none."""

    def __init__(self, clock: IReactorTime) -> None:
        """`clock` is in seconds; deadlines hold through a step of the wall clock where it is monotonic."""
        self._clock = clock
        self._seconds: dict[int, Second] = {}
        self._waiting = 0
        """How many are kept in a `Second`."""
        self._current = 0
        """The second whose members have their own delayed calls, as have those of seconds before it."""
        self._tick: IDelayedCall | None = None

    def arm(self, who: Due, seconds: float) -> None:
        """Have `who` told in `seconds` (0 or more) from now, in place of a deadline that it had before."""
        now = self._clock.seconds()
        who.due = now + seconds
        before = who.place
        if isinstance(before, Second) and before.number <= who.due:
            return  # where it is, it is found in time
        self._keep(who, now)
        self._leave(before, who)

    def disarm(self, who: Due) -> None:
        """Forget about `who`, if it is armed."""
        place, who.place = who.place, None
        self._leave(place, who)

    def _keep(self, who: Due, now: float) -> None:
        if not self._waiting:
            self._current = int(now)
        number = int(who.due)
        if number <= self._current:
            # Not below 0: it may have passed already, where the process slept or the clock went on since it was read.
            who.place = self._clock.callLater(max(0.0, who.due - now), self._passed, who)
            return
        second = self._seconds.get(number)
        if second is None:
            second = self._seconds[number] = Second(number)
        second.members.add(who)
        who.place = second
        self._waiting += 1
        if self._tick is None:
            self._wait(now)

    def _leave(self, place: Place, who: Due) -> None:
        if place is None:
            return
        if not isinstance(place, Second):
            place.cancel()
            return
        place.members.discard(who)
        self._waiting -= 1
        if not self._waiting:
            self._seconds.clear()
            if self._tick is not None:
                self._tick.cancel()
                self._tick = None

    def _passed(self, who: Due) -> None:
        who.place = None
        now = self._clock.seconds()
        if who.due > now:  # it was moved
            self._keep(who, now)
        else:
            who.deadline_passed()

    def _wait(self, now: float) -> None:
        """Have the next second begin in time. `now` is what `_current` was taken from, so it is still to come."""
        self._tick = self._clock.callLater(self._current + 1 - now, self._next)

    def _next(self) -> None:
        """Begin the second that has come, and those before it that the process slept through."""
        self._tick = None
        now = self._clock.seconds()
        self._current = int(now)
        for number in [each for each in self._seconds if each <= self._current]:
            members = self._seconds.pop(number).members
            self._waiting -= len(members)
            for who in members:
                self._keep(who, now)
        if self._waiting and self._tick is None:
            self._wait(now)
