"""The daemon and its admin server as one service. The admin server outlives the daemon, whose drain it shows."""

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorSocket,
    IReactorTime,
    IReadDescriptor,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

import echod
from echod.admin.connection_totals import ConnectionTotals
from echod.admin.daemon_view import DaemonView, listen_overflows
from echod.admin.http_server import AdminFactory
from echod.admin.live_page import LivePage
from echod.admin.metrics import FRESH, Exposition, own_snapshot
from echod.admin.pages import pages
from echod.admin.process_directory import ProcessDirectory
from echod.admin.process_group import ProcessGroup, SharedDirectory, SingleProcess
from echod.admin.reactor_lag import ReactorLag
from echod.admin.snapshot import Snapshot
from echod.common.errors import ListenError
from echod.server.listeners import INHERITED, DualStackEndpoint, endpoint_from_string
from echod.server.open_listener import listening_address
from echod.server.port_close import close_without_loss
from echod.server.service import EchoService, system_error_text

__all__ = ["AdminListeners", "AdminService", "make_admin"]

LOOPBACK = ("::1", "127.0.0.1")
BACKLOG = 64
IN_USE_HINT = " (several processes share the port only with admin-directory)"
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""Errors of a bind to ::1 or 127.0.0.1 on a host that has no IPv6, or no IPv4."""


def make_admin(
    address: str,
    reactor: IReactorTime,
    sockets: IReactorSocket,
    daemon: EchoService,
    totals: ConnectionTotals,
    log_lines_dropped: Callable[[], Mapping[str, int]],
    directory: str | None = None,
    wall_clock: Callable[[], float] = time.time,
) -> "AdminService":
    """Return `daemon` and an admin server as one service, which does not listen yet.

    `address` is a port, for the loopback addresses only, or a Twisted server endpoint. `sockets` is the reactor or its
    replacement for listeners. `totals` is an observer of the daemon. `log_lines_dropped` returns the number of
    dropped lines by log. `directory` is that of the processes of the service, which then share the port; None: the
    daemon is one process. Raises ConfigurationError.
    """
    reactor_lag = ReactorLag(reactor)
    view = DaemonView(daemon, totals, reactor_lag, listen_overflows, log_lines_dropped, wall_clock)
    own = partial(_own_snapshot, view, reactor)
    shared = None if directory is None else SharedDirectory(own, ProcessDirectory(Path(directory)))
    group: ProcessGroup = shared or SingleProcess(own)
    live_page = LivePage(group, wall_clock, echod.__version__)
    reactor_lag.on_tick = live_page.tick
    # A text that this process rendered before another one rendered its own must not be sent after that: counters would
    # fall.
    exposition = Exposition(group, reactor.seconds, 0.0 if shared else FRESH)
    page_table = pages(group, exposition)
    factory = AdminFactory(reactor, page_table, {"/events": live_page.respond}, wall_clock)
    endpoints: Sequence[IStreamServerEndpoint]
    if address.isdigit():
        endpoints = [
            DualStackEndpoint(sockets, host, int(address), BACKLOG, reuse_port=shared is not None) for host in LOOPBACK
        ]
    else:
        endpoints = [endpoint_from_string(sockets, address)]
    return AdminService(AdminListeners(address, endpoints, factory), daemon, reactor_lag, live_page, shared)


def _own_snapshot(view: DaemonView, clock: IReactorTime) -> Snapshot:
    return own_snapshot(view, clock.seconds())


class AdminService(MultiService):
    """Starts the admin server, then the daemon; stops them in reverse order, each after the one before has stopped."""

    _log = Logger()

    def __init__(
        self,
        listeners: "AdminListeners",
        daemon: EchoService,
        reactor_lag: ReactorLag,
        live_page: LivePage,
        shared: SharedDirectory | None = None,
    ) -> None:
        """`live_page` is sent the daemon's state when the daemon begins to drain."""
        super().__init__()
        self._listeners = listeners
        self._live_page = live_page
        for service in (shared, listeners, reactor_lag, daemon):
            if service is not None:
                service.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Listen. Raises ListenError; then nothing listens, neither the daemon nor the admin server."""
        try:
            super().privilegedStartService()
        except ListenError:
            self._listeners.close()
            raise

    def startService(self) -> None:
        """Serve. Listens first unless `privilegedStartService` has been called. Raises ListenError."""
        if not self._listeners.is_open:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> "Deferred[None]":
        """Stop the daemon; the Deferred fires when it has drained and the admin server has stopped after it."""
        # MultiService would stop the children all at once: the admin server must still show the drain.
        Service.stopService(self)
        stopped = Deferred.fromCoroutine(self._stop_children())
        try:
            self._live_page.send_state()
        except Exception:
            self._log.failure("cannot send the state to the live pages")
        return stopped

    async def _stop_children(self) -> None:
        for service in reversed(list(self)):
            try:
                await maybeDeferred(service.stopService)
            except Exception:
                self._log.failure("cannot stop {service}", service=service)


class AdminListeners(Service):
    """The listening ports of the admin server.

    Not StreamServerEndpointService, which logs a failure to listen: here it must end the daemon.
    """

    _log = Logger()

    def __init__(self, address: str, endpoints: Sequence[IStreamServerEndpoint], factory: AdminFactory) -> None:
        """`address` names the endpoints in logs and errors, as the user wrote them."""
        self._address = address
        self._inherited = address.startswith(INHERITED)
        self._endpoints = endpoints
        self._factory = factory
        self._ports: list[IListeningPort] = []

    @property
    def is_open(self) -> bool:
        """Whether any port is open."""
        return bool(self._ports)

    def privilegedStartService(self) -> None:
        """Listen. Raises ListenError; then no port is open."""
        super().privilegedStartService()
        failures: list[Failure] = []
        for endpoint in self._endpoints:
            endpoint.listen(self._factory).addCallbacks(self._add_port, failures.append)
        fatal = [failure for failure in failures if getattr(failure.value, "errno", None) not in _NO_SUCH_FAMILY]
        if fatal or (failures and not self._ports):
            self.close()
            reason = system_error_text((fatal or failures)[0].value)
            in_use = getattr((fatal or failures)[0].value, "errno", None) == errno.EADDRINUSE
            hint = IN_USE_HINT if in_use else ""
            raise ListenError(f"cannot listen on admin {self._address}: {reason}{hint}")

    def stopService(self) -> "Deferred[None]":
        """Close the ports; respond to the clients that have connected; then close the connections."""
        super().stopService()
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            if not self._inherited and IReadDescriptor.providedBy(port):
                close_without_loss(port)
            else:
                await maybeDeferred(port.stopListening)
        await self._factory.finish()

    def close(self) -> "Deferred[None]":
        """Close the ports and abort the connections, also before `startService`."""
        ports, self._ports = self._ports, []
        self._factory.abort_all()
        return DeferredList([maybeDeferred(port.stopListening) for port in ports]).addCallback(lambda _: None)

    def _add_port(self, port: IListeningPort) -> None:
        self._ports.append(port)
        self._log.info("admin on {address}", address=listening_address(port, self._address))
