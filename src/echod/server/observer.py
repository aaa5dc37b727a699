"""Observers of connections: each receives the summary of every connection that ends."""

from collections.abc import Sequence

from zope.interface import Interface, implementer

from echod.server.summary import ConnectionSummary

__all__ = ["IConnectionObserver", "NullObserver", "Observers"]


class IConnectionObserver(Interface):
    """Receives the summary of each connection, once, when it ends.

    The access log, the metrics and the fake of the tests are observers; the server imports none of them.
    """

    def connection_ended(summary: ConnectionSummary) -> None:  # noqa: N805 - an interface's methods take no self
        """Handle the summary. An exception is logged, and has no effect on the connection."""


@implementer(IConnectionObserver)
class NullObserver:
    """The observer of a server that has none."""

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """No-op."""


@implementer(IConnectionObserver)
class Observers:
    """Several observers as one."""

    def __init__(self, observers: Sequence[IConnectionObserver]) -> None:
        self._notify_each = [each.connection_ended for each in observers]

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Notify each observer."""
        for notify in self._notify_each:
            notify(summary)
