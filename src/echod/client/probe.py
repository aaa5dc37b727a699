"""One probe: resolve, connect, shake hands, send a record, get it back, close; and say how that went."""

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from echod.client.attempts import IProbeReactor
from echod.client.config import ClientConfiguration
from echod.client.course import Clocks, Course
from echod.client.line import Line
from echod.client.outcomes import ProbeResult
from echod.client.record import Record, opaque
from echod.client.route import Route
from echod.common.addresses import HostPort, parse_host
from echod.common.defaults import DEFAULT_PORT
from echod.common.option_types import PORT

if TYPE_CHECKING:
    from echod.client.tls import ClientTLSContext

__all__ = ["as_record", "as_route", "probe", "target", "tls_of"]


def target(host: str, port: int = DEFAULT_PORT) -> HostPort:
    """Return what `host` and `port` mean: a host name or a literal address (IPv6 in brackets or not, scope id allowed).

    Raises ValueError where `host` can be none of these or `port` is not from 1 to 65535.
    """
    try:
        number = PORT.check(port)
    except ValueError as problem:
        raise ValueError(f"port {problem}") from None
    return HostPort(parse_host(host), number)


def probe(
    reactor: IProbeReactor,
    to: HostPort | Route,
    *,
    payload: bytes | Record,
    timeout: float,
    idle: float | None = None,
    tls: "ClientTLSContext | None" = None,
    clocks: Clocks = Clocks(),  # noqa: B008  # it is frozen
) -> "Deferred[ProbeResult]":
    """Send `payload` over a connection of its own, and verify that every byte of it comes back.

    `timeout` is in seconds and covers the whole probe, name resolution included, but for the `idle` seconds for which
    the connection is held silent before the record. With `tls` the record goes over TLS, and not a byte of it before
    the server is verified. A `Record` of `echod.client.record` tells apart what else comes back; of plain bytes only
    whether they are the same.

    The Deferred fires when the connection is closed again. It never fails for what the path
    or the peer does: that is the result's outcome. Cancelling it ends the probe and fails
    it with CancelledError.
    """
    route = as_route(to)
    course = Course(reactor, clocks, route.target, as_record(payload, 1), timeout)
    Line(reactor, route, tls, clocks, idle=idle).join(course)
    return course.result


def tls_of(configuration: ClientConfiguration) -> "ClientTLSContext | None":
    """Return the TLS that is asked for; None without. Raises ConfigurationError."""
    if configuration.client_tls is None:
        return None
    from echod.client.tls import ClientTLSContext  # takes its time, and what is plain can do without

    return ClientTLSContext(configuration.client_tls)


def as_route(to: HostPort | Route) -> Route:
    """Return the way to a target: as it is given, or the plain one."""
    return to if isinstance(to, Route) else Route(target=to)


def as_record(payload: bytes | Record, sequence: int) -> Record:
    """Return the record that `payload` is, or makes with this sequence number."""
    return payload if isinstance(payload, Record) else opaque(sequence, payload)
