"""How long the admin server lives: longer than the daemon, which it tells of while it drains."""

import errno
import time
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorSocket, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

import echod
from echod.admin.daemon_view import Observed
from echod.admin.host_counters import listen_overflows
from echod.admin.http_server import AdminFactory
from echod.admin.live_page import Live
from echod.admin.metrics import Exposition
from echod.admin.pages import pages
from echod.admin.reactor_lag import Pulse
from echod.admin.totals import Totals
from echod.common.errors import ListenError
from echod.server.listeners import DualStackEndpoint, endpoint_from_string
from echod.server.service import EchoService, listening_address, system_error_text

__all__ = ["AdminService", "make_admin"]

LOOPBACK = ("::1", "127.0.0.1")
BACKLOG = 64
_NOT_HERE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a host says that has no IPv6, or no IPv4."""


def make_admin(
    place: str,
    reactor: IReactorTime,
    sockets: IReactorSocket,
    service: EchoService,
    totals: Totals,
    wall_clock: Callable[[], float] = time.time,
) -> "AdminService":
    """Return `service` with an admin server beside it, which does not listen yet.

    `place` is a port, for the loopback addresses alone, or a Twisted server endpoint; `sockets` is the reactor, or
    what takes its place where listeners are made. `totals` is the daemon's observer. Raises ConfigurationError.
    """
    pulse = Pulse(reactor)
    observed = Observed(service, totals, pulse, listen_overflows, wall_clock)
    live = Live(observed, echod.__version__)
    exposition = Exposition(observed, reactor.seconds)
    factory = AdminFactory(reactor, pages(observed, exposition), {"/events": live.stream}, wall_clock)
    endpoints: Sequence[IStreamServerEndpoint]
    if place.isdigit():
        endpoints = [DualStackEndpoint(sockets, host, int(place), BACKLOG) for host in LOOPBACK]
    else:
        endpoints = [endpoint_from_string(sockets, place)]
    return AdminService(service, place, endpoints, factory, pulse, live)


class AdminService(Service):
    """A daemon and its admin server, as one service: the server is up before the daemon, and after it."""

    _log = Logger()

    def __init__(
        self,
        daemon: EchoService,
        place: str,
        endpoints: Sequence[IStreamServerEndpoint],
        factory: AdminFactory,
        pulse: Pulse,
        live: Live,
    ) -> None:
        """`place` is how the user knows the endpoints; `pulse` is to beat for `live`."""
        self._daemon = daemon
        self._place = place
        self._endpoints = endpoints
        self._factory = factory
        self._pulse = pulse
        self._live = live
        self._ports: list[IListeningPort] = []

    def privilegedStartService(self) -> None:
        """Listen, the daemon too. Raises ListenError, and then nothing listens."""
        super().privilegedStartService()
        self._listen()
        try:
            self._daemon.privilegedStartService()
        except ListenError:
            self._end_server()
            raise

    def startService(self) -> None:
        """Serve. Listens first where nothing has called `privilegedStartService`."""
        super().startService()
        if not self._ports:
            self.privilegedStartService()
        self._daemon.startService()
        self._pulse.start(self._live.beat)

    def stopService(self) -> "Deferred[None]":
        """Stop the daemon; the Deferred fires when it has drained, and the admin server has ended after it."""
        super().stopService()
        drained = self._daemon.stopService()
        self._live.tell_state()
        return drained.addCallback(lambda _: self._end())

    def _listen(self) -> None:
        failures: list[Failure] = []
        for each in self._endpoints:
            each.listen(self._factory).addCallbacks(self._listening, failures.append)
        fatal = [each for each in failures if getattr(each.value, "errno", None) not in _NOT_HERE]
        if fatal or (failures and not self._ports):
            self._end_server()
            raise ListenError(
                f"cannot listen on admin {self._place}: {system_error_text((fatal or failures)[0].value)}"
            )

    def _listening(self, port: IListeningPort) -> None:
        self._ports.append(port)
        self._log.info("admin on {address}", address=listening_address(port, self._place))

    def _end(self) -> "Deferred[None]":
        self._pulse.stop()
        return self._end_server()

    def _end_server(self) -> "Deferred[None]":
        ports, self._ports = self._ports, []
        self._factory.end_all()
        return DeferredList([maybeDeferred(each.stopListening) for each in ports]).addCallback(lambda _: None)
