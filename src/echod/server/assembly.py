"""The one function that makes a daemon from its configuration."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import (
    IProtocolFactory,
    IReactorCore,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger

from echod.server.admission import AccessList, Admission
from echod.server.config import ServerConfiguration
from echod.server.connections import Connections
from echod.server.factory import EchoFactory, ServerContext
from echod.server.listeners import DualStackEndpoint, endpoint_from_string
from echod.server.observer import IConnectionObserver, NullObserver
from echod.server.protocol import EchoProtocol
from echod.server.proxy import ProxiedFactory
from echod.server.service import EchoService, Listener
from echod.server.supervisor import ISupervisor, NullSupervisor
from echod.server.tls import ServerTLS, TLSEchoProtocol, TLSFiles, TLSListenerFactory
from echod.transport import fast_reactor

__all__ = ["DESCRIPTOR_RESERVE", "IDaemonReactor", "listener_reactor", "make_service"]

DESCRIPTOR_RESERVE = 64
"""Descriptors that are not for connections: standard streams, reactor, listeners, logs, files being loaded."""

PROXY = "haproxy:"
INHERITED = "systemd:"


class IDaemonReactor(IReactorCore, IReactorTCP, IReactorSocket, IReactorTime):
    """What the daemon needs of a reactor."""


@dataclass(frozen=True)
class _Place:
    """Where to listen, and what is spoken there."""

    name: str
    endpoint: IStreamServerEndpoint
    tls: bool
    proxied: bool = False
    inherited: bool = False


def listener_reactor(configuration: ServerConfiguration, reactor: IDaemonReactor) -> IDaemonReactor:
    """Return what makes the listeners: the reactor, or what takes its place as the configuration says."""
    sockets: IDaemonReactor = fast_reactor(reactor) if configuration.transport == "fast" else reactor
    return sockets


def make_service(
    configuration: ServerConfiguration,
    reactor: IDaemonReactor,
    *,
    sockets: IDaemonReactor | None = None,
    observer: IConnectionObserver | None = None,
    supervisor: ISupervisor | None = None,
    descriptors: int | None = None,
    load_again: Sequence[tuple[str, Callable[[], None]]] = (),
    waits: list[int] | None = None,
) -> EchoService:
    """Return the daemon as a service that does not listen yet.

    Its deadlines go by `reactor.seconds`: they hold through a step of the wall clock where
    the reactor's clock is monotonic. `sockets` is the result of `listener_reactor`, if others use it too.
    `descriptors` is the process's limit of open files; the connections are kept below it. `load_again` are called at
    a reload, after the certificates. In `waits` it is counted how long each record took to come, as
    `echod.server.observer.WAIT_BOUNDS` says.
    Raises ConfigurationError.
    """
    most = _most_connections(configuration.max_connections, descriptors)
    connections = Connections(most)
    service = ServerContext(
        exchange=configuration.exchange,
        clock=reactor,
        connections=connections,
        admission=Admission(
            AccessList(configuration.allow),
            most,
            configuration.max_connections_per_host,
        ),
        observer=NullObserver() if observer is None else observer,
        waits=waits,
    )
    sockets = sockets or listener_reactor(configuration, reactor)
    tls = None if configuration.tls_certificate is None else ServerTLS(_files(configuration))
    listeners = [_listener(service, place, tls) for place in _places(configuration, sockets)]
    return EchoService(
        listeners,
        connections,
        reactor,
        NullSupervisor() if supervisor is None else supervisor,
        configuration.drain_timeout,
        load_again=[*([] if tls is None else [("certificate", tls.reload)]), *load_again],
        give_up=reactor.stop,
        tls=tls,
    )


def _places(configuration: ServerConfiguration, reactor: IDaemonReactor) -> list[_Place]:
    places = [_described(reactor, each, tls=False) for each in configuration.listen]
    if not places:
        places.append(_dual_stack(reactor, configuration, configuration.port, tls=False))
    if configuration.tls_port is not None:
        places.append(_dual_stack(reactor, configuration, configuration.tls_port, tls=True))
    return places + [_described(reactor, each, tls=True) for each in configuration.tls_listen]


def _dual_stack(reactor: IDaemonReactor, configuration: ServerConfiguration, port: int, *, tls: bool) -> _Place:
    interface = configuration.interface
    endpoint = DualStackEndpoint(reactor, interface, port, configuration.backlog, reuse_port=configuration.reuse_port)
    return _Place(str(endpoint), endpoint, tls)


def _described(reactor: IDaemonReactor, text: str, *, tls: bool) -> _Place:
    inner = text.removeprefix(PROXY)
    return _Place(
        name=text,
        endpoint=endpoint_from_string(reactor, inner),
        tls=tls,
        proxied=inner != text,
        inherited=inner.startswith(INHERITED),
    )


def _listener(service: ServerContext, place: _Place, tls: ServerTLS | None) -> Listener:
    echo = EchoFactory(service, place.name, TLSEchoProtocol if place.tls else EchoProtocol)
    factory: IProtocolFactory = echo
    if place.tls:
        assert tls is not None, "a configuration with a TLS listener has a certificate"
        factory = TLSListenerFactory(tls, echo, service.clock)
    if place.proxied:
        factory = ProxiedFactory(service, echo, factory)
    return Listener(place.name, place.endpoint, factory, place.inherited)


def _files(configuration: ServerConfiguration) -> TLSFiles:
    assert configuration.tls_certificate is not None
    return TLSFiles(configuration.tls_certificate, configuration.tls_key, configuration.tls_client_ca)


def _most_connections(asked: int | None, descriptors: int | None) -> int | None:
    """Return how many connections may be open, so that descriptors never run out."""
    if descriptors is None:
        return asked
    possible = max(1, descriptors - DESCRIPTOR_RESERVE)
    if asked is not None and asked > possible:
        Logger(namespace=__name__).warn(
            "max-connections is {asked}, but the process may open {descriptors} files: {possible} it is",
            asked=asked,
            descriptors=descriptors,
            possible=possible,
        )
    return possible if asked is None else min(asked, possible)
