"""Name resolution: the addresses of a target, and when the resolver has answered."""

from collections.abc import Callable, Sequence

import idna
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer

from echod.client.route import Family, Route
from echod.common.addresses import HostPort, host_port

__all__ = ["FamilyResolver", "addresses_of"]


def addresses_of(reactor: IReactorPluggableNameResolver, route: Route) -> "Deferred[tuple[HostPort, ...]]":
    """Return the addresses of the target, of the families that `route` allows, each once, in the resolver's order.

    A literal is its only address. The Deferred fails with DNSLookupError if there is no address, or the host is not a
    possible name. It can be cancelled.
    """
    found: Deferred[tuple[HostPort, ...]] = Deferred()
    if route.literal is not None:
        found.callback((route.literal,))
        return found
    target = route.target
    try:
        name = target.host if target.host.isascii() else idna.encode(target.host).decode("ascii")
        reactor.nameResolver.resolveHostName(_AddressCollector(found), name, target.port, _address_types(route.only))
    except UnicodeError:
        found.errback(DNSLookupError(f"{target.host} is not a possible name"))
    return found


def _address_types(family: Family | None) -> Sequence[type[IAddress]] | None:
    """Return the `addressTypes` argument of `IHostnameResolver.resolveHostName`."""
    return {None: None, Family.IPV4: [IPv4Address], Family.IPV6: [IPv6Address]}[family]


@implementer(IResolutionReceiver)
class _AddressCollector:
    """Fires a Deferred with the addresses found."""

    def __init__(self, found: "Deferred[tuple[HostPort, ...]]") -> None:
        self._found = found
        self._addresses: dict[HostPort, None] = {}

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """No-op: the resolution is not cancelled, which Twisted's own resolver does not support."""

    def addressResolved(self, address: IAddress) -> None:
        self._addresses[host_port(address)] = None

    def resolutionComplete(self) -> None:
        if self._found.called:  # cancelled meanwhile
            return
        if self._addresses:
            self._found.callback(tuple(self._addresses))
        else:
            self._found.errback(DNSLookupError())


@implementer(IHostnameResolver)
class FamilyResolver:
    """A name resolver that looks for addresses of one family, and calls back at the end of each resolution."""

    def __init__(self, resolver: IHostnameResolver, family: Family | None, resolved: Callable[[], None]) -> None:
        """`family` None: both. `resolved` is called when a resolution has ended, with addresses or without."""
        self._resolver = resolver
        self._types = _address_types(family)
        self._resolved = resolved

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Resolve `hostName`."""
        receiver = _NotifyingReceiver(resolutionReceiver, self._resolved)
        types = self._types or addressTypes
        return self._resolver.resolveHostName(receiver, hostName, portNumber, types, transportSemantics)


@implementer(IResolutionReceiver)
class _NotifyingReceiver:
    """Passes everything on, and calls `resolved` at the end."""

    def __init__(self, receiver: IResolutionReceiver, resolved: Callable[[], None]) -> None:
        self._receiver = receiver
        self._resolved = resolved

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._resolved()
        self._receiver.resolutionComplete()
