"""All addresses of a name, where each is to be probed by itself."""

import idna
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from echod.client.attempts import IProbeReactor, address_types
from echod.client.protocol import peer_of
from echod.client.route import Route
from echod.common.addresses import HostPort

__all__ = ["addresses_of"]


def addresses_of(reactor: IProbeReactor, route: Route) -> "Deferred[tuple[HostPort, ...]]":
    """Return the addresses of the target, of the families that `route` allows, each once, in the resolver's order.

    Of a literal, the literal. The Deferred fails with DNSLookupError where there is none, or the name can be none. It
    can be cancelled.
    """
    found: Deferred[tuple[HostPort, ...]] = Deferred()
    if route.literal is not None:
        found.callback((route.literal,))
        return found
    target = route.target
    try:
        name = target.host if target.host.isascii() else idna.encode(target.host).decode("ascii")
        reactor.nameResolver.resolveHostName(_Gatherer(found), name, target.port, address_types(route.only))
    except UnicodeError:
        found.errback(DNSLookupError(f"{target.host} can be no name"))
    return found


@implementer(IResolutionReceiver)
class _Gatherer:
    def __init__(self, found: "Deferred[tuple[HostPort, ...]]") -> None:
        self._found = found
        self._addresses: dict[HostPort, None] = {}

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Cancelling is not asked of it: Twisted's own resolver does not do it either."""

    def addressResolved(self, address: IAddress) -> None:
        self._addresses[peer_of(address)] = None

    def resolutionComplete(self) -> None:
        if self._found.called:  # given up meanwhile
            return
        if self._addresses:
            self._found.callback(tuple(self._addresses))
        else:
            self._found.errback(DNSLookupError())
