"""The records that are out on one established connection, and what becomes of each."""

from collections.abc import Callable

from twisted.python.failure import Failure

from echod.client.course import Conclusion, Course
from echod.client.matcher import Finding, Verdict
from echod.client.outcomes import Outcome, Step
from echod.client.protocol import ProbeProtocol, Refusal
from echod.client.sentences import differs, sentence, silence_before

__all__ = ["Exchange"]


class Exchange:
    """Records out, and verdicts on what comes back."""

    faulty = False
    """Whether anything but an echo was found: the stream may be out of step, or stuck."""

    def __init__(self, protocol: ProbeProtocol, *, kept: bool, concluded: Callable[[Course], None]) -> None:
        """With `kept` the connection goes on after an echo; `concluded` takes each probe that has its verdict."""
        self._protocol = protocol
        self._kept = kept
        self._concluded = concluded
        self._out: list[Course] = []
        self._echoed = 0

    def __contains__(self, course: Course) -> bool:
        return course in self._out

    def send(self, course: Course) -> None:
        """Send the record of `course`."""
        self._out.append(course)
        course.sent_at = None
        course.sent_at = self._protocol.send(course.record)

    def found(self, finding: Finding, at: float) -> None:
        """Take the verdict on a record."""
        course = next(each for each in self._out if each.record is finding.record)
        self._out.remove(course)
        whole = finding.verdict is Verdict.ECHOED
        size = len(course.record.data)
        outcome, detail = sentence(finding, sent=course.sent_at is not None)
        offset = finding.offset
        if whole and not self._kept and self._protocol.matcher.unasked:
            outcome, offset, whole = Outcome.CORRUPT, size, False
            detail = f"more came back than was sent: the byte at offset {size} is one too many"
        if whole:
            self._echoed += 1
        else:
            self.faulty = True
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

    def give_up(self, course: Course) -> None:
        """Wait for `course`, which is out, no longer: its time is over, or nobody asks any more."""
        matcher, record = self._protocol.matcher, course.record
        self._out.remove(course)
        self.faulty = True
        if course.timed_out:
            course.conclude(self._unfinished(course))
            matcher.abandon(record)
            self._finish(course)
        else:
            matcher.abandon(record)
            self._drop_if_useless()

    def lost(self, reason: Failure) -> tuple[list[Course], list[Course]]:
        """Return the probes that have ended with the connection, concluded, and those that can go another way."""
        out, self._out = self._out, []
        back = [course for course in out if self._can_go_another_way(course, reason)]
        ended = [course for course in out if course not in back]
        for course in ended:
            received, size = self._protocol.matcher.received(course.record), len(course.record.data)
            course.conclude(
                self._unfinished(course, self._protocol.ended_by(reason, f"after {received} of {size} bytes", received))
            )
        return ended, back

    def _finish(self, course: Course) -> None:
        """Let go of a probe that is concluded, and of the connection where nothing needs it any more."""
        self._concluded(course)
        if not self.faulty and not self._kept:
            self._protocol.close()
        self._drop_if_useless()

    def _drop_if_useless(self) -> None:
        if self.faulty and not self._out:
            self._protocol.abort()

    def _unfinished(self, course: Course, end: Refusal | None = None) -> Conclusion:
        """Return how an echo ended that was not complete: by `end`, or by the time."""
        matcher, record = self._protocol.matcher, course.record
        received, size = matcher.received(record), len(record.data)
        offset = matcher.difference(record)
        if offset is not None:
            end = Refusal(Outcome.CORRUPT, differs(offset, matcher.came(record)))
        elif end is None:
            end = Refusal(Outcome.TIMEOUT, f"{received} of {size} bytes were back after {course.timeout:g} s")
        return Conclusion(
            outcome=end.outcome,
            step=self._protocol.step,
            detail=end.detail if received else end.detail + silence_before(course.idle),
            offset=offset,
            received=received,
            first_byte_at=matcher.began(record),
        )

    def _can_go_another_way(self, course: Course, reason: Failure) -> bool:
        """Say whether the peer closed in order before it began to echo that record, having echoed others before."""
        untouched = not self._protocol.matcher.received(course.record)
        in_order = self._protocol.closed_in_order(reason)
        return self._kept and self._echoed > 0 and untouched and not self.faulty and in_order
