"""The log line of an overflowing accept queue, with ports that listen and a reactor that does not run."""

import socket
from typing import Any

from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from echod.server.accept_overflow import warn_of_overflows
from echod.server.port_close import close_without_loss
from echod.transport.poller import Poller
from tests.support.memory import ReadingClock


class RefusingFactory(Factory):
    """Refuses every connection, so that none is left."""

    noisy = False

    def buildProtocol(self, addr: object) -> None:
        """Refuse."""


class OverflowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = ReadingClock()
        self.log = EventLoggingObserver()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def fast_port(self) -> Any:
        """Return a listening port with a backlog of 3."""
        port = Poller(self.reactor).listenTCP(0, RefusingFactory(), 3, "127.0.0.1")
        self.addCleanup(close_without_loss, port)
        return port

    def dial(self, port: Any, count: int) -> None:
        """Dial without waiting: the kernel drops the handshakes that find the queue full."""
        for _ in range(count):
            client = socket.socket()
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(port.socket.getsockname())

    def logged(self) -> list[str]:
        return [str(formatEvent(event)) for event in self.log if "dropped" in event]

    def test_an_overflow_is_logged_once(self) -> None:
        port = self.fast_port()
        warn_of_overflows(port, "[::]:3005", "--backlog")
        for _ in range(2):
            self.dial(port, 6)
            port.doRead()
        self.assertEqual(
            self.logged(),
            [
                "the accept queue of [::]:3005 overflowed: 4 connections wait, and the kernel has dropped 2 packet(s) "
                "of others, whose clients try again after a second or more; raise --backlog, now 3, and "
                "net.core.somaxconn if that is lower"
            ],
        )

    def test_a_full_queue_that_drops_nothing_is_not_logged(self) -> None:
        port = self.fast_port()
        warn_of_overflows(port, "test", "--backlog")
        self.dial(port, 4)
        port.doRead()
        self.assertEqual(self.logged(), [])
        self.dial(port, 5)
        port.doRead()
        self.assertEqual(len(self.logged()), 1)

    def test_what_was_dropped_before_the_daemon_listened_is_not_logged(self) -> None:
        """An inherited socket may have overflowed while no daemon ran."""
        port = self.fast_port()
        self.dial(port, 6)
        warn_of_overflows(port, "test", "--backlog")
        port.doRead()
        self.assertEqual(self.logged(), [])

    def test_a_port_of_the_stock_transport_is_left_alone(self) -> None:
        port: Any = Port(0, RefusingFactory(), interface="127.0.0.1", reactor=self.reactor)
        port.startListening()
        self.addCleanup(close_without_loss, port)
        warn_of_overflows(port, "test", "--backlog")
        self.assertFalse(hasattr(port, "on_full"))


class UnknownQueueTests(SynchronousTestCase):
    def test_one_accept_is_tried_if_the_system_does_not_report_the_queue(self) -> None:
        factory: Any = RefusingFactory()
        port: Any = Poller(ReadingClock()).listenTCP(0, factory, 3, "127.0.0.1")
        self.addCleanup(close_without_loss, port)
        accepted: list[object] = []
        factory.buildProtocol = accepted.append
        clients = [socket.create_connection(port.socket.getsockname(), timeout=5) for _ in range(2)]
        self.patch(socket, "TCP_INFO", -1)
        port.doRead()
        self.assertEqual(len(accepted), 1)
        for each in clients:
            each.close()
