"""The factory of a listener's connections, and the context that all listeners of a daemon share."""

from dataclasses import dataclass, replace
from typing import Self

from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from echod.common.addresses import HostPort, host_port
from echod.server.admission import Admission
from echod.server.config import ExchangeRules, ServerConfiguration
from echod.server.connections import Connections
from echod.server.deadlines import Deadlines
from echod.server.observer import IConnectionObserver, NullObserver
from echod.server.protocol import EchoProtocol
from echod.server.summary import CloseReason, ConnectionSummary

__all__ = ["EchoFactory", "ReplaceableFactory", "ServerContext"]


@dataclass(frozen=True)
class ServerContext:
    """The objects that the connections of all listeners of one daemon share."""

    rules: ExchangeRules
    clock: IReactorTime
    connections: Connections
    admission: Admission
    observer: IConnectionObserver
    waits: list[int] | None = None
    """The counts of record wait times, by `echod.server.summary.WAIT_BOUNDS`; None: they are not counted."""


class EchoFactory(Factory):
    """Makes the connections of one listener, or refuses them, and reports their ends."""

    noisy = False
    _log = Logger()

    def __init__(self, context: ServerContext, listener: str, protocol: type[EchoProtocol] = EchoProtocol) -> None:
        self._context = context
        self.listener = listener
        """The listener's name in summaries. It is an address, which may be known only when the listener listens."""
        self._protocol = protocol
        self._notify = context.observer.connection_ended
        self.clock = context.clock
        self.rules = context.rules
        self.timeout = context.rules.timeout
        self.seconds = context.clock.seconds
        self.deadlines = Deadlines(context.clock)
        self.waits = None if context.rules.stream else context.waits  # a stream has no records

    @classmethod
    def standalone(
        cls, configuration: ServerConfiguration, clock: IReactorTime, observer: IConnectionObserver | None = None
    ) -> Self:
        """Return a factory for any stream endpoint of another Twisted program.

        Of `configuration`, the options of the exchange and of admission count: record-size, timeout, keep-alive,
        stream, max-connections, max-connections-per-host, ipv6-prefix, allow. `clock` is the reactor.
        """
        context = ServerContext(
            rules=configuration.rules,
            clock=clock,
            connections=Connections(configuration.max_connections),
            admission=Admission.from_configuration(configuration, configuration.max_connections),
            observer=NullObserver() if observer is None else observer,
        )
        return cls(context, "standalone")

    def of_clients(self) -> Self:
        """Return a factory for the same listener's connections of clients that a proxy names: none is a check."""
        context = replace(self._context, rules=replace(self.rules, check_time=0.0))
        return type(self)(context, self.listener, self._protocol)

    def buildProtocol(self, addr: IAddress | None) -> EchoProtocol | None:
        """Make the protocol of the client at `addr`. None: the client is refused, and Twisted closes its socket."""
        peer = host_port(addr)
        refusal = self._context.admission.refusal(peer.host)
        if refusal is not None:
            self.report_unserved(peer, refusal)
            return None
        return self._protocol(self, peer)

    def report_unserved(
        self, peer: HostPort, reason: CloseReason, bytes_received: int = 0, duration: float = 0.0
    ) -> None:
        """Report a connection that ended before its exchange began."""
        self._report(
            ConnectionSummary(
                peer=peer,
                listener=self.listener,
                reason=reason,
                records=0,
                bytes_received=bytes_received,
                bytes_sent=0,
                duration=duration,
            )
        )

    # ConnectionOwner

    def connection_opened(self, connection: EchoProtocol) -> None:
        """Count a connection as open."""
        self._context.admission.enter(connection.peer.host)
        self._context.connections.add(connection)

    def connection_closed(self, connection: EchoProtocol) -> None:
        """Report a connection to the observer; then count it as closed, which may end a drain."""
        reason = connection.reason
        assert reason is not None, "the end of an exchange has a reason"
        self._context.admission.leave(connection.peer.host)
        self._report(
            ConnectionSummary(
                peer=connection.peer,
                listener=self.listener,
                reason=reason,
                records=connection.records,
                bytes_received=connection.bytes_received,
                bytes_sent=connection.bytes_sent,
                duration=self.seconds() - connection.opened_at,
                tls=connection.tls,
                tls_failure=connection.tls_failure,
                waited=connection.waited,
            )
        )
        self._context.connections.discard(connection)

    def _report(self, summary: ConnectionSummary) -> None:
        try:
            self._notify(summary)
        except Exception:  # an observer's fault must not keep a stopping server waiting for this connection
            self._log.failure("an observer of connections failed")


class ReplaceableFactory(Factory):
    """Makes a listener's connections by another factory, which a reload replaces. Open connections keep theirs."""

    noisy = False

    def __init__(self, current: IProtocolFactory) -> None:
        self.current = current

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:  # type: ignore[override]  # Twisted's returns Protocol
        """Make the protocol of a connection. None: it is refused."""
        return self.current.buildProtocol(addr)  # type: ignore[arg-type]  # None for a Unix socket
