"""Who is told what each connection did."""

from zope.interface import Interface, implementer

from echod.core.closing import ConnectionSummary

__all__ = ["IConnectionObserver", "NullObserver"]


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
