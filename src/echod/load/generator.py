"""One process's share of the load: takes records up when they are due, and hands them to the lanes that are free.

What is due and finds no lane free waits, and its time runs: a peer that stalls cannot stop the clock by keeping the
lanes busy. That waiting is in the response time and not in the service time. It is not lateness either: that is how
long after its moment the generator took a record up at all, and is its own fault alone.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from echod.client.attempts import IProbeReactor
from echod.client.course import Clocks
from echod.client.dial import Dial
from echod.client.outcomes import Outcome
from echod.client.record import RecordSource
from echod.client.route import Route
from echod.load.config import LoadConfiguration, Share
from echod.load.lane import Lane
from echod.load.schedule import Arrival, arrivals
from echod.load.statistics import SLICE, Slice

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["Generator"]

NAP = 0.0015
"""Seconds. A moment that is nearer is waited for awake: epoll_wait(2) counts in milliseconds, and rounds up."""

SWEEP = 0.05
"""Seconds between two looks for records whose time is over: how much longer than the timeout one may take."""

DIALS = 4
"""Connections brought about at a time before the start, so that the peer's backlog, which may be 10, holds them."""


class Generator:
    """Generates a share of the load, and tells of it slice by slice."""

    def __init__(  # noqa: PLR0913  # each is another thing that it depends on
        self,
        reactor: IProbeReactor,
        route: Route,
        configuration: LoadConfiguration,
        share: Share,
        source: RecordSource,
        random: Callable[[], float],
        told: Callable[[Slice], None],
        *,
        tls: "ClientTLSContext | None" = None,
        clocks: Clocks = Clocks(),  # noqa: B008  # it is frozen
    ) -> None:
        """`random` gives numbers from 0 up to 1, of which Poisson arrivals are made; `told` takes each slice."""
        self._reactor = reactor
        self._route = route
        self._asked = configuration
        self._share = share
        self._source = source
        self._told = told
        self._tls = tls
        self._clocks = clocks
        self._now = clocks.now
        self._schedule = self._moments(random)
        self._sequence = count(1)
        self._lanes = [
            Lane(self, self._dial, kept=configuration.keep_alive, timeout=configuration.timeout)
            for _ in range(share.connections)
        ]
        self._free: deque[Lane] = deque(self._lanes)
        self._waiting: deque[float] = deque()
        """When the records were due that wait for a lane."""
        self._next: float | None = None
        """When the next record is due; None where no more will be, and in a closed loop."""
        self._handing_out = False
        self._calls: dict[str, IDelayedCall] = {}
        self._done: Deferred[int] = Deferred()
        self.started = False
        """Whether it was told to begin."""
        self._over = False
        self._last = 0.0
        """When the last record that counts ended."""

    def prepare(self) -> "Deferred[None]":
        """Settle on one address of a name, and bring the connections about that are kept. It never fails.

        What does not come about now, its record will find out.
        """
        return Deferred.fromCoroutine(self._prepare())

    def start(self, at: float) -> "Deferred[int]":
        """Begin at the time `at`. It fires when the last record has ended, with the number of those that have not."""
        self.started = True
        self._began = at
        self._counts_from = at + self._asked.warmup
        self._until = self._counts_from + self._asked.duration
        self._last = self._counts_from
        self._slice = Slice(0, 0.0)
        if self._share.rate is not None:
            self._advance()
        self._at("pump", at, self._pump)
        self._at("slice", self._counts_from + SLICE, self._end_slice)
        self._at("sweep", at + SWEEP, self._sweep)
        return self._done

    def stop(self) -> None:
        """End it now. What has not ended is told as a number."""
        if not self._over and not self._done.called:
            waiting = sum(due >= self._counts_from for due in self._waiting)
            self._waiting.clear()
            self._over = True
            unfinished = sum(lane.carries and lane.due >= self._counts_from for lane in self._lanes) + waiting
            self._last = max(self._counts_from, self._now())
            self._finish(unfinished)

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning of what counts to the end of its last record."""
        return self._last - self._counts_from

    # Owner of the lanes

    def echoed(self, due: float, sent_at: float, at: float) -> None:
        """Count an echo."""
        if due < self._counts_from:
            return
        part = self._slice
        part.outcomes[Outcome.ECHOED] += 1
        time = round((at - due) * 1e6)
        part.response[time] = part.response.get(time, 0) + 1
        time = round((at - sent_at) * 1e6)
        part.service[time] = part.service.get(time, 0) + 1
        self._last = at

    def failed(self, due: float, outcome: Outcome, detail: str) -> None:
        """Count a failure."""
        if due < self._counts_from or self._over:
            return
        self._slice.outcomes[outcome] += 1
        self._slice.details.setdefault(outcome, detail)
        self._last = self._now()

    def free(self, lane: Lane) -> None:
        """Give the lane what waits."""
        self._free.append(lane)
        self._hand_out()

    # The schedule

    def _moments(self, random: Callable[[], float]) -> Iterator[float]:
        rate = self._share.rate
        if rate is None:
            return iter(())
        seconds = self._asked.warmup + self._asked.duration
        return arrivals(
            Arrival(self._asked.arrival), rate, seconds, random, part=self._share.part, parts=self._share.parts
        )

    def _advance(self) -> None:
        moment = next(self._schedule, None)
        self._next = None if moment is None else self._began + moment

    def _pump(self) -> None:
        """Take up whatever is due, in one go."""
        until = self._now()  # what falls due meanwhile waits until the replies that have come are read
        while self._next is not None and self._next <= until:
            due = self._next
            if due >= self._counts_from:
                late = round((self._now() - due) * 1e6)
                lateness = self._slice.lateness
                lateness[late] = lateness.get(late, 0) + 1
            self._waiting.append(due)
            self._hand_out()
            self._advance()
        self._hand_out()
        if self._next is not None and not self._over:
            self._at("pump", self._next - NAP, self._pump)

    def _hand_out(self) -> None:
        # A lane that fails at once is free again before `carry` returns; it must not go ever deeper.
        if self._handing_out or self._over:
            return
        self._handing_out = True
        while self._free:
            if self._waiting:
                due = self._waiting.popleft()
            elif self._share.rate is None and self._began <= (now := self._now()) < self._until:
                due = now
            else:
                break
            made = round(self._clocks.wall() * 1e6)
            self._free.popleft().carry(self._source(next(self._sequence), self._asked.size, made), due)
        self._handing_out = False

    # The connections

    async def _prepare(self) -> None:
        first, *others = self._lanes
        if self._route.literal is None:
            await first.open()
            if first.protocol is not None:
                self._route = Route(target=self._route.target, source=self._route.source, address=first.protocol.peer)
        if not self._asked.keep_alive:
            first.end()
            return
        waiting = iter(self._lanes if first.protocol is None else others)

        async def dial() -> None:
            for lane in waiting:
                await lane.open()
                if not lane.connected:
                    return

        for dialling in [Deferred.fromCoroutine(dial()) for _ in range(DIALS)]:
            await dialling

    def _dial(self) -> Dial:
        return Dial(self._reactor, self._route, self._tls, self._clocks)

    # The beat

    def _at(self, name: str, moment: float, act: Callable[[], None]) -> None:
        self._calls[name] = self._reactor.callLater(max(moment - self._now(), 0), act)

    def _sweep(self) -> None:
        now = self._now()
        while self._waiting and now >= self._waiting[0] + self._asked.timeout:
            detail = f"no connection was free for it within {self._asked.timeout:g} s"
            self.failed(self._waiting.popleft(), Outcome.TIMEOUT, detail)
        for lane in self._lanes:
            lane.expire(now)
        if now >= self._until and self._next is None and not self._waiting and not self._carrying:
            self._over = True
            self._last = max(self._last, self._until)
            self._finish(0)
        else:
            self._at("sweep", now + SWEEP, self._sweep)

    @property
    def _carrying(self) -> bool:
        return any(lane.carries for lane in self._lanes)

    def _end_slice(self) -> None:
        self._tell(self._now())
        self._at("slice", self._counts_from + (self._slice.index + 1) * SLICE, self._end_slice)

    def _tell(self, now: float) -> None:
        told = self._slice
        told.until = now - self._counts_from
        told.connections = sum(lane.connected for lane in self._lanes)
        self._slice = Slice(told.index + 1, 0.0)
        self._told(told)

    def _finish(self, unfinished: int) -> None:
        if self._now() > self._counts_from:
            self._tell(self._now())
        for call in self._calls.values():
            if call.active():
                call.cancel()
        for lane in self._lanes:
            lane.end()
        self._done.callback(unfinished)
