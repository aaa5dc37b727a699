"""One probe: resolve, connect, handshake, send a record, receive its echo, close; and the result of it."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from echod.client.attempts import IProbeReactor
from echod.client.conclusions import Conclusion
from echod.client.config import ClientConfiguration
from echod.client.connection import Connection, Transfer
from echod.client.deadline import Clocks, Deadline, microseconds
from echod.client.dial import DialTimes
from echod.client.outcomes import KernelFacts, Outcome, PhaseTimes, ProbeResult, Step, TLSSession
from echod.client.record import Record, opaque
from echod.client.route import Route
from echod.common.addresses import HostPort, parse_host
from echod.common.defaults import DEFAULT_PORT
from echod.common.option_types import PORT

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["ProbeTransfer", "ResultSink", "as_record", "as_route", "probe", "start_probe", "target", "tls_of"]


def target(host: str, port: int = DEFAULT_PORT) -> HostPort:
    """Return the target of `host`, a name or a literal address (IPv6 in brackets or not, scope id allowed), and `port`.

    Raises ValueError if `host` is neither or `port` is not from 1 to 65535.
    """
    try:
        number = PORT.check(port)
    except ValueError as problem:
        raise ValueError(f"port {problem}") from None
    return HostPort(parse_host(host), number)


def probe(
    reactor: IProbeReactor,
    to: HostPort | Route,
    *,
    payload: bytes | Record,
    timeout: float,
    idle: float | None = None,
    tls: "ClientTLSContext | None" = None,
    clocks: Clocks = Clocks(),  # noqa: B008  # it is frozen
) -> "Deferred[ProbeResult]":
    """Send `payload` over a new connection, and verify that every byte of it comes back.

    `timeout` is in seconds and covers the whole probe, name resolution included, except for the `idle` seconds for
    which the connection is held silent before the record. With `tls`, the record is sent over TLS, after the server was
    verified. What comes back instead of a `Record` with a header is identified; other payloads are only compared.

    The Deferred fires when the connection has ended. It does not fail because of the path or the peer: that is the
    outcome of the result. Cancelling it ends the probe, and it fails with CancelledError.
    """
    return start_probe(reactor, as_route(to), as_record(payload, 1), timeout, idle=idle, tls=tls, clocks=clocks)


def start_probe(
    reactor: IProbeReactor,
    route: Route,
    record: Record,
    timeout: float,
    *,
    idle: float | None,
    tls: "ClientTLSContext | None",
    clocks: Clocks,
    resolve: int | None = None,
) -> "Deferred[ProbeResult]":
    """Start one probe, as `probe` does. `resolve` is the time of an earlier name resolution, in microseconds."""
    transfer = ProbeTransfer(reactor, clocks, route.target, record, timeout, resolve)
    connection = Connection(reactor, route, tls, clocks, _SingleProbeSink(clocks), kept=False, idle=idle)
    transfer.dial_over(connection)
    return transfer.result


def tls_of(configuration: ClientConfiguration) -> "ClientTLSContext | None":
    """Return the TLS context that `configuration` asks for; None without TLS. Raises ConfigurationError."""
    if configuration.client_tls is None:
        return None
    from echod.client.tls import ClientTLSContext  # its import takes time, and plain probes do without it

    return ClientTLSContext(configuration.client_tls)


def as_route(to: HostPort | Route) -> Route:
    """Return `to` as a route."""
    return to if isinstance(to, Route) else Route(target=to)


def as_record(payload: bytes | Record, sequence: int) -> Record:
    """Return `payload` as a record; `sequence` is the number of one that is made of bytes."""
    return payload if isinstance(payload, Record) else opaque(sequence, payload)


class ProbeTransfer(Transfer):
    """The transfer of one probe: it watches its time limit, and ends in a `ProbeResult`.

    `result` fires with it. Cancelled before, it fails with CancelledError.
    """

    reconnected = False
    """As in `ProbeResult`."""
    _connection: "Connection[ProbeTransfer]"
    _dialled = False
    """Whether the connection was established for this transfer: only then its result has the times of that."""
    _dial_times: DialTimes | None = None
    _address: HostPort | None = None
    _source: HostPort | None = None
    _tls: TLSSession | None = None
    _kernel: KernelFacts | None = None
    _complete_at: float | None = None

    def __init__(
        self,
        reactor: IProbeReactor,
        clocks: Clocks,
        target: HostPort,
        record: Record,
        timeout: float,
        resolve: int | None,
    ) -> None:
        """`timeout` is in seconds from now; `resolve` the time of an earlier name resolution, in microseconds."""
        super().__init__(record, timeout)
        self._target = target
        self._resolve = resolve
        self._started = datetime.fromtimestamp(clocks.wall(), UTC)
        self._deadline = Deadline(reactor, timeout, self._expired)
        self._deadline.start()
        self.result: Deferred[ProbeResult] = Deferred(self._cancelled)

    def dial_over(self, connection: "Connection[ProbeTransfer]") -> None:
        """Go over `connection`, which is new, and dial it."""
        self._dialled = True
        self._join(connection)
        connection.dial(self.timeout)

    def go_over(self, connection: "Connection[ProbeTransfer]") -> None:
        """Go over `connection`, which another transfer has dialled."""
        self._dialled = False
        self._join(connection)

    def hold(self) -> None:
        """Stop the time limit."""
        self._deadline.hold()

    def resume(self) -> None:
        """Go on with the time limit."""
        self._deadline.resume()

    def conclude(self, conclusion: Conclusion, complete_at: float | None = None) -> None:
        """Receive the end of the transfer, and keep what the connection knows about itself now."""
        self._deadline.cancel()
        self._conclusion = conclusion
        self._complete_at = complete_at
        connection = self._connection
        if self._dialled:
            self._dial_times = connection.attempt.times
        protocol = connection.protocol
        if protocol is not None:
            self._address, self._source = protocol.peer, protocol.host
            self._tls = protocol.tls
            self._kernel = protocol.kernel_facts()

    def deliver(self, closed_at: float | None) -> None:
        """Fire `result`, unless it was cancelled. `closed_at` is the end of a connection that is not kept."""
        if not self.result.called:
            self.result.callback(self._result(closed_at))

    def _join(self, connection: "Connection[ProbeTransfer]") -> None:
        self._connection = connection
        connection.join(self)

    def _expired(self) -> None:
        self._connection.expire(self)

    def _cancelled(self, _: "Deferred[ProbeResult]") -> None:
        self._deadline.cancel()
        self._connection.give_up(self)

    def _result(self, closed_at: float | None) -> ProbeResult:
        end = self._conclusion
        attempts = () if self._dial_times is None else self._dial_times.attempts
        return ProbeResult(
            target=self._target,
            outcome=end.outcome,
            step=end.step,
            sequence=self.record.sequence,
            started=self._started,
            times=self._times(closed_at),
            address=self._address or (attempts[0].address if len(attempts) == 1 else None),
            source=self._source,
            attempts=attempts,
            size=len(self.record.data),
            received=end.received,
            offset=end.offset,
            reconnected=self.reconnected,
            tls=self._tls,
            kernel=self._kernel,
            detail=end.detail,
        )

    def _times(self, closed_at: float | None) -> PhaseTimes:
        resolve, connect, tls = self._resolve, None, None
        dial = self._dial_times
        if dial is not None:
            if resolve is None and self._conclusion.outcome is not Outcome.RESOLVE_FAILED:
                resolve = microseconds(dial.began, dial.resolved_at)
            connect = microseconds(dial.resolved_at or dial.began, dial.connected_at)
            tls = microseconds(dial.connected_at, dial.secured_at)
        return PhaseTimes(
            resolve=resolve,
            connect=connect,
            tls=tls,
            idle=self.idle,
            first_byte=microseconds(self.sent_at, self._conclusion.first_byte_at),
            echo=microseconds(self.sent_at, self._complete_at),
            close=microseconds(self._complete_at, closed_at),
        )


class ResultSink:
    """The part that the sinks of a probe and of a session share: it gives each transfer its conclusion."""

    def opened(self, connection: "Connection[ProbeTransfer]") -> None:
        """No-op."""

    def echoed(
        self,
        connection: "Connection[ProbeTransfer]",
        transfer: ProbeTransfer,
        first_byte_at: float,
        complete_at: float,
    ) -> None:
        """Conclude an echo."""
        conclusion = Conclusion(
            outcome=Outcome.ECHOED,
            step=Step.ECHO,
            received=len(transfer.record.data),
            first_byte_at=first_byte_at,
        )
        transfer.conclude(conclusion, complete_at)
        self._concluded(transfer)

    def failed(self, connection: "Connection[ProbeTransfer]", transfer: ProbeTransfer, conclusion: Conclusion) -> None:
        """Conclude a failure."""
        transfer.conclude(conclusion)
        self._concluded(transfer)

    def _concluded(self, transfer: ProbeTransfer) -> None:
        raise NotImplementedError


class _SingleProbeSink(ResultSink):
    """Delivers the result of its one transfer when the connection has ended."""

    _transfer: ProbeTransfer | None = None

    def __init__(self, clocks: Clocks) -> None:
        self._now = clocks.now

    def returned(self, connection: "Connection[ProbeTransfer]", transfer: ProbeTransfer) -> None:
        """Never called: the connection is not kept."""

    def closed(self, connection: "Connection[ProbeTransfer]") -> None:
        """Deliver the result, unless the transfer was given up."""
        if self._transfer is not None:
            self._transfer.deliver(self._now())

    def _concluded(self, transfer: ProbeTransfer) -> None:
        self._transfer = transfer
