"""Who is told what each connection did."""

from collections.abc import Sequence

from zope.interface import Interface, implementer

from echod.core.closing import ConnectionSummary

__all__ = ["IConnectionObserver", "NullObserver", "Observers"]


class IConnectionObserver(Interface):
    """Is told of every connection once, when it is over.

    The access log, the metrics and the tests' memory are observers; the server
    knows none of them.
    """

    def connection_ended(summary: ConnectionSummary) -> None:  # noqa: N805 - an interface's methods take no self
        """Take note of a connection that is over. Must not raise."""


@implementer(IConnectionObserver)
class NullObserver:
    """Takes no note."""

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Let it pass."""


@implementer(IConnectionObserver)
class Observers:
    """Several observers as one."""

    def __init__(self, observers: Sequence[IConnectionObserver]) -> None:
        self._observers = observers

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Tell each of them."""
        for observer in self._observers:
            observer.connection_ended(summary)
