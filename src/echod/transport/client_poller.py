"""The transport under the lanes: a poller within the reactor that serves all connections which are ready in one go.

What Twisted's epoll reactor spends on each event, a logging context above all, is as much as a record costs otherwise.
Unlike the daemon's, this poller never waits by itself, nor for longer than what is ready takes: the schedule's next
record may be due.
"""

from twisted.internet.interfaces import IConnector
from twisted.internet.protocol import ClientFactory
from twisted.internet.tcp import Connector

from echod.transport.poller import Poller

__all__ = ["ClientPoller"]


class ClientPoller(Poller):
    """Stands in for the reactor where TCP connections are made. All else that is asked of it is the reactor's."""

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """Connect, as `IReactorTCP.connectTCP` says."""
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def doRead(self) -> None:
        """Serve what is ready, and let the reactor have its turn."""
        self._serve_all(self._poll(0))
