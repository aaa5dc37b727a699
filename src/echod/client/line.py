"""One connection, from its first attempt to its end, and the probes that go over it.

| state    | a probe joins       | its time is over                   | the connection fails or ends     |
| -------- | ------------------- | ---------------------------------- | -------------------------------- |
| DIALLING | it waits            | of the first: that is it, for all  | all that wait have failed        |
| SILENT   | it waits            | (it stands still)                  | all have failed, in step IDLE    |
| OPEN     | its record goes out | it has failed; no more may join    | those that are out have failed,  |
|          |                     |                                    | or go another way                |

A line that is kept hands back the probes whose records the peer never began to echo before it closed in order, where it
had echoed others: they can go over another one. Nobody may join one on which anything but an echo was found.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from echod.client.attempts import IProbeReactor
from echod.client.course import Clocks, Conclusion, Course, microseconds
from echod.client.dial import Dial
from echod.client.exchange import Exchange
from echod.client.matcher import Finding
from echod.client.outcomes import Outcome, Step
from echod.client.protocol import ProbeProtocol
from echod.client.route import Route

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["Line"]


class State(Enum):
    """Where a line is; the module's table says what that means."""

    DIALLING = auto()
    SILENT = auto()
    OPEN = auto()
    OVER = auto()
    """Nothing joins, and nothing more happens."""


class Line:
    """One connection."""

    def __init__(
        self,
        reactor: IProbeReactor,
        route: Route,
        tls: "ClientTLSContext | None",
        clocks: Clocks,
        *,
        idle: float | None = None,
        hand_back: Callable[[list[Course]], None] | None = None,
    ) -> None:
        """With `hand_back` it is kept after an echo, and tells by it which probes are to go another way.

        `idle` are the seconds for which it is silent once it is established.
        """
        self._reactor = reactor
        self._clocks = clocks
        self._idle = idle
        self._hand_back = hand_back
        self._state = State.DIALLING
        self._dial = Dial(reactor, route, tls, clocks)
        self._waiting: list[Course] = []
        self._ended: list[Course] = []
        """Those that are concluded, and are delivered when the connection is over."""
        self._protocol: ProbeProtocol | None = None
        self._exchange: Exchange | None = None
        self._silence: IDelayedCall | None = None
        self._closing = False
        self.over: Deferred[None] = Deferred()

    @property
    def kept(self) -> bool:
        """Whether it goes on after an echo."""
        return self._hand_back is not None

    @property
    def takes_more(self) -> bool:
        """Whether another probe may join."""
        return self.kept and self._state is not State.OVER and not (self._faulty or self._closing)

    @property
    def _faulty(self) -> bool:
        return self._exchange is not None and self._exchange.faulty

    @property
    def dialling(self) -> bool:
        """Whether a probe that joins has to wait for the connection."""
        return self._state is State.DIALLING

    @property
    def established(self) -> bool:
        """Whether there was ever a connection."""
        return self._dial.protocol is not None

    def join(self, course: Course) -> None:
        """Let the course go over this line. For the first, it is brought about."""
        course.give_up = self._give_up
        if self._state is State.OPEN:
            assert self._exchange is not None
            self._exchange.send(course)
            return
        self._waiting.append(course)
        if not self._dial.started:
            course.dialling = self._dial.times
            self._dial.start(course.timeout).addCallbacks(self._ready, self._not_ready)

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        """End the connection, whatever is under way; return what fires when it is over."""
        self._closing = True
        if self._state is State.DIALLING:
            self._dial.cancel()
        elif self._state is not State.OVER and self._protocol is not None:
            if at_once:
                self._protocol.abort()
            else:
                self._protocol.close()
        return self.over

    def _ready(self, protocol: ProbeProtocol) -> None:
        self._protocol = protocol
        self._exchange = Exchange(protocol, kept=self.kept, concluded=self._concluded)
        protocol.listener = self
        if self._idle is None:
            self._open()
            return
        self._state = State.SILENT
        protocol.step = Step.IDLE
        self._silent_from = self._clocks.now()
        for course in self._waiting:
            course.hold()
        self._silence = self._reactor.callLater(self._idle, self._speak)

    def _not_ready(self, failure: Failure) -> None:
        first = self._waiting[0] if self._waiting else None
        timeout = first.timeout if first is not None and first.timed_out else None
        self._end_all(self._dial.conclusion(failure, timeout))
        self._end()

    def _speak(self) -> None:
        assert self._protocol is not None
        self._protocol.step = Step.ECHO
        for course in self._waiting:
            course.idle = microseconds(self._silent_from, self._clocks.now())
            course.go_on()
        self._open()

    def _open(self) -> None:
        self._state = State.OPEN
        waiting, self._waiting = self._waiting, []
        assert self._exchange is not None
        for course in waiting:
            self._exchange.send(course)

    def found(self, finding: Finding, at: float) -> None:
        """Take the verdict on a record."""
        assert self._exchange is not None
        self._exchange.found(finding, at)

    # The ends

    def _concluded(self, course: Course) -> None:
        """Take a probe that has its verdict."""
        self._describe(course)
        if self.kept:
            course.deliver()
        else:
            self._ended.append(course)

    def _give_up(self, course: Course) -> None:
        """Wait for `course` no longer: its time is over, or nobody asks any more."""
        if self._exchange is not None and course in self._exchange:
            self._exchange.give_up(course)
        elif course not in self._waiting:
            pass
        elif not course.timed_out:
            self._waiting.remove(course)
            if not self._waiting:
                self.close(at_once=True)
        elif course is not self._waiting[0]:
            self._waiting.remove(course)
            detail = f"no connection within {course.timeout:g} s"
            course.conclude(Conclusion(outcome=Outcome.TIMEOUT, step=self._dial.step, detail=detail))
            course.deliver()
        else:
            self.close()

    def lost(self, reason: Failure) -> None:
        """The connection is over: so are the probes on it, but for those that can go another way."""
        protocol, exchange = self._protocol, self._exchange
        assert protocol is not None
        assert exchange is not None
        if self._silence is not None and self._silence.active():
            self._silence.cancel()
            silent = self._clocks.now() - self._silent_from
            end = protocol.ended_by(reason, f"after {silent:.3g} s of silence", 0)
            for course in self._waiting:
                course.idle = microseconds(self._silent_from, self._clocks.now())
            self._end_all(Conclusion(outcome=end.outcome, step=protocol.step, detail=end.detail))
        ended, back = exchange.lost(reason)
        for course in ended:
            self._describe(course)
        self._ended += ended
        self._end()
        if self._hand_back is not None and back:
            self._hand_back(back)

    def _end_all(self, conclusion: Conclusion) -> None:
        """Conclude all that wait. They are delivered when the connection is over."""
        waiting, self._waiting = self._waiting, []
        for course in waiting:
            course.conclude(conclusion)
            self._describe(course)
        self._ended += waiting

    def _describe(self, course: Course) -> None:
        """Tell `course` what there is to tell of the connection."""
        if course.dialling is not None:
            self._dial.tell_times()
        protocol = self._dial.protocol
        if protocol is not None:
            course.address, course.source = protocol.peer, protocol.host
            course.tls = protocol.tls
            course.kernel = protocol.ask_kernel()

    def _end(self) -> None:
        self._state = State.OVER
        ended, self._ended = self._ended, []
        for course in ended:
            course.deliver(self._clocks.now())
        self.over.callback(None)
