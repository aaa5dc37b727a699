"""All connections that are open: what a server that stops has to wait for."""

from twisted.internet.defer import Deferred

from echod.server.protocol import EchoProtocol

__all__ = ["Connections"]


class Connections:
    """The open connections of one daemon, over all its listeners."""

    def __init__(self) -> None:
        self._open: set[EchoProtocol] = set()
        self._draining = False
        self._drained: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: EchoProtocol) -> None:
        """Take in a connection that has just opened; one that comes during a drain is told so."""
        self._open.add(connection)
        if self._draining:
            connection.drain()

    def discard(self, connection: EchoProtocol) -> None:
        """Let go of a connection that is over."""
        self._open.discard(connection)
        if not self._open and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def drain(self) -> Deferred[None]:
        """Tell every connection to end after the record under way; the Deferred fires when all are gone.

        To be called once.
        """
        self._draining = True
        drained: Deferred[None] = Deferred()
        self._drained = drained
        for connection in tuple(self._open):
            connection.drain()
        if not self._open and self._drained is not None:
            self._drained = None
            drained.callback(None)
        return drained

    def cut(self) -> None:
        """End every connection now."""
        for connection in tuple(self._open):
            connection.cut()
