"""The one function that makes a daemon from its configuration."""

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
    IStreamServerEndpoint,
)

from echod.core.configuration import DRAIN_TIMEOUT, ServerConfiguration
from echod.server.connections import Connections
from echod.server.factory import EchoFactory
from echod.server.listening import DualStackEndpoint, endpoint_from_string
from echod.server.observer import IConnectionObserver, NullObserver
from echod.server.service import EchoService, Listener

__all__ = ["IDaemonReactor", "make_service"]


class IDaemonReactor(IReactorCore, IReactorTCP, IReactorSocket, IReactorTime):
    """What the daemon needs of a reactor."""


def make_service(
    configuration: ServerConfiguration, reactor: IDaemonReactor, observer: IConnectionObserver | None = None
) -> EchoService:
    """Return the daemon as a service that does not listen yet.

    Its deadlines go by `reactor.seconds`: they hold through a step of the wall clock where
    the reactor's clock is monotonic. Raises ConfigurationError.
    """
    connections = Connections()
    told = NullObserver() if observer is None else observer
    exchange = configuration.exchange

    def listener(name: str, endpoint: IStreamServerEndpoint) -> Listener:
        return Listener(name, endpoint, EchoFactory(exchange, reactor, connections, told, name))

    if configuration.listen:
        listeners = [listener(each, endpoint_from_string(reactor, each)) for each in configuration.listen]
    else:
        dual_stack = DualStackEndpoint(reactor, configuration.interface, configuration.port, configuration.backlog)
        listeners = [listener(str(dual_stack), dual_stack)]
    return EchoService(listeners, connections, reactor, DRAIN_TIMEOUT, give_up=reactor.stop)
