"""From a route to the endpoint that takes it."""

from collections.abc import Callable

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from echod.client.attempts import AttemptLog, IProbeReactor, WatchedReactor
from echod.client.route import Family, Route, family_of

__all__ = ["endpoint_to"]

ATTEMPT_DELAY = 0.1
"""Seconds from one connection attempt to the next among a name's addresses.

The least that RFC 8305 section 5 recommends. Twisted's own 0.3 s would pass in full before
IPv4 is tried, even where IPv6 was refused at once.
"""


def endpoint_to(
    reactor: IProbeReactor, route: Route, timeout: float, resolved: Callable[[], None], attempts: AttemptLog
) -> IStreamClientEndpoint:
    """Return the endpoint that takes `route`, each attempt within `timeout` seconds and logged in `attempts`.

    `resolved` is called when the name is resolved, well or not; for a literal it never is.
    """
    watched = WatchedReactor(reactor, route.only, resolved, attempts)
    source = None if route.source is None else (route.source, 0)
    address = route.literal
    if address is None:
        target = route.target
        return HostnameEndpoint(watched, target.host, target.port, timeout, source, attemptDelay=ATTEMPT_DELAY)
    # HostnameEndpoint would take literals too, but it drops the scope of fe80::1%eth0.
    endpoint = TCP4ClientEndpoint if family_of(address.host) is Family.IPV4 else TCP6ClientEndpoint
    return endpoint(watched, address.host, address.port, timeout, source)
