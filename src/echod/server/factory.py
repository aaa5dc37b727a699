"""What a listener makes its connections with."""

from dataclasses import dataclass

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from echod.common.addresses import HostPort, display_host
from echod.server.admission import Admission
from echod.server.config import ExchangeRules
from echod.server.connections import Connections
from echod.server.deadlines import Deadlines
from echod.server.observer import IConnectionObserver
from echod.server.protocol import EchoProtocol
from echod.server.summary import CloseReason, ConnectionSummary

__all__ = ["EchoFactory", "ServerContext", "host_port"]


@dataclass(frozen=True)
class ServerContext:
    """What the connections of all listeners of one daemon have in common."""

    exchange: ExchangeRules
    clock: IReactorTime
    connections: Connections
    admission: Admission
    observer: IConnectionObserver
    waits: list[int] | None = None
    """Where to count how long each record took to come, as `echod.server.observer.WAIT_BOUNDS` says."""


class EchoFactory(Factory):
    """Makes the connections of one listener, or refuses them, and tells their ends."""

    noisy = False

    def __init__(self, service: ServerContext, listener: str, connection: type[EchoProtocol] = EchoProtocol) -> None:
        """`listener` is the listener's name, for those who are told; `connection` the class to make."""
        self._service = service
        self._listener = listener
        self._connection = connection
        self._deadlines = Deadlines(service.clock)
        self._tell = service.observer.connection_ended
        self.waits = None if service.exchange.stream else service.waits  # a stream has no records

    def buildProtocol(self, addr: IAddress | None) -> EchoProtocol | None:
        """Make the connection of the client at `addr`; None refuses it, and its socket is closed."""
        peer = host_port(addr)
        refusal = self._service.admission.refusal(peer.host)
        if refusal is not None:
            self.tell_unserved(peer, refusal)
            return None
        return self._connection(peer, self._service.exchange, self._service.clock, self._deadlines, self)

    def tell_unserved(
        self, peer: HostPort, reason: CloseReason, bytes_received: int = 0, duration: float = 0.0
    ) -> None:
        """Tell the observer of a client that never came to sending a record."""
        self._tell(
            ConnectionSummary(
                peer=peer,
                listener=self._listener,
                reason=reason,
                records=0,
                bytes_received=bytes_received,
                bytes_sent=0,
                duration=duration,
            )
        )

    # ConnectionKeeper

    def connection_began(self, connection: EchoProtocol) -> None:
        """Count it among the open ones."""
        self._service.admission.enter(connection.peer.host)
        self._service.connections.add(connection)

    def connection_ended(self, connection: EchoProtocol, reason: CloseReason) -> None:
        """Tell the observer, then whoever waits for the last connection to end."""
        self._service.admission.leave(connection.peer.host)
        self._tell(
            ConnectionSummary(
                peer=connection.peer,
                listener=self._listener,
                reason=reason,
                records=connection.records,
                bytes_received=connection.bytes_received,
                bytes_sent=connection.bytes_sent,
                duration=self._service.clock.seconds() - connection.started,
                tls=connection.tls,
                tls_failure=connection.tls_failure,
                waited=connection.waited,
            )
        )
        self._service.connections.discard(connection)


def host_port(address: object) -> HostPort:
    """Return a Twisted address as echod shows it; one without a host, as of a Unix socket, has an empty one."""
    return HostPort(display_host(getattr(address, "host", "")), getattr(address, "port", 0))
