"""`make_service`: the one function that assembles the daemon from its configuration."""

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

from echod.server.admission import Admission
from echod.server.config import ServerConfiguration
from echod.server.connections import Connections
from echod.server.factory import EchoFactory, ServerContext
from echod.server.listeners import DualStackEndpoint, endpoint_from_string
from echod.server.observer import IConnectionObserver, NullObserver
from echod.server.open_listener import Listener
from echod.server.protocol import EchoProtocol
from echod.server.proxy import ProxiedFactory
from echod.server.service import EchoService
from echod.server.supervisor import ISupervisor, NullSupervisor
from echod.server.tls import ServerTLS, TLSEchoProtocol, TLSFiles, TLSListenerFactory
from echod.transport import fast_reactor

__all__ = ["DESCRIPTOR_RESERVE", "IDaemonReactor", "listener_reactor", "make_service"]

DESCRIPTOR_RESERVE = 64
"""File descriptors that are not for connections: standard streams, reactor, listeners, logs, files being loaded."""

_PROXY = "haproxy:"
_INHERITED = "systemd:"


class IDaemonReactor(IReactorCore, IReactorTCP, IReactorSocket, IReactorTime):
    """The interface that the daemon needs of a reactor."""


@dataclass(frozen=True)
class _ListenerOptions:
    """The options of one listener: its endpoint, and the protocols of its connections."""

    name: str
    endpoint: IStreamServerEndpoint
    tls: bool
    proxied: bool = False
    """Whether each connection begins with a PROXY header."""
    inherited: bool = False
    """As in `Listener`."""


def listener_reactor(configuration: ServerConfiguration, reactor: IDaemonReactor) -> IDaemonReactor:
    """Return the reactor for the listeners: that of the fast transport or `reactor`, by the option `transport`."""
    chosen: IDaemonReactor = fast_reactor(reactor) if configuration.transport == "fast" else reactor
    return chosen


def make_service(
    configuration: ServerConfiguration,
    reactor: IDaemonReactor,
    *,
    sockets: IDaemonReactor | None = None,
    observer: IConnectionObserver | None = None,
    supervisor: ISupervisor | None = None,
    descriptors: int | None = None,
    reloaders: Sequence[tuple[str, Callable[[], None]]] = (),
    waits: list[int] | None = None,
) -> EchoService:
    """Return the daemon as a service that does not listen yet.

    Deadlines use `reactor.seconds`: a step of the wall clock moves none of them if that clock is monotonic. `sockets`
    is the result of `listener_reactor`, if other listeners share it. `descriptors` is the process's limit of open
    files; the limit of connections is kept below it. `reloaders` are (name, function) pairs that a reload calls after
    the certificates; a function raises ConfigurationError if its file is bad. In `waits` the record wait times are
    counted, by `echod.server.summary.WAIT_BOUNDS`. Raises ConfigurationError.
    """
    limit = _connection_limit(configuration.max_connections, descriptors)
    connections = Connections(limit)
    context = ServerContext(
        rules=configuration.rules,
        clock=reactor,
        connections=connections,
        admission=Admission.from_configuration(configuration, limit),
        observer=NullObserver() if observer is None else observer,
        waits=waits,
    )
    sockets = sockets or listener_reactor(configuration, reactor)
    tls = None if configuration.tls_certificate is None else ServerTLS(_tls_files(configuration))
    return EchoService(
        [_listener(context, options, tls) for options in _listener_options(configuration, sockets)],
        connections,
        reactor,
        NullSupervisor() if supervisor is None else supervisor,
        configuration.drain_timeout,
        reloaders=[*([] if tls is None else [("certificate", tls.reload)]), *reloaders],
        give_up=reactor.stop,
        tls=tls,
    )


def _listener_options(configuration: ServerConfiguration, reactor: IDaemonReactor) -> list[_ListenerOptions]:
    listeners = [_from_string(reactor, each, tls=False) for each in configuration.listen]
    if not listeners:
        listeners.append(_dual_stack(reactor, configuration, configuration.port, tls=False))
    if configuration.tls_port is not None:
        listeners.append(_dual_stack(reactor, configuration, configuration.tls_port, tls=True))
    return listeners + [_from_string(reactor, each, tls=True) for each in configuration.tls_listen]


def _dual_stack(
    reactor: IDaemonReactor, configuration: ServerConfiguration, port: int, *, tls: bool
) -> _ListenerOptions:
    interface = configuration.interface
    endpoint = DualStackEndpoint(reactor, interface, port, configuration.backlog, reuse_port=configuration.reuse_port)
    return _ListenerOptions(str(endpoint), endpoint, tls)


def _from_string(reactor: IDaemonReactor, text: str, *, tls: bool) -> _ListenerOptions:
    inner = text.removeprefix(_PROXY)
    return _ListenerOptions(
        name=text,
        endpoint=endpoint_from_string(reactor, inner),
        tls=tls,
        proxied=inner != text,
        inherited=inner.startswith(_INHERITED),
    )


def _listener(context: ServerContext, options: _ListenerOptions, tls: ServerTLS | None) -> Listener:
    echo = EchoFactory(context, options.name, TLSEchoProtocol if options.tls else EchoProtocol)
    factory: IProtocolFactory = echo
    if options.tls:
        assert tls is not None, "a configuration with a TLS listener has a certificate"
        factory = TLSListenerFactory(tls, echo, context.clock)
    if options.proxied:
        factory = ProxiedFactory(context, echo, factory)
    return Listener(options.name, options.endpoint, factory, options.inherited)


def _tls_files(configuration: ServerConfiguration) -> TLSFiles:
    assert configuration.tls_certificate is not None
    return TLSFiles(configuration.tls_certificate, configuration.tls_key, configuration.tls_client_ca)


def _connection_limit(configured: int | None, descriptors: int | None) -> int | None:
    """Return the number of connections that may be open, so that file descriptors never run out. None: no limit."""
    if descriptors is None:
        return configured
    possible = max(1, descriptors - DESCRIPTOR_RESERVE)
    if configured is not None and configured > possible:
        Logger(namespace=__name__).warn(
            "max-connections: {configured} is more than the limit of open files ({descriptors}) allows; "
            "using {possible}",
            configured=configured,
            descriptors=descriptors,
            possible=possible,
        )
    return possible if configured is None else min(configured, possible)
