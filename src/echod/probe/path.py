"""From a target to the endpoint that reaches it, and from an endpoint's failure to an outcome."""

import errno
import os
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,
    UnknownHostError,
)
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from echod.core.addresses import HostPort, literal
from echod.core.outcomes import Outcome

__all__ = ["IProbeReactor", "endpoint_to", "outcome_of"]

ATTEMPT_DELAY = 0.1
"""Seconds from one connection attempt to the next among a name's addresses.

The least that RFC 8305 section 5 recommends. Twisted's own 0.3 s would pass in full before
IPv4 is tried, even where IPv6 was refused at once.
"""

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}


class IProbeReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
    """What a probe needs of a reactor."""


def endpoint_to(
    reactor: IProbeReactor, target: HostPort, timeout: float, resolved: Callable[[], None]
) -> IStreamClientEndpoint:
    """Return the endpoint that connects to `target`, each attempt within `timeout` seconds.

    `resolved` is called when the name is resolved, well or not; for a literal it never is.
    """
    address = literal(target.host)
    if address is None:
        watched = _WatchedReactor(reactor, resolved)
        return HostnameEndpoint(watched, target.host, target.port, timeout, attemptDelay=ATTEMPT_DELAY)
    # HostnameEndpoint would take literals too, but it drops the scope of fe80::1%eth0.
    endpoint = TCP4ClientEndpoint if isinstance(address, IPv4Address) else TCP6ClientEndpoint
    return endpoint(reactor, target.host, target.port, timeout)


def outcome_of(problem: BaseException | None) -> tuple[Outcome, str]:
    """Return the outcome that a failure to connect amounts to, and what more there is to say of it."""
    match problem:
        case DNSLookupError() | UnknownHostError():
            return Outcome.RESOLVE_FAILED, "no address for this name"
        case socket.gaierror():  # of a literal only its scope is looked up
            return Outcome.UNREACHABLE, "no such interface"
        case ConnectionRefusedError():
            return Outcome.REFUSED, "connection refused"
        case TimeoutError() | TCPTimedOutError():
            return Outcome.CONNECT_TIMEOUT, "no answer"
        case ConnectError(osError=int(number)) if number in _UNREACHABLE:
            return Outcome.UNREACHABLE, os.strerror(number).lower()
        case ConnectError(osError=int(number)):
            return Outcome.CONNECT_FAILED, os.strerror(number).lower()
        case _:
            return Outcome.CONNECT_FAILED, str(problem) or type(problem).__name__


@implementer(IReactorPluggableNameResolver)
class _WatchedReactor:
    """The reactor as HostnameEndpoint is to see it: its name resolver tells when it is done."""

    def __init__(self, reactor: IProbeReactor, resolved: Callable[[], None]) -> None:
        self._reactor = reactor
        self.nameResolver = _WatchedResolver(reactor.nameResolver, resolved)

    def __getattr__(self, name: str) -> object:
        return getattr(self._reactor, name)


@implementer(IHostnameResolver)
class _WatchedResolver:
    def __init__(self, resolver: IHostnameResolver, resolved: Callable[[], None]) -> None:
        self._resolver = resolver
        self._resolved = resolved

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        watched = _WatchedReceiver(resolutionReceiver, self._resolved)
        return self._resolver.resolveHostName(watched, hostName, portNumber, addressTypes, transportSemantics)


@implementer(IResolutionReceiver)
class _WatchedReceiver:
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
