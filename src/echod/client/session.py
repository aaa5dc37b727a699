"""Record after record on one connection, as long as it lasts."""

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredList

from echod.client.attempts import IProbeReactor
from echod.client.course import Clocks, Course
from echod.client.line import Line
from echod.client.outcomes import ProbeResult
from echod.client.probe import as_record, as_route
from echod.client.record import Record
from echod.common.addresses import HostPort

if TYPE_CHECKING:
    from echod.client.route import Route
    from echod.client.tls import ClientTLSContext

__all__ = ["Session"]


class Session:
    """Probes that share a connection, which is made for the first of them, and again where it did not last.

    A probe need not wait for the one before: records may overlap on the connection. Each is judged by what comes in
    its place, in the order in which they were sent, and by its own timeout.

    - A peer that closes after a whole echo does no wrong. The next probe makes a new connection, and its result says
      `reconnected`; so does that of a record which was sent while the peer was closing, and is sent once more.
    - After anything but an echo, no further record goes over that connection: the stream may be out of step, or
      stuck. What is out on it is still waited for; the next probe makes a new one.
    - Those who wait for a connection that fails have failed with it.
    """

    def __init__(
        self,
        reactor: IProbeReactor,
        to: "HostPort | Route",
        *,
        tls: "ClientTLSContext | None" = None,
        clocks: Clocks = Clocks(),  # noqa: B008  # it is frozen
    ) -> None:
        self._reactor = reactor
        self._route = as_route(to)
        self._tls = tls
        self._clocks = clocks
        self._sequence = 0
        self._line: Line | None = None
        self._lines: list[Line] = []
        self._under_way: list[Deferred[ProbeResult]] = []
        self._was_connected = False

    def probe(self, payload: bytes | Record, *, timeout: float, resolve: int | None = None) -> "Deferred[ProbeResult]":
        """Send `payload` and verify that every byte of it comes back within `timeout` seconds.

        `resolve` are the microseconds that it took to resolve the name, where that was done beforehand.

        The Deferred fires as that of `echod.probe.probe` does, but as soon as the echo is there.
        """
        self._sequence += 1
        record = as_record(payload, self._sequence)
        course = Course(self._reactor, self._clocks, self._route.target, record, timeout)
        course.resolve = resolve
        result = course.result
        self._under_way.append(result)
        result.addBoth(self._settled, result)
        self._join(course)
        return result

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        """Cancel what is under way and end the connections; return what fires when they are over.

        Without `at_once` they are closed in order, which under TLS may take a second.
        """
        for result in tuple(self._under_way):
            result.cancel()
        closed: Deferred[None] = DeferredList([line.close(at_once=at_once) for line in tuple(self._lines)]).addCallback(
            lambda _: None
        )
        return closed

    def _settled(self, outcome: object, result: "Deferred[ProbeResult]") -> object:
        self._under_way.remove(result)
        return outcome

    def _join(self, course: Course) -> None:
        line = self._line
        if line is None or not line.takes_more:
            self._was_connected = self._was_connected or (line is not None and line.established)
            line = self._line = Line(
                self._reactor, self._route, self._tls, self._clocks, hand_back=self._go_another_way
            )
            self._lines.append(line)
            line.over.addCallback(self._over, line)
        if line.dialling:
            course.reconnected = self._was_connected
        line.join(course)

    def _go_another_way(self, courses: list[Course]) -> None:
        for course in courses:
            course.dialling = None
            self._join(course)

    def _over(self, _: None, line: Line) -> None:
        self._lines.remove(line)
