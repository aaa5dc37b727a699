"""One process's part of the load: takes up records when they are due, and gives them to connection slots.

A record that is due while no slot is free waits, and its time limit runs: a peer that stalls cannot stop the clock by
keeping the connections busy. This waiting is part of the response time and not of the service time. Lateness is not
waiting: it is the time from when a record was due until the generator took it up, and the generator alone causes it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from echod.client.attempts import IProbeReactor
from echod.client.connection import Connection, Sink
from echod.client.deadline import Clocks
from echod.client.outcomes import Outcome
from echod.client.record import RecordSource
from echod.client.route import Route
from echod.load.config import LoadConfiguration, Share
from echod.load.connection_slot import ConnectionSlot, LoadTransfer
from echod.load.schedule import Arrival, arrivals
from echod.load.statistics import SLICE, Slice

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["Generator"]

TIMER_PRECISION = 0.0015
"""Seconds. The timer is set this much before a record is due: epoll_wait(2) counts in milliseconds, and rounds up."""

SWEEP_INTERVAL = 0.05
"""Seconds between two looks for overdue records: the most by which a record can exceed its timeout."""

PARALLEL_DIALS = 4
"""Connections dialled at a time before the start, so that they fit into the peer's backlog, which may be 10."""


_ECHOED = Outcome.ECHOED  # a member of an Enum costs 0.1 µs to look up, and this one each record


class Generator:
    """Generates a share of the load, and reports on it slice by slice."""

    def __init__(  # noqa: PLR0913  # each is a dependency
        self,
        reactor: IProbeReactor,
        route: Route,
        configuration: LoadConfiguration,
        share: Share,
        source: RecordSource,
        random: Callable[[], float],
        on_slice: Callable[[Slice], None],
        *,
        tls: "ClientTLSContext | None" = None,
        clocks: Clocks = Clocks(),  # noqa: B008  # it is frozen
    ) -> None:
        """`random` returns numbers from 0 up to 1, for Poisson arrivals; `on_slice` is called with each slice."""
        self._reactor = reactor
        self._route = route
        self._config = configuration
        self._share = share
        self._source = source
        self._on_slice = on_slice
        self._tls = tls
        self._clocks = clocks
        self._now = clocks.now
        self._schedule = self._due_offsets(random)
        self._sequence = count(1)
        self._slots = [
            ConnectionSlot(self, self._new_connection, timeout=configuration.timeout) for _ in range(share.connections)
        ]
        self._free: deque[ConnectionSlot] = deque(self._slots)
        self._waiting: deque[float] = deque()
        """When the records were due that wait for a free slot."""
        self._next: float | None = None
        """When the next record is due; None after the last one, and in a closed loop."""
        self._handing_out = False
        self._calls: dict[str, IDelayedCall] = {}
        self._done: Deferred[int] = Deferred()
        self.started = False
        """Whether `start` was called."""
        self._over = False
        self._last = 0.0
        """When the last record that counts ended."""

    def prepare(self) -> "Deferred[None]":
        """Choose one address of a name, and establish the connections that are kept.

        The Deferred never fails: a connection that cannot be established is dialled again for its first record.
        """
        return Deferred.fromCoroutine(self._prepare())

    def start(self, at: float) -> "Deferred[int]":
        """Begin at the time `at`. The Deferred fires at the end, with the number of unfinished records."""
        self.started = True
        self._began = at
        self._counts_from = at + self._config.warmup
        self._until = self._counts_from + self._config.duration
        self._last = self._counts_from
        self._slice = Slice(0, 0.0)
        if self._share.rate is not None:
            self._advance()
        self._call_at("take up", at, self._take_up)
        self._call_at("slice", self._counts_from + SLICE, self._end_slice)
        self._call_at("sweep", at + SWEEP_INTERVAL, self._sweep)
        return self._done

    def stop(self) -> None:
        """End now. The records that have not ended count as unfinished."""
        if not self._over and not self._done.called:
            waiting = sum(due >= self._counts_from for due in self._waiting)
            self._waiting.clear()
            self._over = True
            under_way = [slot.transfer for slot in self._slots if slot.transfer is not None]
            unfinished = sum(transfer.due >= self._counts_from for transfer in under_way) + waiting
            self._last = max(self._counts_from, self._now())
            self._finish(unfinished)

    @property
    def elapsed(self) -> float:
        """Seconds from the end of the warm-up to the end of the last record."""
        return self._last - self._counts_from

    # The owner of the slots

    def echoed(self, due: float, sent_at: float, complete_at: float) -> None:
        """Count an echo."""
        if due < self._counts_from:
            return
        part = self._slice
        part.outcomes[_ECHOED] += 1
        time = round((complete_at - due) * 1e6)
        part.response[time] = part.response.get(time, 0) + 1
        time = round((complete_at - sent_at) * 1e6)
        part.service[time] = part.service.get(time, 0) + 1
        self._last = complete_at

    def failed(self, due: float, outcome: Outcome, detail: str) -> None:
        """Count a failure."""
        if due < self._counts_from or self._over:
            return
        self._slice.outcomes[outcome] += 1
        self._slice.details.setdefault(outcome, detail)
        self._last = self._now()

    def free(self, slot: ConnectionSlot) -> None:
        """Give the slot a record that waits."""
        self._free.append(slot)
        self._hand_out()

    # The schedule

    def _due_offsets(self, random: Callable[[], float]) -> Iterator[float]:
        rate = self._share.rate
        if rate is None:
            return iter(())
        seconds = self._config.warmup + self._config.duration
        return arrivals(
            Arrival(self._config.arrival), rate, seconds, random, part=self._share.part, parts=self._share.parts
        )

    def _advance(self) -> None:
        offset = next(self._schedule, None)
        self._next = None if offset is None else self._began + offset

    def _take_up(self) -> None:
        """Take up all records that are due."""
        until = self._now()  # records that fall due meanwhile wait until the reactor has read the replies
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
            self._call_at("take up", self._next - TIMER_PRECISION, self._take_up)

    def _hand_out(self) -> None:
        # A slot whose connection fails at once is free again before `carry` returns: it must not recurse into here.
        if self._handing_out or self._over:
            return
        self._handing_out = True
        try:
            while self._free:
                if self._waiting:
                    due = self._waiting[0]
                elif self._share.rate is None and self._began <= (now := self._now()) < self._until:
                    due = now
                else:
                    break
                record = self._source(next(self._sequence), self._config.size, round(self._clocks.wall() * 1e6))
                if self._waiting:
                    self._waiting.popleft()
                self._free.popleft().carry(record, due)
        finally:
            self._handing_out = False

    # The connections

    async def _prepare(self) -> None:
        first, *others = self._slots
        if self._route.literal is None:
            await first.dial()
            if first.protocol is not None:
                self._route = Route(target=self._route.target, source=self._route.source, address=first.protocol.peer)
        if not self._config.keep_alive:
            first.close()
            return
        waiting = iter(others if first.connected else self._slots)

        async def dial_waiting() -> None:
            for slot in waiting:
                await slot.dial()
                if not slot.connected:
                    return

        for dialling in [Deferred.fromCoroutine(dial_waiting()) for _ in range(PARALLEL_DIALS)]:
            await dialling

    def _new_connection(self, sink: Sink[LoadTransfer]) -> Connection[LoadTransfer]:
        return Connection(self._reactor, self._route, self._tls, self._clocks, sink, kept=self._config.keep_alive)

    # The timers

    def _call_at(self, name: str, at: float, call: Callable[[], None]) -> None:
        self._calls[name] = self._reactor.callLater(max(at - self._now(), 0), call)

    def _sweep(self) -> None:
        now = self._now()
        while self._waiting and now >= self._waiting[0] + self._config.timeout:
            detail = f"no connection was free for it within {self._config.timeout:g} s"
            self.failed(self._waiting.popleft(), Outcome.TIMEOUT, detail)
        for slot in self._slots:
            slot.expire(now)
        if now >= self._until and self._next is None and not self._waiting and not self._any_under_way:
            self._over = True
            self._last = max(self._last, self._until)
            self._finish(0)
        else:
            self._call_at("sweep", now + SWEEP_INTERVAL, self._sweep)

    @property
    def _any_under_way(self) -> bool:
        return any(slot.transfer is not None for slot in self._slots)

    def _end_slice(self) -> None:
        self._report_slice(self._now())
        self._call_at("slice", self._counts_from + (self._slice.index + 1) * SLICE, self._end_slice)

    def _report_slice(self, now: float) -> None:
        ended = self._slice
        ended.until = now - self._counts_from
        ended.connections = sum(slot.connected for slot in self._slots)
        self._slice = Slice(ended.index + 1, 0.0)
        self._on_slice(ended)

    def _finish(self, unfinished: int) -> None:
        if self._now() > self._counts_from:
            self._report_slice(self._now())
        for call in self._calls.values():
            if call.active():
                call.cancel()
        for slot in self._slots:
            slot.close()
        self._done.callback(unfinished)
