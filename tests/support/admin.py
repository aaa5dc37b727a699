"""A daemon in memory with an admin server, and clients of the admin server."""

from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.internet.testing import MemoryReactorClock

from echod.admin.connection_totals import ConnectionTotals
from echod.admin.daemon_view import DaemonView
from echod.admin.http_server import AdminFactory
from echod.admin.live_page import LivePage
from echod.admin.metrics import FRESH, Exposition, own_snapshot
from echod.admin.pages import pages
from echod.admin.process_group import SingleProcess
from echod.admin.reactor_lag import ReactorLag
from echod.server.assembly import make_service
from echod.server.config import ServerConfiguration
from echod.server.service import EchoService
from tests.support.memory import MemoryTransport

LOCAL = IPv4Address("TCP", "127.0.0.1", 9305)


class Scene:
    """A daemon in memory, with its view, metrics, live page and admin server."""

    def __init__(self, **options: Any) -> None:
        self.reactor = cast("Any", MemoryReactorClock())
        self.totals = ConnectionTotals()
        options.setdefault("listen", ("tcp:1",))
        configuration = ServerConfiguration(transport="stock", **options)
        self.service: EchoService = make_service(
            configuration, self.reactor, observer=self.totals, waits=self.totals.waits, descriptors=1064
        )
        self.reactor_lag = ReactorLag(self.reactor)
        self.overflows: int | None = 7
        self.log_lines_dropped = {"access": 0, "daemon": 0}
        self.view = DaemonView(
            self.service,
            self.totals,
            self.reactor_lag,
            lambda: self.overflows,
            lambda: self.log_lines_dropped,
            lambda: 1_800_000_000.0,
        )
        self.group = SingleProcess(lambda: own_snapshot(self.view, self.reactor.seconds()))
        self.live_page = LivePage(self.group, self.view.now, "1.2.3")
        self.exposition = Exposition(self.group, self.reactor.seconds)
        self.factory = AdminFactory(
            self.reactor, pages(self.group, self.exposition), {"/events": self.live_page.respond}, self.view.now
        )

    def connect(self) -> MemoryTransport:
        transport = MemoryTransport()
        transport.connect(self.reactor.tcpServers[0][1].buildProtocol(None))
        return transport

    def metric(self, name: str) -> float:
        self.reactor.advance(FRESH)
        _, text = self.exposition.render("")
        return next(float(line.split()[-1]) for line in text.decode().splitlines() if line.startswith(name + " "))


class Client:
    """A client of the admin server, in memory."""

    def __init__(self, factory: AdminFactory, local: IAddress = LOCAL) -> None:
        self.transport = MemoryTransport(host=local)
        connection = factory.buildProtocol(None)
        self.refused = connection is None
        if connection is not None:
            self.transport.connect(connection)

    def send(self, data: bytes) -> bytes:
        """Send, unless the connection is over; return all bytes received so far."""
        if self.transport.over is None:
            self.transport.receive(data)
        return bytes(self.transport.value())

    def get(self, path: str = "/healthz", host: str | None = "localhost", method: str = "GET", more: str = "") -> bytes:
        host_line = "" if host is None else f"Host: {host}\r\n"
        return self.send(f"{method} {path} HTTP/1.1\r\n{host_line}{more}\r\n".encode())

    @property
    def over(self) -> bool:
        """Whether the server has closed the connection, or its sending side."""
        return self.transport.over is not None or self.transport.write_shut

    def leave(self) -> None:
        self.transport.reset()
