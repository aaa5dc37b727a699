"""`make_service`: the one function that assembles the daemon from its configuration."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
from echod.server.certificate_watch import CertificateWatch
from echod.server.config import DEFAULT_BACKLOG, PROXIED, ServerConfiguration, is_proxied
from echod.server.connections import Connections
from echod.server.factory import EchoFactory, ReplaceableFactory, ServerContext
from echod.server.listeners import INHERITED, DualStackEndpoint, endpoint_from_string
from echod.server.observer import IConnectionObserver, NullObserver
from echod.server.open_listener import Listener
from echod.server.protocol import EchoProtocol
from echod.server.proxy import ProxiedFactory
from echod.server.reload import Reload
from echod.server.service import EchoService
from echod.server.supervisor import ISupervisor, NullSupervisor
from echod.server.tls import ServerTLS, TLSEchoProtocol, TLSFiles, TLSListenerFactory
from echod.transport import fast_reactor

__all__ = ["DESCRIPTOR_RESERVE", "IDaemonReactor", "listener_reactor", "make_service"]

DESCRIPTOR_RESERVE = 64
"""File descriptors that are not for connections: standard streams, reactor, listeners, logs, files being loaded."""


class IDaemonReactor(IReactorCore, IReactorTCP, IReactorSocket, IReactorTime):
    """The interface that the daemon needs of a reactor."""


@dataclass(frozen=True)
class _ListenerOptions:
    """The options of one listener: its endpoint, and the protocols of its connections."""

    text: str
    """As in `Listener`."""
    endpoint: IStreamServerEndpoint
    tls: bool
    proxied: bool = False
    """Whether each connection begins with a PROXY header."""
    inherited: bool = False
    """As in `Listener`."""

    @property
    def kind(self) -> str:
        """As in `Listener`."""
        return ", ".join([*(["PROXY protocol"] if self.proxied else []), *(["TLS"] if self.tls else [])])


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
    waits: list[int] | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> EchoService:
    """Return the daemon as a service that does not listen yet.

    Deadlines use `reactor.seconds`: a step of the wall clock moves none of them if that clock is monotonic. `sockets`
    is the result of `listener_reactor`, if other listeners share it. `descriptors` is the process's limit of open
    files; the limit of connections is kept below it. In `waits` the record wait times are counted, by
    `echod.server.summary.WAIT_BOUNDS`. `wall_clock` returns seconds since the epoch. Raises ConfigurationError.
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
    tls = ServerTLS(TLSFiles.from_configuration(configuration)) if configuration.tls_certificate is not None else None
    if tls is not None and not configuration.has_tls:
        Logger(namespace=__name__).warn("tls-certificate is not used: there is neither tls-port nor tls-listen")
    server = _Server(context, tls, _listener_options(configuration, sockets), descriptors)
    service = EchoService(
        server.listeners,
        connections,
        reactor,
        NullSupervisor() if supervisor is None else supervisor,
        configuration.drain_timeout,
        last_reload=Reload(configuration, server, wall_clock),
        give_up=reactor.stop,
        certificates=None if tls is None else CertificateWatch(tls, reactor, wall_clock),
    )
    server.service = service
    return service


class _Server:
    """The parts of the daemon that a reload changes, for new connections. Open connections keep their factory."""

    service: EchoService

    def __init__(
        self,
        context: ServerContext,
        tls: ServerTLS | None,
        options: Sequence[_ListenerOptions],
        descriptors: int | None,
    ) -> None:
        self._context = context
        self._tls = tls
        self._descriptors = descriptors
        self._listeners = [(each, self._listener(each)) for each in options]

    @property
    def listeners(self) -> list[Listener]:
        """The listeners of the service."""
        return [listener for _, listener in self._listeners]

    def _listener(self, options: _ListenerOptions) -> Listener:
        factory, echoes = _factory(self._context, options, self._tls, options.text)
        return Listener(
            text=options.text,
            endpoint=options.endpoint,
            factory=ReplaceableFactory(factory),
            echoes=echoes,
            kind=options.kind,
            backlog_setting="Backlog= in its socket unit" if options.inherited else "--backlog",
            inherited=options.inherited,
        )

    def prepare(self, configuration: ServerConfiguration) -> Callable[[], None]:
        """Load the TLS files; return the function that applies the configuration. Raises ConfigurationError."""
        limit = _connection_limit(configuration.max_connections, self._descriptors)
        use_files: Callable[[], None] | None = None
        if self._tls is not None and configuration.tls_certificate is not None:
            use_files = self._tls.prepare(TLSFiles.from_configuration(configuration))

        def apply() -> None:
            if use_files is not None:
                use_files()
            connections = self._context.connections
            connections.limit = limit
            self._context.admission.apply(configuration, limit, (each.counted_as for each in connections))
            context = replace(self._context, rules=configuration.rules)
            for options, listener in self._listeners:
                listener.factory.current, _ = _factory(context, options, self._tls, listener.name)
            self.service.drain_timeout = configuration.drain_timeout

        return apply


def _listener_options(configuration: ServerConfiguration, reactor: IDaemonReactor) -> list[_ListenerOptions]:
    backlog = configuration.backlog
    listeners = [_from_string(reactor, each, backlog, tls=False) for each in configuration.listen]
    if not listeners:
        listeners.append(_dual_stack(reactor, configuration, configuration.port, tls=False))
    if configuration.tls_port is not None:
        listeners.append(_dual_stack(reactor, configuration, configuration.tls_port, tls=True))
    listeners += [_from_string(reactor, each, backlog, tls=True) for each in configuration.tls_listen]
    if backlog != DEFAULT_BACKLOG and all(each.inherited for each in listeners):
        Logger(namespace=__name__).warn(
            "backlog: {backlog} has no effect: inherited sockets have the backlog of their socket unit (Backlog=)",
            backlog=backlog,
        )
    return listeners


def _dual_stack(
    reactor: IDaemonReactor, configuration: ServerConfiguration, port: int, *, tls: bool
) -> _ListenerOptions:
    interface = configuration.interface
    endpoint = DualStackEndpoint(reactor, interface, port, configuration.backlog, reuse_port=configuration.reuse_port)
    return _ListenerOptions(str(endpoint), endpoint, tls)


def _from_string(reactor: IDaemonReactor, text: str, backlog: int, *, tls: bool) -> _ListenerOptions:
    inner = text.removeprefix(PROXIED)
    return _ListenerOptions(
        text=text,
        endpoint=endpoint_from_string(reactor, inner, backlog),
        tls=tls,
        proxied=is_proxied(text),
        inherited=inner.startswith(INHERITED),
    )


def _factory(
    context: ServerContext, options: _ListenerOptions, tls: ServerTLS | None, name: str
) -> tuple[IProtocolFactory, Sequence[EchoFactory]]:
    """Return the factory of a listener's connections, and the factories in it that report them under its name."""
    echo = EchoFactory(context, name, TLSEchoProtocol if options.tls else EchoProtocol)
    factory = _with_tls(echo, options, tls)
    if not options.proxied:
        return factory, [echo]
    of_clients = echo.of_clients()
    proxied = ProxiedFactory(context, echo, clients=_with_tls(of_clients, options, tls), own=factory)
    return proxied, [echo, of_clients]


def _with_tls(echo: EchoFactory, options: _ListenerOptions, tls: ServerTLS | None) -> IProtocolFactory:
    if not options.tls:
        return echo
    assert tls is not None, "a configuration with a TLS listener has a certificate"
    return TLSListenerFactory(tls, echo, echo.clock)


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
