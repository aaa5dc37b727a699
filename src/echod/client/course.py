"""The course of one probe: its record, its time, and in the end its result."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from echod.client.outcomes import Attempt, KernelFacts, Outcome, PhaseTimes, ProbeResult, Step, TLSSession
from echod.client.record import Record
from echod.common.addresses import HostPort

__all__ = ["Clocks", "Conclusion", "Course", "Dialling", "microseconds"]


@dataclass(frozen=True, slots=True)
class Clocks:
    """What times are told by."""

    now: Callable[[], float] = time.monotonic
    """Seconds, on a clock that nobody sets."""
    wall: Callable[[], float] = time.time
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """How a probe ended. What is a time, is one of `Clocks.now`."""

    outcome: Outcome
    step: Step
    detail: str = ""
    offset: int | None = None
    received: int = 0
    first_byte_at: float | None = None
    complete_at: float | None = None


@dataclass(slots=True, kw_only=True)
class Dialling:
    """How a connection was brought about. What is a time, is one of `Clocks.now`."""

    began: float
    resolved_at: float | None = None
    connected_at: float | None = None
    secured_at: float | None = None
    attempts: tuple[Attempt, ...] = ()


class Course:
    """One probe, from its start to its result.

    `result` fires when it is delivered. Cancelled before, it fails with CancelledError, and nothing is delivered.
    """

    reconnected = False
    sent_at: float | None = None
    idle: int | None = None
    """Microseconds for which the connection was silent before the record."""
    dialling: Dialling | None = None
    """Of a probe that a connection was brought about for."""
    address: HostPort | None = None
    source: HostPort | None = None
    tls: TLSSession | None = None
    kernel: KernelFacts | None = None
    conclusion: Conclusion | None = None
    timed_out = False
    resolve: int | None = None
    """Microseconds that it took to resolve the name, where that was done beforehand."""

    def __init__(self, reactor: IReactorTime, clocks: Clocks, target: HostPort, record: Record, timeout: float) -> None:
        """`timeout` is in seconds; the time begins now, and stands still while it is held."""
        self.target = target
        self.record = record
        self.timeout = timeout
        self.give_up: Callable[[Course], None] = lambda _: None
        """Whom to tell that there is nothing to wait for any more: the time is over, or nobody asks."""
        self.result: Deferred[ProbeResult] = Deferred(self._cancel)
        self._reactor = reactor
        self._started = datetime.fromtimestamp(clocks.wall(), UTC)
        self._left = timeout
        self._timer: IDelayedCall | None = None
        self.go_on()

    def hold(self) -> None:
        """Let the time stand still."""
        if self._timer is not None and self._timer.active():
            self._left = self._timer.getTime() - self._reactor.seconds()
            self._timer.cancel()

    def go_on(self) -> None:
        """Let the time run."""
        self._timer = self._reactor.callLater(self._left, self._out_of_time)

    def conclude(self, conclusion: Conclusion) -> None:
        """Take note of how it ended. The first conclusion counts."""
        self.hold()
        self.conclusion = self.conclusion or conclusion

    def deliver(self, closed_at: float | None = None) -> None:
        """Let `result` fire. `closed_at` is when the connection was over, where it was not kept."""
        if not self.result.called:
            self.result.callback(self._told(closed_at))

    def _out_of_time(self) -> None:
        self.timed_out = True
        self.give_up(self)

    def _cancel(self, _: "Deferred[ProbeResult]") -> None:
        self.hold()
        self.give_up(self)

    def _told(self, closed_at: float | None) -> ProbeResult:
        end = self.conclusion
        assert end is not None
        dialling = self.dialling
        attempts = dialling.attempts if dialling is not None else ()
        return ProbeResult(
            target=self.target,
            outcome=end.outcome,
            step=end.step,
            sequence=self.record.sequence,
            started=self._started,
            times=self._times(end, dialling, closed_at),
            address=self.address or (attempts[0].address if len(attempts) == 1 else None),
            source=self.source,
            attempts=attempts,
            size=len(self.record.data),
            received=end.received,
            offset=end.offset,
            reconnected=self.reconnected,
            tls=self.tls,
            kernel=self.kernel,
            detail=end.detail,
        )

    def _times(self, end: Conclusion, dialling: Dialling | None, closed_at: float | None) -> PhaseTimes:
        echo = PhaseTimes(
            idle=self.idle,
            first_byte=microseconds(self.sent_at, end.first_byte_at),
            echo=microseconds(self.sent_at, end.complete_at),
            close=microseconds(end.complete_at, closed_at),
            resolve=self.resolve,
        )
        if dialling is None:
            return echo
        resolved_at = None if end.outcome is Outcome.RESOLVE_FAILED else dialling.resolved_at
        return PhaseTimes(
            resolve=self.resolve if self.resolve is not None else microseconds(dialling.began, resolved_at),
            connect=microseconds(dialling.resolved_at or dialling.began, dialling.connected_at),
            tls=microseconds(dialling.connected_at, dialling.secured_at),
            idle=echo.idle,
            first_byte=echo.first_byte,
            echo=echo.echo,
            close=echo.close,
        )


def microseconds(start: float | None, end: float | None) -> int | None:
    """Return the time between two readings of a clock in seconds; None where one of them is."""
    return None if start is None or end is None else round((end - start) * 1e6)
