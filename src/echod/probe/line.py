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

from echod.core.matcher import Finding, Verdict
from echod.core.outcomes import Outcome, Step
from echod.core.route import Route
from echod.probe.course import Clocks, Conclusion, Course, microseconds
from echod.probe.dial import Dial
from echod.probe.protocol import ProbeProtocol, Refusal
from echod.probe.sentences import differs, sentence
from echod.probe.watch import IProbeReactor

if TYPE_CHECKING:
    from echod.probe.tls import ClientTLSContext

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
        self._out: list[Course] = []
        self._ended: list[Course] = []
        """Those that are concluded, and are delivered when the connection is over."""
        self._protocol: ProbeProtocol | None = None
        self._silence: IDelayedCall | None = None
        self._echoed = 0
        self._faulty = False
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
            self._send(course)
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
        for course in waiting:
            self._send(course)

    # The echoes

    def _send(self, course: Course) -> None:
        assert self._protocol is not None
        self._out.append(course)
        course.sent_at = None
        course.sent_at = self._protocol.send(course.record)

    def found(self, finding: Finding, at: float) -> None:
        """Take the verdict on a record."""
        protocol = self._protocol
        assert protocol is not None
        course = next(each for each in self._out if each.record is finding.record)
        self._out.remove(course)
        whole = finding.verdict is Verdict.ECHOED
        size = len(course.record.data)
        outcome, detail = sentence(finding, sent=course.sent_at is not None)
        offset = finding.offset
        if whole and not self.kept and protocol.matcher.unasked:
            outcome, offset, whole = Outcome.CORRUPT, size, False
            detail = f"more came back than was sent: the byte at offset {size} is one too many"
        if whole:
            self._echoed += 1
        else:
            self._faulty = True
        course.conclude(
            Conclusion(
                outcome=outcome,
                step=Step.ECHO,
                detail=detail,
                offset=offset,
                received=finding.received,
                first_byte_at=finding.began,
                complete_at=at if whole else None,
            )
        )
        self._finish(course)

    def _finish(self, course: Course) -> None:
        """Let go of a probe that is concluded, and of the connection where nothing needs it any more."""
        assert self._protocol is not None
        self._describe(course)
        if self.kept:
            course.deliver()
        else:
            self._ended.append(course)
        if not self._faulty and not self.kept:
            self._protocol.close()
        self._drop_if_useless()

    def _drop_if_useless(self) -> None:
        if self._faulty and not self._out and self._protocol is not None:
            self._protocol.abort()

    # The ends

    def _give_up(self, course: Course) -> None:
        """Wait for `course` no longer: its time is over, or nobody asks any more."""
        if course in self._out:
            self._give_up_echo(course)
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

    def _give_up_echo(self, course: Course) -> None:
        protocol = self._protocol
        assert protocol is not None
        matcher, record = protocol.matcher, course.record
        self._out.remove(course)
        self._faulty = True
        if course.timed_out:
            course.conclude(self._unfinished(course))
            matcher.abandon(record)
            self._finish(course)
        else:
            matcher.abandon(record)
            self._drop_if_useless()

    def _unfinished(self, course: Course, end: Refusal | None = None) -> Conclusion:
        """Return how an echo ended that was not complete: by `end`, or by the time."""
        assert self._protocol is not None
        matcher, record = self._protocol.matcher, course.record
        received, size = matcher.received(record), len(record.data)
        offset = matcher.difference(record)
        if offset is not None:
            end = Refusal(Outcome.CORRUPT, differs(offset))
        elif end is None:
            end = Refusal(Outcome.TIMEOUT, f"{received} of {size} bytes were back after {course.timeout:g} s")
        return Conclusion(
            outcome=end.outcome,
            step=self._protocol.step,
            detail=end.detail,
            offset=offset,
            received=received,
            first_byte_at=matcher.began(record),
        )

    def lost(self, reason: Failure) -> None:
        """The connection is over: so are the probes on it, but for those that can go another way."""
        protocol = self._protocol
        assert protocol is not None
        if self._silence is not None and self._silence.active():
            self._silence.cancel()
            silent = self._clocks.now() - self._silent_from
            end = protocol.ended_by(reason, f"after {silent:.3g} s of silence", 0)
            for course in self._waiting:
                course.idle = microseconds(self._silent_from, self._clocks.now())
            self._end_all(Conclusion(outcome=end.outcome, step=protocol.step, detail=end.detail))
        out, self._out = self._out, []
        back = [course for course in out if self._can_go_another_way(course, reason)]
        for course in out:
            if course not in back:
                received, size = protocol.matcher.received(course.record), len(course.record.data)
                end = protocol.ended_by(reason, f"after {received} of {size} bytes", received)
                course.conclude(self._unfinished(course, end))
                self._describe(course)
                self._ended.append(course)
        self._end()
        if self._hand_back is not None and back:
            self._hand_back(back)

    def _can_go_another_way(self, course: Course, reason: Failure) -> bool:
        """Say whether the peer closed in order before it began to echo that record, having echoed others before."""
        protocol = self._protocol
        assert protocol is not None
        untouched = not protocol.matcher.received(course.record)
        return self.kept and self._echoed > 0 and untouched and not self._faulty and protocol.closed_in_order(reason)

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
