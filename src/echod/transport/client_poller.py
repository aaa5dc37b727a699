"""A poller for outgoing connections, used by the load generator."""

from twisted.internet.interfaces import IConnector
from twisted.internet.protocol import ClientFactory
from twisted.internet.tcp import Connector

from echod.transport.poller import Poller

__all__ = ["ClientPoller"]


class ClientPoller(Poller):
    """A reactor proxy whose TCP connections are served by the poller.

    The connections are Twisted's own; the poller saves the logging context that the epoll reactor sets up for each
    event. Unlike `Poller` it never waits for further events, because the next record of the schedule may be due.
    """

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """Connect, as specified by `IReactorTCP.connectTCP`."""
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def doRead(self) -> None:
        """Serve the ready descriptors once."""
        self._serve_all(self._poll(0))
