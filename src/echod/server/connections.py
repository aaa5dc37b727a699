"""All connections that are open: what a server that stops has to wait for."""

from collections.abc import Iterator
from typing import Protocol

from twisted.internet.defer import Deferred

__all__ = ["Connection", "Connections"]


class Connection(Protocol):
    """One that is open."""

    def drain(self) -> None:
        """End as soon as what is under way is done."""

    def cut(self) -> None:
        """End now."""


class Connections:
    """The open connections of one daemon, over all its listeners."""

    def __init__(self, most: int | None = None) -> None:
        """`most` is how many may be open, for those who look; None is no limit. `Admission` holds it."""
        self.most = most
        self._open: set[Connection] = set()
        self._draining = False
        self._drained: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def add(self, connection: Connection) -> None:
        """Take in a connection that has just opened; one that comes during a drain is told so."""
        self._open.add(connection)
        if self._draining:
            connection.drain()

    def discard(self, connection: Connection) -> None:
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
