"""Record after record on one connection, as long as it lasts."""

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredList

from echod.client.attempts import IProbeReactor
from echod.client.connection import Connection
from echod.client.deadline import Clocks
from echod.client.outcomes import ProbeResult
from echod.client.probe import ProbeTransfer, ResultSink, as_record, as_route
from echod.client.record import Record
from echod.client.route import Route
from echod.common.addresses import HostPort

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["Session"]


class Session:
    """Probes that share a connection. It is established for the first of them, and again if it did not last.

    A probe need not wait for the one before: records may overlap on the connection. Each is judged by the bytes in its
    place, in the order in which the records were sent, and by its own timeout.

    - A peer may close after a whole echo. The next probe establishes a new connection, and its result says
      `reconnected`; so does the result of a record that was sent while the peer was closing, and is sent once more.
    - After anything but an echo, no further record joins that connection: the stream may be out of step, or stuck. The
      records that are out on it are still waited for; the next probe establishes a new one.
    - Probes that wait for a connection fail if it cannot be established.
    """

    def __init__(
        self,
        reactor: IProbeReactor,
        to: HostPort | Route,
        *,
        tls: "ClientTLSContext | None" = None,
        clocks: Clocks = Clocks(),  # noqa: B008  # it is frozen
    ) -> None:
        self._reactor = reactor
        self._route = as_route(to)
        self._tls = tls
        self._clocks = clocks
        self._sink = _SessionSink(self)
        self._sequence = 0
        self._connection: Connection[ProbeTransfer] | None = None
        """The newest one."""
        self._connections: dict[Connection[ProbeTransfer], Deferred[None]] = {}
        """Those that have not ended, and what fires when they have."""
        self._under_way: dict[Deferred[ProbeResult], None] = {}
        """In the order in which they were started."""
        self._was_connected = False

    def probe(self, payload: bytes | Record, *, timeout: float, resolve: int | None = None) -> "Deferred[ProbeResult]":
        """Send `payload` and verify that every byte of it comes back within `timeout` seconds.

        `resolve` is the time of an earlier name resolution, in microseconds.

        The Deferred fires as that of `echod.probe.probe` does, but as soon as the echo is complete.
        """
        self._sequence += 1
        record = as_record(payload, self._sequence)
        transfer = ProbeTransfer(self._reactor, self._clocks, self._route.target, record, timeout, resolve)
        result = transfer.result
        self._under_way[result] = None
        result.addBoth(self._ended, result)
        self.send(transfer)
        return result

    def close(self, *, at_once: bool = False) -> "Deferred[None]":
        """Cancel the probes under way and close the connections. The Deferred fires when they have ended.

        Without `at_once` they are closed in order, which takes up to a second with TLS.
        """
        for result in tuple(self._under_way):
            result.cancel()
        closing = []
        for connection, closed in tuple(self._connections.items()):
            closing.append(closed)
            connection.close(at_once=at_once)
        all_closed: Deferred[None] = DeferredList(closing).addCallback(lambda _: None)
        return all_closed

    def send(self, transfer: ProbeTransfer) -> None:
        """Send a transfer over the connection, or over a new one if that takes no more records."""
        connection = self._connection
        if connection is not None and connection.takes_records:
            if connection.dialling:
                transfer.reconnected = self._was_connected
            transfer.go_over(connection)
            return
        self._was_connected = self._was_connected or (connection is not None and connection.protocol is not None)
        transfer.reconnected = self._was_connected
        connection = Connection(self._reactor, self._route, self._tls, self._clocks, self._sink, kept=True)
        self._connection = connection
        self._connections[connection] = Deferred()
        transfer.dial_over(connection)

    def connection_closed(self, connection: Connection[ProbeTransfer]) -> None:
        """Remove a connection that has ended."""
        self._connections.pop(connection).callback(None)

    def _ended(self, result: object, deferred: "Deferred[ProbeResult]") -> object:
        del self._under_way[deferred]
        return result


class _SessionSink(ResultSink):
    """Delivers each result as soon as its transfer has ended, and sends returned transfers over a new connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def returned(self, connection: Connection[ProbeTransfer], transfer: ProbeTransfer) -> None:
        """Send it once more."""
        self._session.send(transfer)

    def closed(self, connection: Connection[ProbeTransfer]) -> None:
        """Remove the connection."""
        self._session.connection_closed(connection)

    def _concluded(self, transfer: ProbeTransfer) -> None:
        transfer.deliver(closed_at=None)
