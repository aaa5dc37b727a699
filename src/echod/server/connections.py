"""The open connections of a daemon: a server that stops waits for them."""

from collections.abc import Iterator
from typing import Protocol

from twisted.internet.defer import Deferred

__all__ = ["Connections", "OpenConnection"]


class OpenConnection(Protocol):
    """The interface of an open connection."""

    @property
    def counted_as(self) -> str:
        """The address as which the connection counts as open, for `Admission`; empty if it has none."""

    def drain(self) -> None:
        """Close after the present record."""

    def cut(self) -> None:
        """Close now, by a reset."""


class Connections:
    """The open connections of one daemon, of all its listeners."""

    def __init__(self, limit: int | None = None) -> None:
        """`limit` is the limit of open connections, for display: `Admission` enforces it. None: no limit."""
        self.limit = limit
        self._open: set[OpenConnection] = set()
        self._draining = False
        self._drained: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[OpenConnection]:
        return iter(self._open)

    def add(self, connection: OpenConnection) -> None:
        """Add a connection that has just opened; during a drain, drain it."""
        self._open.add(connection)
        if self._draining:
            connection.drain()

    def discard(self, connection: OpenConnection) -> None:
        """Remove a connection that has ended."""
        self._open.discard(connection)
        self._end_drain_if_empty()

    def drain(self) -> Deferred[None]:
        """Drain every connection; return a Deferred that fires when all have ended. To be called once."""
        self._draining = True
        drained = self._drained = Deferred[None]()
        for connection in tuple(self._open):
            connection.drain()
        self._end_drain_if_empty()
        return drained

    def cut(self) -> None:
        """Cut every connection."""
        for connection in tuple(self._open):
            connection.cut()

    def _end_drain_if_empty(self) -> None:
        if not self._open and self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
