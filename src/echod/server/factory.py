"""What a listener makes its connections with."""

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from echod.core.addresses import HostPort, shown_host
from echod.core.closing import CloseReason, ConnectionSummary
from echod.core.configuration import Exchange
from echod.server.connections import Connections
from echod.server.observer import IConnectionObserver
from echod.server.protocol import EchoProtocol

__all__ = ["EchoFactory"]


class EchoFactory(Factory):
    """Makes the connections of one listener, all by the same rules, and tells their ends."""

    noisy = False

    def __init__(
        self,
        exchange: Exchange,
        clock: IReactorTime,
        connections: Connections,
        observer: IConnectionObserver,
        listener: str,
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._connections = connections
        self._observer = observer
        self._listener = listener

    def buildProtocol(self, addr: IAddress | None) -> EchoProtocol:
        """Make the connection of a client that was accepted."""
        connection = EchoProtocol(self._exchange, self._clock, self)
        connection.factory = self
        return connection

    # ConnectionKeeper

    def connection_began(self, connection: EchoProtocol) -> None:
        """Count it among the open ones."""
        self._connections.add(connection)

    def connection_ended(self, connection: EchoProtocol, reason: CloseReason) -> None:
        """Tell the observer, then whoever waits for the last connection to end."""
        summary = ConnectionSummary(
            peer=_peer(connection),
            listener=self._listener,
            reason=reason,
            records=connection.records,
            bytes_received=connection.bytes_received,
            bytes_sent=connection.bytes_sent,
            duration=self._clock.seconds() - connection.started,
        )
        self._observer.connection_ended(summary)
        self._connections.discard(connection)


def _peer(connection: EchoProtocol) -> HostPort:
    assert connection.transport is not None
    peer = connection.transport.getPeer()
    return HostPort(shown_host(getattr(peer, "host", "")), getattr(peer, "port", 0))
