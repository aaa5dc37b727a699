"""Who is told what each connection did."""

from collections.abc import Sequence

from zope.interface import Interface, implementer

from echod.server.summary import ConnectionSummary

__all__ = ["WAIT_BOUNDS", "IConnectionObserver", "NullObserver", "Observers"]

WAIT_BOUNDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Seconds. Between which of these a record took to come is all that is counted of it; the last is the default timeout.

Whoever wants the counts passes a list of so many zeros and one more: the first is for what took up to the first
bound, the last for what took longer than the last.
"""


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
        self._tell = [each.connection_ended for each in observers]

    def connection_ended(self, summary: ConnectionSummary) -> None:
        """Tell each of them."""
        for tell in self._tell:
            tell(summary)
